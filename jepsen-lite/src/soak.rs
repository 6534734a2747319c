//! `jepsen-lite soak`: run after run, each with another seed and other faults, until the time is over or something is found.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use ringfence_tests::Dice;

use crate::batch;
use crate::nemesis::{self, NemesisName};
use crate::run::RunOptions;
use crate::trouble::Trouble;
use crate::workload::WorkloadName;

/// Run after run, each with another seed and other faults.
#[derive(Clone, Debug, Args)]
pub struct Soak {
    /// How many runs
    #[arg(long, default_value_t = 200)]
    runs: usize,
    /// End after so many minutes, whatever is left
    #[arg(long)]
    minutes: Option<u64>,
    /// Seconds during which clients ask and things break, in each run
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    time: u64,
    /// The first seed; a random one unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Only these workloads
    #[arg(long, value_delimiter = ',')]
    workload: Vec<WorkloadName>,
    /// Runs side by side; each takes about half of two processors
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Go on after a run that is not valid
    #[arg(long)]
    keep_going: bool,
    /// Nodes of each cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=9))]
    nodes: u64,
    /// Where to leave results and reports
    #[arg(long, default_value = "jepsen-runs")]
    out: PathBuf,
    /// The server to test, if it is not the `ringfence` beside this program
    #[arg(long)]
    program: Option<PathBuf>,
}

impl Soak {
    /// Runs them, and gives the exit code.
    pub async fn run(self) -> Result<u8, Trouble> {
        let seed = self.seed.unwrap_or_else(|| rand::random_range(0..1_000_000_000));
        println!("jepsen-lite soak --runs {} --time {} --seed {seed} --nodes {}", self.runs, self.time, self.nodes);
        let runs = (0..self.runs as u64).map(|n| RunOptions {
            workload: self.workload.clone(),
            nemesis: drawn(seed, n),
            time: self.time,
            seed: Some(seed + n),
            nodes: self.nodes,
            out: self.out.clone(),
            keep_data: false,
            program: self.program.clone(),
            plant: None,
        });
        let until = self.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
        let enough = |row: &batch::Row| {
            (row.exit_code != 0 && !self.keep_going) || until.is_some_and(|until| Instant::now() >= until)
        };
        let summary = batch::run_all(runs, self.jobs, |line| println!("{line}"), enough).await?;
        summary.write(&self.out)?;
        println!("\n{summary}");
        Ok(summary.exit_code())
    }
}

/// One nemesis, or two or three at once.
fn drawn(seed: u64, run: u64) -> Vec<NemesisName> {
    let mut dice = Dice::new(seed, "soak", run);
    let names: Vec<NemesisName> = nemesis::all().iter().map(|n| NemesisName(n.name().to_owned())).collect();
    match dice.within(0..100) {
        0..50 => vec![dice.one_of(&names).clone()],
        50..80 => dice.one_of(&nemesis::pairs()).clone(),
        _ => {
            let mut some: Vec<NemesisName> = Vec::new();
            while some.len() < 2 {
                let name = dice.one_of(&names);
                if !some.contains(name) {
                    some.push(name.clone());
                }
            }
            some
        }
    }
}
