//! `cargo xtask demo`: the main job, with real processes and real records, judged from outside.
//!
//! Three nodes start. `ringctl import` writes tens of thousands of records into them. In the middle the leader of a shard is
//! killed without warning. The import must go on by itself, and afterwards every record that was acknowledged must be
//! there, with its value, written exactly once. Any claim that fails ends the demo with exit code 1.

mod import;
pub(crate) mod proof;
mod race;
mod records;

use std::time::{Duration, Instant};

use import::Import;
use records::Records;

use crate::cargo::Cargo;
use crate::cluster::Cluster;
use crate::failure::{Failure, Outcome, fail};
use crate::ringctl::Ringctl;
use crate::{prerequisites, say};

/// What the command line asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// How often to do it all, each time with a fresh cluster.
    repeat: usize,
    /// Leave the last cluster running.
    keep: bool,
}

impl Options {
    pub(crate) fn parse(args: &[&str]) -> Result<Options, String> {
        let mut options = Options { repeat: 1, keep: false };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match *arg {
                "--keep" => options.keep = true,
                "--repeat" => {
                    let number = args.next().and_then(|number| number.parse().ok()).filter(|number| *number > 0);
                    options.repeat = number.ok_or("--repeat needs a positive number")?;
                }
                other => return Err(format!("`{other}` is not an option of demo")),
            }
        }
        Ok(options)
    }
}

/// The programs that the demo runs.
struct Programs {
    ringfence: std::path::PathBuf,
    ringctl: std::path::PathBuf,
}

/// What one run showed.
struct Report {
    records: usize,
    acknowledged_at_kill: usize,
    killed: u64,
    longest_pause: Duration,
    import: Duration,
}

/// Builds, then runs the proof as often as asked.
pub(crate) fn run(options: Options) -> Outcome {
    prerequisites::ensure()?;
    let programs = build()?;

    say::step("finding real records");
    let records = Records::find()?;
    say::note(format!("{} {}", say::thousands(records.records.len()), records.source));

    let mut reports = Vec::new();
    for run in 1..=options.repeat {
        if options.repeat > 1 {
            println!("\n======== run {run} of {} ========", options.repeat);
        }
        let keep = options.keep && run == options.repeat;
        let report = prove(&programs, &records, keep)
            .map_err(|Failure(message)| Failure(format!("run {run} of {}: {message}", options.repeat)))?;
        reports.push(report);
    }
    summarise(&reports);
    go_on(&programs);
    Ok(())
}

fn build() -> Outcome<Programs> {
    // All targets, as the tests do: with other features of shared crates in between, each would undo the other's build.
    let mut built = Cargo::find()?.build(&["--workspace", "--all-targets"])?;
    match (built.executables.remove("ringfence"), built.executables.remove("ringctl")) {
        (Some(ringfence), Some(ringctl)) => Ok(Programs { ringfence, ringctl }),
        _ => fail("the build made no `ringfence` or no `ringctl`; is the checkout complete?"),
    }
}

/// One run, in a cluster of its own.
fn prove(programs: &Programs, records: &Records, keep: bool) -> Outcome<Report> {
    say::step("starting three nodes on loopback, each its own process and its own disk directory");
    let mut cluster = Cluster::start(&programs.ringfence, &std::env::temp_dir())?;
    let ringctl = Ringctl::new(&programs.ringctl, &cluster.endpoints());
    cluster.wait_until_healthy(&ringctl)?;
    for (shard, leader) in ringctl.leaders()? {
        say::note(format!("shard {shard} is led by node {leader}"));
    }

    say::step(format!("importing {} records with `ringctl import`", say::thousands(records.records.len())));
    let mut import = Import::start(&ringctl, records, &cluster)?;
    let acknowledged_at_kill = import.wait_for(records.records.len() / 3)?;
    let (shard, killed) = *ringctl.leaders()?.first().ok_or_else(|| Failure("the cluster has no shards".into()))?;
    cluster.kill_node(killed)?;
    say::note(format!(
        "{} acknowledged so far. Killed node {killed}, the leader of shard {shard}, with SIGKILL",
        say::thousands(acknowledged_at_kill)
    ));
    let done = import.finish(acknowledged_at_kill)?;
    say::note(format!(
        "the import went on by itself and ended well after {}; the longest time without an acknowledgement was {}",
        say::duration(done.took),
        say::duration(done.longest_pause)
    ));

    say::step("proving that every acknowledged record is there, once, with one node still dead");
    judge(&ringctl, &cluster, records, &done.acknowledged)?;

    say::step(format!("starting node {killed} again on what its disk has"));
    let begun = Instant::now();
    cluster.start_node(killed)?;
    cluster.wait_until_healthy(&ringctl)?;
    say::note(format!("it has caught up with the others after {}", say::duration(begun.elapsed())));
    say::note("the same proof once more, asking only the node that was dead:");
    judge(&ringctl.at(cluster.endpoint(killed)), &cluster, records, &done.acknowledged)?;

    say::step("racing: two clients compare-and-set one key at one revision");
    race::run(&ringctl)?;

    if keep {
        say::step("the cluster keeps running, as asked");
        say::note(format!("export RINGCTL_ENDPOINTS={}", cluster.endpoints()));
        say::note(format!("to end it: {}", cluster.keep()));
    }
    Ok(Report {
        records: records.records.len(),
        acknowledged_at_kill,
        killed,
        longest_pause: done.longest_pause,
        import: done.took,
    })
}

/// Reads everything back and compares.
fn judge(ringctl: &Ringctl, cluster: &Cluster, records: &Records, acknowledged: &[String]) -> Outcome {
    let begun = Instant::now();
    let found = ringctl.scan(records.prefix, &cluster.dir().join("found.ndjson"))?;
    match proof::compare(&records.records, acknowledged, &found) {
        Ok(proved) => {
            say::note(format!(
                "{} of {} acknowledged records read back: right value, version 1 (written exactly once); none missing ({})",
                say::thousands(proved),
                say::thousands(acknowledged.len()),
                say::duration(begun.elapsed())
            ));
            Ok(())
        }
        Err(violations) => {
            let shown: Vec<String> = violations.iter().take(10).map(|violation| format!("\n  {violation}")).collect();
            fail(format!("THE PROOF FAILED: {} violations, such as{}", violations.len(), shown.concat()))
        }
    }
}

fn summarise(reports: &[Report]) {
    say::step(format!(
        "proved {}",
        if reports.len() == 1 { "once".into() } else { format!("{} times", reports.len()) }
    ));
    say::note("run   records   acked at the kill   killed   longest pause     import");
    for (i, report) in reports.iter().enumerate() {
        say::note(format!(
            "{:>3} {:>9} {:>19}   node {} {:>15} {:>10}",
            i + 1,
            say::thousands(report.records),
            say::thousands(report.acknowledged_at_kill),
            report.killed,
            say::duration(report.longest_pause),
            say::duration(report.import)
        ));
    }
}

/// The demo's cluster is gone; this is how to have one of one's own.
fn go_on(programs: &Programs) {
    let dir = programs.ringctl.parent().unwrap_or(&programs.ringctl).display();
    say::step("now you: in one terminal");
    say::note(format!("export PATH=\"{dir}:$PATH\""));
    say::note("ringfence dev");
    say::note("");
    say::note("in another");
    say::note(format!("export PATH=\"{dir}:$PATH\""));
    say::note("ringctl put greeting hello");
    say::note("ringctl get greeting");
    say::note("ringctl incr '{shop}:stock' 10 --min 0");
    say::note("ringctl cluster status");
    say::note("");
    say::note("README.md goes on from there.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        assert_eq!(Options::parse(&[]), Ok(Options { repeat: 1, keep: false }));
        assert_eq!(Options::parse(&["--repeat", "10", "--keep"]), Ok(Options { repeat: 10, keep: true }));
        for args in [&["--repeat"][..], &["--repeat", "0"], &["--repeat", "x"], &["--fast"], &["now"]] {
            assert!(Options::parse(args).is_err(), "{args:?}");
        }
    }
}
