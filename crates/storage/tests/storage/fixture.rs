//! Engines to test on, and small things to put into them.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ringfence_shard_router::{Epoch, Replica, Role, ShardDescriptor, ShardRange};
use ringfence_state_machine::{Action, Command, Condition, Entry, Limits, Mutation, Request, View, apply, seed};
use ringfence_storage::engine::{Engine, FailingEngine, MemoryEngine, RocksEngine, RocksProfile};
use ringfence_storage::{Done, GroupLog, LogDb, LogPosition, LogRecord, ReplicaRecord, StateDb, StorageError};
use ringfence_types::{Key, NodeId, ReplicaId, Revision, RingPosition, ShardId, Value};
use tempfile::TempDir;

pub(crate) const LOG_TABLES: usize = LogDb::TABLES.len();
pub(crate) const STATE_TABLES: usize = StateDb::TABLES.len();

/// Every engine of this crate with these tables, each fresh, with its name.
pub(crate) fn engines(tables: &'static [&'static str]) -> Vec<(&'static str, Arc<dyn Engine>, Option<TempDir>)> {
    let dir = TempDir::new().unwrap();
    let rocks = RocksEngine::open(dir.path(), tables, RocksProfile::State).unwrap();
    let memory = || Arc::new(MemoryEngine::new(tables.len()));
    vec![
        ("rocks", Arc::new(rocks), Some(dir)),
        ("memory", memory(), None),
        ("failing without faults", Arc::new(FailingEngine::new(memory())), None),
    ]
}

pub(crate) fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term, index }
}

pub(crate) fn record(term: u64, index: u64) -> LogRecord {
    LogRecord { position: at(term, index), payload: format!("entry {term}-{index}").into() }
}

pub(crate) fn records(term: u64, indexes: std::ops::Range<u64>) -> Vec<LogRecord> {
    indexes.map(|index| record(term, index)).collect()
}

/// A `done`, and where its result arrives.
pub(crate) fn done() -> (Done, Receiver<Result<(), StorageError>>) {
    let (sender, receiver) = channel();
    (Box::new(move |result| drop(sender.send(result))), receiver)
}

/// A `done` that writes a name down when it is called.
pub(crate) fn noting(name: &'static str, list: &Arc<Mutex<Vec<(&'static str, bool)>>>) -> Done {
    let list = list.clone();
    Box::new(move |result| list.lock().unwrap().push((name, result.is_ok())))
}

pub(crate) fn ignore() -> Done {
    Box::new(|_| ())
}

/// Everything that is readable of a log.
pub(crate) fn all(log: &GroupLog) -> Vec<LogRecord> {
    log.read(0, u64::MAX, usize::MAX).unwrap()
}

pub(crate) fn descriptor(shard: u64, range: ShardRange) -> ShardDescriptor {
    let replicas = vec![Replica { id: ReplicaId(shard * 10), node: NodeId(1), role: Role::Voter }];
    ShardDescriptor { shard: ShardId(shard), range, epoch: Epoch::default(), replicas }
}

/// The lower and the upper half of the ring.
pub(crate) fn halves() -> (ShardRange, ShardRange) {
    let middle = u64::MAX / 2;
    (
        ShardRange { first: RingPosition::MIN, last: RingPosition(middle) },
        ShardRange { first: RingPosition(middle + 1), last: RingPosition::MAX },
    )
}

/// A newborn shard.
pub(crate) fn seed_shard(db: &StateDb, shard: u64, range: ShardRange) {
    let record = ReplicaRecord {
        applied: Some(at(0, 5)),
        membership: Bytes::from_static(b"members"),
        ..ReplicaRecord::empty(ShardId(shard), ReplicaId(shard * 10))
    };
    db.seed(record, seed(&descriptor(shard, range), Limits::default())).unwrap();
}

/// Applies puts of these keys as the next entry, those keys that the shard owns. Values tell the index.
pub(crate) fn put(db: &StateDb, shard: u64, index: u64, keys: impl Iterator<Item = String>) {
    let owned = owned_range(&db.view(), shard);
    let requests = keys
        .filter_map(|key| {
            let key = Key::new(key).unwrap();
            let value = Value::new(format!("{index} {}", "x".repeat(100))).unwrap();
            let action = Action::Put { value, ttl_ms: None };
            let mutation = Mutation { key: key.clone(), condition: Condition::None, action };
            let request = Request { id: None, seen: Revision::ZERO, command: Command::Mutate(mutation) };
            owned.contains(key.position()).then_some(request)
        })
        .collect();
    commit(db, shard, index, requests);
}

pub(crate) fn commit(db: &StateDb, shard: u64, index: u64, requests: Vec<Request>) {
    let entry = Entry { now_ms: 1000 + index, lease_clock_ms: index, requests };
    let applied = apply(&db.view(), ShardId(shard), &entry).unwrap();
    assert!(applied.replies.iter().all(Result::is_ok), "{:?}", applied.replies);
    db.commit(ShardId(shard), applied.writes, at(1, index), None).unwrap();
}

fn owned_range(view: &dyn View, shard: u64) -> ShardRange {
    ringfence_state_machine::ShardState::load(view, ShardId(shard)).unwrap().unwrap().descriptor.range
}
