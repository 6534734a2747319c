//! The generator against a peer in memory that does what a test wants: its figures must be right where they can be known.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use super::*;
use crate::target::{Cas, Found, Path};

/// How long every operation of the peer takes. The tests' clock is tokio's, which stands still unless all wait.
const LATENCY: Duration = Duration::from_millis(10);

/// A way to the peer, how many times it was taken, and the lock that is held over it.
#[derive(Default)]
struct Memory(Arc<Mutex<State>>, u64, Option<OwnedMutexGuard<()>>);

#[derive(Default)]
struct State {
    keys: BTreeMap<Bytes, (i64, Bytes)>,
    /// First come, first served.
    locks: BTreeMap<Bytes, Arc<tokio::sync::Mutex<()>>>,
    revision: i64,
    gets: u64,
    puts: u64,
    /// Every so many operations one gets an error; 0: none.
    error_every: u64,
    operations: u64,
    /// Operations take up to 4 ms longer, now this client's, now that one's.
    jitters: bool,
    /// Somebody else sets a key before each compare-and-set.
    meddles: bool,
    /// From now on an operation takes this long.
    hang: Option<Duration>,
}

impl Clone for Memory {
    fn clone(&self) -> Memory {
        Memory(Arc::clone(&self.0), self.1, None)
    }
}

impl Memory {
    async fn operation<T>(&mut self, act: impl FnOnce(&mut State) -> T) -> Result<T, OpError> {
        self.1 = self.1.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let latency = {
            let state = self.0.lock().unwrap();
            // Else the order of clients is the same in every round, and the same one wins each race.
            let jitter = if state.jitters { Duration::from_millis((self.1 >> 60) % 5) } else { Duration::ZERO };
            state.hang.unwrap_or(LATENCY + jitter)
        };
        sleep(latency).await;
        let mut state = self.0.lock().unwrap();
        state.operations += 1;
        if state.error_every > 0 && state.operations.is_multiple_of(state.error_every) {
            return Err(OpError::new("BROKEN", "as asked"));
        }
        Ok(act(&mut state))
    }
}

impl Peer for Memory {
    type Target = Memory;

    fn target(&self, client: usize, _clients: usize) -> Memory {
        Memory(Arc::clone(&self.0), client as u64, None)
    }

    fn path(&self) -> Path {
        Path::Unary
    }
}

impl State {
    fn set(&mut self, key: &Bytes, value: &Bytes) -> i64 {
        self.revision += 1;
        self.keys.insert(key.clone(), (self.revision, value.clone()));
        self.revision
    }

    fn revision_of(&self, key: &Bytes) -> i64 {
        self.keys.get(key).map_or(0, |(revision, _)| *revision)
    }
}

impl Target for Memory {
    async fn get(&mut self, key: &Bytes) -> Result<Option<Found>, OpError> {
        let found = self.operation(|state| {
            state.gets += 1;
            state.keys.get(key).map(|(revision, value)| Found { revision: *revision, value_bytes: value.len() })
        });
        found.await
    }

    async fn put(&mut self, key: &Bytes, value: &Bytes) -> Result<i64, OpError> {
        let put = self.operation(|state| {
            state.puts += 1;
            state.set(key, value)
        });
        put.await
    }

    async fn cas(&mut self, key: &Bytes, expected: i64, value: &Bytes) -> Result<Cas, OpError> {
        let cas = self.operation(|state| {
            if state.meddles {
                state.set(key, value);
            }
            match state.revision_of(key) {
                revision if revision == expected => Cas::Done(state.set(key, value)),
                revision => Cas::Conflict(revision),
            }
        });
        cas.await
    }

    async fn delete(&mut self, key: &Bytes) -> Result<(), OpError> {
        let delete = self.operation(|state| {
            state.keys.remove(key);
        });
        delete.await
    }

    async fn acquire(&mut self, name: &Bytes) -> Result<(), OpError> {
        let lock = self.operation(|state| Arc::clone(state.locks.entry(name.clone()).or_default())).await?;
        self.2 = Some(lock.lock_owned().await);
        Ok(())
    }

    async fn release(&mut self) -> Result<(), OpError> {
        let held = self.2.take().expect("acquired");
        self.operation(|_| drop(held)).await
    }
}

fn bench(peer: &Memory, keys: usize) -> Bench<Memory> {
    Bench::new(peer.clone(), Keys::new(None, keys, 64, 32).unwrap())
}

fn plan(workload: Workload, clients: usize) -> Plan {
    let (warm_up, duration) = (Duration::from_secs(1), Duration::from_secs(4));
    Plan { workload, clients, warm_up, duration, server_pids: Vec::new() }
}

async fn row(bench: &mut Bench<Memory>, workload: Workload, clients: usize) -> Row {
    bench.row(&plan(workload, clients), &mut |_| {}).await.unwrap()
}

fn close(figure: f64, to: f64) -> bool {
    (figure / to - 1.0).abs() < 0.05
}

/// A closed loop of n clients at 10 ms does 100 n operations a second, neither more nor less, and warming up counts for nothing.
#[tokio::test(start_paused = true)]
async fn rate_and_latency_are_those_of_the_peer() {
    let peer = Memory::default();
    let mut bench = bench(&peer, 100);
    for workload in [Workload::Put, Workload::Get, Workload::CasMany, Workload::Mixed50] {
        for clients in [1, 8] {
            let row = row(&mut bench, workload, clients).await;
            assert!(close(row.ops, 100.0 * clients as f64), "{workload} {clients}: {}", row.ops);
            for us in [row.p50_us, row.p95_us, row.p99_us, row.p999_us, row.max_us] {
                assert!(close(us, 10_000.0) || close(us, 11_000.0), "{workload} {clients}: {row:?}");
            }
            assert_eq!((row.errors_total(), row.conflicts), (0, 0.0), "{workload}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_mix_is_mixed_as_its_name_says() {
    for (workload, share) in [(Workload::Mixed50, 0.5), (Workload::Mixed95, 0.95)] {
        let peer = Memory::default();
        let mut bench = bench(&peer, 100);
        row(&mut bench, workload, 64).await;
        let state = peer.0.lock().unwrap();
        let (gets, puts) = (state.gets as f64, state.puts as f64 - 100.0); // the keys were written first
        assert!((gets / (gets + puts) - share).abs() < 0.02, "{workload}: {gets} gets, {puts} puts");
    }
}

/// Of all clients that race for one key one wins at a time: the rate is that of one, the rest are conflicts, and the
/// latency is that until success.
#[tokio::test(start_paused = true)]
async fn on_the_hot_key_only_successes_count() {
    let peer = Memory::default();
    peer.0.lock().unwrap().jitters = true;
    let mut bench = bench(&peer, 10);
    let row = row(&mut bench, Workload::CasHot, 8).await;
    let per_second = |count: u64| count as f64 / 5.0; // 1 s of warming up, 4 s measured
    let (changes, attempts) = {
        let state = peer.0.lock().unwrap();
        (per_second(state.revision as u64), per_second(state.operations))
    };
    assert!(close(row.ops, changes), "{} operations, {changes} changes a second", row.ops);
    assert!(close(row.ops + row.conflicts, attempts), "{attempts} attempts: {row:?}");
    assert!(row.conflicts > row.ops && row.max_us > 20_000.0, "{row:?}");
    assert_eq!(row.errors_total(), 0);
}

/// A pair is one operation, and both halves are known apart. Nobody waits for another's lock.
#[tokio::test(start_paused = true)]
async fn a_pair_takes_as_long_as_its_halves() {
    let peer = Memory::default();
    let mut bench = bench(&peer, 100);
    for clients in [1, 8] {
        let row = row(&mut bench, Workload::Lock, clients).await;
        assert!(close(row.ops, 50.0 * clients as f64) && close(row.p50_us, 20_000.0), "{clients}: {row:?}");
        for half in [row.acquire_p50_us, row.release_p50_us] {
            assert!(close(half.unwrap(), 10_000.0) || close(half.unwrap(), 11_000.0), "{clients}: {row:?}");
        }
        assert_eq!((row.errors_total(), row.keys), (0, 100));
    }
    assert_eq!(row(&mut bench, Workload::Put, 1).await.acquire_p50_us, None);
}

/// One has the lock at a time, until its release has arrived: so hand-overs are as many as releases one after the other, and
/// each waits for all others.
#[tokio::test(start_paused = true)]
async fn a_hand_over_holds_the_wait_for_the_others() {
    let peer = Memory::default();
    let row = row(&mut bench(&peer, 10), Workload::LockHot, 16).await;
    assert!(close(row.ops, 100.0), "{row:?}");
    assert!(close(row.p50_us, 160_000.0) && close(row.release_p50_us.unwrap(), 10_000.0), "{row:?}");
    assert_eq!((row.errors_total(), row.keys, peer.0.lock().unwrap().locks.len()), (0, 1, 1));
}

/// A released lock leaves nothing, so there is nothing to remove.
#[tokio::test(start_paused = true)]
async fn cleaning_up_after_locks_asks_for_nothing() {
    let peer = Memory::default();
    let mut bench = bench(&peer, 100);
    row(&mut bench, Workload::Lock, 8).await;
    let operations = peer.0.lock().unwrap().operations;
    bench.clean().await.unwrap();
    assert_eq!(peer.0.lock().unwrap().operations, operations);
}

/// An operation that got an error is in no figure but that of the errors.
#[tokio::test(start_paused = true)]
async fn errors_are_counted_by_kind_and_not_as_operations() {
    let peer = Memory::default();
    let mut bench = bench(&peer, 100);
    peer.0.lock().unwrap().error_every = 4;
    let row = row(&mut bench, Workload::Put, 8).await;
    let errors = row.errors["BROKEN"] as f64 / 4.0;
    assert_eq!(row.error_messages["BROKEN"], "as asked");
    assert!(close(errors, row.ops / 3.0), "{} operations and {errors} errors a second", row.ops);
    assert!(row.ops < 8.0 * 100.0 * 0.75, "an error costs its client a pause: {}", row.ops);
}

/// Nobody else sets a client's own keys; if somebody does, the peer has lost or invented a write.
#[tokio::test(start_paused = true)]
async fn a_conflict_on_a_key_of_ones_own_is_an_error() {
    let peer = Memory::default();
    let mut bench = bench(&peer, 100);
    peer.0.lock().unwrap().meddles = true;
    let row = row(&mut bench, Workload::CasMany, 8).await;
    assert_eq!(row.ops, 0.0);
    assert!(row.errors["CONFLICT"] > 0 && row.client_us_per_op.is_none());
}

/// A key that was written and is not there is no quick success.
#[tokio::test(start_paused = true)]
async fn an_absent_key_is_an_error() {
    let peer = Memory::default();
    let mut bench = bench(&peer, 100);
    row(&mut bench, Workload::Get, 1).await;
    peer.0.lock().unwrap().keys.clear();
    let row = row(&mut bench, Workload::Get, 8).await;
    assert_eq!(row.ops, 0.0);
    assert!(row.errors["NOT_FOUND"] > 0);
}

/// The peer hangs before the end: the rate falls, and the latencies show the hang although it ended after the measured time.
#[tokio::test(start_paused = true)]
async fn a_hang_at_the_end_cannot_hide() {
    let peer = Memory::default();
    let mut bench = bench(&peer, 100);
    let hangs = peer.clone();
    let mut watcher = |progress: Progress| {
        if progress.phase == Phase::Measure && progress.elapsed > Duration::from_secs(3) {
            hangs.0.lock().unwrap().hang = Some(Duration::from_secs(30));
        }
    };
    let row = bench.row(&plan(Workload::Put, 8), &mut watcher).await.unwrap();
    assert!(close(row.max_us, 30e6), "{row:?}");
    assert!((350.0..500.0).contains(&row.ops), "two of four seconds: {}", row.ops);
}

#[tokio::test(start_paused = true)]
async fn cleaning_leaves_nothing() {
    let peer = Memory::default();
    let mut bench = bench(&peer, 100);
    for workload in [Workload::Get, Workload::CasHot] {
        row(&mut bench, workload, 8).await;
    }
    assert_eq!(peer.0.lock().unwrap().keys.len(), 101);
    bench.clean().await.unwrap();
    assert!(peer.0.lock().unwrap().keys.is_empty());
}

/// No write may arrive after cleaning has begun, so whoever stops waits for what is under way.
#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_row_and_waits_for_what_is_under_way() {
    for (workload, phase) in
        [(Workload::Put, Phase::WarmUp), (Workload::CasHot, Phase::Measure), (Workload::Get, Phase::Load)]
    {
        let peer = Memory::default();
        let mut bench = bench(&peer, 10_000);
        let stop = bench.stop();
        let slow = peer.clone();
        let mut watcher = |progress: Progress| {
            if progress.phase == phase {
                slow.0.lock().unwrap().hang = Some(Duration::from_secs(5));
                stop.set();
            }
        };
        assert_eq!(bench.row(&plan(workload, 8), &mut watcher).await, Err(BenchError::Stopped), "{workload}");
        let revision = peer.0.lock().unwrap().revision;
        sleep(Duration::from_secs(100)).await;
        assert_eq!(peer.0.lock().unwrap().revision, revision, "{workload}: a write came later");
        bench.clean().await.unwrap();
        assert!(peer.0.lock().unwrap().keys.is_empty());
    }
}

/// Errors that pass are waited out; ones that do not end it.
#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_no_keys_is_no_row() {
    let peer = Memory::default();
    peer.0.lock().unwrap().error_every = 1;
    let broken = bench(&peer, 10).row(&plan(Workload::Get, 1), &mut |_| {}).await;
    assert_eq!(broken, Err(BenchError::Load(OpError::new("BROKEN", "as asked"))));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_measured_is_refused_before_anything_is_written() {
    let peer = Memory::default();
    let mut bench = bench(&peer, 10);
    let good = plan(Workload::CasMany, 10);
    for (plan, error) in [
        (Plan { clients: 0, ..good.clone() }, BenchError::Clients { clients: 0 }),
        (Plan { clients: 513, ..good.clone() }, BenchError::Clients { clients: 513 }),
        (Plan { clients: 11, ..good.clone() }, BenchError::TooFewKeys { clients: 11, keys: 10 }),
        (
            Plan { clients: 11, workload: Workload::Lock, ..good.clone() },
            BenchError::TooFewKeys { clients: 11, keys: 10 },
        ),
        (Plan { duration: Duration::ZERO, ..good.clone() }, BenchError::NoTime),
    ] {
        assert_eq!(bench.row(&plan, &mut |_| {}).await, Err(error));
    }
    let nobody = Plan { server_pids: vec![u32::MAX], ..good };
    assert!(matches!(bench.row(&nobody, &mut |_| {}).await, Err(BenchError::Cpu(_))));
    assert!(peer.0.lock().unwrap().keys.is_empty());
}
