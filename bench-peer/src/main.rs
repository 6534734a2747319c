//! `bench-etcd`: the load generator of Ringfence, pointed at etcd.
//!
//! Everything that makes a figure (the loops, the keys, the clocks, what counts) is `ringfence-bench`, the same code that
//! `ringctl bench` runs. Here is only how etcd is asked: see [`etcd`].

mod etcd;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ringfence_bench::{Bench, CLIENTS_MAX, Keys, Phase, Plan, Workload};

use etcd::{Etcd, To};

/// The same number that `ringctl` uses for bad usage.
const EXIT_USAGE: u8 = 3;

/// Measures how fast an etcd cluster is, with the same clients as `ringctl bench`. Prints one JSON object to a line.
#[derive(Debug, Parser)]
#[command(name = "bench-etcd", version)]
struct Args {
    /// Members to talk to
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT,…", default_value = "127.0.0.1:2379")]
    endpoints: Vec<String>,
    /// Which of them are asked
    #[arg(long, default_value = "leader")]
    to: To,
    /// put, get, cas-many, cas-hot, mixed-50, mixed-95, lock, lock-hot
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "put,get")]
    workload: Vec<Workload>,
    /// How many clients at once, from 1 to 512; several numbers make several rows
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,64,256")]
    clients: Vec<usize>,
    /// gRPC channels [default: one to each member that is asked, and one for each 256 clients]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    channels: Option<u16>,
    /// How long each row is measured
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// How long the clients run before it counts
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    warm_up: Duration,
    /// How long one call may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    timeout: Duration,
    /// How many keys are drawn from, evenly
    #[arg(long, value_name = "N", default_value = "10000")]
    keys: usize,
    /// Length of each key
    #[arg(long, value_name = "BYTES", default_value = "64")]
    key_size: usize,
    /// Length of each value
    #[arg(long, value_name = "BYTES", default_value = "256")]
    value_size: usize,
    /// Measure the CPU time of these server processes too
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    server_pids: Vec<u32>,
    /// Leave the keys where they are
    #[arg(long)]
    keep: bool,
    /// Name the keys instead of choosing a random word
    #[arg(long, value_name = "WORD")]
    name: Option<String>,
}

/// As `ringctl` reads them: `500ms`, `10s`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, ms_each) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1000),
        (None, None) => return Err("give a whole number and a unit: 500ms or 10s".to_owned()),
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(ms_each));
    ms.map(Duration::from_millis).ok_or_else(|| "give a whole number and a unit: 500ms or 10s".to_owned())
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    // As many threads as `ringctl` has.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(run(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), String> {
    let channels = args.channels.map(usize::from);
    let mut etcd = Etcd::connect(&args.endpoints, args.to, channels, args.timeout).await?;
    let keys = Keys::new(args.name.as_deref(), args.keys, args.key_size, args.value_size);
    let keys = keys.map_err(|error| error.to_string())?;
    let leases = match args.workload.iter().any(|workload| workload.locks()) {
        true => {
            let clients = args.clients.iter().copied().max().unwrap_or_default();
            Some(etcd.grant_leases(clients.min(CLIENTS_MAX)).await?)
        }
        false => None,
    };
    let mut bench = Bench::new(etcd, keys);
    let stop = bench.stop();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.set();
        }
    });
    let mut measured = rows(&args, &mut bench).await;
    if let Some(leases) = leases {
        measured = measured.and(leases.revoke().await);
    }
    if args.keep {
        return measured;
    }
    measured.and(bench.clean().await.map_err(|error| error.to_string()))
}

async fn rows(args: &Args, bench: &mut Bench<Etcd>) -> Result<(), String> {
    let mut errors = 0;
    for workload in &args.workload {
        for clients in &args.clients {
            let plan = Plan {
                workload: *workload,
                clients: *clients,
                warm_up: args.warm_up,
                duration: args.duration,
                server_pids: args.server_pids.clone(),
            };
            let mut measuring = false;
            let mut watcher = |progress: ringfence_bench::Progress| {
                if progress.phase == Phase::Measure && !measuring {
                    measuring = true;
                    eprintln!("{workload}, {clients} clients: measuring");
                }
            };
            let row = bench.row(&plan, &mut watcher).await.map_err(|error| error.to_string())?;
            let line = serde_json::to_string(&row).map_err(|error| error.to_string())?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| format!("cannot write: {error}"))?;
            for (kind, message) in &row.error_messages {
                eprintln!("{workload}, {clients} clients: {} times {kind}, first: {message}", row.errors[kind]);
            }
            errors += row.errors_total();
        }
    }
    match errors {
        0 => Ok(()),
        _ => Err(format!("{errors} operations got no result; they are in no figure")),
    }
}
