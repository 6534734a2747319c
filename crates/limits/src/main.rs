//! `ringfence-limits`: what this machine could do at best, in the shape of our workloads.
//!
//! A figure of a benchmark says little alone. Beside the limit around it, it says how far there is to go:
//!
//! | limit | what it is | limits |
//! |---|---|---|
//! | `echo-unary` | gRPC server that answers at once, one call for each operation | reads without the SDK |
//! | `echo-stream` | the same server, one stream, up to 64 operations to a message | reads with any batching client |
//! | `echo-sdk` | the same server asked through our SDK: what is below `echo-stream` is the SDK's own cost | reads with our SDK |
//! | `rocksdb` | one thread writes batches of 64 entries to RocksDB, each batch synced | writes of one node |
//! | `fdatasync` | one thread writes 4 KiB and syncs | one write alone |
//!
//! The echo server is a process of its own (this program again), so that two processes share the cores as clients and
//! servers do, and it speaks our own protocol, so that messages are as long as ours.

mod disk;
mod echo;
mod stream;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use ringfence_bench::Row;
use serde::Serialize;

/// The same number that `ringctl` uses for bad usage.
const EXIT_USAGE: u8 = 3;

/// Measures what this machine could do at best. Prints one JSON object to a line.
#[derive(Debug, Parser)]
#[command(name = "ringfence-limits", version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Which limits
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_values = ["echo-unary", "echo-stream", "echo-sdk", "rocksdb", "fdatasync"])]
    limits: Vec<Limit>,
    /// How many clients ask the echo server at once, from 1 to 512; several numbers make several rows
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "64")]
    clients: Vec<usize>,
    /// How long each row is measured, in milliseconds
    #[arg(long, value_name = "MS", default_value = "5000")]
    duration_ms: u64,
    /// How long the clients of the echo server run before it counts, in milliseconds
    #[arg(long, value_name = "MS", default_value = "500")]
    warm_up_ms: u64,
    /// Length of each key
    #[arg(long, value_name = "BYTES", default_value = "64")]
    key_size: usize,
    /// Length of each value
    #[arg(long, value_name = "BYTES", default_value = "256")]
    value_size: usize,
    /// Where to write; in a new directory below it, which is removed at the end. Must be on the disk that is meant
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the echo server until its stdin is closed. Prints its address
    #[command(hide = true)]
    EchoServer {
        /// Length of the value that every get is answered with
        #[arg(long)]
        value_size: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Limit {
    EchoUnary,
    EchoStream,
    EchoSdk,
    Rocksdb,
    Fdatasync,
}

impl Limit {
    fn name(self) -> &'static str {
        match self {
            Limit::EchoUnary => "echo-unary",
            Limit::EchoStream => "echo-stream",
            Limit::EchoSdk => "echo-sdk",
            Limit::Rocksdb => "rocksdb",
            Limit::Fdatasync => "fdatasync",
        }
    }
}

/// One row.
#[derive(Clone, Debug, Serialize)]
struct Reached {
    limit: &'static str,
    /// Operations at once.
    clients: usize,
    /// Operations a second: answers, entries, syncs.
    ops: f64,
    /// Half of the latencies were no longer, in microseconds; of a whole batch for `rocksdb`.
    p50_us: f64,
    /// 99 of 100.
    p99_us: f64,
    /// CPU microseconds of this process for each operation.
    client_us_per_op: Option<f64>,
    /// CPU microseconds of the echo server for each operation.
    server_us_per_op: Option<f64>,
}

impl Reached {
    fn by_clients(limit: Limit, row: &Row) -> Reached {
        Reached {
            limit: limit.name(),
            clients: row.clients,
            ops: row.ops,
            p50_us: row.p50_us,
            p99_us: row.p99_us,
            client_us_per_op: row.client_us_per_op,
            server_us_per_op: row.server_us_per_op,
        }
    }
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match args.command {
        Some(Command::EchoServer { value_size }) => echo::serve(value_size),
        None => measure(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<(), String> {
    let duration = Duration::from_millis(args.duration_ms);
    for limit in &args.limits {
        eprintln!("{}: measuring", limit.name());
        match limit {
            Limit::EchoUnary | Limit::EchoStream | Limit::EchoSdk => {
                for clients in &args.clients {
                    let warm_up = Duration::from_millis(args.warm_up_ms);
                    let row = echo::measure(*limit, *clients, warm_up, duration, args.key_size, args.value_size)?;
                    print(&Reached::by_clients(*limit, &row))?;
                }
            }
            Limit::Rocksdb => print(&disk::rocksdb(&args.dir, duration, args.key_size, args.value_size)?)?,
            Limit::Fdatasync => print(&disk::fdatasync(&args.dir, duration)?)?,
        }
    }
    Ok(())
}

fn print(row: &Reached) -> Result<(), String> {
    let line = serde_json::to_string(row).map_err(|error| error.to_string())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| format!("cannot write: {error}"))
}
