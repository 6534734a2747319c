//! `cargo xtask leases`: what it costs a cluster to keep many leases.
//!
//! Three nodes run, each a process with the settings that it comes with. One service (`ringctl bench --leases`) acquires 10,000 locks
//! with a ttl of 10 s, and then does nothing: its SDK renews each when a third of that has passed. For 30 s the CPU time of
//! each node is measured. Two claims are judged, and each that fails makes the exit code 1:
//!
//! * **CPU** of no node is more than 10 % of a core. All of it counts, also what a node needs when nobody asks it; that is measured
//!   first and shown beside.
//! * **None is lost**: at the end the service still believes in each lease, and each can be released.
//!
//! CPU is read in hundredths of a second, so a node's figure is good to a thousandth of a core or so.

use std::fs::{self, File};
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::bench::driver::{STUCK_AFTER, cpu_seconds};
use crate::cargo::Cargo;
use crate::cluster::{Cluster, tail};
use crate::failure::{Context, Failure, Outcome, fail};
use crate::janitor::Janitor;
use crate::json::Json;
use crate::overload::number;
use crate::prerequisites;
use crate::ringctl::Ringctl;
use crate::say::{self, Progress};

/// Of a core, on any node.
const CORES_MAX: f64 = 0.1;
/// How long the nodes are watched doing nothing.
const IDLE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(200);

const COUNT: RangeInclusive<u64> = 1..=1_000_000;
const SECONDS: RangeInclusive<u64> = 1..=24 * 3600;
/// As Ringfence has it.
const TTL_MS: RangeInclusive<u64> = 100..=24 * 3600 * 1000;

/// What the command line asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    count: u64,
    ttl: Duration,
    seconds: u64,
    json: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(args: &[&str]) -> Result<Options, String> {
        let mut options = Options { count: 10_000, ttl: Duration::from_secs(10), seconds: 30, json: None };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match *arg {
                "--count" => options.count = number(arg, args.next(), COUNT)?,
                "--ttl" => options.ttl = ttl(args.next())?,
                "--seconds" => options.seconds = number(arg, args.next(), SECONDS)?,
                "--json" => options.json = Some(args.next().ok_or("--json needs a file")?.into()),
                other => return Err(format!("`{other}` is not an option of leases")),
            }
        }
        Ok(options)
    }
}

/// `500ms` or `10s`.
fn ttl(text: Option<&&str>) -> Result<Duration, String> {
    let ms = text.and_then(|text| match text.strip_suffix("ms") {
        Some(ms) => ms.parse().ok(),
        None => text.strip_suffix('s')?.parse::<u64>().ok()?.checked_mul(1000),
    });
    let ms = ms.filter(|ms| TTL_MS.contains(ms));
    ms.map(Duration::from_millis).ok_or_else(|| "--ttl needs a time from 100ms to 86400s".into())
}

/// What the run showed.
#[derive(Clone, Debug, PartialEq)]
struct Measured {
    leases: u64,
    ttl_ms: u64,
    seconds: f64,
    acquire_seconds: f64,
    lost: u64,
    /// Leases of which it is not known.
    errors: u64,
    client_cores: f64,
    nodes: Vec<Node>,
}

/// How many cores a node used.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Node {
    idle: f64,
    cores: f64,
}

/// Builds, measures, prints, judges.
pub(crate) fn run(options: Options) -> Outcome {
    let cargo = Cargo::find()?;
    // Before the build: whoever gave a wrong name shall not wait for it.
    let mut json = match &options.json {
        Some(path) => Some(File::create(path).context(format!("creating {}", path.display()))?),
        None => None,
    };
    prerequisites::ensure()?;
    // Programs alone, as `bench` builds them and for its reason: the tests' features would cost what users don't pay.
    let mut built = cargo.build(&["--workspace", "--bins"])?;
    let (Some(ringfence), Some(ringctl)) = (built.executables.remove("ringfence"), built.executables.remove("ringctl"))
    else {
        return fail("the build made no `ringfence` or no `ringctl`; is the checkout complete?");
    };
    // Not where temporary files go, which may be memory: there fsync is nothing.
    let dir = cargo.target().join("leases");
    fs::create_dir_all(&dir).context(format!("creating {}", dir.display()))?;

    say::step("starting three nodes on loopback, each its own process and its own disk directory");
    let mut cluster = Cluster::start(&ringfence, &dir)?;
    let ringctl = Ringctl::new(&ringctl, &cluster.endpoints());
    cluster.wait_until_healthy(&ringctl)?;
    let measured = measure(&mut cluster, &ringctl, &options)?;
    drop(cluster);

    print(&measured);
    if let (Some(file), Some(path)) = (&mut json, &options.json) {
        writeln!(file, "{}", measured.json()).context(format!("writing {}", path.display()))?;
        say::note(format!("all figures written to {}", path.display()));
    }
    match measured.problems().as_slice() {
        [] => Ok(()),
        problems => fail(problems.join("; ")),
    }
}

fn measure(cluster: &mut Cluster, ringctl: &Ringctl, options: &Options) -> Outcome<Measured> {
    say::step(format!("watching them do nothing for {}", say::duration(IDLE)));
    let idle = idle(cluster)?;
    let (count, seconds) = (say::thousands(options.count as usize), Duration::from_secs(options.seconds));
    say::step(format!("keeping {count} leases of {} alive for {}", say::duration(options.ttl), say::duration(seconds)));
    let (printed, log) = (cluster.dir().join("leases.ndjson"), cluster.dir().join("leases.log"));
    let create = |path: &PathBuf| File::create(path).context(format!("creating {}", path.display()));
    let pids: Vec<String> = cluster.pids().iter().map(u32::to_string).collect();
    let mut command = ringctl.command(&["bench", "-w", "ndjson", "--leases", &options.count.to_string()]);
    command.args(["--ttl", &format!("{}ms", options.ttl.as_millis()), "--duration", &format!("{}s", options.seconds)]);
    command.args(["--server-pids", &pids.join(",")]).stdout(create(&printed)?).stderr(create(&log)?);
    let process = command.stdin(Stdio::null()).spawn().context("cannot start `ringctl bench`")?;
    cluster.janitor().watch(process.id());
    let mut service = Service { process, janitor: cluster.janitor() };
    service.wait(cluster, seconds).map_err(|failure| Failure(format!("{}; it said:\n{}", failure.0, tail(&log))))?;
    let printed = fs::read_to_string(&printed).context(format!("reading {}", printed.display()))?;
    // A row with lost leases is a row; the exit code says so too.
    match printed.is_empty() {
        true => fail(format!("`ringctl bench --leases` failed; it said:\n{}", tail(&log))),
        false => Measured::read(&printed, &idle),
    }
}

/// What each node uses while nobody asks it.
fn idle(cluster: &Cluster) -> Outcome<Vec<f64>> {
    let each = || cluster.pids().iter().map(|pid| cpu_seconds(&[*pid])).collect::<Outcome<Vec<f64>>>();
    let (begun, before) = (Instant::now(), each()?);
    std::thread::sleep(IDLE);
    let (elapsed, after) = (begun.elapsed().as_secs_f64(), each()?);
    Ok(after.iter().zip(before).map(|(after, before)| (after - before) / elapsed).collect())
}

/// The `ringctl` that holds the leases. Dropping it kills it, if it still runs.
struct Service {
    process: Child,
    janitor: Rc<Janitor>,
}

impl Service {
    fn wait(&mut self, cluster: &mut Cluster, seconds: Duration) -> Outcome {
        let begun = Instant::now();
        let mut progress = Progress::new();
        while self.process.try_wait().context("asking after `ringctl bench`")?.is_none() {
            if begun.elapsed() > seconds + STUCK_AFTER {
                return fail("`ringctl bench --leases` is stuck");
            }
            cluster.check_alive()?;
            progress.show(&format!("{} so far", say::duration(begun.elapsed())));
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.janitor.forget(self.process.id());
    }
}

impl Measured {
    /// Of the line that `ringctl bench --leases` printed.
    fn read(line: &str, idle: &[f64]) -> Outcome<Measured> {
        let json = Json::parse(line).context("reading what the load generator printed")?;
        let member = |member: &str| match json.get(member) {
            Some(value) => Ok(value),
            None => fail(format!("the load generator printed no {member}: {line}")),
        };
        let wrong = |name: &str| Failure(format!("the load generator printed a {name} that is none: {line}"));
        let number = |name: &str| member(name)?.f64().ok_or_else(|| wrong(name));
        let count = |name: &str| member(name)?.u64().ok_or_else(|| wrong(name));
        let Json::Object(errors) = member("errors")? else { return Err(wrong("errors")) };
        let cores: Option<Vec<f64>> = json.list("server_cores").iter().map(Json::f64).collect();
        let cores = cores.filter(|cores| cores.len() == idle.len()).ok_or_else(|| wrong("server_cores"))?;
        Ok(Measured {
            leases: count("leases")?,
            ttl_ms: count("ttl_ms")?,
            seconds: number("seconds")?,
            acquire_seconds: number("acquire_seconds")?,
            lost: count("lost")?,
            errors: errors.values().filter_map(Json::u64).sum(),
            client_cores: number("client_cores")?,
            nodes: idle.iter().zip(cores).map(|(idle, cores)| Node { idle: *idle, cores }).collect(),
        })
    }

    /// What is not as it should be.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (number, node) in (1..).zip(&self.nodes).filter(|(_, node)| node.cores > CORES_MAX) {
            let (used, most) = (percent(node.cores), percent(CORES_MAX));
            problems.push(format!("node {number} used {used} of a core, and {most} is the most"));
        }
        if self.lost > 0 {
            problems.push(format!("{} of {} leases were lost", self.lost, self.leases));
        }
        if self.errors > 0 {
            problems.push(format!("of {} leases it is not known whether they were lost", self.errors));
        }
        problems
    }

    fn json(&self) -> String {
        let each = |figure: fn(&Node) -> f64| {
            let figures: Vec<String> = self.nodes.iter().map(|node| format!("{:.4}", figure(node))).collect();
            figures.join(",")
        };
        format!(
            "{{\"leases\":{},\"ttl_ms\":{},\"seconds\":{:.1},\"acquire_seconds\":{:.3},\"lost\":{},\"errors\":{},\
             \"client_cores\":{:.4},\"idle_cores\":[{}],\"server_cores\":[{}],\"holds\":{}}}",
            self.leases,
            self.ttl_ms,
            self.seconds,
            self.acquire_seconds,
            self.lost,
            self.errors,
            self.client_cores,
            each(|node| node.idle),
            each(|node| node.cores),
            self.problems().is_empty()
        )
    }
}

fn print(measured: &Measured) {
    let leases = say::thousands(measured.leases as usize);
    say::step(format!("what it cost to keep {leases} leases of {} ms for {} s", measured.ttl_ms, measured.seconds));
    let mut table = say::header(&["", "of a core", "doing nothing", "the most", ""]);
    for (number, node) in (1..).zip(&measured.nodes) {
        let verdict = if node.cores <= CORES_MAX { "holds" } else { "DOES NOT HOLD" };
        let (used, idle, most) = (percent(node.cores), percent(node.idle), percent(CORES_MAX));
        table.push(vec![format!("node {number}"), used, idle, most, verdict.into()]);
    }
    table.push(vec!["the service".into(), percent(measured.client_cores), "".into(), "".into(), "".into()]);
    say::table(&table);
    let each = measured.leases as f64 * 3e3 / measured.ttl_ms as f64;
    say::note(format!("about {} renewals a second", say::thousands(each.round() as usize)));
    say::note(format!("they were acquired in {:.1} s, and {} were lost", measured.acquire_seconds, measured.lost));
}

fn percent(cores: f64) -> String {
    format!("{:.1} %", cores * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        let ttl = Duration::from_secs(10);
        assert_eq!(Options::parse(&[]), Ok(Options { count: 10_000, ttl, seconds: 30, json: None }));
        let all = ["--count", "5", "--ttl", "500ms", "--seconds", "2", "--json", "x"];
        let expected = Options { count: 5, ttl: Duration::from_millis(500), seconds: 2, json: Some("x".into()) };
        assert_eq!(Options::parse(&all), Ok(expected));
        assert_eq!(Options::parse(&["--ttl", "10s"]).map(|options| options.ttl), Ok(ttl));
        for args in [
            &["--count"][..],
            &["--count", "0"],
            &["--ttl"],
            &["--ttl", "10"],
            &["--ttl", "99ms"],
            &["--ttl", "86401s"],
            &["--seconds", "0"],
            &["--json"],
            &["now"],
        ] {
            assert!(Options::parse(args).is_err(), "{args:?}");
        }
    }

    /// As `ringctl bench --leases` prints it.
    const LINE: &str = r#"{"leases":10000,"ttl_ms":10000,"acquire_seconds":1.5,"seconds":30.0,"lost":0,"errors":{},
        "client_cores":0.05,"server_cores":[0.1,0.02,0.03]}"#;

    /// A proof that cannot fail proves nothing.
    #[test]
    fn each_claim_can_fail_alone() {
        let problems = |replace: &str, with: &str| {
            assert!(LINE.contains(replace));
            Measured::read(&LINE.replace(replace, with), &[0.01; 3]).unwrap().problems()
        };
        assert_eq!(problems("0.1,", "0.1,"), [""; 0]);
        assert_eq!(problems("0.03]", "0.101]"), ["node 3 used 10.1 % of a core, and 10.0 % is the most"]);
        assert_eq!(problems(r#""lost":0"#, r#""lost":2"#), ["2 of 10000 leases were lost"]);
        let unknown = problems("{}", r#"{"NO_ANSWER":3}"#);
        assert_eq!(unknown, ["of 3 leases it is not known whether they were lost"]);
    }

    #[test]
    fn half_a_row_is_refused_and_a_whole_one_is_told_in_json() {
        for missing in ["leases", "ttl_ms", "seconds", "lost", "errors", "client_cores", "server_cores"] {
            let line = LINE.replace(&format!("\"{missing}\""), "\"other\"");
            assert!(Measured::read(&line, &[0.01; 3]).is_err(), "{missing}");
        }
        assert!(Measured::read(LINE, &[0.01; 2]).is_err(), "a node is missing");
        let json = Json::parse(&Measured::read(LINE, &[0.01; 3]).unwrap().json()).unwrap();
        assert_eq!(json.list("server_cores").iter().filter_map(Json::f64).collect::<Vec<_>>(), [0.1, 0.02, 0.03]);
        assert_eq!(json.get("holds"), Some(&Json::Bool(true)));
    }
}
