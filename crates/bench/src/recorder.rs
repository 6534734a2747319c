use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::target::OpError;

/// Latencies are kept to three digits: 1 % would hide a change that we look for, four cost cache.
const DIGITS: u8 = 3;
const LATENCY_MIN: Duration = Duration::from_nanos(256);
const LATENCY_MAX: Duration = Duration::from_secs(300);

/// Histograms that clients share. One for each would be 512 times as much memory as fits into a cache; one for all would
/// make threads wait for each other.
const SHARDS: usize = 4;

/// What all clients of a row have seen. Cheap to write to.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) latencies: Latencies,
    /// The first half of operations that have two, such as acquire and release; in `latencies` they are one.
    pub(crate) acquires: Latencies,
    /// The second half.
    pub(crate) releases: Latencies,
    /// Ended well inside the measured time.
    counted: AtomicU64,
    /// Compare-and-sets that were refused inside the measured time.
    conflicts: AtomicU64,
    /// Everything that ended well, for the progress line.
    seen: AtomicU64,
    errors: Mutex<BTreeMap<&'static str, Errors>>,
}

/// Errors of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Errors {
    pub(crate) count: u64,
    /// What the first of them said.
    pub(crate) first: String,
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        Recorder {
            latencies: Latencies::new(),
            acquires: Latencies::new(),
            releases: Latencies::new(),
            counted: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            errors: Mutex::default(),
        }
    }

    /// Ended well, but before the measured time.
    pub(crate) fn warmed_up(&self) {
        self.seen.fetch_add(1, Ordering::Relaxed);
    }

    /// Ended well. `in_time`: before the end of the measured time.
    pub(crate) fn done(&self, client: usize, latency: Duration, in_time: bool) {
        self.latencies.record(client, latency);
        if in_time {
            self.counted.fetch_add(1, Ordering::Relaxed);
        }
        self.seen.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn conflict(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn error(&self, error: OpError) {
        let mut errors = lock(&self.errors);
        let of_kind = errors.entry(error.kind).or_insert(Errors { count: 0, first: error.message });
        of_kind.count += 1;
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    pub(crate) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    pub(crate) fn conflicts(&self) -> u64 {
        self.conflicts.load(Ordering::Relaxed)
    }

    pub(crate) fn errors(&self) -> BTreeMap<&'static str, Errors> {
        lock(&self.errors).clone()
    }
}

/// Latencies of one kind.
#[derive(Debug)]
pub(crate) struct Latencies([Mutex<Histogram<u64>>; SHARDS]);

impl Latencies {
    fn new() -> Latencies {
        Latencies(std::array::from_fn(|_| Mutex::new(histogram())))
    }

    pub(crate) fn record(&self, client: usize, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        lock(&self.0[client % SHARDS]).saturating_record(ns);
    }

    /// Those of all clients.
    pub(crate) fn all(&self) -> Histogram<u64> {
        let mut all = histogram();
        for shard in &self.0 {
            all.add(&*lock(shard)).expect("histograms of one shape add up");
        }
        all
    }
}

fn histogram() -> Histogram<u64> {
    let (low, high) = (LATENCY_MIN.as_nanos() as u64, LATENCY_MAX.as_nanos() as u64);
    Histogram::new_with_bounds(low, high, DIGITS).expect("these bounds are good")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
