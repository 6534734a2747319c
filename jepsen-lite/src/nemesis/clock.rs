//! Wall clocks that jump: by an administrator, by NTP, by a machine that was moved or slept. A lease, an order or a
//! decision that trusts them shows here.
//!
//! The means is a library in front of the node's C library ([`preload`]): `clock.c` beside this file tells what it
//! does. It counts the moved answers that it gave, so a node that never asked for the time was not bitten.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use ringfence_tests::Dice;
use tokio::task::block_in_place;

use super::preload::{self, Page};
use super::{Bite, Nemesis, Struck, victim};
use crate::cluster::{Cluster, Demands};
use crate::proxy::NodeId;
use crate::trouble::Trouble;

const SOURCE: &str = include_str!("preload/clock.c");
const PROBE: &str = include_str!("preload/clock_probe.c");
const PAGE: &str = "JEPSEN_CLOCK";

/// Numbers of the page.
const AHEAD_NS: usize = 0;
const TURN_NS: usize = 1;
const MOVED: usize = 2;
const LAST_NS: usize = 3;
const TURNS: usize = 4;

/// See the module.
pub(super) struct Clock {
    strobe: bool,
    pages: BTreeMap<NodeId, Page>,
    struck: Vec<NodeId>,
}

impl Clock {
    /// Once there and once back.
    pub(super) fn jump() -> Clock {
        Clock { strobe: false, pages: BTreeMap::new(), struck: Vec::new() }
    }

    /// To and fro many times a second.
    pub(super) fn strobe() -> Clock {
        Clock { strobe: true, pages: BTreeMap::new(), struck: Vec::new() }
    }
}

impl Nemesis for Clock {
    fn name(&self) -> &'static str {
        if self.strobe { "clock-strobe" } else { "clock-jump" }
    }

    fn about(&self) -> &'static str {
        match self.strobe {
            true => "the wall clock of one node, or of all, jumps to and fro by minutes or hours, many times a second",
            false => "the wall clock of one node, or of all, jumps by minutes or hours, and back later",
        }
    }

    fn self_test<'a>(&'a mut self, dir: &'a Path) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(async {
            block_in_place(|| {
                let library = preload::library(dir, "clock", SOURCE)?;
                let probe = preload::program(dir, "clock-probe", PROBE)?;
                tried(dir, &library, &probe)
            })
        })
    }

    fn demand(&mut self, dir: &Path, nodes: u64, demands: &mut Demands) -> Result<(), Trouble> {
        // Two nemeses with clocks share the library and the pages.
        demands.preload(&preload::library(dir, "clock", SOURCE)?);
        for node in (1..=nodes).map(NodeId) {
            let page = Page::new(&dir.join(format!("clock-{}.page", node.0)))?;
            demands.variable_of(node, PAGE, page.path());
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
            self.struck = if dice.percent(40) { cluster.nodes() } else { vec![victim(cluster, dice).await] };
            let together = dice.percent(50);
            let turn = Duration::from_millis(dice.within(2..60));
            let mut ahead_s = drawn(dice);
            let mut what = Vec::new();
            for node in &self.struck {
                if !together {
                    ahead_s = drawn(dice);
                }
                let page = &self.pages[node];
                for number in [LAST_NS, MOVED, TURNS] {
                    page.set(number, 0)?;
                }
                page.set(TURN_NS, if self.strobe { turn.as_nanos() as i64 } else { 0 })?;
                page.set(AHEAD_NS, ahead_s * 1_000_000_000)?;
                what.push(format!("{node} {}", told(ahead_s)));
            }
            let turns = if self.strobe { format!(", every {turn:?}") } else { String::new() };
            Ok(Struck { what: format!("wall clock of {}{turns}", what.join(", ")), nodes: self.struck.clone() })
        })
    }

    fn lift<'a>(&'a mut self, _cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>> {
        Box::pin(async move {
            let (mut count, mut evidence) = (0, Vec::new());
            for node in std::mem::take(&mut self.struck) {
                let page = &self.pages[&node];
                let (moved, turns, last) = (page.get(MOVED)? as u64, page.get(TURNS)? as u64, page.get(LAST_NS)?);
                page.set(AHEAD_NS, 0)?;
                count += if self.strobe { turns } else { moved };
                evidence.push(match self.strobe {
                    true => format!("{node} was told a moved time {moved} times and saw its clock leap {turns} times"),
                    false => {
                        format!("{node} was told a moved time {moved} times, the last {}", told(last / 1_000_000_000))
                    }
                });
            }
            Ok(Bite { count, evidence: evidence.join("; ") })
        })
    }
}

/// How far ahead, in seconds: minutes or hours, either way. Never 0.
fn drawn(dice: &mut Dice) -> i64 {
    let seconds = if dice.percent(60) { dice.within(60..3_600) } else { dice.within(3_600..86_400) } as i64;
    if dice.percent(50) { seconds } else { -seconds }
}

/// For people.
fn told(ahead_s: i64) -> String {
    let way = if ahead_s < 0 { "behind" } else { "ahead" };
    match ahead_s.unsigned_abs() {
        seconds @ 0..3_600 => format!("{} min {way}", seconds / 60),
        seconds => format!("{:.1} h {way}", seconds as f64 / 3_600.0),
    }
}

/// How often a program is asked until its clock has been seen in both its places.
const BOTH_MAX: usize = 100;

/// Moves the clock of a program that asks every clock: those of the wall must be moved by so much, the others not at
/// all, and a wait until a moment of the wall clock must last as long as it would.
fn tried(dir: &Path, library: &Path, probe: &Path) -> Result<(), Trouble> {
    let page = Page::new(&dir.join("clock.page"))?;
    let try_one = |ahead_s: &[i64]| tried_once(&page, library, probe, ahead_s);
    for ahead_s in [0, -7_200, 7_200] {
        page.set(AHEAD_NS, ahead_s * 1_000_000_000)?;
        try_one(&[ahead_s])?;
    }
    page.set(TURN_NS, 1_000_000)?;
    let mut seen = [false, false];
    for _ in 0..BOTH_MAX {
        seen[usize::from(try_one(&[0, 7_200])?)] = true;
        if seen == [true, true] {
            return Ok(());
        }
    }
    not_covered("a clock that should leap to and fro does not".to_owned())
}

/// Asks once; the wall clock may be ahead by any of these. Tells whether an answer was moved.
fn tried_once(page: &Page, library: &Path, probe: &Path, ahead_s: &[i64]) -> Result<bool, Trouble> {
    page.set(MOVED, 0)?;
    let (before_ms, up_before_ms) = (now_ms(), uptime_ms()?);
    let told = asked(library, probe, page.path())?;
    let (elapsed_ms, up_ms) = (now_ms() - before_ms, uptime_ms()?);
    let by = |clock: &str| told.get(clock).copied().unwrap_or(i64::MIN);
    let mut moved = false;
    for clock in ["realtime", "coarse", "gettimeofday", "time"] {
        let ahead_ms = by(clock).saturating_sub(before_ms);
        let is = |s: &&i64| (**s * 1_000 - 1_100..=**s * 1_000 + elapsed_ms + 1_100).contains(&ahead_ms);
        match ahead_s.iter().find(is) {
            Some(ahead_s) => moved |= *ahead_s != 0,
            None => return not_covered(format!("{clock} is {ahead_ms} ms ahead of ours, and should be {ahead_s:?} s")),
        }
    }
    // The one does not run while a machine sleeps.
    if !(up_before_ms - 1_000..=up_ms + 1_000).contains(&by("boottime")) || by("monotonic") > by("boottime") + 1_000 {
        return not_covered("the monotonic clocks are moved, too".to_owned());
    }
    // A clock that leaps may end it at any moment.
    if ahead_s.len() == 1 && !(99..100 + elapsed_ms).contains(&by("waited")) {
        return not_covered(format!("a wait of 100 ms took {} ms", by("waited")));
    }
    // There is another answer, by which the wait begins.
    match (page.get(MOVED)? > 0, moved) {
        (false, true) => not_covered("what was answered is not counted".to_owned()),
        (true, false) if ahead_s == [0] => not_covered("an answer is counted that was not moved".to_owned()),
        _ => Ok(moved),
    }
}

fn not_covered<T>(why: String) -> Result<T, Trouble> {
    Err(Trouble::NotCovered(format!("clocks cannot be moved here: {why}")))
}

/// What the program says, in milliseconds by the names of clocks. A wait that never ends is no answer.
fn asked(library: &Path, probe: &Path, page: &Path) -> Result<BTreeMap<String, i64>, Trouble> {
    let mut ask = Command::new("timeout");
    ask.arg("20").arg(probe).env("LD_PRELOAD", library).env(PAGE, page).stdin(Stdio::null());
    let output = ask.output().map_err(|error| Trouble::NotCovered(format!("no program can be run here: {error}")))?;
    if !output.status.success() {
        return Err(Trouble::NotCovered(format!("a program with moved clocks failed: {}", output.status)));
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let read = |line: &str| line.split_once(' ').and_then(|(name, ms)| Some((name.to_owned(), ms.parse().ok()?)));
    Ok(lines.lines().filter_map(read).collect())
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn uptime_ms() -> Result<i64, Trouble> {
    Ok(i64::try_from(preload::uptime()?.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The self-test is worth something only if it fails with a library that does less.
    #[test]
    fn the_self_test_tells_a_library_that_works_from_those_that_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let probe = preload::program(dir.path(), "probe", PROBE).unwrap();
        tried(dir.path(), &preload::library(dir.path(), "clock", SOURCE).unwrap(), &probe).unwrap();
        let broken = |name: &str, old: &str, new: &str| {
            assert!(SOURCE.contains(old), "{old}");
            let library = preload::library(dir.path(), name, &SOURCE.replace(old, new)).unwrap();
            match tried(dir.path(), &library, &probe) {
                Err(Trouble::NotCovered(why)) => why,
                other => panic!("{name}: {other:?}"),
            }
        };
        let why = broken("nothing", "if (mapped != MAP_FAILED) page = mapped;", "(void)mapped;");
        assert!(why.contains("realtime"), "{why}");
        let why = broken("monotonic", "clock == CLOCK_TAI", "clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME");
        assert!(why.contains("monotonic"), "{why}");
        let why = broken("waits", "if (!is_wall || !is_moved ||", "if (1 ||");
        assert!(why.contains("wait") || why.contains("failed"), "{why}");
        let why = broken("no-count", "atomic_fetch_add_explicit(&page->moved, 1, memory_order_relaxed)", "(void)0");
        assert!(why.contains("counted"), "{why}");
    }

    #[test]
    fn jumps_are_of_minutes_or_hours_either_way() {
        let mut dice = Dice::new(1, "clock", 0);
        let jumps: Vec<i64> = (0..500).map(|_| drawn(&mut dice)).collect();
        assert!(jumps.iter().all(|s| (60..86_400).contains(&s.abs())));
        assert!(jumps.iter().any(|s| *s < -3_600) && jumps.iter().any(|s| *s > 3_600));
        assert_eq!((told(-150), told(9_000)), ("2 min behind".to_owned(), "2.5 h ahead".to_owned()));
    }
}
