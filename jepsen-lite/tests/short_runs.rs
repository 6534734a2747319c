//! Every workload under a few kinds of faults, with fixed seeds, in every build. Long runs and all kinds are `jepsen-lite all`
//! and `soak`.

use jepsen_lite::nemesis::NemesisName;
use jepsen_lite::run::{self, RunOptions};

/// Runs all workloads; what is not valid is told with everything that helps, and left on the disk.
async fn holds(nemeses: &[&str], seed: u64) {
    let out = ringfence_tests::temporary_directory();
    let options = RunOptions {
        workload: Vec::new(),
        nemesis: nemeses.iter().map(|name| NemesisName((*name).to_owned())).collect(),
        time: 6,
        seed: Some(seed),
        nodes: 3,
        out: out.path().to_owned(),
        keep_data: false,
        program: None,
        plant: None,
    };
    let ended = run::run(options, &mut |line| println!("{line}")).await.unwrap_or_else(|trouble| panic!("{trouble}"));
    println!("{}", ended.results);
    if ended.results.exit_code != 0 {
        let kept = out.keep();
        panic!("{}: see {} below {}", ended.results.verdict, ended.dir.display(), kept.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_workloads_while_nodes_are_killed() {
    holds(&["kill"], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_workloads_while_leaders_are_isolated_and_paused() {
    holds(&["isolated-leader", "pause"], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_workloads_while_links_are_lossy_and_leadership_moves() {
    holds(&["lossy", "rolling-restart"], 3).await;
}
