//! One row after the other: preload, warm up, measure.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{Client, Own, Stop, Window, owned};
use crate::cpu;
use crate::keys::Keys;
use crate::plan::{CLIENTS_MAX, Plan};
use crate::random::Random;
use crate::recorder::{Latencies, Recorder};
use crate::row::Row;
use crate::target::{OpError, Peer, Target};
use crate::workload::Workload;

/// Keys are written and removed by so many at once, however many clients are measured afterwards.
const LOADERS: usize = 64;
/// A key whose writing got an error is tried again so often: long enough for a failover.
const WRITE_ATTEMPTS: u32 = 20;
/// A key whose removal got an error is tried again so often: somebody waits for the end.
const REMOVE_ATTEMPTS: u32 = 3;
/// Between two attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(500);
/// Between two signs of life.
pub(crate) const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Measures a peer, row by row, on one set of keys.
pub struct Bench<P> {
    peer: P,
    keys: Arc<Keys>,
    /// Whether every key exists.
    loaded: bool,
    /// Whether any may exist: locks leave none.
    wrote: bool,
    stop: Stop,
}

/// Why there is no row. Operations that got errors are not among these: a row counts them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BenchError {
    /// Not 1 to 512.
    #[error("{clients} clients can't be measured; give 1 to {CLIENTS_MAX}")]
    Clients {
        /// What was asked for.
        clients: usize,
    },
    /// In `cas-many` and `lock` each client needs one of its own.
    #[error("{clients} clients that each need keys of their own can't share {keys} keys; give at least {clients}")]
    TooFewKeys {
        /// What was asked for.
        clients: usize,
        /// What there is.
        keys: usize,
    },
    /// Nothing would be measured.
    #[error("the measured time must be longer than nothing")]
    NoTime,
    /// Somebody set [`Bench::stop`].
    #[error("stopped")]
    Stopped,
    /// The CPU time of a server can't be read.
    #[error("{0}")]
    Cpu(String),
    /// The keys could not be written.
    #[error("the keys could not be written before the measurement: {} [{}]", .0.message, .0.kind)]
    Load(OpError),
    /// The keys could not be removed.
    #[error("the keys could not be removed afterwards: {} [{}]", .0.message, .0.kind)]
    Clean(OpError),
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is under way.
    pub phase: Phase,
    /// How long it has been under way.
    pub elapsed: Duration,
    /// Operations that ended well so far, in all phases but loading; keys so far while loading.
    pub operations: u64,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The keys are written.
    Load,
    /// The clients run; it does not count yet.
    WarmUp,
    /// It counts.
    Measure,
    /// What was under way at the end is waited for.
    Finish,
}

/// Who is told of progress.
pub type Watcher<'a> = &'a mut dyn FnMut(Progress);

impl<P: Peer> Bench<P> {
    /// Nothing is written yet.
    pub fn new(peer: P, keys: Keys) -> Bench<P> {
        Bench { peer, keys: Arc::new(keys), loaded: false, wrote: false, stop: Stop::default() }
    }

    /// What all keys begin with.
    pub fn prefix(&self) -> &str {
        self.keys.prefix()
    }

    /// Ends a row in good order: what is under way is waited for, so that no write arrives after [`Bench::clean`] has begun.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Measures one row.
    pub async fn row(&mut self, plan: &Plan, watcher: Watcher<'_>) -> Result<Row, BenchError> {
        let keys = self.keys.drawn().len();
        if !(1..=CLIENTS_MAX).contains(&plan.clients) {
            return Err(BenchError::Clients { clients: plan.clients });
        }
        if plan.workload.divides_keys() && keys < plan.clients {
            return Err(BenchError::TooFewKeys { clients: plan.clients, keys });
        }
        if plan.duration.is_zero() {
            return Err(BenchError::NoTime);
        }
        cpu::of(&plan.server_pids).map_err(BenchError::Cpu)?; // better now than after the warm-up

        let mut revisions = Vec::new();
        self.wrote |= !plan.workload.locks();
        if plan.workload == Workload::CasMany || plan.workload.reads() && !self.loaded {
            revisions = self.load(watcher).await?;
            if self.stop.is_set() {
                return Err(BenchError::Stopped);
            }
            self.loaded = true;
        }
        self.measure(plan, &revisions, watcher).await
    }

    /// Removes every key of this run, whether it exists or not; after a stop too. Nothing, if only locks were measured.
    pub async fn clean(&mut self) -> Result<(), BenchError> {
        self.loaded = false;
        self.stop = Stop::default();
        if self.wrote {
            let all = self.keys.all().len();
            self.by_loaders(all, Chore::Remove, &mut |_| {}).await.map_err(BenchError::Clean)?;
            self.wrote = false;
        }
        Ok(())
    }

    /// Writes every key that is drawn from; returns the revisions.
    async fn load(&self, watcher: Watcher<'_>) -> Result<Vec<i64>, BenchError> {
        let drawn = self.keys.drawn().len();
        self.by_loaders(drawn, Chore::Write, watcher).await.map_err(BenchError::Load)
    }

    /// Does a chore with the first `count` keys; returns a revision for each.
    async fn by_loaders(&self, count: usize, chore: Chore, watcher: Watcher<'_>) -> Result<Vec<i64>, OpError> {
        let begun = Instant::now();
        let loaders = LOADERS.min(count);
        let done = Arc::new(AtomicU64::new(0));
        let mut loading = JoinSet::new();
        for number in 0..loaders {
            let range = owned(number, loaders, count);
            let (target, keys) = (self.peer.target(number, loaders), Arc::clone(&self.keys));
            let (stop, done) = (self.stop.clone(), Arc::clone(&done));
            loading.spawn(async move { (number, chore.with_each(target, &keys, range, &stop, &done).await) });
        }
        let mut parts = vec![Vec::new(); loaders];
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        loop {
            tokio::select! {
                ended = loading.join_next() => match ended {
                    Some(Ok((number, part))) => parts[number] = part?,
                    Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                    None => return Ok(parts.concat()),
                },
                _ = tick.tick() => {
                    let operations = done.load(Ordering::Relaxed);
                    watcher(Progress { phase: Phase::Load, elapsed: begun.elapsed(), operations });
                }
            }
        }
    }

    async fn measure(&self, plan: &Plan, revisions: &[i64], watcher: Watcher<'_>) -> Result<Row, BenchError> {
        let recorder = Arc::new(Recorder::new());
        let begun = Instant::now();
        let (from, until) = (begun + plan.warm_up, begun + plan.warm_up + plan.duration);
        let window = Window { from, until, stop: self.stop.clone() };
        let mut clients = JoinSet::new();
        for number in 0..plan.clients {
            let keys = owned(number, plan.clients, self.keys.drawn().len());
            let revisions = revisions.get(keys.clone()).unwrap_or_default();
            let own = Own { keys, revisions: revisions.iter().copied().map(Some).collect() };
            let client = Client {
                number,
                target: self.peer.target(number, plan.clients),
                keys: Arc::clone(&self.keys),
                recorder: Arc::clone(&recorder),
                random: Random::new(number as u64),
                window: window.clone(),
                own,
            };
            clients.spawn(client.run(plan.workload));
        }
        let mut tell = |phase| watcher(Progress { phase, elapsed: begun.elapsed(), operations: recorder.seen() });
        let cpu = || Ok((Instant::now(), cpu::own(), cpu::of(&plan.server_pids).map_err(BenchError::Cpu)?));

        self.wait(from, || tell(Phase::WarmUp)).await;
        let before = cpu()?;
        self.wait(until, || tell(Phase::Measure)).await;
        let after = cpu()?;
        loop {
            tokio::select! {
                ended = clients.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                    None => break,
                },
                () = sleep(PROGRESS_EVERY) => tell(Phase::Finish),
            }
        }

        if self.stop.is_set() {
            return Err(BenchError::Stopped);
        }
        // What was measured of the CPU began and ended when this task got its turn.
        let sampled = (after.0 - before.0).as_secs_f64();
        let client_cores = (after.1 - before.1).as_secs_f64() / sampled;
        let server_cores = (after.2 - before.2).as_secs_f64() / sampled;
        Ok(self.summary(plan, &recorder, client_cores, (!plan.server_pids.is_empty()).then_some(server_cores)))
    }

    /// Waits, and says so now and then.
    async fn wait(&self, end: Instant, mut tell: impl FnMut()) {
        while Instant::now() < end && !self.stop.is_set() {
            sleep_until(end.min(Instant::now() + PROGRESS_EVERY)).await;
            tell();
        }
    }

    fn summary(&self, plan: &Plan, recorder: &Recorder, client_cores: f64, server_cores: Option<f64>) -> Row {
        let seconds = plan.duration.as_secs_f64();
        let ops = recorder.counted() as f64 / seconds;
        let latencies = recorder.latencies.all();
        let us_of =
            |latencies: &Histogram<u64>, quantile| rounded(latencies.value_at_quantile(quantile) as f64 / 1e3, 1);
        let us = |quantile| us_of(&latencies, quantile);
        let p50_of_half = |half: &Latencies| plan.workload.locks().then(|| us_of(&half.all(), 0.5));
        let per_op = |cores: f64| (ops > 0.0).then(|| rounded(cores * 1e6 / ops, 2));
        let errors = recorder.errors();
        Row {
            workload: plan.workload,
            clients: plan.clients,
            path: self.peer.path(),
            keys: if plan.workload.is_hot() { 1 } else { self.keys.drawn().len() },
            key_bytes: self.keys.key_bytes(),
            value_bytes: self.keys.value_bytes(),
            seconds,
            rounds: 1,
            ops: rounded(ops, 1),
            p50_us: us(0.5),
            p95_us: us(0.95),
            p99_us: us(0.99),
            p999_us: us(0.999),
            max_us: us(1.0),
            acquire_p50_us: p50_of_half(&recorder.acquires),
            release_p50_us: p50_of_half(&recorder.releases),
            conflicts: rounded(recorder.conflicts() as f64 / seconds, 1),
            errors: errors.iter().map(|(kind, errors)| ((*kind).to_owned(), errors.count)).collect(),
            error_messages: errors.into_iter().map(|(kind, errors)| (kind.to_owned(), errors.first)).collect(),
            client_cores: rounded(client_cores, 4),
            server_cores: server_cores.map(|cores| rounded(cores, 4)),
            client_us_per_op: per_op(client_cores),
            server_us_per_op: server_cores.and_then(per_op),
        }
    }
}

/// To so many digits after the point: more than that is noise, and hard to read.
pub(crate) fn rounded(figure: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (figure * scale).round() / scale
}

/// What is done with keys before and after a measurement.
#[derive(Clone, Copy, Debug)]
enum Chore {
    Write,
    Remove,
}

impl Chore {
    /// Returns the revision that each key has afterwards.
    /// Ends early, with fewer, after a stop.
    async fn with_each<T: Target>(
        self,
        mut target: T,
        keys: &Keys,
        range: Range<usize>,
        stop: &Stop,
        done: &AtomicU64,
    ) -> Result<Vec<i64>, OpError> {
        let mut revisions = Vec::with_capacity(range.len());
        for number in range {
            if stop.is_set() {
                break;
            }
            let key = &keys.all()[number];
            let mut attempt = 1;
            let revision = loop {
                let (outcome, attempts_max) = match self {
                    Chore::Write => (target.put(key, keys.value(number as u64)).await, WRITE_ATTEMPTS),
                    Chore::Remove => (target.delete(key).await.map(|()| 0), REMOVE_ATTEMPTS),
                };
                match outcome {
                    Ok(revision) => break revision,
                    Err(error) if attempt == attempts_max || stop.is_set() => return Err(error),
                    Err(_) => attempt += 1,
                }
                sleep(ATTEMPT_PAUSE).await;
            };
            revisions.push(revision);
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(revisions)
    }
}

#[cfg(test)]
mod tests;
