//! A node's directory: whose it is, and who has it open.
//!
//! ```text
//! DIR/identity   text: format version, cluster, node, checksum
//! DIR/lock       locked while a server has the directory open
//! DIR/log/       the log DB
//! DIR/state/     the state DB
//! DIR/distrusted-N/   what was set aside because it could not be trusted any more, and why
//! ```
//!
//! A node *claims* its directory first and opens the databases then, so that it can put databases that turn out to be
//! damaged out of its way without letting anybody else in between.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ringfence_types::{ClusterId, NodeId};

use crate::engine::{MemoryEngine, RocksEngine, RocksProfile};
use crate::{LogDb, StateDb, StorageError};

/// What the identity file of this release says, and the newest it reads.
const FORMAT_VERSION: u32 = 1;
const TITLE: &str = "ringfence data directory";

/// Whose directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Format of everything in the directory.
    pub format: u32,
    /// Which cluster's.
    pub cluster: ClusterId,
    /// Which node's.
    pub node: NodeId,
}

/// Both databases of a node.
#[derive(Clone)]
pub struct NodeStorage {
    /// Logs and votes.
    pub log: LogDb,
    /// Applied state.
    pub state: StateDb,
}

impl NodeStorage {
    /// In memory, for tests and simulations.
    pub fn memory() -> Result<NodeStorage, StorageError> {
        Ok(NodeStorage {
            log: LogDb::open(Arc::new(MemoryEngine::new(LogDb::TABLES.len())))?,
            state: StateDb::open(Arc::new(MemoryEngine::new(StateDb::TABLES.len())))?,
        })
    }
}

/// The databases, as their directories are named.
const LOG: &str = "log";
const STATE: &str = "state";

/// What directories of things set aside begin with.
const SET_ASIDE: &str = "distrusted-";

/// A data directory that no other server can take, with its databases closed.
pub struct ClaimedDir {
    path: PathBuf,
    identity: Identity,
    _lock: DirLock,
}

/// An open data directory. Keep it for as long as the node runs: dropping it lets another server in.
pub struct DataDir {
    claimed: ClaimedDir,
    storage: NodeStorage,
    databases: [Weak<()>; 2],
}

impl ClaimedDir {
    /// Claims the directory of this node, or makes one. Refused if another server has it, if it is another node's, another
    /// cluster's or another program's, or if a newer release wrote it.
    pub fn claim(path: &Path, cluster: ClusterId, node: NodeId) -> Result<ClaimedDir, StorageError> {
        fs::create_dir_all(path).map_err(|error| StorageError::io(format!("create {}", path.display()), &error))?;
        let found = DataDir::peek(path)?;
        if found.is_none() {
            refuse_foreign_files(path)?;
        }
        let lock = lock(path)?;
        let identity = match DataDir::peek(path)? {
            Some(found) => check_owner(path, found, cluster, node)?,
            None => write_identity(path, Identity { format: FORMAT_VERSION, cluster, node })?,
        };
        Ok(ClaimedDir { path: path.to_owned(), identity, _lock: lock })
    }

    /// Opens the databases, or makes them. If that fails the directory stays claimed, so that they can be set aside.
    pub fn open(self) -> Result<DataDir, (ClaimedDir, StorageError)> {
        let opened = (|| {
            let log = RocksEngine::open(&self.path.join(LOG), LogDb::TABLES, RocksProfile::Log)?;
            let state = RocksEngine::open(&self.path.join(STATE), StateDb::TABLES, RocksProfile::State)?;
            let databases = [log.alive(), state.alive()];
            let storage = NodeStorage { log: LogDb::open(Arc::new(log))?, state: StateDb::open(Arc::new(state))? };
            Ok((storage, databases))
        })();
        match opened {
            Ok((storage, databases)) => Ok(DataDir { claimed: self, storage, databases }),
            Err(error) => Err((self, error)),
        }
    }

    /// Whether both databases are there. A database that is gone would be made anew, empty, without a word.
    pub fn has_databases(&self) -> bool {
        [LOG, STATE].iter().all(|database| self.path.join(database).join("CURRENT").exists())
    }

    /// Moves the databases, and these other files, into `DIR/distrusted-N`, with a file that says why. Nothing is deleted.
    ///
    /// Safe to repeat after a crash in the middle: what is there already is not moved again, since what stands in its old
    /// place by then is newer.
    pub fn set_aside(&self, number: u64, reason: &str, others: &[&str]) -> Result<PathBuf, StorageError> {
        let aside = self.path.join(format!("{SET_ASIDE}{number}"));
        let work = || {
            fs::create_dir_all(&aside)?;
            let mut file = File::create(aside.join("reason"))?;
            writeln!(file, "{reason}")?;
            file.sync_all()?;
            for name in [LOG, STATE].iter().chain(others) {
                let (from, to) = (self.path.join(name), aside.join(name));
                if from.exists() && !to.exists() {
                    fs::rename(from, to)?;
                }
            }
            File::open(&aside)?.sync_all()?;
            File::open(&self.path)?.sync_all()
        };
        work().map_err(|error| StorageError::io(format!("move the databases to {}", aside.display()), &error))?;
        Ok(aside)
    }

    /// How many directories of things set aside there are, and the first number that was never used.
    pub fn set_asides(&self) -> Result<(usize, u64), StorageError> {
        let failed = |error: &std::io::Error| StorageError::io(format!("list {}", self.path.display()), error);
        let mut numbers: Vec<u64> = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(|error| failed(&error))? {
            let name = entry.map_err(|error| failed(&error))?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.strip_prefix(SET_ASIDE)?.parse::<u64>().ok()));
        }
        Ok((numbers.len(), numbers.iter().max().map_or(1, |last| last + 1)))
    }
}

impl DataDir {
    /// Claims the directory of this node, or makes one, and opens its databases.
    pub fn open(path: &Path, cluster: ClusterId, node: NodeId) -> Result<DataDir, StorageError> {
        ClaimedDir::claim(path, cluster, node)?.open().map_err(|(_, error)| error)
    }

    /// The directory itself.
    pub fn claimed(&self) -> &ClaimedDir {
        &self.claimed
    }

    /// Closes the databases and keeps the directory. Nobody else may hold them any more. Blocks; `None`, and the directory
    /// is let go, if somebody still does after `patience`.
    pub fn back_to_claimed(self, patience: Duration) -> Option<ClaimedDir> {
        let DataDir { storage, databases, claimed } = self;
        drop(storage);
        wait_until_closed(&databases, patience).then_some(claimed)
    }

    /// Lets go of the directory once nothing in this process holds its databases any more, so that the next server finds
    /// it free. Blocks; tells whether that happened within `patience`.
    pub fn close(self, patience: Duration) -> bool {
        self.back_to_claimed(patience).is_some()
    }

    /// Whose directory it is, without opening it. `None` if it is not one yet.
    pub fn peek(path: &Path) -> Result<Option<Identity>, StorageError> {
        let file = path.join("identity");
        match fs::read_to_string(&file) {
            Ok(text) => Identity::parse(path, &text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io(format!("read {}", file.display()), &error)),
        }
    }

    /// Whose it is.
    pub fn identity(&self) -> Identity {
        self.claimed.identity
    }

    /// The two databases.
    pub fn storage(&self) -> NodeStorage {
        self.storage.clone()
    }
}

fn wait_until_closed(databases: &[Weak<()>], patience: Duration) -> bool {
    let begun = Instant::now();
    let is_open = || databases.iter().any(|alive| alive.strong_count() > 0);
    while is_open() && begun.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }
    !is_open()
}

impl Identity {
    fn text(&self) -> String {
        let body = format!("{TITLE}\nformat {}\ncluster {}\nnode {}\n", self.format, self.cluster.0, self.node.0);
        let checksum = crc32c::crc32c(body.as_bytes());
        format!("{body}checksum {checksum:08x}\n")
    }

    fn parse(path: &Path, text: &str) -> Result<Identity, StorageError> {
        let what = || format!("{}", path.join("identity").display());
        let unreadable = || StorageError::corrupt(format!("{} is not an identity file", what()));
        let field = |name: &str| -> Result<u64, StorageError> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse().ok()).ok_or_else(unreadable)
        };
        // The version comes first: a newer format may look different in everything else.
        if text.lines().next() != Some(TITLE) {
            return Err(unreadable());
        }
        let format = u32::try_from(field("format")?).map_err(|_| unreadable())?;
        if format > FORMAT_VERSION {
            return Err(StorageError::UnknownVersion { what: what(), found: format, known: FORMAT_VERSION });
        }
        let identity = Identity { format, cluster: ClusterId(field("cluster")?), node: NodeId(field("node")?) };
        if identity.text() == text { Ok(identity) } else { Err(unreadable()) }
    }
}

fn check_owner(path: &Path, found: Identity, cluster: ClusterId, node: NodeId) -> Result<Identity, StorageError> {
    let foreign = |what| Err(StorageError::Foreign { path: path.to_owned(), what });
    if found.cluster != cluster {
        return foreign(format!(
            "this directory belongs to cluster {}, this node to cluster {}. Give the node its own directory",
            found.cluster.0, cluster.0
        ));
    }
    if found.node != node {
        return foreign(format!(
            "this directory belongs to node {}, this is node {}. Start it with the id of the directory, or give it its own",
            found.node.0, node.0
        ));
    }
    Ok(found)
}

/// A directory with something in it that is not ours is left alone.
fn refuse_foreign_files(path: &Path) -> Result<(), StorageError> {
    let list = fs::read_dir(path).map_err(|error| StorageError::io(format!("list {}", path.display()), &error))?;
    for entry in list {
        let entry = entry.map_err(|error| StorageError::io(format!("list {}", path.display()), &error))?;
        let name = entry.file_name();
        if name != "lock" && name != "identity.new" && name != "lost+found" {
            let what = format!(
                "there is {} in it but no identity file, so it is no data directory. Give the node an empty one",
                name.display()
            );
            return Err(StorageError::Foreign { path: path.to_owned(), what });
        }
    }
    Ok(())
}

/// Unlocks when dropped. Closing the file is not enough: a child process that is just being started holds a copy of it.
struct DirLock(File);

impl Drop for DirLock {
    fn drop(&mut self) {
        let _ = self.0.unlock(); // the file is closed next
    }
}

fn lock(path: &Path) -> Result<DirLock, StorageError> {
    let name = path.join("lock");
    let failed = |error: &std::io::Error| StorageError::io(format!("lock {}", name.display()), error);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name).map_err(|e| failed(&e))?;
    match file.try_lock() {
        Ok(()) => Ok(DirLock(file)),
        Err(TryLockError::WouldBlock) => Err(StorageError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}

/// Entirely or not at all, and durable: a directory without a readable identity could never be opened again.
fn write_identity(path: &Path, identity: Identity) -> Result<Identity, StorageError> {
    let (new, name) = (path.join("identity.new"), path.join("identity"));
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(identity.text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &name)?;
        File::open(path)?.sync_all()
    };
    write().map_err(|error| StorageError::io(format!("write {}", name.display()), &error))?;
    Ok(identity)
}
