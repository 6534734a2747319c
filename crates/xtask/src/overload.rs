//! `cargo xtask overload`: what becomes of a cluster that is asked for many times what it can do.
//!
//! Three nodes run, each a process with the settings that it comes with. First as many clients as fill them put keys: what
//! they get done is the **capacity**. Then ten times as many do so, for ten minutes, while the resident memory of each node
//! is read every second. Then the first ones once more. Four claims are judged, and each that fails makes the exit code 1:
//!
//! * **Goodput** is at least 0.8 × capacity: work that is refused, or done for callers who have left, must not eat up the
//!   work that counts.
//! * **Memory** of each node is bounded: what it holds in the last minute is at most 1.25 × the most it held before half
//!   time. A queue that grows as long as the overload lasts shows there; of slower growth the table tells.
//! * **p99** of the requests that were accepted is at most 5 s, in every load generator.
//! * **No errors** but `OVERLOADED`, in any of the three measurements: who is turned away is told so, and nothing else breaks.
//!
//! # How to read it
//!
//! * Clients are closed loops (`ringfence-bench` says more), so they cannot ask faster than they are answered. The overload is
//!   their number: at the latency that the capacity was measured at, ten times as many would get ten times as much. It is a
//!   queue that is ten times too long, not an arrival ten times too fast; what an open loop would do is not shown.
//! * A refusal is not an error yet: the SDK waits as the server told it and asks again, until 10 s are over. So a latency
//!   holds all refusals and waits on the way to one success, and an `OVERLOADED` in the table is a call that was refused
//!   until its time was over, and did nothing.
//! * One process has 512 clients at most, so the many are spread over several, each with an SDK client of its own, as
//!   services have. Rates, errors and CPU of the processes add up. Percentiles don't: p50 and p99 of the overload are the
//!   highest of any process.
//! * The **light** client runs all along: a process of its own with one client alone. Its latency is what fairness is
//!   worth: one who asks for little should not wait as long as those who ask for all they can get. It is shown, not judged.
//! * Load generators and servers share the cores of this machine, and many clients take more of them than few do. The
//!   table has the cores that each side used, so that a goodput can be told from a machine that had none left.
//!
//! Nothing of the overload is left out: it counts from the first request on, without a warm-up. Ten minutes of puts are
//! some gigabytes on disk for each node, because replaced versions are kept for as long; they go with the cluster.

mod load;
mod memory;
mod report;
mod row;
mod verdict;

use std::fs::{self, File};
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use load::{CLIENTS_MAX, Load, Plan};
use memory::{Memory, Resident};
use row::Row;

use crate::cargo::Cargo;
use crate::cluster::Cluster;
use crate::failure::{Context, Outcome, fail};
use crate::ringctl::Ringctl;
use crate::say::Progress;
use crate::{prerequisites, say};

/// A new cluster's first seconds: connections, first elections, memtables.
const CAPACITY_WARM_UP: Duration = Duration::from_secs(5);
const CAPACITY: Duration = Duration::from_secs(20);
/// Afterwards there is nothing to warm up but the load generator: whether the cluster has recovered is what is asked.
const AFTERWARDS_WARM_UP: Duration = Duration::from_secs(1);
const AFTERWARDS: Duration = Duration::from_secs(10);
/// The least that `ringctl bench` takes.
const NO_WARM_UP: Duration = Duration::from_millis(1);

/// How often the memory of the servers is read.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// The last minute is compared with what came before half time, so there must be two.
const MINUTES: RangeInclusive<u64> = 2..=24 * 60;
const TIMES: RangeInclusive<usize> = 1..=100;

/// What the command line asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    minutes: u64,
    /// So many times the clients.
    times: usize,
    /// As many clients as fill the cluster.
    clients: usize,
    json: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(args: &[&str]) -> Result<Options, String> {
        let mut options = Options { minutes: 10, times: 10, clients: 256, json: None };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match *arg {
                "--minutes" => options.minutes = number(arg, args.next(), MINUTES)?,
                "--times" => options.times = number(arg, args.next(), TIMES)?,
                "--clients" => options.clients = number(arg, args.next(), 1..=CLIENTS_MAX)?,
                "--json" => options.json = Some(args.next().ok_or("--json needs a file")?.into()),
                other => return Err(format!("`{other}` is not an option of overload")),
            }
        }
        Ok(options)
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.minutes * 60)
    }
}

/// A number that an option needs.
pub(crate) fn number<T>(option: &str, value: Option<&&str>, range: RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let number = value.and_then(|value| value.parse().ok()).filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{option} needs a number from {} to {}", range.start(), range.end()))
}

/// What the run showed.
pub(crate) struct Measured {
    options: Options,
    capacity: Row,
    /// The many clients, process by process.
    crowd: Vec<Row>,
    light: Row,
    afterwards: Row,
    /// Of each node, from the first on.
    memory: Vec<Resident>,
}

impl Measured {
    /// What all clients of the overload got, the light one among them.
    fn overload(&self) -> Row {
        Row::sum(self.crowd.iter().chain([&self.light]))
    }
}

/// Builds, measures, prints, judges.
pub(crate) fn run(options: Options) -> Outcome {
    let cargo = Cargo::find()?;
    // Before the build: whoever gave a wrong name shall not wait for it.
    let mut json = match &options.json {
        Some(path) => Some(File::create(path).context(format!("creating {}", path.display()))?),
        None => None,
    };
    let programs = build(&cargo)?;
    // Not where temporary files go, which may be memory: there fsync is nothing, and data would be taken for memory.
    let dir = cargo.target().join("overload");
    fs::create_dir_all(&dir).context(format!("creating {}", dir.display()))?;

    say::step("starting three nodes on loopback, each its own process and its own disk directory");
    let mut cluster = Cluster::start(&programs.ringfence, &dir)?;
    let ringctl = Ringctl::new(&programs.ringctl, &cluster.endpoints());
    cluster.wait_until_healthy(&ringctl)?;
    let measured = measure(&mut cluster, &ringctl, options)?;
    drop(cluster);

    let verdicts = verdict::judge(&measured);
    report::print(&measured, &verdicts);
    if let (Some(file), Some(path)) = (&mut json, &measured.options.json) {
        writeln!(file, "{}", report::json(&measured, &verdicts)).context(format!("writing {}", path.display()))?;
        say::note(format!("all figures written to {}", path.display()));
    }
    let failed: Vec<String> =
        verdicts.iter().filter(|verdict| !verdict.holds).map(|v| format!("{}: {}", v.claim, v.found)).collect();
    match failed.len() {
        0 => Ok(()),
        count => fail(format!("{count} of {} claims do not hold:\n    {}", verdicts.len(), failed.join("\n    "))),
    }
}

/// The programs that are run.
struct Programs {
    ringfence: PathBuf,
    ringctl: PathBuf,
}

fn build(cargo: &Cargo) -> Outcome<Programs> {
    prerequisites::ensure()?;
    // Programs alone, as `bench` builds them and for its reason: the tests' features would cost what users don't pay.
    let mut built = cargo.build(&["--workspace", "--bins"])?;
    match (built.executables.remove("ringfence"), built.executables.remove("ringctl")) {
        (Some(ringfence), Some(ringctl)) => Ok(Programs { ringfence, ringctl }),
        _ => fail("the build made no `ringfence` or no `ringctl`; is the checkout complete?"),
    }
}

fn measure(cluster: &mut Cluster, ringctl: &Ringctl, options: Options) -> Outcome<Measured> {
    let (clients, duration) = (options.clients, options.duration());

    say::step(format!("capacity: {clients} clients for {}", say::duration(CAPACITY)));
    let plan = Plan { clients, warm_up: CAPACITY_WARM_UP, duration: CAPACITY };
    let capacity = measure_alone(cluster, ringctl, "capacity", plan)?;

    let crowd = spread(clients * options.times, CLIENTS_MAX);
    say::step(format!(
        "overload: {} clients in {} processes, and a light one, for {}",
        say::thousands(crowd.iter().sum()),
        crowd.len(),
        say::duration(duration)
    ));
    let plan = |clients| Plan { clients, warm_up: NO_WARM_UP, duration };
    let mut loads = vec![Load::start(ringctl, cluster, "light", plan(1))?];
    for (number, clients) in (1..).zip(crowd) {
        loads.push(Load::start(ringctl, cluster, &format!("crowd-{number}"), plan(clients))?);
    }
    let (mut rows, memory) = watch(cluster, loads, duration)?;
    let light = rows.remove(0);

    say::step(format!("afterwards: {clients} clients for {}", say::duration(AFTERWARDS)));
    let plan = Plan { clients, warm_up: AFTERWARDS_WARM_UP, duration: AFTERWARDS };
    let afterwards = measure_alone(cluster, ringctl, "afterwards", plan)?;
    Ok(Measured { capacity, crowd: rows, light, afterwards, memory: memory.of_each_node(duration), options })
}

/// One load generator and no other.
fn measure_alone(cluster: &mut Cluster, ringctl: &Ringctl, name: &str, plan: Plan) -> Outcome<Row> {
    let load = Load::start(ringctl, cluster, name, plan)?;
    let (mut rows, _) = watch(cluster, vec![load], plan.warm_up + plan.duration)?;
    let row = rows.remove(0);
    match row.ops > 0.0 {
        true => say::note(format!("{} ops/s", say::thousands(row.ops.round() as usize))),
        false => return fail(format!("{name}: not one operation succeeded ({})", row.errors_text())),
    }
    Ok(row)
}

/// Waits for load generators to end well, with an eye on the servers. Rows are in the order of the load generators.
fn watch(cluster: &mut Cluster, mut loads: Vec<Load>, expected: Duration) -> Outcome<(Vec<Row>, Memory)> {
    let begun = Instant::now();
    let mut memory = Memory::default();
    let mut progress = Progress::new();
    loop {
        let sampled = memory.sample(begun.elapsed(), &cluster.pids());
        // A server that has ended says more than memory that can't be read.
        cluster.check_alive()?;
        sampled?;
        let rows: Vec<Option<Row>> = loads.iter_mut().map(Load::row).collect::<Outcome<_>>()?;
        if let Some(rows) = rows.into_iter().collect() {
            return Ok((rows, memory));
        }
        let elapsed = say::duration(begun.elapsed());
        progress.show(&format!("{elapsed} of {}: {}", say::duration(expected), memory.now()));
        std::thread::sleep(SAMPLE_EVERY);
    }
}

/// As few parts as none is larger than `each_max`, and all about equal.
fn spread(total: usize, each_max: usize) -> Vec<usize> {
    let parts = total.div_ceil(each_max);
    (0..parts).map(|part| total * (part + 1) / parts - total * part / parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        assert_eq!(Options::parse(&[]), Ok(Options { minutes: 10, times: 10, clients: 256, json: None }));
        let all = ["--minutes", "2", "--times", "3", "--clients", "512", "--json", "x"];
        let expected = Options { minutes: 2, times: 3, clients: 512, json: Some("x".into()) };
        assert_eq!(Options::parse(&all), Ok(expected));
        for args in [
            &["--minutes"][..],
            &["--minutes", "1"],
            &["--minutes", "1.5"],
            &["--minutes", "99999999999999999999"],
            &["--times", "0"],
            &["--clients", "0"],
            &["--clients", "513"],
            &["--json"],
            &["now"],
        ] {
            assert!(Options::parse(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn clients_are_spread_evenly_over_as_few_processes_as_can_have_them() {
        assert_eq!(spread(2560, 512), [512; 5]);
        assert_eq!(spread(1000, 512), [500; 2]);
        assert_eq!(spread(513, 512), [256, 257]);
        assert_eq!(spread(1, 512), [1]);
    }
}
