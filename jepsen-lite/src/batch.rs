//! Many runs, one after the other or a few side by side, and what they amount to.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

use crate::run::{self, RunOptions};
use crate::trouble::Trouble;

/// How one run of many ended.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was broken: nemeses, joined by `+`, or `calm`.
    pub nemesis: String,
    /// In a word; `not covered` if this machine can't do what it takes, and nothing else was wrong.
    pub verdict: String,
    /// As of `jepsen-lite run`; 0 for what is not covered.
    pub exit_code: u8,
    /// Faults that were inflicted, and how many of them bit.
    pub faults: (usize, usize),
    /// Operations that happened, over all workloads.
    pub ok: usize,
    /// An example of how it bit, the most telling one.
    pub evidence: String,
    /// Why it is not valid.
    pub reasons: Vec<String>,
    /// The command that repeats the schedule.
    pub command: String,
    /// Where its report lies.
    pub dir: PathBuf,
}

/// How many runs ended.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Each run.
    pub rows: Vec<Row>,
    /// How long they took together.
    pub seconds: u64,
}

impl Row {
    /// From a run's results.
    pub fn of(options: &RunOptions, ended: &run::Ended) -> Row {
        let run::Ended { results, dir } = ended;
        let is_uncovered = !results.nemeses.is_empty() && results.nemeses.iter().any(|n| n.not_covered.is_some());
        let only_uncovered = results.exit_code == 2 && is_uncovered && results.reasons.len() == uncovered(results);
        let best = results.faults.iter().max_by_key(|fault| fault.bites);
        Row {
            nemesis: options.nemeses_joined(),
            verdict: if only_uncovered { "not covered".to_owned() } else { results.verdict.clone() },
            exit_code: if only_uncovered { 0 } else { results.exit_code },
            faults: (results.faults.len(), results.faults.iter().filter(|fault| fault.bites > 0).count()),
            ok: results.workloads.iter().map(|judged| judged.ok).sum(),
            evidence: best.map(|fault| format!("{}: {}", fault.what, fault.evidence)).unwrap_or_default(),
            reasons: results.reasons.clone(),
            command: results.command.clone(),
            dir: dir.clone(),
        }
    }
}

fn uncovered(results: &crate::results::Results) -> usize {
    results.nemeses.iter().filter(|nemesis| nemesis.not_covered.is_some()).count()
}

impl Summary {
    /// The worst of all: the harness's failure, then a violation, then what is unknown. No runs at all prove nothing.
    pub fn exit_code(&self) -> u8 {
        [3, 1, 2, 0].into_iter().find(|code| self.rows.iter().any(|row| row.exit_code == *code)).unwrap_or(2)
    }

    /// Writes `summary.json`, and a page that leads to every report.
    pub fn write(&self, dir: &Path) -> Result<(), Trouble> {
        let json = serde_json::to_vec_pretty(self).map_err(|error| Trouble::harness("summary.json", error))?;
        fs::write(dir.join("summary.json"), json)
            .map_err(|error| Trouble::harness(format!("cannot write to {}", dir.display()), error))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<34} {:<12} {:>7} {:>8}  how it bit", "nemesis", "verdict", "bit", "ok")?;
        for row in &self.rows {
            let bit = format!("{}/{}", row.faults.1, row.faults.0);
            let evidence: String = row.evidence.chars().take(120).collect();
            writeln!(f, "{:<34} {:<12} {bit:>7} {:>8}  {evidence}", row.nemesis, row.verdict, row.ok)?;
        }
        for row in self.rows.iter().filter(|row| row.exit_code != 0 || row.verdict == "not covered") {
            writeln!(f, "\n{} ({}):", row.nemesis, row.dir.join("report.html").display())?;
            for reason in &row.reasons {
                writeln!(f, "  {}", reason.trim_end().replace('\n', "\n  "))?;
            }
            writeln!(f, "  repeat: {}", row.command)?;
        }
        let count = |verdict: &str| self.rows.iter().filter(|row| row.verdict == verdict).count();
        let others = self.rows.len() - count("valid") - count("not covered");
        write!(
            f,
            "{} runs in {} s: {} valid, {} not covered here, {others} neither",
            self.rows.len(),
            self.seconds,
            count("valid"),
            count("not covered"),
        )
    }
}

/// Runs them all, `jobs` at a time. `enough`: asked after each run whether it may stop there.
pub async fn run_all(
    runs: impl IntoIterator<Item = RunOptions>,
    jobs: usize,
    mut say: impl FnMut(&str),
    mut enough: impl FnMut(&Row) -> bool,
) -> Result<Summary, Trouble> {
    let began = Instant::now();
    let mut waiting: VecDeque<RunOptions> = runs.into_iter().collect();
    let all = waiting.len();
    let mut summary = Summary::default();
    let mut under_way = JoinSet::new();
    let mut stop = false;
    loop {
        while !stop && under_way.len() < jobs.max(1) {
            let Some(options) = waiting.pop_front() else { break };
            under_way.spawn(async move {
                let ended = run::run(options.clone(), &mut |_| {}).await;
                ended.map(|ended| Row::of(&options, &ended))
            });
        }
        let Some(ended) = under_way.join_next().await else { break };
        let row = ended.map_err(|error| Trouble::harness("a run", error))??;
        let elapsed = Duration::from_secs(began.elapsed().as_secs());
        say(&format!("{:>3}/{all}  {elapsed:>6.0?}  {:<34} {}", summary.rows.len() + 1, row.nemesis, row.verdict));
        stop |= enough(&row);
        summary.rows.push(row);
    }
    summary.seconds = began.elapsed().as_secs();
    Ok(summary)
}
