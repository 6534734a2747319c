//! What a run found: `results.json`, and what the report is drawn from.

use std::fmt;

use jepsen_checkers::Verdict;
use serde::Serialize;

/// Everything that a run found. The histories lie beside it.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// The command that repeats the schedule.
    pub command: String,
    /// Every option, also those that were not given.
    pub options: Vec<(String, String)>,
    /// Milliseconds since 1970 when the run's clock began.
    pub began_unix_ms: u64,
    /// How long the run took, in nanoseconds of the run's clock, like all times here.
    pub ended_ns: u64,
    /// When the workers began and ended.
    pub worked_ns: (u64, u64),
    /// In a word: `valid`, `violation`, `unknown`, `harness`.
    pub verdict: String,
    /// 0 valid, 1 violation, 2 unknown or vacuous, 3 the harness broke.
    pub exit_code: u8,
    /// Why it is not valid, a line each; the worst first.
    pub reasons: Vec<String>,
    /// Each workload, and how it was judged.
    pub workloads: Vec<Judged>,
    /// What was checked of the cluster itself: recovery, equal replicas.
    pub cluster: Vec<Check>,
    /// Each nemesis: whether it could be used, and how often it bit.
    pub nemeses: Vec<Coverage>,
    /// Each fault, in order.
    pub faults: Vec<FaultBand>,
    /// What the harness's eyes saw of the nodes.
    pub sightings: Vec<Sighting>,
}

/// A workload, and how it was judged.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// Its name.
    pub name: String,
    /// What it asks.
    pub about: String,
    /// The file with its history, beside this one.
    pub history: String,
    /// By every rule.
    pub checks: Vec<Check>,
    /// Operations that happened, were refused, and of which nobody knows.
    pub ok: usize,
    /// Refused.
    pub failed: usize,
    /// Unknown.
    pub unknown: usize,
    /// How many that were asked for after healing happened.
    pub ok_after_healing: usize,
}

/// A rule, and whether it was kept.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The rule.
    pub rule: String,
    /// Whether it was kept.
    pub verdict: Verdict,
}

/// Whether a nemesis was there, and bit.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// Its name.
    pub nemesis: String,
    /// What it does.
    pub about: String,
    /// Why this machine can't do it, if it can't.
    pub not_covered: Option<String>,
    /// Faults that it inflicted.
    pub struck: usize,
    /// Of these, how many did something.
    pub bit: usize,
}

/// One fault.
#[derive(Clone, Debug, Serialize)]
pub struct FaultBand {
    /// Whose.
    pub nemesis: String,
    /// Who was hit, and by what.
    pub what: String,
    /// Node ids.
    pub nodes: Vec<u64>,
    /// Begun.
    pub from_ns: u64,
    /// Lifted.
    pub until_ns: u64,
    /// 0 if it hit nothing.
    pub bites: u64,
    /// The proof that it bit.
    pub evidence: String,
}

/// What the harness saw of a node.
#[derive(Clone, Debug, Serialize)]
pub struct Sighting {
    /// When.
    pub at_ns: u64,
    /// Whom.
    pub node: u64,
    /// Of which shard; none for the node itself.
    pub shard: Option<u64>,
    /// `leads`, `follows`, `silent`, `answers`, `problem`.
    pub kind: String,
    /// In words, such as `leads shard 2 in term 7`.
    pub what: String,
}

impl fmt::Display for Results {
    /// For the terminal: what was covered, how each workload did, and the verdict last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Coverage { nemesis, not_covered, struck, bit, .. } in &self.nemeses {
            match not_covered {
                Some(why) => writeln!(f, "{nemesis:<18} not covered: {why}")?,
                None => writeln!(f, "{nemesis:<18} struck {struck} times, bit {bit} times")?,
            }
        }
        for judged in &self.workloads {
            let Judged { name, ok, failed, unknown, checks, .. } = judged;
            let kept = checks.iter().filter(|check| check.verdict.is_valid()).count();
            let rules = checks.len();
            writeln!(f, "{name:<18} {ok} ok, {failed} refused, {unknown} unknown; {kept} of {rules} rules kept")?;
        }
        for check in &self.cluster {
            let kept = if check.verdict.is_valid() { "kept" } else { "NOT KEPT" };
            writeln!(f, "{:<18} {kept}", check.rule)?;
        }
        for reason in &self.reasons {
            writeln!(f, "{}", reason.trim_end())?;
        }
        write!(f, "{} (repeat: {})", self.verdict, self.command)
    }
}
