//! What was done, and whether it was enough to prove anything.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::known::Fault;
use super::schedule::{Means, Round};

/// Rounds that hit writes under way, of a hundred, without which a run says too little.
const COVERAGE_PERCENT_MIN: u64 = 80;

/// Counts over all clusters of a run.
#[derive(Default)]
pub(super) struct Tally {
    counts: Mutex<Counts>,
}

#[derive(Clone, Default)]
pub(super) struct Counts {
    pub(super) lives: u64,
    pub(super) rounds: u64,
    rounds_in_flight: u64,
    rounds_by_kind: BTreeMap<(&'static str, &'static str), u64>,
    processes_killed: u64,
    disks_cut: u64,
    stopped_by_themselves: u64,
    lingered: u64,
    ok: u64,
    refused: u64,
    unknown: u64,
    resolved: u64,
    adds_sent_again: u64,
    pub(super) keys_read: u64,
    silence: Silence,
    silence_with_majority: Silence,
}

/// The longest time in which a shard acknowledged nothing.
#[derive(Clone, Default)]
struct Silence {
    time: Duration,
    round: String,
}

impl Tally {
    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().expect("no code panics while it holds this lock"));
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts.lock().expect("no code panics while it holds this lock").clone()
    }
}

impl Counts {
    pub(super) fn ok(&mut self) {
        self.ok += 1;
    }

    pub(super) fn refused(&mut self) {
        self.refused += 1;
    }

    pub(super) fn unknown(&mut self) {
        self.unknown += 1;
    }

    /// An unknown outcome was found out by sending the same id again.
    pub(super) fn resolved(&mut self) {
        self.resolved += 1;
    }

    /// An addition was sent so many times more than once.
    pub(super) fn add_sent_again(&mut self, times: u64) {
        self.adds_sent_again += times;
    }

    /// A blow, the first or the second of its round, fell on so many nodes.
    pub(super) fn blow(&mut self, means: Means, nodes: u64, stopped_by_themselves: u64, lingered: bool) {
        self.processes_killed += nodes;
        if means == Means::PowerLoss {
            self.disks_cut += nodes;
            if lingered {
                self.lingered += nodes;
                self.stopped_by_themselves += stopped_by_themselves;
            }
        }
    }

    /// A round has ended well. `in_flight` says how many writes were under way when its first blow fell.
    pub(super) fn round(&mut self, round: &Round, in_flight: u64) {
        self.rounds += 1;
        self.rounds_in_flight += u64::from(in_flight > 0);
        *self.rounds_by_kind.entry((round.means.plural(), round.victims.kind())).or_default() += 1;
    }

    /// A shard acknowledged nothing for so long, from one acknowledgement to the next.
    pub(super) fn silence(&mut self, time: Duration, round: &Round) {
        let longest = |silence: &mut Silence| {
            if time > silence.time {
                *silence = Silence { time, round: round.to_string() };
            }
        };
        longest(&mut self.silence);
        if round.victims.count() == 1 {
            longest(&mut self.silence_with_majority);
        }
    }

    /// Whether enough rounds hit writes under way, and why not.
    pub(super) fn is_telling(&self) -> Result<(), String> {
        if self.rounds_in_flight * 100 < self.rounds * COVERAGE_PERCENT_MIN {
            return Err(format!(
                "only {} of {} rounds hit writes under way; {COVERAGE_PERCENT_MIN} % are needed to say anything",
                self.rounds_in_flight, self.rounds
            ));
        }
        if self.unknown == 0 && self.rounds > 20 {
            return Err("no write ever had an unknown outcome: the blows hit nothing".to_owned());
        }
        Ok(())
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: u64, whole: u64| (part * 100).checked_div(whole).unwrap_or(0);
        let kinds: Vec<String> =
            self.rounds_by_kind.iter().map(|((means, kind), count)| format!("{count} {means} of {kind}")).collect();
        writeln!(f, "rounds       {} in {} clusters: {}", self.rounds, self.lives, kinds.join(", "))?;
        write!(f, "processes    {} killed", self.processes_killed)?;
        if self.disks_cut > 0 {
            write!(
                f,
                "; {} disks lost power; of {} servers left running without their disk {} stopped by themselves before they were killed",
                self.disks_cut, self.lingered, self.stopped_by_themselves
            )?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "writes       {} ok, {} refused, {} unknown ({} of them found out by sending the same id again)",
            self.ok, self.refused, self.unknown, self.resolved
        )?;
        writeln!(
            f,
            "adds         sent again {} times on purpose or because the answer was lost; every counter is exact",
            self.adds_sent_again
        )?;
        writeln!(f, "read back    {} keys", self.keys_read)?;
        writeln!(f, "silence      {:.2?} at most in any shard ({})", self.silence.time, self.silence.round)?;
        writeln!(
            f,
            "             {:.2?} at most while a majority was up ({})",
            self.silence_with_majority.time, self.silence_with_majority.round
        )?;
        write!(
            f,
            "coverage     {} of {} rounds ({} %) hit writes under way",
            self.rounds_in_flight,
            self.rounds,
            percent(self.rounds_in_flight, self.rounds)
        )
    }
}

/// Watches the acknowledgements of one cluster.
pub(super) struct Watch {
    inner: Mutex<Inner>,
}

struct Inner {
    in_flight: u64,
    /// Per shard: when it last acknowledged something; `None` while nobody asks.
    acknowledged: Vec<Option<Instant>>,
    /// Since when no majority has been there to acknowledge anything.
    dark: Option<Instant>,
    round: Option<Round>,
}

/// A write under way.
pub(super) struct Sent {
    at: Instant,
    shard: usize,
}

impl Watch {
    pub(super) fn new(shards: usize) -> Watch {
        Watch { inner: Mutex::new(Inner { in_flight: 0, acknowledged: vec![None; shards], dark: None, round: None }) }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics while it holds this lock")
    }

    /// The load begins, or goes on.
    pub(super) fn resume(&self, round: &Round) {
        let mut inner = self.inner();
        inner.round = Some(round.clone());
        inner.acknowledged.fill(Some(Instant::now()));
    }

    /// The load pauses: silence means nothing.
    pub(super) fn pause(&self) {
        self.inner().acknowledged.fill(None);
    }

    /// No majority can acknowledge anything from now on, or can again.
    pub(super) fn dark(&self, is_dark: bool) {
        let mut inner = self.inner();
        inner.dark = if is_dark { inner.dark.or_else(|| Some(Instant::now())) } else { None };
    }

    /// How many writes are under way.
    pub(super) fn in_flight(&self) -> u64 {
        self.inner().in_flight
    }

    /// A write is about to be sent.
    pub(super) fn send(&self, shard: usize) -> Sent {
        let mut inner = self.inner();
        inner.in_flight += 1;
        Sent { at: Instant::now(), shard }
    }

    /// A write has ended.
    pub(super) fn end(&self, _: Sent) {
        self.inner().in_flight -= 1;
    }

    /// A write was acknowledged. It must not have begun after a majority had gone.
    pub(super) fn acknowledged(&self, sent: &Sent, tally: &Tally) -> Result<(), Fault> {
        let mut inner = self.inner();
        if let Some(dark) = inner.dark.filter(|dark| sent.at > *dark) {
            return Err(Fault {
                what: "nothing is acknowledged without a majority that has it on disk",
                expected: format!("no acknowledgement of what was sent {:?} after a majority had gone", sent.at - dark),
                found: "an acknowledgement".to_owned(),
            });
        }
        tally.count(Counts::ok);
        let now = Instant::now();
        let Inner { acknowledged, round, .. } = &mut *inner;
        if let (Some(last), Some(round)) = (&mut acknowledged[sent.shard], round) {
            let silent = now - std::mem::replace(last, now);
            tally.count(|counts| counts.silence(silent, round));
        }
        Ok(())
    }
}

impl Means {
    fn plural(self) -> &'static str {
        match self {
            Means::Kill => "kills",
            Means::PowerLoss => "power losses",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::schedule::{Victims, lives};

    fn round() -> Round {
        lives(7, Means::Kill, 1, 1)[0].rounds[0].clone()
    }

    /// A run whose kills hit nothing proves nothing, and must not say that it did.
    #[test]
    fn rounds_that_hit_nothing_are_not_enough() {
        let mut counts = Counts::default();
        for n in 0..10 {
            counts.round(&round(), n % 2);
        }
        assert!(counts.is_telling().unwrap_err().contains("5 of 10"));
        for _ in 0..30 {
            counts.round(&round(), 1);
        }
        assert!(counts.is_telling().unwrap_err().contains("unknown"));
        counts.unknown();
        counts.is_telling().unwrap();
    }

    #[test]
    fn an_acknowledgement_without_a_majority_is_seen() {
        let (watch, tally) = (Watch::new(1), Tally::default());
        watch.resume(&round());
        let before = watch.send(0);
        watch.dark(true);
        watch.acknowledged(&before, &tally).unwrap(); // it was on disk before
        std::thread::sleep(Duration::from_millis(1));
        let after = watch.send(0);
        watch.acknowledged(&after, &tally).unwrap_err();
        watch.dark(false);
        watch.acknowledged(&after, &tally).unwrap();
        assert_eq!(watch.in_flight(), 2);
    }

    #[test]
    fn the_tally_names_every_kind() {
        let mut counts = Counts::default();
        for round in lives(7, Means::PowerLoss, 100, 1).into_iter().flat_map(|life| life.rounds) {
            counts.round(&round, 1);
            counts.blow(round.means, round.victims.count() as u64, 0, false);
        }
        let text = counts.to_string();
        for victims in [Victims::One(1), Victims::LeaderOf(0), Victims::AllBut(1), Victims::All] {
            assert!(text.contains(victims.kind()), "{text}");
        }
    }
}
