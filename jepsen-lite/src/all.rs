//! `jepsen-lite all`: every workload, with every nemesis that this machine can do, alone and in telling pairs.

use std::path::PathBuf;

use clap::Args;

use crate::batch;
use crate::nemesis::{self, NemesisName};
use crate::run::RunOptions;
use crate::trouble::Trouble;
use crate::workload::WorkloadName;

/// Every workload with every nemesis.
#[derive(Clone, Debug, Args)]
pub struct All {
    /// Seconds during which clients ask and things break, in each run
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    time: u64,
    /// Repeats the schedules; random ones unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Only these workloads
    #[arg(long, value_delimiter = ',')]
    workload: Vec<WorkloadName>,
    /// Only these nemeses, each alone
    #[arg(long, value_delimiter = ',')]
    nemesis: Vec<NemesisName>,
    /// Runs side by side; each takes about half of two processors
    #[arg(long, default_value_t = 1)]
    jobs: usize,
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

impl All {
    /// Runs them, and gives the exit code.
    pub async fn run(self) -> Result<u8, Trouble> {
        let seed = self.seed.unwrap_or_else(|| rand::random_range(0..1_000_000_000));
        let sets = self.sets();
        println!("jepsen-lite all --time {} --seed {seed} --nodes {}: {} runs", self.time, self.nodes, sets.len());
        let runs = sets.into_iter().enumerate().map(|(n, nemesis)| RunOptions {
            workload: self.workload.clone(),
            nemesis,
            time: self.time,
            seed: Some(seed + n as u64),
            nodes: self.nodes,
            out: self.out.clone(),
            keep_data: false,
            program: self.program.clone(),
            plant: None,
        });
        let summary = batch::run_all(runs, self.jobs, |line| println!("{line}"), |_| false).await?;
        summary.write(&self.out)?;
        println!("\n{summary}");
        Ok(summary.exit_code())
    }

    /// What is broken in each run.
    fn sets(&self) -> Vec<Vec<NemesisName>> {
        if !self.nemesis.is_empty() {
            return self.nemesis.iter().map(|name| vec![name.clone()]).collect();
        }
        let alone = nemesis::all().into_iter().map(|nemesis| vec![NemesisName(nemesis.name().to_owned())]);
        [Vec::new()].into_iter().chain(alone).chain(nemesis::pairs()).collect()
    }
}
