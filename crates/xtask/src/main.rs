//! The workspace's own tasks, run as `cargo xtask TASK`. One file per task.
//!
//! > **Invariant:** this crate depends on nothing but the standard library. It is what runs first on a fresh machine, and
//! > must be able to say what is missing there before anything else can be built.

mod bench;
mod cargo;
mod ci;
mod cluster;
#[cfg(test)]
mod code_map;
mod crash;
mod demo;
mod failure;
mod janitor;
mod json;
mod leases;
mod overload;
mod prerequisites;
mod ringctl;
mod say;
mod test;

use std::process::ExitCode;

use failure::Failure;

const USAGE: &str = "\
cargo xtask demo [--repeat N] [--keep]   start a real three-node cluster, import real records, kill a leader in the
                                         middle, and prove that every acknowledged record is there
cargo xtask test [FILTER]                build everything and run every test (or those whose name contains FILTER)
cargo xtask bench [--peer etcd] [--peer-to leader|all] [--limits] [--quick] [--rounds N] [--rows FILTER,…] [--json FILE]
                                         measure three nodes, each a process, fsync on; beside etcd, beside the limits of
                                         this machine
cargo xtask overload [--minutes N] [--times N] [--clients N] [--json FILE]
                                         drive three nodes with many times the clients that fill them, and judge goodput,
                                         latency and the memory of each node
cargo xtask leases [--count N] [--ttl TIME] [--seconds N] [--json FILE]
                                         keep many leases alive in three nodes, and judge what CPU each node needs for it
cargo xtask crash [--kills N] [--power-losses N] [--seed S]
                                         kill real servers and cut the power of real disks, under load, and check after
                                         every round that nothing acknowledged was lost (see tests/README.md)
cargo xtask ci                           what .ci/run runs: test, then clippy, rustfmt and rustdoc

--repeat N   run the whole proof N times, each in a fresh cluster
--keep       leave the cluster running at the end, and say how to stop it
--peer etcd  measure a three-node etcd 3.5 too, in turn with ours, and print the ratios
--peer-to …  ask etcd's leader alone, which it does best (leader), or its members in turn (all)
--limits     measure a bare echo server, a bare RocksDB loop and a bare fdatasync too, and print the distances
--quick      one short round of every row: less than two minutes, for orientation only
--rounds N   measure everything N times and take medians (5)
--rows …     only rows whose name, such as put-64-sdk, contains one of these
--json FILE  write the figures into FILE too: bench one row per line, overload and leases one object
--minutes N  how long the overload lasts (10)
--times N    so many times the clients that fill the cluster (10)
--clients N  so many fill it (256)
--count N    so many leases (10000)
--ttl TIME   the ttl of each lease, such as 500ms (10s)
--seconds N  how long they are kept while the CPU is measured (30)";

/// The same number that `ringctl` uses for bad usage.
const EXIT_USAGE: u8 = 3;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["demo", rest @ ..] => match demo::Options::parse(rest) {
            Ok(options) => demo::run(options),
            Err(problem) => return bad_usage(&problem),
        },
        ["bench", rest @ ..] => match bench::Options::parse(rest) {
            Ok(options) => bench::run(options),
            Err(problem) => return bad_usage(&problem),
        },
        ["overload", rest @ ..] => match overload::Options::parse(rest) {
            Ok(options) => overload::run(options),
            Err(problem) => return bad_usage(&problem),
        },
        ["leases", rest @ ..] => match leases::Options::parse(rest) {
            Ok(options) => leases::run(options),
            Err(problem) => return bad_usage(&problem),
        },
        ["test"] => test::run(None),
        ["test", filter] if !filter.starts_with('-') => test::run(Some(filter)),
        ["crash", rest @ ..] => crash::run(rest).map(|never| match never {}),
        ["ci"] => ci::run(),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => return bad_usage(&format!("`{}` is not a task", other.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(message)) => {
            eprintln!("\nxtask failed: {message}");
            ExitCode::FAILURE
        }
    }
}

fn bad_usage(problem: &str) -> ExitCode {
    eprintln!("{problem}\n\n{USAGE}");
    ExitCode::from(EXIT_USAGE)
}
