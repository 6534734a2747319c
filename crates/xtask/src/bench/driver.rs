//! Runs one load generator after the other and reads what it prints.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Steps;
use super::figures::Figures;
use crate::cluster::tail;
use crate::failure::{Context, Outcome, fail};
use crate::janitor::Janitor;
use crate::say;

/// A load generator that takes this much longer than it was asked to is stuck. It waits for the last answers, and a
/// peer's deadline is 10 s; writing the keys may meet an election.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The keys of all rows: the same, so that clusters don't grow from row to row.
const KEYS_NAME: &str = "xtask";

/// What is the same for every row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    pub(crate) keys: usize,
}

impl Shape {
    /// For either of the two load generators, which take the same arguments but for how they write times. The keys stay where
    /// they are.
    pub(crate) fn arguments(&self, workload: &str, clients: usize, servers: &[u32], keys_name: &str) -> Vec<String> {
        let servers: Vec<String> = servers.iter().map(u32::to_string).collect();
        let arguments = [
            ("--workload", workload.to_owned()),
            ("--clients", clients.to_string()),
            ("--keys", self.keys.to_string()),
            ("--duration", ms(self.duration)),
            ("--warm-up", ms(self.warm_up)),
            ("--server-pids", servers.join(",")),
            ("--name", keys_name.to_owned()),
        ];
        let arguments = arguments.into_iter().flat_map(|(option, value)| [option.to_owned(), value]);
        arguments.chain(["--keep".to_owned()]).collect()
    }
}

/// Runs load generators.
pub(crate) struct Driver {
    log: PathBuf,
    janitor: Rc<Janitor>,
    pub(crate) shape: Shape,
    steps: Steps,
}

impl Driver {
    pub(crate) fn new(dir: &Path, janitor: Rc<Janitor>, shape: Shape, steps: Steps) -> Driver {
        Driver { log: dir.join("load-generator.log"), janitor, shape, steps }
    }

    pub(crate) fn round(&mut self, round: usize, rounds: usize) {
        self.steps.round = format!("round {round} of {rounds}");
    }

    /// Measures one row with one of the two load generators.
    pub(crate) fn measure(
        &mut self,
        what: &str,
        mut command: Command,
        workload: &str,
        clients: usize,
        servers: &[u32],
    ) -> Outcome<Figures> {
        command.args(self.shape.arguments(workload, clients, servers, KEYS_NAME));
        let printed = self.run(what, command, self.shape.warm_up + self.shape.duration)?;
        let figures = Figures::read(&printed)?;
        if figures.errors > 0 {
            self.steps.progress.pause();
            say::note(format!("{what}: {} operations got no result:\n{}", figures.errors, tail(&self.log)));
        }
        if figures.ops == 0.0 {
            return fail(format!("{what}: not one operation succeeded:\n{}", tail(&self.log)));
        }
        Ok(figures)
    }

    /// Runs a program to its end and returns what it printed on stdout. Its messages go into a log.
    pub(crate) fn run(&mut self, what: &str, mut command: Command, expected: Duration) -> Outcome<String> {
        let log = File::create(&self.log).context(format!("creating {}", self.log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn().context(format!("cannot start {}", command.get_program().display()))?;
        self.janitor.watch(process.id());
        let begun = Instant::now();
        let status = loop {
            self.steps.show(what);
            match process.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) if begun.elapsed() > expected + STUCK_AFTER => {
                    break fail(format!("{what} is stuck; it said:\n{}", tail(&self.log)));
                }
                Ok(None) => std::thread::sleep(LOOK_EVERY),
                Err(error) => break fail(format!("asking after {what}: {error}")),
            }
        };
        if status.is_err() {
            let _ = process.kill();
            let _ = process.wait();
        }
        self.janitor.forget(process.id());
        self.steps.done += 1;
        let status = status?;
        let mut printed = String::new();
        // A few lines, so they fit into the pipe while nobody reads.
        let mut stdout = process.stdout.take().expect("stdout is piped");
        stdout.read_to_string(&mut printed).context(format!("reading what {what} printed"))?;
        // A row with errors is a row; the exit code says so too.
        if !status.success() && printed.is_empty() {
            return fail(format!("{what} failed ({status}); it said:\n{}", tail(&self.log)));
        }
        Ok(printed)
    }
}

/// As `ringctl` and `bench-etcd` read it.
fn ms(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// What processes have used of the CPU so far: fields 14 and 15 of `/proc/PID/stat`, in hundredths of a second.
pub(crate) fn cpu_seconds(pids: &[u32]) -> Outcome<f64> {
    let mut sum = 0.0;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat =
            std::fs::read_to_string(&path).context(format!("reading {path} (it takes Linux to measure here)"))?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        sum += fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn work_is_seen_in_the_cpu_time_of_a_process() {
        let ours = [std::process::id()];
        let before = cpu_seconds(&ours).unwrap();
        let mut number = 1_u64;
        while cpu_seconds(&ours).unwrap() < before + 0.05 {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        assert!(cpu_seconds(&[u32::MAX]).is_err());
    }
}
