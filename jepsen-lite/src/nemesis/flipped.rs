//! Bits that a disk has changed. A node whose log or state is not what it wrote must say so, take no part with any of
//! it, never vote, and be filled again by the others, by itself.
//!
//! Bits are flipped where somebody looks: in what is read at every start. (What lies in a table of the state and is
//! read only when somebody asks for that very key may stay unnoticed for long; that is not covered here, but in the
//! scenarios.)

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use ringfence_tests::Dice;
use ringfence_tests::damage::{files_of, last_records, manifest_of};
use tokio::time::{Instant, sleep};

use super::{Bite, Nemesis, Struck, victim};
use crate::cluster::Cluster;
use crate::proxy::NodeId;
use crate::trouble::Trouble;

/// How long a node may take to start and to say what it found.
const NOTICED: Duration = Duration::from_secs(60);

/// What it says then, before the reason.
const SAYS: &str = "what this node had on its disk is not trusted any more: ";

/// Where bits are flipped.
struct Place {
    what: &'static str,
    file: fn(&Path) -> Option<PathBuf>,
    mask: u8,
    /// Which byte of so many, if the file is long enough to have one there.
    at: fn(&[u8]) -> Option<usize>,
}

const PLACES: [Place; 8] = [
    Place { what: "an entry of the log", file: wal, mask: 0x10, at: |wal| (wal.len() > 4096).then_some(wal.len() / 2) },
    Place { what: "the length of a record of the log", file: wal, mask: 0x40, at: |wal| Some(record(wal)? + 5) },
    Place { what: "the type of a record of the log", file: wal, mask: 4, at: |wal| Some(record(wal)? + 6) },
    Place { what: "an entry in a table of the log", file: log_table, mask: 0x10, at: |table| Some(table.len() / 4) },
    Place { what: "the end of a table of the log", file: log_table, mask: 0x10, at: |table| Some(table.len() - 4) },
    Place {
        what: "the list of the log's tables",
        file: |dir| Some(manifest_of(dir, "log")),
        mask: 0xff,
        at: |list| Some(record(list)? + 4),
    },
    Place { what: "the end of a table of the state", file: state_table, mask: 1, at: |table| Some(table.len() - 4) },
    Place {
        what: "the list of the state's tables",
        file: |dir| Some(manifest_of(dir, "state")),
        mask: 0x20,
        at: |list| (list.len() > 100).then_some(list.len() / 2),
    },
];

fn wal(dir: &Path) -> Option<PathBuf> {
    files_of(dir, "log", ".log").into_iter().next()
}

fn log_table(dir: &Path) -> Option<PathBuf> {
    files_of(dir, "log", ".sst").into_iter().next()
}

fn state_table(dir: &Path) -> Option<PathBuf> {
    files_of(dir, "state", ".sst").into_iter().next()
}

/// A record with others behind it: damage at the very end looks like a write that a crash has cut short.
fn record(bytes: &[u8]) -> Option<usize> {
    let records = last_records(bytes);
    (records.len() > 2).then(|| records[records.len() / 2])
}

/// See the module.
#[derive(Default)]
pub(super) struct Flipped {
    struck: Option<Damaged>,
}

/// A node with flipped bits.
struct Damaged {
    node: NodeId,
    /// What was flipped, and where.
    what: String,
    /// Where its log ended.
    since: u64,
}

impl Damaged {
    /// Waits for what the node says of it. A node that answers, and has said nothing, has not noticed.
    async fn noticed(&self, cluster: &mut Cluster) -> Result<Option<String>, Trouble> {
        let begun = Instant::now();
        while begun.elapsed() < NOTICED {
            let said = cluster.said_since(self.node, self.since);
            if let Some((_, reason)) = said.split_once(SAYS) {
                let reason = reason.lines().next().unwrap_or_default();
                let reason = reason.split_once(". It was set aside").map_or(reason, |(reason, _)| reason);
                return Ok(Some(reason.to_owned()));
            }
            if cluster.ended_by_themselves().contains(&self.node) && said.contains("Start it again") {
                cluster.bury(self.node);
                cluster.start_node(self.node)?;
            }
            let answers = cluster.status(self.node).await.is_some();
            if answers && !cluster.said_since(self.node, self.since).contains(SAYS) {
                return Err(Trouble::violation(
                    "a node says so when its disk has changed what it wrote",
                    format!("{} was flipped, and {} takes part as if nothing had happened", self.what, self.node),
                ));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(None)
    }
}

impl Nemesis for Flipped {
    fn name(&self) -> &'static str {
        "flipped-bits"
    }

    fn about(&self) -> &'static str {
        "a node is killed, bits of its log or state are flipped, and it is started: the others must fill it again"
    }

    fn inflict<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        dice: &'a mut Dice,
    ) -> BoxFuture<'a, Result<Struck, Trouble>> {
        Box::pin(async move {
            let node = victim(cluster, dice).await;
            if !cluster.has_power(node) || !cluster.may_ruin(node) {
                return Ok(Struck {
                    what: "no bits flipped: another node's data is being destroyed".into(),
                    nodes: vec![],
                });
            }
            cluster.kill(&[node]);
            let (dir, since) = (cluster.data_dir(node), cluster.said(node));
            forget_earlier(&dir)?;
            let flipped = flip_somewhere(&dir, dice);
            cluster.start_node(node)?;
            let Some(what) = flipped? else {
                cluster.spare();
                return Ok(Struck { what: format!("no bits flipped: {node} has too few"), nodes: vec![] });
            };
            let told = format!("{node}: {what} flipped");
            self.struck = Some(Damaged { node, what, since });
            Ok(Struck { what: told, nodes: vec![node] })
        })
    }

    fn lift<'a>(&'a mut self, cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>> {
        Box::pin(async move {
            let Some(damaged) = self.struck.take() else {
                return Ok(Bite { count: 0, evidence: "nothing was flipped".into() });
            };
            cluster.resume(damaged.node);
            cluster.start_node(damaged.node)?;
            Ok(match damaged.noticed(cluster).await? {
                Some(reason) => Bite { count: 1, evidence: format!("{} says: {reason}", damaged.node) },
                None => Bite { count: 0, evidence: format!("{} did not come so far as to look", damaged.node) },
            })
        })
    }
}

/// What was set aside before stands in the way of the next time: with too much of it a node waits for an operator.
fn forget_earlier(dir: &Path) -> Result<(), Trouble> {
    let broken = |error| Trouble::harness(format!("cannot look into {}", dir.display()), error);
    for entry in std::fs::read_dir(dir).map_err(broken)? {
        let path = entry.map_err(broken)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("distrusted-")) {
            std::fs::remove_dir_all(path).map_err(broken)?;
        }
    }
    Ok(())
}

/// Tries the places in some order until one is there; tells which it was.
fn flip_somewhere(dir: &Path, dice: &mut Dice) -> Result<Option<String>, Trouble> {
    let first = dice.within(0..PLACES.len() as u64) as usize;
    for place in PLACES.iter().cycle().skip(first).take(PLACES.len()) {
        let Some(file) = (place.file)(dir) else { continue };
        let broken = |error| Trouble::harness(format!("cannot change {}", file.display()), error);
        let bytes = std::fs::read(&file).map_err(broken)?;
        let Some(at) = (place.at)(&bytes).filter(|at| *at < bytes.len()) else { continue };
        let changed = File::options().write(true).open(&file);
        let changed = changed.and_then(|file| {
            file.write_all_at(&[bytes[at] ^ place.mask], at as u64)?;
            file.sync_data() // a power loss must not take it back
        });
        changed.map_err(broken)?;
        let name = file.strip_prefix(dir).unwrap_or(&file).display();
        return Ok(Some(format!("{} ({name}, byte {at} of {})", place.what, bytes.len())));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exactly one byte, and another one each time if the dice say so.
    #[test]
    fn one_byte_of_one_file_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        for database in ["log", "state"] {
            std::fs::create_dir(dir.path().join(database)).unwrap();
            std::fs::write(dir.path().join(database).join("CURRENT"), "MANIFEST-1\n").unwrap();
            for name in ["MANIFEST-1", "2.log", "3.sst"] {
                std::fs::write(dir.path().join(database).join(name), [0; 9_000]).unwrap();
            }
        }
        let files = || -> Vec<Vec<u8>> {
            let paths = ["log", "state"].into_iter().flat_map(|d| ["MANIFEST-1", "2.log", "3.sst"].map(|f| (d, f)));
            paths.map(|(d, f)| std::fs::read(dir.path().join(d).join(f)).unwrap()).collect()
        };
        let mut dice = Dice::new(1, "flip", 0);
        let mut places = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let before = files();
            places.insert(flip_somewhere(dir.path(), &mut dice).unwrap().unwrap());
            let differ = |(a, b): (Vec<u8>, Vec<u8>)| a.iter().zip(&b).filter(|(a, b)| a != b).count();
            assert_eq!(before.into_iter().zip(files()).map(differ).sum::<usize>(), 1);
        }
        assert!(places.len() > 3, "{places:?}");
    }
}
