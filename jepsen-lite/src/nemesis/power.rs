//! Machines that lose their power, one or all at the same moment: the process is gone, and with it everything that it
//! wrote and did not sync.
//!
//! The means is an ext4 of each node's own that is shut down: [`Disk`]. Its node is frozen first, since ext4 may call a
//! sync done that was under way in that moment; and then it is killed, so it never sees the disk fail.
//!
//! Each time a file of ours is written to the disk just before, and never synced: if it is there afterwards the power
//! never was away.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use ringfence_tests::{Dice, Disk};
use tokio::task::block_in_place;

use super::{Bite, Nemesis, Struck, list, victim};
use crate::cluster::{Cluster, Demands};
use crate::proxy::NodeId;
use crate::trouble::Trouble;

/// For each node. The image is sparse.
pub(super) const DISK_BYTES: u64 = 1 << 30;

/// Our own file, and how long it is.
const UNSYNCED: &str = "never-synced";
const UNSYNCED_BYTES: usize = 4096;

/// See the module.
pub(super) struct Power {
    all: bool,
    /// What there was when the light went out.
    dark: BTreeMap<NodeId, Sizes>,
}

/// Files by their length.
type Sizes = BTreeMap<PathBuf, u64>;

impl Power {
    /// One node at a time.
    pub(super) fn one() -> Power {
        Power { all: false, dark: BTreeMap::new() }
    }

    /// All nodes at once.
    pub(super) fn all() -> Power {
        Power { all: true, dark: BTreeMap::new() }
    }

    fn cut(&mut self, cluster: &mut Cluster, nodes: &[NodeId]) -> Result<(), Trouble> {
        for node in nodes {
            cluster.pause(*node);
        }
        for node in nodes {
            let dir = cluster.data_dir(*node);
            let written = fs::write(dir.join(UNSYNCED), [b'u'; UNSYNCED_BYTES]);
            written.map_err(|error| Trouble::harness(format!("cannot write to {}", dir.display()), error))?;
            self.dark.insert(*node, sizes(&dir));
        }
        Disk::cut_power(cluster.disks(nodes))?;
        cluster.kill(nodes);
        Ok(())
    }
}

impl Nemesis for Power {
    fn name(&self) -> &'static str {
        if self.all { "power-loss-all" } else { "power-loss" }
    }

    fn about(&self) -> &'static str {
        match self.all {
            true => "all machines lose their power at the same moment, and with it everything that was not synced",
            false => "a machine loses its power, and with it everything that was not synced",
        }
    }

    fn self_test<'a>(&'a mut self, dir: &'a Path) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(async { Ok(block_in_place(|| Disk::self_test(dir))?) })
    }

    fn demand(&mut self, _dir: &Path, _nodes: u64, demands: &mut Demands) -> Result<(), Trouble> {
        demands.disk(DISK_BYTES);
        Ok(())
    }

    fn inflict<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        dice: &'a mut Dice,
    ) -> BoxFuture<'a, Result<Struck, Trouble>> {
        Box::pin(async move {
            let mut nodes = if self.all { cluster.nodes() } else { vec![victim(cluster, dice).await] };
            nodes.retain(|node| cluster.has_power(*node));
            block_in_place(|| self.cut(cluster, &nodes))?;
            Ok(Struck { what: format!("{} without power", list(&nodes)), nodes })
        })
    }

    fn lift<'a>(&'a mut self, cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>> {
        Box::pin(async move {
            let (mut count, mut evidence) = (0, Vec::new());
            for (node, before) in std::mem::take(&mut self.dark) {
                block_in_place(|| cluster.disk(node).restore_power())?;
                let lost = Lost::between(&before, &sizes(&cluster.data_dir(node)));
                count += lost.ours + lost.its_own;
                evidence.push(format!("{node}: {} bytes of ours and {} of its own are gone", lost.ours, lost.its_own));
                cluster.start_node(node)?;
            }
            Ok(Bite { count, evidence: evidence.join("; ") })
        })
    }
}

/// Bytes that were written and never synced.
#[derive(Debug, PartialEq, Eq)]
struct Lost {
    ours: u64,
    its_own: u64,
}

impl Lost {
    /// By what files are shorter, or not there at all. What was written over in the middle doesn't show.
    fn between(before: &Sizes, after: &Sizes) -> Lost {
        let mut lost = Lost { ours: 0, its_own: 0 };
        for (path, size) in before {
            let gone = size.saturating_sub(after.get(path).copied().unwrap_or(0));
            let whose = if path.ends_with(UNSYNCED) { &mut lost.ours } else { &mut lost.its_own };
            *whose += gone;
        }
        lost
    }
}

/// Of all files below a directory. What can't be read isn't there.
fn sizes(dir: &Path) -> Sizes {
    let mut found = Sizes::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => found.extend(sizes(&entry.path())),
            Ok(metadata) => drop(found.insert(entry.path(), metadata.len())),
            Err(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk whose power stays on must not look as if it had bitten.
    #[test]
    fn only_what_is_gone_counts() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        fs::write(dir.path().join("log/1"), [1; 100]).unwrap();
        fs::write(dir.path().join(UNSYNCED), [2; 30]).unwrap();
        let before = sizes(dir.path());
        assert_eq!(Lost::between(&before, &before), Lost { ours: 0, its_own: 0 });
        fs::write(dir.path().join("log/1"), [1; 60]).unwrap();
        fs::write(dir.path().join("log/2"), [1; 60]).unwrap();
        fs::remove_file(dir.path().join(UNSYNCED)).unwrap();
        assert_eq!(Lost::between(&before, &sizes(dir.path())), Lost { ours: 30, its_own: 40 });
    }
}
