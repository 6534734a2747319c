//! `jepsen-lite planted`: does the harness notice? Each planted bug is run under the faults that should bring it to light, until it
//! is seen, and the matrix (which bug was seen by which workload) goes into `jepsen-lite/README.md`.
//!
//! Seen means: exit code 1, by a judge that this bug concerns (`concerns`). A harness that fails, or one that is merely unsure, has
//! seen nothing; nor has one that only saw what followed, as when replicas that differ in a lock then differ in a revision too.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use jepsen_checkers::Verdict;
use ringfence_planted::Bug;

use crate::nemesis::NemesisName;
use crate::results::{Check, Results};
use crate::run::{self, RunOptions};
use crate::trouble::Trouble;
use crate::workload::{self, WorkloadName};

/// Where the matrix stands in the README.
const BEGIN: &str = "<!-- detection matrix: begin -->";
const END: &str = "<!-- detection matrix: end -->";

/// Whether each planted bug is caught.
#[derive(Clone, Debug, Args)]
pub struct Planted {
    /// Only these bugs
    #[arg(long, value_delimiter = ',', value_parser = |name: &str| name.parse::<Bug>())]
    bug: Vec<Bug>,
    /// Seconds during which clients ask and things break, in each run
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    time: u64,
    /// The first seed; a random one unless given
    #[arg(long)]
    seed: Option<u64>,
    /// How often each bug is tried before it counts as missed
    #[arg(long, default_value_t = 4)]
    tries: u64,
    /// Where to leave results and reports
    #[arg(long, default_value = "jepsen-runs")]
    out: PathBuf,
    /// The README whose matrix is renewed. Only a run of all bugs renews it
    #[arg(long)]
    readme: Option<PathBuf>,
    /// The server, if it is not the `ringfence-planted` beside this program
    #[arg(long)]
    program: Option<PathBuf>,
}

/// What became of one bug.
struct Row {
    bug: Bug,
    nemesis: String,
    /// Runs until it was seen, or all of them.
    runs: u64,
    /// Who saw it: workloads, `cluster`, `recovery`.
    seen_by: BTreeSet<String>,
    /// In the words of the first whom it concerns.
    headline: String,
}

impl Row {
    fn is_caught(&self) -> bool {
        self.seen_by.iter().any(|judge| concerns(self.bug).contains(&judge.as_str()))
    }
}

impl Planted {
    /// Runs them, and gives the exit code: 0 if every bug was caught.
    pub async fn run(self) -> Result<u8, Trouble> {
        let seed = self.seed.unwrap_or_else(|| rand::random_range(0..1_000_000_000));
        let bugs = if self.bug.is_empty() { Bug::ALL.to_vec() } else { self.bug.clone() };
        println!("jepsen-lite planted --time {} --seed {seed} --tries {}: {} bugs", self.time, self.tries, bugs.len());
        let mut rows = Vec::new();
        for bug in bugs {
            let row = self.hunt(bug, seed).await?;
            match row.is_caught() {
                false => println!("MISSED  {bug} in {} runs", row.runs),
                true => println!("caught  {bug} in run {} by {}: {}", row.runs, list(&row.seen_by), row.headline),
            }
            rows.push(row);
        }
        let matrix = matrix(&rows);
        println!("\n{matrix}");
        if let Some(readme) = &self.readme
            && self.bug.is_empty()
        {
            renew(readme, &matrix)?;
        }
        Ok(u8::from(!rows.iter().all(Row::is_caught)))
    }

    async fn hunt(&self, bug: Bug, seed: u64) -> Result<Row, Trouble> {
        let hunts = faults_for(bug);
        let mut row = Row { bug, nemesis: String::new(), runs: 0, seen_by: BTreeSet::new(), headline: String::new() };
        while !row.is_caught() && row.runs < self.tries {
            let nemesis = hunts[row.runs as usize % hunts.len()];
            row.runs += 1;
            let options = RunOptions {
                workload: Vec::new(),
                nemesis: nemesis.iter().map(|name| NemesisName((*name).to_owned())).collect(),
                time: self.time,
                seed: Some(seed + row.runs),
                nodes: 3,
                out: self.out.clone(),
                keep_data: false,
                program: self.program.clone(),
                plant: Some(bug.name().to_owned()),
            };
            row.nemesis = options.nemeses_joined();
            let ended = run::run(options, &mut |_| {}).await?;
            println!("        {bug}: {} ({})", ended.results.verdict, ended.dir.join("report.html").display());
            if ended.results.exit_code == 3 {
                return Err(Trouble::Harness(format!("while hunting {bug}: {}", ended.results.reasons.join("; "))));
            }
            (row.seen_by, row.headline) = seen(&ended.results, bug);
        }
        Ok(row)
    }
}

/// The faults that should bring it to light, in the order of trying.
fn faults_for(bug: Bug) -> &'static [&'static [&'static str]] {
    match bug {
        Bug::AckBeforeFsync => &[&["power-loss-all"]],
        Bug::VoteNotPersisted => {
            &[&["kill", "isolated-leader"], &["kill-all", "halves"], &["rolling-restart", "lossy"]]
        }
        Bug::FollowerServesReads => &[&["slow"], &["isolated-leader"]],
        Bug::ReadIndexWithoutQuorum => &[&["isolated-leader"]],
        Bug::RetryAppliedTwice => &[&["kill"], &["lossy"]],
        Bug::SnapshotForgetsDedup | Bug::SnapshotForgetsLeases => &[&["forced-snapshot", "kill"], &["forced-snapshot"]],
        Bug::TornLogVotes => &[&["flipped-bits"], &["flipped-bits", "kill"]],
        Bug::CommitWithoutQuorum => &[&["isolated-leader"]],
        Bug::TokenIgnored | Bug::NonOwnerReleases => &[&["kill"]],
        Bug::TokenReused => &[&["kill"], &["kill-all"]],
        Bug::ExpiryByWallClock => &[&["clock-jump"]],
        Bug::LeaseClockReset | Bug::TtlCutOnFailover => &[&["kill"], &["isolated-leader"], &["pause"]],
    }
}

/// The judges that see the bug itself, not only what follows from it.
fn concerns(bug: Bug) -> &'static [&'static str] {
    const LEASES: &[&str] = &["lock", "lease-pause", "semaphore", "election"];
    const ONCE: &[&str] = &["retries", "counters", "flash-sale"];
    const STALE: &[&str] = &["register", "set", "counters", "retries", "flash-sale"];
    const LOST: &[&str] = &[
        "register",
        "set",
        "counters",
        "retries",
        "flash-sale",
        "lock",
        "lease-pause",
        "semaphore",
        "election",
        "cluster",
    ];
    match bug {
        Bug::AckBeforeFsync | Bug::VoteNotPersisted | Bug::CommitWithoutQuorum => LOST,
        Bug::TornLogVotes => &["recovery", "cluster", "register", "set", "counters", "retries", "flash-sale"],
        Bug::FollowerServesReads | Bug::ReadIndexWithoutQuorum => STALE,
        Bug::RetryAppliedTwice | Bug::SnapshotForgetsDedup => ONCE,
        Bug::SnapshotForgetsLeases
        | Bug::TokenIgnored
        | Bug::TokenReused
        | Bug::ExpiryByWallClock
        | Bug::LeaseClockReset
        | Bug::NonOwnerReleases
        | Bug::TtlCutOnFailover => LEASES,
    }
}

/// Who saw a broken promise, and the first one in words: of those whom the bug concerns, if there is any.
fn seen(results: &Results, bug: Bug) -> (BTreeSet<String>, String) {
    let mut seen_by = BTreeSet::new();
    let mut words: Vec<(bool, String)> = Vec::new();
    let workloads =
        results.workloads.iter().flat_map(|judged| judged.checks.iter().map(|check| (judged.name.as_str(), check)));
    let cluster = results.cluster.iter().map(|check| ("cluster", check));
    for (whose, Check { rule, verdict }) in workloads.chain(cluster) {
        if let Verdict::Invalid { explanation } = verdict {
            seen_by.insert(whose.to_owned());
            words.push((!concerns(bug).contains(&whose), format!("{rule}: {}", explanation.headline)));
        }
    }
    if results.exit_code == 1 && seen_by.is_empty() {
        seen_by.insert("recovery".to_owned());
        words.push((
            false,
            results.reasons.first().and_then(|reason| reason.lines().next()).unwrap_or_default().to_owned(),
        ));
    }
    words.sort_by_key(|(is_beside_the_point, _)| *is_beside_the_point);
    (seen_by, words.into_iter().next().map(|(_, headline)| headline).unwrap_or_default())
}

fn matrix(rows: &[Row]) -> String {
    let workloads: Vec<WorkloadName> = workload::all().iter().map(|w| WorkloadName(w.name().to_owned())).collect();
    let judges: Vec<String> =
        workloads.iter().map(ToString::to_string).chain(["cluster".to_owned(), "recovery".to_owned()]).collect();
    let mut table = format!("| planted bug | faults | runs | {} | in words |\n", judges.join(" | "));
    table += &format!("|---|---|---|{}---|\n", ":-:|".repeat(judges.len()));
    for row in rows {
        let Row { bug, nemesis, runs, seen_by, headline } = row;
        let marks: Vec<&str> = judges.iter().map(|judge| if seen_by.contains(judge) { "●" } else { "" }).collect();
        let headline = if row.is_caught() { headline.replace('|', "\\|") } else { "**missed**".to_owned() };
        let _ = writeln!(table, "| {bug} | {nemesis} | {runs} | {} | {headline} |", marks.join(" | "));
    }
    table
}

fn renew(readme: &Path, matrix: &str) -> Result<(), Trouble> {
    let broken = |error| Trouble::harness(format!("cannot renew {}", readme.display()), error);
    let text = fs::read_to_string(readme).map_err(broken)?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        return Err(Trouble::Harness(format!("{} has no place for the matrix: {BEGIN} … {END}", readme.display())));
    };
    fs::write(readme, format!("{before}{BEGIN}\n{matrix}{END}{after}")).map_err(broken)
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
