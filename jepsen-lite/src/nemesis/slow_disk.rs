//! Disks that take their time, or say nothing at all for some seconds. The node on such a disk answers and says that it
//! is there; what it was given it has not.
//!
//! The means is a library in front of the node's C library ([`preload`]): `disk.c` beside this file tells what it does.
//! Freezing a file system would be nearer to the truth, but nobody can kill a process that waits for it, and it stays
//! frozen if we end. Not covered: reads that hang.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use ringfence_tests::Dice;
use tokio::task::block_in_place;

use super::preload::{self, Page};
use super::{Bite, Nemesis, Struck, list, victim};
use crate::cluster::{Cluster, Demands, data_dir};
use crate::proxy::NodeId;
use crate::trouble::Trouble;

const SOURCE: &str = include_str!("preload/disk.c");
const PAGE: &str = "JEPSEN_DISK";
const DIR: &str = "JEPSEN_DISK_DIR";

/// Numbers of the page.
const UNTIL_NS: usize = 0;
const SYNC_NS: usize = 1;
const WRITE_NS: usize = 2;
const SYNCS: usize = 3;
const WRITES: usize = 4;
const WAITED_NS: usize = 5;

/// Longer than any call.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// A disk that hangs comes back by itself after so long.
const HANGS_MAX: Duration = Duration::from_secs(5);

/// And one that is slow, whatever becomes of us.
const SLOW_MAX: Duration = Duration::from_secs(600);

/// See the module.
pub(super) struct SlowDisk {
    hangs: bool,
    pages: BTreeMap<NodeId, Page>,
    struck: Vec<NodeId>,
}

impl SlowDisk {
    /// Every sync takes its time.
    pub(super) fn slow() -> SlowDisk {
        SlowDisk { hangs: false, pages: BTreeMap::new(), struck: Vec::new() }
    }

    /// No sync ends.
    pub(super) fn hung() -> SlowDisk {
        SlowDisk { hangs: true, pages: BTreeMap::new(), struck: Vec::new() }
    }
}

impl Nemesis for SlowDisk {
    fn name(&self) -> &'static str {
        if self.hangs { "hung-disk" } else { "slow-disk" }
    }

    fn about(&self) -> &'static str {
        match self.hangs {
            true => "no sync of a node's disk ends, and sometimes no write either, for up to five seconds",
            false => "every sync of a node's disk, or of all, takes long, and sometimes every write",
        }
    }

    fn self_test<'a>(&'a mut self, dir: &'a Path) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(async { block_in_place(|| tried(dir, &preload::library(dir, "disk", SOURCE)?)) })
    }

    fn demand(&mut self, dir: &Path, nodes: u64, demands: &mut Demands) -> Result<(), Trouble> {
        // Two nemeses of this kind share the library and the pages.
        demands.preload(&preload::library(dir, "disk", SOURCE)?);
        for node in (1..=nodes).map(NodeId) {
            let page = Page::new(&dir.join(format!("disk-{}.page", node.0)))?;
            demands.variable_of(node, PAGE, page.path());
            demands.variable_of(node, DIR, data_dir(dir, node));
            self.pages.insert(node, page);
        }
        Ok(())
    }

    fn inflict<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        dice: &'a mut Dice,
    ) -> BoxFuture<'a, Result<Struck, Trouble>> {
        Box::pin(async move {
            let everywhere = !self.hangs && dice.percent(25);
            self.struck = if everywhere { cluster.nodes() } else { vec![victim(cluster, dice).await] };
            let writes_too = dice.percent(50);
            let ms = |dice: &mut Dice, range| Duration::from_millis(dice.within(range));
            let (sync, write, most) = match self.hangs {
                true => (FOREVER, if writes_too { FOREVER } else { Duration::ZERO }, HANGS_MAX),
                false => {
                    let write = if writes_too { ms(dice, 1..8) } else { Duration::ZERO };
                    (ms(dice, 10..250), write, SLOW_MAX)
                }
            };
            for node in &self.struck {
                set(&self.pages[node], sync, write, most)?;
            }
            let too = if writes_too { ", writes too" } else { "" };
            let how = if self.hangs { "hangs".to_owned() } else { format!("takes {sync:?} for a sync") };
            Ok(Struck { what: format!("the disk of {} {how}{too}", list(&self.struck)), nodes: self.struck.clone() })
        })
    }

    fn lift<'a>(&'a mut self, _cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>> {
        Box::pin(async move {
            let (mut count, mut evidence) = (0, Vec::new());
            for node in std::mem::take(&mut self.struck) {
                let page = &self.pages[&node];
                page.set(UNTIL_NS, 0)?;
                let (syncs, writes) = (page.get(SYNCS)? as u64, page.get(WRITES)? as u64);
                let waited = Duration::from_nanos(page.get(WAITED_NS)? as u64);
                count += syncs + writes;
                evidence.push(format!(
                    "{node}: {syncs} syncs and {writes} writes waited {:.2} s in all",
                    waited.as_secs_f64()
                ));
            }
            Ok(Bite { count, evidence: evidence.join("; ") })
        })
    }
}

/// From now on, for so long at most.
fn set(page: &Page, sync: Duration, write: Duration, most: Duration) -> Result<(), Trouble> {
    let until = preload::uptime()? + most;
    for (number, value) in [(SYNCS, 0), (WRITES, 0), (WAITED_NS, 0), (SYNC_NS, ns(sync)), (WRITE_NS, ns(write))] {
        page.set(number, value)?;
    }
    page.set(UNTIL_NS, ns(until))
}

fn ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).expect("shorter than centuries")
}

/// Lets a program write and sync, there and elsewhere, while the disk is well, slow, and hangs.
fn tried(dir: &Path, library: &Path) -> Result<(), Trouble> {
    let not_covered = |why: String| Err(Trouble::NotCovered(format!("disks cannot be slowed here: {why}")));
    let page = Page::new(&dir.join("disk.page"))?;
    let on_it = dir.join("on-it");
    std::fs::create_dir_all(&on_it).map_err(|error| Trouble::harness("a directory", error))?;
    let run = |file: PathBuf| copied(library, page.path(), &on_it, &file);
    let met = || Ok::<_, Trouble>((page.get(SYNCS)?, page.get(WRITES)?));

    run(on_it.join("well"))?;
    if met()? != (0, 0) {
        return not_covered("a disk that is well was slowed".to_owned());
    }
    let (sync, write, hangs) = (Duration::from_millis(300), Duration::from_millis(20), Duration::from_millis(900));
    set(&page, sync, write, SLOW_MAX)?;
    run(dir.join("on-it-not"))?;
    if met()? != (0, 0) {
        return not_covered("a file elsewhere was slowed".to_owned());
    }
    let took = run(on_it.join("slow"))?;
    if took < sync + write * 4 || met()? != (1, 4) {
        return not_covered(format!("four writes and a sync took {took:?}, and {:?} were counted", met()?));
    }
    set(&page, FOREVER, Duration::ZERO, hangs)?;
    let took = run(on_it.join("hung"))?;
    // The clock by which it ends shows hundredths of a second.
    if took < hangs - Duration::from_millis(20) || met()? != (1, 0) || page.get(WAITED_NS)? < ns(hangs) / 2 {
        return not_covered(format!("a sync that hangs for {hangs:?} took {took:?}, and {:?} were counted", met()?));
    }
    Ok(())
}

/// Writes a file in four writes and syncs it once; gives how long that took.
fn copied(library: &Path, page: &Path, dir: &Path, file: &Path) -> Result<Duration, Trouble> {
    let mut dd = Command::new("dd");
    dd.args(["if=/dev/zero", "bs=512", "count=4", "conv=fdatasync", "status=none"])
        .arg(format!("of={}", file.display()));
    dd.env("LD_PRELOAD", library).env(PAGE, page).env(DIR, dir).stdin(Stdio::null());
    let begun = Instant::now();
    let status = dd.status().map_err(|error| Trouble::NotCovered(format!("there is no program `dd`: {error}")))?;
    match status.success() {
        true => Ok(begun.elapsed()),
        false => Err(Trouble::NotCovered(format!("dd with a slowed disk failed: {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The self-test is worth something only if it fails with a library that does less, or too much.
    #[test]
    fn the_self_test_tells_a_library_that_works_from_those_that_do_not() {
        let dir = tempfile::tempdir().unwrap();
        tried(dir.path(), &preload::library(dir.path(), "disk", SOURCE).unwrap()).unwrap();
        let broken = |name: &str, old: &str, new: &str| {
            assert!(SOURCE.contains(old), "{old}");
            let library = preload::library(dir.path(), name, &SOURCE.replace(old, new)).unwrap();
            match tried(dir.path(), &library) {
                Err(Trouble::NotCovered(why)) => why,
                other => panic!("{name}: {other:?}"),
            }
        };
        let why = broken("nothing", "if (mapped != MAP_FAILED) page = mapped;", "(void)mapped;");
        assert!(why.contains("four writes"), "{why}");
        let why = broken("everywhere", "&& lies_there(fd)", "&& (lies_there(fd) || 1)");
        assert!(why.contains("elsewhere"), "{why}");
        let why = broken("short", "while (time < page->until &&", "if (time < page->until &&");
        assert!(why.contains("took"), "{why}");
    }
}
