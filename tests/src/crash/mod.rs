//! Crash rounds: real servers are killed and real disks lose power, under load, hundreds of times, and after every blow what
//! was acknowledged must be there (G3), what was refused must not, and what was sent twice must count once (G8).
//!
//! ```text
//!   seed ─▶ schedule: lives of about a hundred rounds        load: 24 tasks, who keep what they were told
//!                │                                              │ ok · refused · unknown
//!   a life:      ▼                                              ▼
//!      found ─▶ load · blow · load · start · led ─▶ hold the load ─▶ read back what was written ─▶ and again
//!                                                                └▶ everything, every 20 rounds and at the end,
//!                                                                   there through every node
//! ```
//!
//! What it deliberately leaves out: everything but crashes. Partitions, pauses, slow and full disks, damaged files and
//! changes of the membership are other tests' business. And it does not find *every* violation: that a read between two
//! acknowledged writes was out of order, say, takes a history and a checker.

mod direct;
mod known;
mod life;
mod load;
mod options;
mod schedule;
mod tally;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::{Disk, DiskError};
use known::Fault;
pub use options::Options;
use schedule::{Life, Means};
use tally::Tally;

/// Rounds between two lines that say how far it is.
const SAY_EVERY: u64 = 25;

/// When no round ends for so long, not even one that fails, the fault is ours. Far above all other limits.
const STUCK_AFTER: Duration = Duration::from_secs(900);

/// Why a run ended before its end, or proves nothing.
#[derive(Clone, Debug)]
pub enum Stop {
    /// A promise was broken.
    Violation(Box<Violation>),
    /// Something that is neither a passed nor a broken promise: no port, a server that does not come up, a node that never
    /// answers.
    Broken(String),
    /// This machine cannot do what was asked for, or it was done and hit nothing.
    NotCovered(String),
    /// Somebody asked us to stop.
    Interrupted,
}

/// A broken promise, and what is known of it.
#[derive(Clone, Debug)]
pub struct Violation {
    key: String,
    fault: Fault,
    when: String,
    during: Vec<String>,
    evidence: Vec<String>,
}

impl Violation {
    fn new(key: String, fault: Fault, when: String) -> Violation {
        Violation { key, fault, when, during: Vec::new(), evidence: Vec::new() }
    }
}

impl Stop {
    /// As the exit code of a program. 0 is kept for a run that proves what it was asked to.
    pub fn exit_code(&self) -> u8 {
        match self {
            Stop::Violation(_) => 1,
            Stop::NotCovered(_) => 2,
            Stop::Broken(_) => 3,
            Stop::Interrupted => 130,
        }
    }

    /// Says where it happened.
    fn during(mut self, what: &str) -> Stop {
        match &mut self {
            Stop::Violation(violation) => violation.during.push(what.to_owned()),
            Stop::Broken(why) => *why += &format!("\n  in: {what}"),
            Stop::NotCovered(_) | Stop::Interrupted => {}
        }
        self
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Violation(violation) => {
                let Violation { key, fault, when, during, evidence } = &**violation;
                writeln!(f, "VIOLATION: {}", fault.what)?;
                writeln!(f, "  key:      {key}\n  expected: {}\n  found:    {} ({when})", fault.expected, fault.found)?;
                for line in during {
                    writeln!(f, "  in:       {line}")?;
                }
                for line in evidence {
                    writeln!(f, "  now:      {line}")?;
                }
                Ok(())
            }
            Stop::Broken(why) => write!(f, "BROKEN, which proves nothing either way: {why}"),
            Stop::NotCovered(why) => write!(f, "NOT COVERED: {why}"),
            Stop::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl From<DiskError> for Stop {
    fn from(error: DiskError) -> Stop {
        match error {
            DiskError::NotCovered(why) => Stop::NotCovered(why),
            DiskError::Broken(why) => Stop::Broken(why),
        }
    }
}

/// Runs what was asked for, and says how far it is on the way. `interrupted` is ready when somebody asks to stop. Returns
/// the tally.
pub async fn run(options: &Options, interrupted: impl Future<Output = ()>) -> Result<String, Stop> {
    let phases = [(Means::Kill, options.kills), (Means::PowerLoss, options.power_losses)];
    if options.power_losses > 0 {
        let dir = crate::temporary_directory();
        Disk::self_test(dir.path())?;
        println!("power losses work here: synced bytes survive one, others do not");
    }
    let (cancel, _) = watch::channel(false);
    let running = async {
        let mut report = String::new();
        for (means, rounds) in phases {
            if rounds > 0 {
                report += &phase(options, means, rounds, &cancel).await?;
            }
        }
        Ok(report)
    };
    tokio::pin!(running, interrupted);
    tokio::select! {
        outcome = &mut running => return outcome,
        () = &mut interrupted => {}
    }
    println!("stopping");
    cancel.send_replace(true);
    let _ = running.await; // servers are killed and disks unmounted on the way
    Err(Stop::Interrupted)
}

/// All rounds of one means.
async fn phase(options: &Options, means: Means, rounds: u64, cancel: &watch::Sender<bool>) -> Result<String, Stop> {
    let begun = Instant::now();
    let lives = schedule::lives(options.seed, means, rounds, options.clusters);
    println!(
        "{rounds} rounds of {} with seed {}, {} clusters side by side",
        means.word(),
        options.seed,
        options.clusters
    );
    let tally = Arc::new(Tally::default());
    let done = Arc::new(AtomicU64::new(0));
    let (ended, mut first) = tokio::sync::mpsc::channel(options.clusters as usize);
    for place in 0..options.clusters {
        let lives: Vec<Life> = lives.iter().filter(|life| life.place == place).cloned().collect();
        let (seed, tally, ended) = (options.seed, tally.clone(), ended.clone());
        let (runtime, mut cancelled) = (Handle::current(), cancel.subscribe());
        let done = done.clone();
        let say = move || {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(SAY_EVERY) || done == rounds {
                println!("  {done:>5} of {rounds}, after {:.0?}", begun.elapsed());
            }
        };
        // A thread each: what starts, kills and mounts may block.
        std::thread::spawn(move || {
            let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                runtime.block_on(async {
                    let all = async {
                        for life in &lives {
                            life::live(seed, life, &tally, &say).await?;
                        }
                        Ok(())
                    };
                    tokio::select! {
                        outcome = all => outcome,
                        _ = cancelled.wait_for(|cancelled| *cancelled) => Err(Stop::Interrupted),
                    }
                })
            }));
            let lived = lived.unwrap_or_else(|_| Err(Stop::Broken("a panic, whose message stands above".to_owned())));
            let _ = ended.blocking_send(lived);
        });
    }
    drop(ended);
    let mut outcome = Ok(());
    loop {
        let done_before = done.load(Ordering::Relaxed);
        match tokio::time::timeout(STUCK_AFTER, first.recv()).await {
            Ok(None) => break,
            Ok(Some(lived)) => {
                if let (Err(stop), Ok(())) = (lived, &outcome) {
                    outcome = Err(stop);
                    cancel.send_replace(true); // the others stop, and clean up
                }
            }
            Err(_) if done.load(Ordering::Relaxed) == done_before => {
                return Err(Stop::Broken(format!("no round has ended for {STUCK_AFTER:?}; this program hangs")));
            }
            Err(_) => {}
        }
    }
    outcome?;
    let counts = tally.counts();
    counts.is_telling().map_err(Stop::NotCovered)?;
    Ok(format!("\n{} rounds of {} in {:.0?}\n{counts}\n", counts.rounds, means.word(), begun.elapsed()))
}

/// The schedule of a run, for people.
pub fn plan(options: &Options) -> String {
    let phases = [(Means::Kill, options.kills), (Means::PowerLoss, options.power_losses)];
    let mut plan = String::new();
    for life in
        phases.iter().flat_map(|(means, rounds)| schedule::lives(options.seed, *means, *rounds, options.clusters))
    {
        plan += &format!("cluster {}, in place {}:\n", life.number, life.place);
        for round in &life.rounds {
            plan += &format!("  {round}\n");
        }
    }
    plan
}
