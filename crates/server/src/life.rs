//! What a data directory remembers of its node's life: `founding.json`.
//!
//! How the cluster was founded, whether the node's first replicas are there, which *incarnation* of the node this directory
//! is, and whether its databases are distrusted. All of it stands in one small file that is replaced entirely or not at all,
//! so that what belongs together changes together: a node that has given up an incarnation can never, whatever crash comes,
//! seed its first replicas again or start the replicas that it gave up.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ringfence_storage::StorageError;
use ringfence_types::{ClusterId, ShardId};
use serde::{Deserialize, Serialize};

use crate::config::Founding;
use crate::node::StartError;

/// In the data directory.
const FILE: &str = "founding.json";

/// Format 1 knew no distrust.
const FORMAT_VERSION: u32 = 2;

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    /// Which cluster.
    pub cluster: ClusterId,
    /// As it was founded.
    pub founding: Founding,
    /// No replica is to be seeded any more: the first ones are there, or were given up. False only if the node crashed while
    /// it was being born.
    pub born: bool,
    /// See [`ringfence_state_machine::NodeInfo::incarnation`].
    pub incarnation: u64,
    /// The registry has had this directory's incarnation. From then on the others know it.
    #[serde(default)]
    pub registered: bool,
    /// Incarnations of the node that came before, as far as this directory knows. None of them comes back.
    #[serde(default)]
    pub given_up: Vec<u64>,
    /// The databases are distrusted, or were and have not been filled again.
    #[serde(default)]
    pub distrust: Option<Distrust>,
}

/// How far a node is in replacing its databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Distrust {
    /// Why, for people.
    pub reason: String,
    /// What is to be done next.
    pub stage: Stage,
    /// It may go on: by configuration, or because an operator said so.
    pub consent: bool,
    /// Shards that had a replica here and are to have one again, as far as is known.
    pub shards: Vec<ShardId>,
}

/// In this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// The databases in their place must not be used.
    Found,
    /// They are being moved to `distrusted-<number>`. What stands in their place afterwards is new and empty.
    SettingAside {
        /// Of the directory.
        number: u64,
    },
    /// The databases in their place are new, and hold fresh replicas only.
    Rejoining,
}

impl Record {
    /// Of a new directory.
    pub(crate) fn new(cluster: ClusterId, founding: Founding, incarnation: u64) -> Record {
        Record {
            format: FORMAT_VERSION,
            cluster,
            founding,
            born: false,
            incarnation,
            registered: false,
            given_up: Vec::new(),
            distrust: None,
        }
    }

    /// Gives up this incarnation for a new one.
    pub(crate) fn become_another(&mut self, incarnation: u64) {
        let given_up = std::mem::replace(&mut self.incarnation, incarnation);
        self.registered = false;
        self.came_after(given_up);
    }

    /// This directory comes after that incarnation of the node, which the registry may still have.
    pub(crate) fn came_after(&mut self, incarnation: u64) {
        if !self.given_up.contains(&incarnation) {
            self.given_up.push(incarnation);
        }
    }

    /// The distrust of databases that have been replaced by fresh ones since. Not of those that are in their place: whoever
    /// was going on with the fresh ones must not take back what was found in them meanwhile.
    pub(crate) fn rejoining(&mut self) -> Option<&mut Distrust> {
        self.distrust.as_mut().filter(|distrust| distrust.stage == Stage::Rejoining)
    }

    /// Gives up what is in the databases. Whatever was going on, it begins anew.
    pub(crate) fn distrust(&mut self, reason: String) {
        let shards = self.distrust.take().map(|before| before.shards).unwrap_or_default();
        self.distrust = Some(Distrust { reason, stage: Stage::Found, consent: false, shards });
        self.born = true; // nothing is ever seeded here again
    }
}

/// The record of an open directory.
pub(crate) struct Life {
    dir: PathBuf,
    record: Mutex<Record>,
}

impl Life {
    /// As it was read.
    pub(crate) fn of(dir: &Path, record: Record) -> Life {
        Life { dir: dir.to_owned(), record: Mutex::new(record) }
    }

    /// As it is now.
    pub(crate) fn record(&self) -> Record {
        self.record.lock().expect(UNPOISONED).clone()
    }

    /// Changes the record. Durable on return. Blocks on the disk.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Record)) -> Result<(), StartError> {
        let mut record = self.record.lock().expect(UNPOISONED);
        let mut changed = record.clone();
        change(&mut changed);
        changed.format = FORMAT_VERSION;
        write(&self.dir, &changed)?;
        *record = changed;
        Ok(())
    }
}

const UNPOISONED: &str = "no code panics while it holds this lock";

/// The record of a directory, if it has one.
pub(crate) fn read(dir: &Path) -> Result<Option<Record>, StartError> {
    let path = dir.join(FILE);
    let unreadable = |reason: String| StartError::Founding { path: path.clone(), reason };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    // The format comes first: a newer one may look different in everything else.
    let Format { format } = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    if format > FORMAT_VERSION {
        return Err(StorageError::UnknownVersion {
            what: path.display().to_string(),
            found: format,
            known: FORMAT_VERSION,
        }
        .into());
    }
    serde_json::from_slice(&text).map(Some).map_err(|error| unreadable(error.to_string()))
}

/// Entirely or not at all, and durable.
fn write(dir: &Path, record: &Record) -> Result<(), StartError> {
    let (new, path) = (dir.join("founding.json.new"), dir.join(FILE));
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(record)?)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error: std::io::Error| {
        let doing = format!("write {}", path.display());
        StartError::Storage(match error.kind() {
            std::io::ErrorKind::StorageFull => StorageError::DiskFull { doing },
            _ => StorageError::Io { doing, reason: error.to_string() },
        })
    })
}
