//! `cargo xtask bench`: how fast we are, beside etcd and beside what the machine could do, in one run.
//!
//! Figures of two runs, or of two machines, can't be compared; so everything that is compared is measured here, in turn,
//! on the same disk, by the same load generator (`ringfence-bench`, which `ringctl bench` and `bench-etcd` share).
//!
//! Three nodes of ours and three of etcd run all the time, each a process of its own, with fsync on and with the settings
//! that they come with. One row of one of them is measured at a time: ours through the SDK, ours through plain gRPC, etcd,
//! then the next row; so that what changes with time (a disk that gets slower, a neighbour) meets all alike. The
//! cluster that is not measured idles: heartbeats only, and their cost is measured and printed. It is not stopped with SIGSTOP:
//! followers whose leader does not answer call elections as soon as they run again, and the first row would measure that.
//!
//! Locks stand beside etcd's Lock service, and beside our own put: what one client pays to acquire, and what to release, each to
//! the p50 of a put of the same run.
//!
//! Each figure is the median of the rounds. CPU is that of the three server processes, and of the client, over the
//! measured time alone; on few cores the clients' share decides what is left for the servers.

pub(crate) mod driver;
mod etcd;
pub(crate) mod figures;
mod limits;
mod report;
mod rows;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use driver::{Driver, Shape};
use etcd::Etcd;
use figures::Figures;
use limits::Limit;
use rows::Row;

use crate::cargo::Cargo;
use crate::cluster::Cluster;
use crate::failure::{Context, Failure, Outcome};
use crate::ringctl::Ringctl;
use crate::say::Progress;
use crate::{prerequisites, say};

/// How long both clusters are watched doing nothing.
const IDLE: Duration = Duration::from_secs(2);

/// What the command line asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Measure etcd too.
    peer: bool,
    /// Which of its members are asked, as `bench-etcd` has it: the leader alone, which is what etcd is best at, or all.
    peer_to: String,
    /// Measure the limits of the machine too.
    limits: bool,
    quick: bool,
    rounds: usize,
    /// Only rows whose name contains one of these; none: all.
    rows: Vec<String>,
    json: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(args: &[&str]) -> Result<Options, String> {
        let mut options = Options {
            peer: false,
            peer_to: "leader".into(),
            limits: false,
            quick: false,
            rounds: 5,
            rows: Vec::new(),
            json: None,
        };
        let mut rounds = None;
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match *arg {
                "--peer" => match args.next() {
                    Some(&"etcd") => options.peer = true,
                    _ => return Err("--peer needs the name of one; there is etcd".into()),
                },
                "--peer-to" => match args.next() {
                    Some(to @ (&"leader" | &"all")) => options.peer_to = (*to).into(),
                    _ => return Err("--peer-to needs `leader` or `all`".into()),
                },
                "--limits" => options.limits = true,
                "--quick" => options.quick = true,
                "--rounds" => {
                    let number = args.next().and_then(|number| number.parse().ok()).filter(|number| *number > 0);
                    rounds = Some(number.ok_or("--rounds needs a positive number")?);
                }
                "--rows" => {
                    let filter = args.next().ok_or("--rows needs parts of names, such as put,get-64")?;
                    options.rows = filter.split(',').map(str::to_owned).collect();
                }
                "--json" => options.json = Some(args.next().ok_or("--json needs a file")?.into()),
                other => return Err(format!("`{other}` is not an option of bench")),
            }
        }
        options.rounds = rounds.unwrap_or(if options.quick { 1 } else { options.rounds });
        if Row::all().iter().all(|row| !options.wants(row)) {
            let names: Vec<String> = Row::all().iter().map(Row::name).collect();
            return Err(format!("no row is called so; there are {}", names.join(", ")));
        }
        Ok(options)
    }

    fn wants(&self, row: &Row) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|part| row.name().contains(part.as_str()))
    }

    fn shape(&self) -> Shape {
        match self.quick {
            true => Shape { warm_up: Duration::from_millis(300), duration: Duration::from_millis(1500), keys: 2_000 },
            false => Shape { warm_up: Duration::from_secs(1), duration: Duration::from_secs(5), keys: 10_000 },
        }
    }
}

/// The programs that are run.
struct Programs {
    ringfence: PathBuf,
    ringctl: PathBuf,
    limits: PathBuf,
    /// The peer's load generator and server.
    peer: Option<(PathBuf, etcd::Binary)>,
}

/// What was measured of one row.
pub(crate) struct Measured {
    row: Row,
    ours: Vec<Figures>,
    /// Rows that differ only in our path share what was measured of the peer.
    peers: Vec<Figures>,
}

/// Builds, starts, measures, prints.
pub(crate) fn run(options: Options) -> Outcome {
    let cargo = Cargo::find()?;
    // Before the builds: whoever gave a wrong name shall not wait for them.
    let mut json = match &options.json {
        Some(path) => Some(File::create(path).context(format!("creating {}", path.display()))?),
        None => None,
    };
    let programs = build(&cargo, &options)?;
    // Not where temporary files go, which may be memory: there fsync is nothing.
    let dir = cargo.target().join("bench");
    fs::create_dir_all(&dir).context(format!("creating {}", dir.display()))?;

    let mut wanted: Vec<Row> = Row::all();
    wanted.retain(|row| options.wants(row));
    let mut measured: Vec<Measured> =
        wanted.into_iter().map(|row| Measured { row, ours: Vec::new(), peers: Vec::new() }).collect();
    let mut limits: Vec<Limit> = Vec::new();
    measure(&programs, &options, &dir, &mut measured, &mut limits)?;

    report::print(&measured, &limits, &options);
    if let (Some(file), Some(path)) = (&mut json, &options.json) {
        let lines: String = measured.iter().map(|measured| figures::json(measured) + "\n").collect();
        let lines = lines + &limits.iter().map(|limit| limit.json() + "\n").collect::<String>();
        file.write_all(lines.as_bytes()).context(format!("writing {}", path.display()))?;
        say::note(format!("{} rows written to {}", measured.len(), path.display()));
    }
    Ok(())
}

fn build(cargo: &Cargo, options: &Options) -> Outcome<Programs> {
    prerequisites::ensure()?;
    // What may be missing comes before what takes long.
    let etcd = match options.peer {
        true => {
            prerequisites::ensure_protoc()?;
            Some(etcd::Binary::get(&cargo.target().join("etcd"))?)
        }
        false => None,
    };
    // Programs alone, unlike `demo` and `test`: with the tests come features of shared crates that only tests want, such as a tokio
    // clock that can be stopped, and every look at the clock would cost more than it does in what users build.
    let mut built = cargo.build(&["--workspace", "--bins"])?;
    if etcd.is_some() {
        built.executables.append(&mut cargo.build_apart("bench-peer")?.executables);
    }
    let mut program = |name: &str| {
        let missing = || Failure(format!("the build made no `{name}`; is the checkout complete?"));
        built.executables.remove(name).ok_or_else(missing)
    };
    let (ringfence, ringctl, limits) = (program("ringfence")?, program("ringctl")?, program("ringfence-limits")?);
    let peer = etcd.map(|etcd| Ok((program("bench-etcd")?, etcd))).transpose()?;
    Ok(Programs { ringfence, ringctl, limits, peer })
}

fn measure(
    programs: &Programs,
    options: &Options,
    dir: &Path,
    measured: &mut [Measured],
    limits: &mut Vec<Limit>,
) -> Outcome {
    say::step("starting three nodes of Ringfence on loopback, each its own process and its own disk directory");
    let mut cluster = Cluster::start(&programs.ringfence, dir)?;
    cluster.wait_until_healthy(&Ringctl::new(&programs.ringctl, &cluster.endpoints()))?;
    let mut peer = match &programs.peer {
        Some((driver, binary)) => {
            say::step("starting three members of etcd the same way");
            say::note(&binary.version);
            let etcd = Etcd::start(binary, dir)?;
            Some((driver, etcd))
        }
        None => None,
    };
    report_idle(&cluster, peer.as_ref().map(|(_, etcd)| etcd))?;

    let shape = options.shape();
    // Rows that differ only in our path are measured one after the other, with one measurement of the peer.
    let mut cells: Vec<(&'static str, usize)> = Vec::new();
    for Measured { row, .. } in measured.iter() {
        if cells.last() != Some(&(row.workload, row.clients)) {
            cells.push((row.workload, row.clients));
        }
    }
    let each_round = measured.len() + if peer.is_some() { cells.len() } else { 0 } + usize::from(options.limits);
    let steps = options.rounds * each_round;
    say::step(format!(
        "measuring: {} rounds of {each_round} measurements, {} each",
        options.rounds,
        say::duration(shape.warm_up + shape.duration)
    ));
    let mut driver = Driver::new(cluster.dir(), cluster.janitor(), shape, Steps::new(steps));
    for round in 1..=options.rounds {
        driver.round(round, options.rounds);
        for (workload, clients) in &cells {
            for measured in measured.iter_mut().filter(|m| (m.row.workload, m.row.clients) == (*workload, *clients)) {
                let mut command = Ringctl::new(&programs.ringctl, &cluster.endpoints()).command(&["bench"]);
                command.args(["--path", measured.row.path.name(), "-w", "ndjson"]);
                let what = format!("Ringfence {}", measured.row.name());
                measured.ours.push(driver.measure(&what, command, workload, *clients, &cluster.pids())?);
                cluster.check_alive()?;
            }
            if let Some((program, etcd)) = &mut peer {
                let what = format!("etcd {workload}-{clients}");
                let mut command = etcd.command(program);
                command.args(["--to", &options.peer_to]);
                let figures = driver.measure(&what, command, workload, *clients, &etcd.pids())?;
                etcd.check_alive()?;
                for measured in measured.iter_mut() {
                    if (measured.row.workload, measured.row.clients) == (*workload, *clients) {
                        measured.peers.push(figures.clone());
                    }
                }
            }
        }
        if options.limits {
            limits::measure(&mut driver, &programs.limits, dir, limits)?;
        }
    }
    Ok(())
}

/// Shows what the cluster that is not measured costs the one that is.
fn report_idle(cluster: &Cluster, peer: Option<&Etcd>) -> Outcome {
    let cpu = || -> Outcome<Vec<f64>> {
        let ours = driver::cpu_seconds(&cluster.pids())?;
        let peers = peer.map(|etcd| driver::cpu_seconds(&etcd.pids())).transpose()?;
        Ok([Some(ours), peers].into_iter().flatten().collect())
    };
    let (begun, before) = (Instant::now(), cpu()?);
    std::thread::sleep(IDLE);
    let (elapsed, after) = (begun.elapsed().as_secs_f64(), cpu()?);
    let shares =
        before.iter().zip(&after).map(|(before, after)| format!("{:.1} %", (after - before) / elapsed * 100.0));
    let shares: Vec<String> = shares.collect();
    let names = ["Ringfence", "etcd"];
    let idle: Vec<String> = names.iter().zip(shares).map(|(name, share)| format!("{name} {share}")).collect();
    say::note(format!("while nobody asks them they use, of one core: {}", idle.join(", ")));
    Ok(())
}

/// Where in the whole run we are.
pub(crate) struct Steps {
    begun: Instant,
    done: usize,
    total: usize,
    round: String,
    progress: Progress,
}

impl Steps {
    fn new(total: usize) -> Steps {
        Steps { begun: Instant::now(), done: 0, total, round: String::new(), progress: Progress::new() }
    }

    fn show(&mut self, what: &str) {
        let left = match self.done {
            0 => String::new(),
            done => {
                let each = self.begun.elapsed() / done as u32;
                format!(", about {} left", say::duration(each * (self.total - done) as u32))
            }
        };
        self.progress.show(&format!("{}, {} of {}: {what}{left}", self.round, self.done + 1, self.total));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        let plain = Options::parse(&[]).unwrap();
        assert_eq!((plain.peer, plain.quick, plain.limits, plain.rounds), (false, false, false, 5));
        let all = [
            "--peer",
            "etcd",
            "--peer-to",
            "all",
            "--quick",
            "--limits",
            "--rounds",
            "3",
            "--rows",
            "put,get-1-",
            "--json",
            "x",
        ];
        let all = Options::parse(&all).unwrap();
        assert_eq!((all.peer, all.quick, all.limits, all.rounds), (true, true, true, 3));
        assert_eq!((plain.peer_to.as_str(), all.peer_to.as_str()), ("leader", "all"));
        assert_eq!(Options::parse(&["--quick"]).unwrap().rounds, 1);
        for args in [
            &["--peer"][..],
            &["--peer", "zookeeper"],
            &["--peer-to", "follower"],
            &["--rounds", "0"],
            &["--rounds"],
            &["--rows"],
            &["--rows", "no-such-row"],
            &["--json"],
            &["now"],
        ] {
            assert!(Options::parse(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn a_filter_picks_rows_by_parts_of_their_names() {
        let picked = |filter: &str| {
            let options = Options::parse(&["--rows", filter]).unwrap();
            Row::all().iter().filter(|row| options.wants(row)).map(Row::name).collect::<Vec<_>>()
        };
        assert_eq!(picked("put-64"), ["put-64-sdk", "put-64-unary"]);
        assert_eq!(picked("put-256-sdk,get-1-unary"), ["put-256-sdk", "get-1-unary"]);
        assert_eq!(picked("lock-hot"), ["lock-hot-16-sdk", "lock-hot-16-unary"]);
    }
}
