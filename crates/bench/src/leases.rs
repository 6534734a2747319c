//! Many leases at once, and nothing else: what it costs the servers to keep them.
//!
//! The leases are those of one SDK client, as a service with many locks has them, and the SDK renews them by itself, as it does for
//! everybody. Nothing is asked of the cluster in the measured time but what that takes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringfence_client::{Client, Lease, ReleaseError};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{Stop, owned};
use crate::cpu;
use crate::keys::Keys;
use crate::recorder::Errors;
use crate::run::{PROGRESS_EVERY, Phase, Progress, Watcher, rounded};
use crate::target::OpError;

/// Leases are acquired, and released afterwards, by so many tasks at once.
const TASKS: usize = 256;

/// What to measure.
#[derive(Clone, Debug)]
pub struct LeasesPlan {
    /// Of each lease; the SDK renews it when a third of that has passed.
    pub ttl: Duration,
    /// How long all are held before it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub duration: Duration,
    /// Server processes on this machine whose CPU time is measured, each on its own.
    pub server_pids: Vec<u32>,
}

/// What was measured. In JSON an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeasesRow {
    /// How many were held.
    pub leases: usize,
    /// The ttl of each.
    pub ttl_ms: u64,
    /// How long it took to acquire them all.
    pub acquire_seconds: f64,
    /// How long it counted.
    pub seconds: f64,
    /// How many had ended at the end of that, although they were renewed.
    pub lost: usize,
    /// Leases of which it is not known, because their release got another error, by its kind.
    pub errors: BTreeMap<String, u64>,
    /// Of each kind of error, what the first one said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub error_messages: BTreeMap<String, String>,
    /// CPU that this process used: seconds a second, so 1 is a whole core.
    pub client_cores: f64,
    /// The same for each of the server processes, in the order in which they were named.
    pub server_cores: Vec<f64>,
}

/// Headers of [`LeasesRow::cells`].
pub const LEASES_COLUMNS: &[&str] =
    &["LEASES", "TTL", "ACQUIRED IN", "HELD FOR", "LOST", "ERRORS", "CLIENT CORES", "CORES OF EACH SERVER"];

impl LeasesRow {
    /// For a table.
    pub fn cells(&self) -> Vec<String> {
        let each: Vec<String> = self.server_cores.iter().map(|cores| format!("{cores:.3}")).collect();
        vec![
            self.leases.to_string(),
            format!("{} s", self.ttl_ms as f64 / 1e3),
            format!("{:.1} s", self.acquire_seconds),
            format!("{} s", self.seconds),
            self.lost.to_string(),
            self.errors_total().to_string(),
            format!("{:.3}", self.client_cores),
            each.join(", "),
        ]
    }

    /// Of how many leases it is not known whether they were lost.
    pub fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// Why there is no row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeasesError {
    /// Nothing would be measured.
    #[error("the measured time must be longer than nothing")]
    NoTime,
    /// Somebody asked for the end.
    #[error("stopped")]
    Stopped,
    /// The CPU time of a server can't be read.
    #[error("{0}")]
    Cpu(String),
    /// A lease could not be had.
    #[error("the leases could not be acquired: {} [{}]", .0.message, .0.kind)]
    Acquire(OpError),
}

/// Acquires one lease for each key, keeps them all for the planned time, and releases them; after a stop too.
pub async fn hold_leases(
    client: &Client,
    keys: Keys,
    plan: &LeasesPlan,
    stop: &Stop,
    watcher: Watcher<'_>,
) -> Result<LeasesRow, LeasesError> {
    if plan.duration.is_zero() {
        return Err(LeasesError::NoTime);
    }
    cpu(plan).map_err(LeasesError::Cpu)?; // better now than when all are held
    let begun = Instant::now();
    let held = acquire_all(client, keys, plan.ttl, stop, watcher).await?;
    let acquired = begun.elapsed();

    let from = Instant::now() + plan.warm_up;
    let until = from + plan.duration;
    let count = held.iter().map(Vec::len).sum::<usize>();
    let mut tell = |phase| watcher(Progress { phase, elapsed: begun.elapsed(), operations: count as u64 });

    wait(from, stop, || tell(Phase::WarmUp)).await;
    let before = cpu(plan).map_err(LeasesError::Cpu)?;
    wait(until, stop, || tell(Phase::Measure)).await;
    let after = cpu(plan).map_err(LeasesError::Cpu)?;
    let ends = release_all(held, || tell(Phase::Finish)).await;
    if stop.is_set() {
        return Err(LeasesError::Stopped);
    }

    let sampled = (after.at - before.at).as_secs_f64();
    let cores = |after: Duration, before: Duration| rounded((after - before).as_secs_f64() / sampled, 4);
    Ok(LeasesRow {
        leases: count,
        ttl_ms: plan.ttl.as_millis() as u64,
        acquire_seconds: rounded(acquired.as_secs_f64(), 3),
        seconds: plan.duration.as_secs_f64(),
        lost: ends.lost,
        errors: ends.errors.iter().map(|(kind, errors)| ((*kind).to_owned(), errors.count)).collect(),
        error_messages: ends.errors.into_iter().map(|(kind, errors)| (kind.to_owned(), errors.first)).collect(),
        client_cores: cores(after.own, before.own),
        server_cores: after.servers.iter().zip(&before.servers).map(|(after, before)| cores(*after, *before)).collect(),
    })
}

/// CPU time used so far.
struct Cpu {
    at: Instant,
    own: Duration,
    servers: Vec<Duration>,
}

fn cpu(plan: &LeasesPlan) -> Result<Cpu, String> {
    let servers = plan.server_pids.iter().map(|pid| cpu::of(&[*pid])).collect::<Result<_, _>>()?;
    Ok(Cpu { at: Instant::now(), own: cpu::own(), servers })
}

/// Waits, and says so now and then.
async fn wait(end: Instant, stop: &Stop, mut tell: impl FnMut()) {
    while Instant::now() < end && !stop.is_set() {
        sleep_until(end.min(Instant::now() + PROGRESS_EVERY)).await;
        tell();
    }
}

/// In as many parts as there are tasks. What was acquired before an error is given back when it is dropped.
async fn acquire_all(
    client: &Client,
    keys: Keys,
    ttl: Duration,
    stop: &Stop,
    watcher: Watcher<'_>,
) -> Result<Vec<Vec<Lease>>, LeasesError> {
    let (begun, keys, done) = (Instant::now(), Arc::new(keys), Arc::new(AtomicU64::new(0)));
    let count = keys.drawn().len();
    let tasks = TASKS.min(count);
    let mut acquiring = JoinSet::new();
    for number in 0..tasks {
        let range = owned(number, tasks, count);
        let (client, keys) = (client.clone(), Arc::clone(&keys));
        let (stop, done) = (stop.clone(), Arc::clone(&done));
        acquiring.spawn(async move { acquire_each(&client, &keys, range, ttl, &stop, &done).await });
    }
    let mut held = Vec::with_capacity(tasks);
    while let Some(ended) = joined(&mut acquiring, || {
        let operations = done.load(Ordering::Relaxed);
        watcher(Progress { phase: Phase::Load, elapsed: begun.elapsed(), operations });
    })
    .await
    {
        held.push(ended.map_err(LeasesError::Acquire)?);
    }
    Ok(held)
}

async fn acquire_each(
    client: &Client,
    keys: &Keys,
    range: Range<usize>,
    ttl: Duration,
    stop: &Stop,
    done: &AtomicU64,
) -> Result<Vec<Lease>, OpError> {
    let mut held = Vec::with_capacity(range.len());
    for key in &keys.drawn()[range] {
        if stop.is_set() {
            break;
        }
        // Nobody else has these names, unless the run was given that of another one, and that is not worth waiting for.
        held.push(client.lock(key).ttl(ttl).without_waiting().await?);
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(held)
}

/// How leases ended.
#[derive(Default)]
struct Ends {
    lost: usize,
    errors: BTreeMap<&'static str, Errors>,
}

/// Releases every lease: that it can be released is the proof that the cluster still had it.
async fn release_all(held: Vec<Vec<Lease>>, tell: impl FnMut()) -> Ends {
    let mut releasing = JoinSet::new();
    for part in held {
        releasing.spawn(async move {
            let mut ends = Ends::default();
            for lease in part {
                let believed_lost = lease.is_lost();
                match lease.release().await {
                    Ok(()) if !believed_lost => {}
                    Ok(()) | Err(ReleaseError::Over | ReleaseError::NotTheHolder) => ends.lost += 1,
                    Err(error) => ends.add(OpError::from(error)),
                }
            }
            ends
        });
    }
    let (mut all, mut tell) = (Ends::default(), tell);
    while let Some(Ends { lost, errors }) = joined(&mut releasing, &mut tell).await {
        all.lost += lost;
        for (kind, Errors { count, first }) in errors {
            all.errors.entry(kind).or_insert(Errors { count: 0, first }).count += count;
        }
    }
    all
}

impl Ends {
    fn add(&mut self, error: OpError) {
        self.errors.entry(error.kind).or_insert(Errors { count: 0, first: error.message }).count += 1;
    }
}

/// The next task that has ended, with signs of life until then. `None`: all have.
async fn joined<T: 'static>(tasks: &mut JoinSet<T>, mut tell: impl FnMut()) -> Option<T> {
    loop {
        tokio::select! {
            ended = tasks.join_next() => {
                return ended.map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())));
            }
            () = sleep(PROGRESS_EVERY) => tell(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_json_and_fills_every_column() {
        let row = LeasesRow {
            leases: 10_000,
            ttl_ms: 10_000,
            acquire_seconds: 1.5,
            seconds: 30.0,
            lost: 1,
            errors: BTreeMap::from([("A".to_owned(), 2)]),
            error_messages: BTreeMap::new(),
            client_cores: 0.1,
            server_cores: vec![0.05, 0.04, 0.03],
        };
        assert_eq!(row.cells(), ["10000", "10 s", "1.5 s", "30 s", "1", "2", "0.100", "0.050, 0.040, 0.030"]);
        assert_eq!(row.cells().len(), LEASES_COLUMNS.len());
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<LeasesRow>(&json).unwrap(), row);
    }
}
