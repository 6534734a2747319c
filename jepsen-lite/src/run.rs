//! One run: a cluster, some workloads, some nemeses, one seed; from founding to judgement.
//!
//! ```text
//! means tested ─▶ nodes start ─▶ workers ask ───────────────────────────▶ final reads ─▶ replicas alike? ─▶ judged
//!                                    └▶ strike · hold · lift · well again ─▶ … ─▶ heal ─▶ everyone served again?
//! ```
//!
//! A run is *valid* only if every history is, every fault's means worked and bit, the cluster came back, and its replicas are alike.
//! It is a *violation* as soon as one promise was broken. Everything else is *unknown*, or the harness's own failure.

mod judgement;
mod schedule;
mod sightings;
mod stage;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use jepsen_checkers::{Event, Kind, Process, history};

use crate::nemesis::NemesisName;
use crate::results::{FaultBand, Results};
use crate::trouble::Trouble;
use crate::workload::{self, WorkloadName};

/// What is to be run.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// What clients do, separated by commas; all of them unless given
    #[arg(long, value_delimiter = ',')]
    pub workload: Vec<WorkloadName>,
    /// What breaks, separated by commas; several break things at once. None: nothing breaks
    #[arg(long, value_delimiter = ',')]
    pub nemesis: Vec<NemesisName>,
    /// Seconds during which clients ask and things break
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    pub time: u64,
    /// Repeats a schedule; a random one unless given
    #[arg(long)]
    pub seed: Option<u64>,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=9))]
    pub nodes: u64,
    /// Where to leave results, histories, node logs and the report; a new directory for each run below it
    #[arg(long, default_value = "jepsen-runs")]
    pub out: PathBuf,
    /// Leave the nodes' data, too
    #[arg(long)]
    pub keep_data: bool,
    /// The server to test, if it is not the `ringfence` beside this program
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// A bug that the server is to have; needs one that was built with planted bugs
    #[arg(long, value_name = "BUG")]
    pub plant: Option<String>,
}

impl RunOptions {
    /// With the words that stand for a default filled in.
    fn settled(mut self) -> RunOptions {
        if self.workload.is_empty() {
            self.workload = workload::all().iter().map(|w| WorkloadName(w.name().to_owned())).collect();
        }
        self.seed.get_or_insert_with(|| rand::random_range(0..1_000_000_000));
        self
    }

    /// The server.
    fn program(&self) -> PathBuf {
        let default = if self.plant.is_some() { "ringfence-planted" } else { "ringfence" };
        self.program.clone().unwrap_or_else(|| ringfence_tests::binary(default))
    }

    /// The command that repeats the schedule.
    pub fn command(&self) -> String {
        let mut command =
            format!("jepsen-lite run --workload {} --time {} --nodes {}", join(&self.workload), self.time, self.nodes);
        if !self.nemesis.is_empty() {
            command += &format!(" --nemesis {}", join(&self.nemesis));
        }
        if let Some(seed) = self.seed {
            command += &format!(" --seed {seed}");
        }
        if let Some(bug) = &self.plant {
            command += &format!(" --plant {bug}");
        }
        command
    }

    /// What is broken, for names and tables.
    pub fn nemeses_joined(&self) -> String {
        if self.nemesis.is_empty() { "calm".to_owned() } else { join(&self.nemesis).replace(',', "+") }
    }

    fn listed(&self) -> Vec<(String, String)> {
        let none = || "none".to_owned();
        let options = [
            ("workload", join(&self.workload)),
            ("nemesis", if self.nemesis.is_empty() { none() } else { join(&self.nemesis) }),
            ("time", format!("{} s", self.time)),
            ("seed", self.seed.map_or_else(none, |seed| seed.to_string())),
            ("nodes", self.nodes.to_string()),
            ("program", self.program().display().to_string()),
            ("planted bug", self.plant.clone().unwrap_or_else(none)),
        ];
        options.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }
}

/// A run that has ended, one way or another.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What was found.
    pub results: Results,
    /// Where everything lies.
    pub dir: PathBuf,
}

/// Runs it, writes everything down, and says how it went. `Err`: it could not even begin, or not be written down.
pub async fn run(options: RunOptions, say: &mut (dyn FnMut(&str) + Send)) -> Result<Ended, Trouble> {
    let options = options.settled();
    let dir = fresh_directory(&options)?;
    let work = ringfence_tests::temporary_directory();
    let began_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    say(&format!("running: {}", options.command()));
    let (mut results, histories) = stage::play(&options, work.path(), say).await;
    results.began_unix_ms = began_unix_ms;
    write_down(&dir, work.path(), &options, &results, &histories)?;
    if options.keep_data {
        say(&format!("data: {}", work.keep().display()));
    }
    Ok(Ended { results, dir })
}

fn write_down(
    dir: &Path,
    work: &Path,
    options: &RunOptions,
    results: &Results,
    histories: &[(String, Vec<Event>)],
) -> Result<(), Trouble> {
    let broken = |error: std::io::Error| Trouble::harness(format!("cannot write to {}", dir.display()), error);
    let json = serde_json::to_vec_pretty(results).map_err(|error| Trouble::harness("results.json", error))?;
    fs::write(dir.join("results.json"), json).map_err(broken)?;
    for (name, events) in histories {
        let mut file = std::io::BufWriter::new(fs::File::create(dir.join(history_file(name))).map_err(broken)?);
        history::write(&mut file, events).and_then(|()| file.flush()).map_err(broken)?;
    }
    for node in 1..=options.nodes {
        let log = crate::cluster::log_file(work, crate::proxy::NodeId(node));
        if log.exists() {
            fs::copy(&log, dir.join(log.file_name().expect("a file has a name"))).map_err(broken)?;
        }
    }
    fs::write(dir.join("report.html"), crate::report::render(results, histories)).map_err(broken)
}

fn history_file(name: &str) -> String {
    format!("history-{name}.jsonl")
}

/// A history with the faults as marks on its time line. As it is written is how it is judged, so that a line that is named in a
/// verdict is the line in the file.
fn with_marks(mut events: Vec<Event>, faults: &[FaultBand]) -> Vec<Event> {
    for fault in faults {
        for (time, value) in [(fault.from_ns, fault.what.clone()), (fault.until_ns, format!("over: {}", fault.what))] {
            let mut event = Event::new(time, 0, Kind::Info, fault.nemesis.clone());
            event.process = Process::Other("nemesis".into());
            event.value = value.into();
            events.push(event);
        }
    }
    events.sort_by_key(|event| event.time);
    events.iter_mut().enumerate().for_each(|(index, event)| event.index = index as u64);
    events
}

fn fresh_directory(options: &RunOptions) -> Result<PathBuf, Trouble> {
    let seed = options.seed.unwrap_or_default();
    let nemesis = options.nemeses_joined();
    let plant = options.plant.as_ref().map(|bug| format!("{bug}-")).unwrap_or_default();
    for attempt in 0.. {
        let again = if attempt == 0 { String::new() } else { format!("-{attempt}") };
        let dir = options.out.join(format!("{plant}{nemesis}-{seed}{again}"));
        let made = fs::create_dir_all(&options.out).and_then(|()| fs::create_dir(&dir));
        match made {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Trouble::harness(format!("cannot make {}", dir.display()), error)),
        }
    }
    unreachable!("numbers do not end")
}

fn join(names: &[impl ToString]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
