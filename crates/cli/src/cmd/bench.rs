//! `ringctl bench`: measure how fast the cluster is.
//!
//! What is measured, and what counts for what, stands in the documentation of `ringfence-bench`, which does the work; here
//! are the flags, the printing, and the care for the keys that a bench writes.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use futures::stream::{self, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use ringfence_bench::{
    Bench as Generator, BenchError, CLIENTS_MAX, COLUMNS, KEYS_PREFIX, Keys, LEASES_COLUMNS, LeasesError, LeasesPlan,
    LeasesRow, OpError, Peer, Phase, Plan, Progress, Row, Sdk, Stop, Unary, Workload, hold_leases,
};
use ringfence_client::Client;
use ringfence_client::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use serde::Serialize;
use tokio::signal::ctrl_c;

use crate::args::Format;
use crate::cmd::scan::each_page;
use crate::exit::{Exit, Failure};
use crate::table::Table;
use crate::{Context, duration};

/// Keys of an earlier run that are removed at the same time.
const CLEAN_CONCURRENCY: usize = 64;
/// Where nobody watches a terminal a line this often tells a log that we are alive.
const PROGRESS_LINE_EVERY: Duration = Duration::from_secs(10);
const STATUS_HINT: &str = "`ringctl cluster status` shows how the cluster is";
const CLEAN_HINT: &str = "`ringctl bench --clean` removes what is left of them";
const EXAMPLES: &str = "\
Examples:
  ringctl bench                                        put and get, with 1, 64 and 256 clients
  ringctl bench --workload all --clients 64 --rounds 5 -w ndjson
  ringctl bench --workload cas-hot --clients 64 --path unary --duration 30s
  ringctl bench --workload lock-hot --clients 16        16 clients hand one lock to each other
  ringctl bench --leases 10000 --duration 30s           what does it cost to keep 10,000 leases of 10 s?
  ringctl bench --clean                                remove what a bench left that was killed

It WRITES to the cluster: keys that begin ringfence-bench/ and a random word, so it meets no key of yours and no other
bench. They are removed at the end, also after Ctrl-C. Their history stays as long as that of any key.

Clients are closed loops: each asks, waits, asks again. A latency is that of one call; ops/s are operations that ended well;
those that did not are counted apart, by kind, and the exit code is 1. cas-many: each client sets keys of its own, and none
may be refused. cas-hot: all set one key; an operation is one success, refusals on the way are CONFLICTS/S and part of its
latency. lock: each client acquires and releases locks of its own; an operation is one such pair, and the last column has the
p50 of either half. lock-hot: all clients want one lock; an operation is one hand-over, the wait for it and its release. Locks
have a ttl of a minute, so those of a killed bench are free after that. With --rounds each figure is the median of its rounds.";

/// Measure how fast the cluster is.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Bench {
    /// put, get, cas-many, cas-hot, mixed-50 (half gets), mixed-95 (95 % gets), or all of these; lock, lock-hot
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "put,get", value_parser = workload)]
    workload: Vec<Workloads>,
    /// How many clients at once, from 1 to 512; several numbers make several rows
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,64,256", value_parser = clients)]
    clients: Vec<usize>,
    /// How operations travel
    #[arg(long, default_value = "sdk")]
    path: PathArg,
    /// With --path unary: gRPC channels [default: one to each endpoint]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    channels: Option<u16>,
    /// How long each row is measured
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    duration: Duration,
    /// How long the clients run before it counts
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    warm_up: Duration,
    /// How many keys are drawn from, evenly
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    keys: u32,
    /// Length of each key
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = clap::value_parser!(u16).range(1..=KEY_BYTES_MAX as i64))]
    key_size: u16,
    /// Length of each value
    #[arg(long, value_name = "BYTES", default_value = "256", value_parser = clap::value_parser!(u32).range(0..=VALUE_BYTES_MAX as i64))]
    value_size: u32,
    /// Measure every row so often, in turn, and print medians
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Measure the CPU time of these server processes too; they must run on this machine
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    server_pids: Vec<u32>,
    /// Leave the keys where they are
    #[arg(long)]
    keep: bool,
    /// Name the keys instead of choosing a random word, so that one bench after another uses the same
    #[arg(long, value_name = "WORD")]
    name: Option<String>,
    /// Measure something else: acquire so many leases, let the SDK renew them for --duration, and release them
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        conflicts_with_all = ["workload", "clients", "path", "channels", "keys", "value_size", "rounds", "keep", "clean"]
    )]
    leases: Option<u32>,
    /// With --leases: the ttl of each; the SDK renews it when a third of that has passed
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse, requires = "leases")]
    ttl: Duration,
    /// Measure nothing; remove the keys of every bench. Reads every key of the cluster to find them
    #[arg(long, conflicts_with_all = ["keep", "workload", "rounds"])]
    clean: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PathArg {
    /// One shared client: routed to the leader, many operations to a message.
    Sdk,
    /// Plain gRPC, one call for each operation, to the endpoints in turn.
    Unary,
}

/// One workload, or all that read and write keys: locks are another matter, and have other numbers of clients.
#[derive(Clone, Debug)]
struct Workloads(Vec<Workload>);

fn workload(name: &str) -> Result<Workloads, String> {
    match name {
        "all" => Ok(Workloads(Workload::ALL.into_iter().filter(|workload| !workload.locks()).collect())),
        name => Ok(Workloads(vec![name.parse().map_err(|error| format!("{error}, or all"))?])),
    }
}

fn clients(number: &str) -> Result<usize, String> {
    match number.parse() {
        Ok(clients @ 1..=CLIENTS_MAX) => Ok(clients),
        _ => Err(format!("give a number from 1 to {CLIENTS_MAX}")),
    }
}

impl Bench {
    /// Measures, row by row, and prints each as soon as it is known.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let client = context.connect().await?;
        if self.clean {
            let removed = remove_leftovers(&client).await?;
            eprintln!("{removed} keys removed");
            return Ok(());
        }
        let count = self.leases.unwrap_or(self.keys) as usize;
        let keys = Keys::new(self.name.as_deref(), count, self.key_size.into(), self.value_size as usize);
        let keys = keys.map_err(|error| Failure::usage(error.to_string()))?;
        if self.leases.is_some() {
            return Box::pin(self.leases(&client, keys, context.format, out)).await;
        }
        match self.path {
            PathArg::Sdk => Box::pin(self.measure(Generator::new(Sdk::new(client), keys), context, out)).await,
            PathArg::Unary => {
                let timeout = context.request_timeout(Duration::from_secs(10));
                let peer = Unary::new(context.endpoints(), self.channels.map(usize::from), timeout);
                Box::pin(self.measure(Generator::new(peer.map_err(Failure::usage)?, keys), context, out)).await
            }
        }
    }

    async fn measure<P: Peer>(
        &self,
        mut generator: Generator<P>,
        context: &Context,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let stop = generator.stop();
        let interrupted = || Failure::new(Exit::Failed, "interrupted");
        let measured = {
            let mut measuring = pin!(self.rows(&mut generator, context.format, out));
            tokio::select! {
                measured = &mut measuring => measured,
                _ = ctrl_c() => {
                    stop.set();
                    tokio::select! {
                        _ = &mut measuring => Err(interrupted()),
                        _ = ctrl_c() => return Err(interrupted().hint(CLEAN_HINT)),
                    }
                }
            }
        };
        if self.keep {
            eprintln!("the keys begin {}; {CLEAN_HINT}", generator.prefix());
            return measured;
        }
        let cleaned = tokio::select! {
            cleaned = generator.clean() => cleaned.map_err(failure),
            _ = ctrl_c() => Err(interrupted()),
        };
        // What came first matters more.
        measured.and(cleaned.map_err(|failure| failure.hint(CLEAN_HINT)))
    }

    async fn rows<P: Peer>(
        &self,
        generator: &mut Generator<P>,
        format: Format,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let workloads: Vec<Workload> = self.workload.iter().flat_map(|workloads| workloads.0.iter().copied()).collect();
        let mut plans: Vec<Plan> = Vec::new();
        for workload in workloads {
            plans.extend(self.clients.iter().map(|clients| Plan {
                workload,
                clients: *clients,
                warm_up: self.warm_up,
                duration: self.duration,
                server_pids: self.server_pids.clone(),
            }));
        }
        let mut printer = Printer::new(format, COLUMNS);
        let mut screen = Screen::new("writing the keys");
        let mut rounds: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
        let mut failed = 0;
        for round in 1..=self.rounds {
            for (place, plan) in plans.iter().enumerate() {
                screen.begin(round, self.rounds, plan);
                let row = generator.row(plan, &mut |progress| screen.show(progress)).await.map_err(failure)?;
                let rows = rounds.entry(place).or_default();
                rows.push(row);
                if round == self.rounds
                    && let Some(row) = Row::median(rows)
                {
                    screen.clear();
                    printer.row(out, row.cells(), &row)?;
                    out.flush()?;
                    failed += row.errors_total();
                    let what = format!("{}, {} clients", row.workload, row.clients);
                    tell_errors(&what, &row.errors, &row.error_messages);
                }
            }
        }
        screen.clear();
        printer.finish(out)?;
        match failed {
            0 => Ok(()),
            _ => Err(Failure::new(Exit::Failed, format!("{failed} operations got no result; they are in no figure"))
                .hint(STATUS_HINT)),
        }
    }

    async fn leases(&self, client: &Client, keys: Keys, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
        let (ttl, warm_up, duration) = (self.ttl, self.warm_up, self.duration);
        let plan = LeasesPlan { ttl, warm_up, duration, server_pids: self.server_pids.clone() };
        let (stop, mut screen) = (Stop::default(), Screen::new("acquiring them"));
        screen.row = format!("{} leases", self.leases.unwrap_or_default());
        let row = {
            let mut watcher = |progress| screen.show(progress);
            let mut holding = pin!(hold_leases(client, keys, &plan, &stop, &mut watcher));
            tokio::select! {
                row = &mut holding => row,
                _ = ctrl_c() => {
                    stop.set();
                    tokio::select! {
                        row = &mut holding => row,
                        _ = ctrl_c() => Err(LeasesError::Stopped),
                    }
                }
            }
        };
        screen.clear();
        let row: LeasesRow = row.map_err(leases_failure)?;
        let mut printer = Printer::new(format, LEASES_COLUMNS);
        printer.row(out, row.cells(), &row)?;
        printer.finish(out)?;
        tell_errors("releasing the leases", &row.errors, &row.error_messages);
        match (row.lost, row.errors_total()) {
            (0, 0) => Ok(()),
            (lost, unknown) => {
                let message = format!("{lost} of {} leases were lost, {unknown} more perhaps", row.leases);
                Err(Failure::new(Exit::Failed, message).hint(STATUS_HINT))
            }
        }
    }
}

/// Removes the keys of every bench, also of those that run now.
async fn remove_leftovers(client: &Client) -> Result<u64, Failure> {
    let mut found = Vec::new();
    let scan = client.scan_prefix(KEYS_PREFIX).keys_only();
    each_page(scan, u64::MAX, |items, _| {
        found.extend(items.iter().map(|kv| kv.key.clone()));
        Ok(())
    })
    .await?;
    let removed = found.len() as u64;
    let removing = stream::iter(found.into_iter().map(Ok::<_, Failure>));
    removing
        .try_for_each_concurrent(CLEAN_CONCURRENCY, async |key| {
            client.delete(key).await?;
            Ok(())
        })
        .await?;
    Ok(removed)
}

fn failure(error: BenchError) -> Failure {
    match &error {
        BenchError::Clients { .. } | BenchError::TooFewKeys { .. } | BenchError::NoTime | BenchError::Cpu(_) => {
            Failure::usage(error.to_string())
        }
        BenchError::Stopped => Failure::new(Exit::Failed, error.to_string()),
        BenchError::Load(problem) | BenchError::Clean(problem) => operation_failure(problem, error.to_string()),
    }
}

fn leases_failure(error: LeasesError) -> Failure {
    match &error {
        LeasesError::NoTime | LeasesError::Cpu(_) => Failure::usage(error.to_string()),
        // The one thing that may be wrong with it: the ttl.
        LeasesError::Acquire(problem) if problem.kind == "BAD_REQUEST" => Failure::usage(&problem.message),
        LeasesError::Stopped => Failure::new(Exit::Failed, "interrupted"),
        LeasesError::Acquire(problem) => operation_failure(problem, error.to_string()),
    }
}

fn operation_failure(problem: &OpError, message: String) -> Failure {
    let nobody = ["NO_ANSWER", "UNAVAILABLE"].contains(&problem.kind);
    Failure::new(if nobody { Exit::CannotConnect } else { Exit::Failed }, message)
        .hint("`ringctl cluster status` shows which nodes answer")
}

fn tell_errors(what: &str, errors: &BTreeMap<String, u64>, messages: &BTreeMap<String, String>) {
    for (kind, count) in errors {
        let message = messages.get(kind).map(String::as_str).unwrap_or_default();
        eprintln!("{what}: {count} times {kind}, first: {message}");
    }
}

/// Prints rows as they come.
enum Printer {
    Table(Table),
    Json { is_empty: bool },
    Ndjson,
}

impl Printer {
    fn new(format: Format, columns: &'static [&'static str]) -> Printer {
        match format {
            Format::Table => Printer::Table(Table::new(columns)),
            Format::Json => Printer::Json { is_empty: true },
            Format::Ndjson => Printer::Ndjson,
        }
    }

    fn row(&mut self, out: &mut dyn Write, cells: Vec<String>, row: &impl Serialize) -> io::Result<()> {
        match self {
            Printer::Table(table) => return table.rows(out, &[cells]),
            Printer::Json { is_empty } => {
                out.write_all(if *is_empty { b"[\n" } else { b",\n" })?;
                *is_empty = false;
                serde_json::to_writer(&mut *out, row)?;
            }
            Printer::Ndjson => {
                serde_json::to_writer(&mut *out, row)?;
                writeln!(out)?;
            }
        }
        Ok(())
    }

    fn finish(self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Printer::Table(_) | Printer::Ndjson => Ok(()),
            Printer::Json { .. } => writeln!(out, "\n]"),
        }
    }
}

/// Signs of life on stderr: a line that is rewritten on a terminal, a line now and then elsewhere.
struct Screen {
    bar: ProgressBar,
    terminal: bool,
    /// What is done before anything is measured.
    loading: &'static str,
    row: String,
    last_line: Instant,
}

impl Screen {
    fn new(loading: &'static str) -> Screen {
        let terminal = io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        let style =
            ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        Screen { bar: bar.with_style(style), terminal, loading, row: String::new(), last_line: Instant::now() }
    }

    fn begin(&mut self, round: u16, rounds: u16, plan: &Plan) {
        let round = if rounds > 1 { format!("round {round} of {rounds}, ") } else { String::new() };
        self.row = format!("{round}{}, {} clients", plan.workload, plan.clients);
    }

    fn show(&mut self, progress: Progress) {
        let phase = match progress.phase {
            Phase::Load => self.loading,
            Phase::WarmUp => "warming up",
            Phase::Measure => "measuring",
            Phase::Finish => "waiting for the last answers",
        };
        let seconds = progress.elapsed.as_secs_f64();
        let message = format!("{}: {phase}, {seconds:.1} s, {} done", self.row, progress.operations);
        if !self.terminal && self.last_line.elapsed() >= PROGRESS_LINE_EVERY {
            self.last_line = Instant::now();
            eprintln!("{message}");
        }
        self.bar.set_message(message);
        self.bar.tick();
    }

    /// So that a row or a message begins at the beginning of a line.
    fn clear(&self) {
        self.bar.finish_and_clear();
        self.bar.reset();
    }
}
