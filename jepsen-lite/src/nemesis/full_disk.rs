//! Disks that another program has filled up, of one node or of all. A node keeps a reserve for what must go on; here
//! half of that is left. What adds data must be refused with the reason, or be decided elsewhere, and all must be well
//! when there is room again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use ringfence_tests::{DISK_BYTES_MIN, Dice, Disk};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use super::power::DISK_BYTES;
use super::{Bite, Nemesis, Struck, list, victim};
use crate::cluster::{Cluster, Demands};
use crate::proxy::NodeId;
use crate::trouble::Trouble;

/// What every server keeps in reserve, and what it is left.
const RESERVE_BYTES: u64 = 48 << 20;
const LEFT_BYTES: u64 = RESERVE_BYTES / 2;

/// Until a server must have noticed that its disk is full, or that it isn't any more. It looks twice a second.
const NOTICED: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Default)]
pub(super) struct FullDisk {
    struck: Vec<Filled>,
}

/// A disk with our ballast on it.
struct Filled {
    node: NodeId,
    since: u64,
    /// What the node had left when it said that this is not enough.
    told: Option<u64>,
}

impl FullDisk {
    /// Keeps them full, and asks who has noticed.
    async fn look(&mut self, cluster: &mut Cluster) -> Result<(), Trouble> {
        for filled in &mut self.struck {
            if cluster.has_power(filled.node) {
                fill(&cluster.data_dir(filled.node))?;
            }
            if filled.told.is_none() && !cluster.is_paused(filled.node) {
                let disk = cluster.status(filled.node).await.and_then(|status| status.disk);
                filled.told = disk.filter(|disk| disk.full).map(|disk| disk.available_bytes);
            }
        }
        Ok(())
    }
}

impl Nemesis for FullDisk {
    fn name(&self) -> &'static str {
        "full-disk"
    }

    fn about(&self) -> &'static str {
        "another program fills the disk of a node, or of all, and frees it later"
    }

    fn self_test<'a>(&'a mut self, dir: &'a Path) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(async { block_in_place(|| tried(dir)) })
    }

    fn demand(&mut self, _dir: &Path, _nodes: u64, demands: &mut Demands) -> Result<(), Trouble> {
        demands.disk(DISK_BYTES);
        demands.argument(&format!("--disk-reserve-bytes={RESERVE_BYTES}"));
        Ok(())
    }

    fn inflict<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        dice: &'a mut Dice,
    ) -> BoxFuture<'a, Result<Struck, Trouble>> {
        Box::pin(async move {
            let nodes = if dice.percent(40) { cluster.nodes() } else { vec![victim(cluster, dice).await] };
            let filled = |node| Filled { node, since: cluster.said(node), told: None };
            self.struck = nodes.iter().copied().map(filled).collect();
            self.look(cluster).await?;
            Ok(Struck { what: format!("the disk of {} is full", list(&nodes)), nodes })
        })
    }

    fn step<'a>(&'a mut self, cluster: &'a mut Cluster, _dice: &'a mut Dice) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(async move { self.look(cluster).await })
    }

    fn lift<'a>(&'a mut self, cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>> {
        Box::pin(async move {
            let able = cluster.able();
            let asked = |filled: &Filled| able.contains(&filled.node) && filled.told.is_none();
            let begun = Instant::now();
            while self.struck.iter().any(asked) && begun.elapsed() < NOTICED {
                self.look(cluster).await?;
                sleep(Duration::from_millis(100)).await;
            }
            let (mut count, mut evidence) = (0, Vec::new());
            for Filled { node, since, told } in std::mem::take(&mut self.struck) {
                if cluster.has_power(node) {
                    free(&cluster.data_dir(node))?;
                }
                // A node that runs into the very end stops, and says what to do: free some space and start it again.
                let ended = cluster.ended_by_themselves().contains(&node);
                let out_of_room = ended && cluster.said_since(node, since).contains("no space is left");
                if out_of_room {
                    cluster.bury(node);
                    cluster.start_node(node)?;
                }
                count += u64::from(told.is_some() || out_of_room);
                evidence.push(match (told, out_of_room) {
                    (_, true) => format!("{node} stopped, with no space left"),
                    (Some(left), _) => format!("{node} said that its disk is full, with {} KiB left", left >> 10),
                    (None, _) => format!("{node} did not say that its disk is full"),
                });
            }
            Ok(Bite { count, evidence: evidence.join("; ") })
        })
    }
}

/// Takes everything but what is left to the server, as another program might.
fn fill(dir: &Path) -> Result<(), Trouble> {
    let broken = |error: &dyn std::fmt::Display| Trouble::harness(format!("cannot fill {}", dir.display()), error);
    let available = available(dir).map_err(|errno| broken(&errno))?;
    let spare = available.saturating_sub(LEFT_BYTES);
    if spare < LEFT_BYTES / 4 {
        return Ok(()); // full enough; it does not have to be the same number all the time
    }
    let ballast = File::options().create(true).append(true).open(ballast(dir)).map_err(|error| broken(&error))?;
    let begin = ballast.metadata().map_err(|error| broken(&error))?.len();
    match fallocate(&ballast, FallocateFlags::empty(), begin, spare) {
        Ok(()) | Err(rustix::io::Errno::NOSPC) => Ok(()), // the node was quicker
        Err(errno) => Err(broken(&errno)),
    }
}

fn free(dir: &Path) -> Result<(), Trouble> {
    match fs::remove_file(ballast(dir)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Trouble::harness(format!("cannot free {}", dir.display()), error))
        }
        _ => Ok(()), // a power loss may have taken it
    }
}

fn available(dir: &Path) -> rustix::io::Result<u64> {
    let found = statvfs(dir)?;
    Ok(found.f_bavail * found.f_frsize)
}

fn ballast(dir: &Path) -> PathBuf {
    dir.join("ballast")
}

/// A disk that is filled must have no room for more than what is left, and have it again when it is freed.
fn tried(dir: &Path) -> Result<(), Trouble> {
    let not_covered = |why: String| Trouble::NotCovered(format!("disks cannot be filled here: {why}"));
    let disk = Disk::create(&dir.join("full.img"), &dir.join("full"), DISK_BYTES_MIN + 4 * LEFT_BYTES)
        .map_err(|error| not_covered(error.to_string()))?;
    fill(disk.path())?;
    let more = || fs::write(disk.path().join("more"), vec![1; LEFT_BYTES as usize * 3 / 2]);
    if more().is_ok() {
        return Err(not_covered("there is room on a full disk".to_owned()));
    }
    free(disk.path())?;
    more().map_err(|error| not_covered(format!("a disk that was freed is still full: {error}")))
}
