//! One `ringctl bench` that runs beside others.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::row::Row;
use crate::bench::driver::{STUCK_AFTER, Shape};
use crate::cluster::{Cluster, tail};
use crate::failure::{Context, Outcome, fail};
use crate::janitor::Janitor;
use crate::ringctl::Ringctl;

/// As many clients as one `ringctl bench` can have.
pub(crate) const CLIENTS_MAX: usize = 512;

/// All load generators put the same keys, so that data do not grow but by the history of these.
const KEYS: usize = 10_000;
const KEYS_NAME: &str = "xtask-overload";

/// How much one load generator does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

/// A load generator. Dropping it kills it, if it still runs.
pub(crate) struct Load {
    name: String,
    process: Child,
    /// How, and when.
    ended: Option<(ExitStatus, Instant)>,
    /// When it is to end.
    due: Instant,
    printed: PathBuf,
    log: PathBuf,
    janitor: Rc<Janitor>,
}

impl Load {
    /// Starts it. The name is that of its files in the cluster's directory.
    pub(crate) fn start(ringctl: &Ringctl, cluster: &Cluster, name: &str, plan: Plan) -> Outcome<Load> {
        let path = |extension: &str| cluster.dir().join(format!("{name}.{extension}"));
        let (printed, log) = (path("ndjson"), path("log"));
        let create = |path: &PathBuf| File::create(path).context(format!("creating {}", path.display()));
        let mut command = ringctl.command(&["bench", "-w", "ndjson", "--path", "sdk"]);
        let shape = Shape { warm_up: plan.warm_up, duration: plan.duration, keys: KEYS };
        command.args(shape.arguments("put", plan.clients, &cluster.pids(), KEYS_NAME));
        command.stdout(create(&printed)?).stderr(create(&log)?);
        let due = Instant::now() + plan.warm_up + plan.duration;
        let process = command.spawn().context("cannot start `ringctl bench`")?;
        let janitor = cluster.janitor();
        janitor.watch(process.id());
        Ok(Load { name: name.into(), process, ended: None, due, printed, log, janitor })
    }

    /// What it measured, as soon as it has ended.
    pub(crate) fn row(&mut self) -> Outcome<Option<Row>> {
        let Some((status, at)) = self.look()? else {
            if Instant::now() > self.due + STUCK_AFTER {
                return fail(format!("load generator {} is stuck; it said:\n{}", self.name, tail(&self.log)));
            }
            return Ok(None);
        };
        let printed = fs::read_to_string(&self.printed).context(format!("reading {}", self.printed.display()))?;
        // A row with errors is a row; the exit code says so too. But the load must have been there all the time.
        if printed.is_empty() || at < self.due {
            return fail(format!("load generator {} failed ({status}); it said:\n{}", self.name, tail(&self.log)));
        }
        Row::read(&printed).map(Some)
    }

    fn look(&mut self) -> Outcome<Option<(ExitStatus, Instant)>> {
        if self.ended.is_none() {
            let status = self.process.try_wait().context(format!("asking after load generator {}", self.name))?;
            if let Some(status) = status {
                self.janitor.forget(self.process.id());
                self.ended = Some((status, Instant::now()));
            }
        }
        Ok(self.ended)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Already gone is as good.
            let _ = self.process.kill();
            let _ = self.process.wait();
            self.janitor.forget(self.process.id());
        }
    }
}
