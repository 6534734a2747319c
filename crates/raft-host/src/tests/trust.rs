//! What must be found before a replica may vote.

use std::sync::Arc;

use bytes::Bytes;
use ringfence_shard_router::{Epoch, ShardDescriptor, ShardRange};
use ringfence_state_machine::{Limits, Space, Write, keys, seed};
use ringfence_storage::engine::{FailingEngine, Fault, MemoryEngine};
use ringfence_storage::{LogPosition, LogRecord, NodeStorage, ReplicaRecord, StateDb};
use ringfence_types::{ReplicaId, ShardId};

use crate::{HostError, examine};

const SHARD: ShardId = ShardId(1);
const REPLICA: ReplicaId = ReplicaId(4);

/// A replica with a log of `entries` that has applied `applied` of them.
fn node(entries: u64, applied: u64) -> NodeStorage {
    let storage = NodeStorage::memory().unwrap();
    let range = ShardRange::ALL;
    let descriptor = ShardDescriptor { shard: SHARD, range, epoch: Epoch::default(), replicas: Vec::new() };
    storage.state.seed(ReplicaRecord::empty(SHARD, REPLICA), seed(&descriptor, Limits::default())).unwrap();
    let at = |index| LogPosition { term: 1, index };
    for index in 0..applied {
        storage.state.commit(SHARD, Vec::new(), at(index), None).unwrap();
    }
    append(&storage, REPLICA, entries);
    storage
}

fn append(storage: &NodeStorage, replica: ReplicaId, entries: u64) {
    let (done, wait) = std::sync::mpsc::channel();
    let record = |index| LogRecord { position: LogPosition { term: 1, index }, payload: Bytes::new() };
    let log = storage.log.group(replica).unwrap();
    log.append((0..entries).map(record).collect(), Box::new(move |result| done.send(result).unwrap()));
    wait.recv().unwrap().unwrap();
}

#[test]
fn what_is_whole_is_trusted() {
    examine(&NodeStorage::memory().unwrap()).unwrap();
    examine(&node(10, 10)).unwrap();
    examine(&node(10, 3)).unwrap(); // the state follows
    let fresh = NodeStorage::memory().unwrap();
    fresh.state.seed(ReplicaRecord::empty(SHARD, REPLICA), Vec::new()).unwrap();
    examine(&fresh).unwrap();
}

#[test]
fn a_log_that_ends_before_what_was_applied_is_not() {
    let error = examine(&node(5, 9)).unwrap_err();
    assert!(matches!(error, HostError::Distrusted { .. }) && error.is_damage(), "{error}");
}

/// An empty state DB would make a node without replicas, and nothing would be amiss.
#[test]
fn a_log_that_the_state_does_not_know_is_not() {
    let storage = node(5, 5);
    append(&storage, ReplicaId(9), 1);
    let error = examine(&storage).unwrap_err();
    assert!(matches!(error, HostError::Orphan { replica: ReplicaId(9) }) && error.is_damage(), "{error}");
}

/// After a downgrade everything is whole, and a fault of ours is the same on all nodes: nobody must give up a disk for that.
#[test]
fn what_is_only_not_understood_is_not_given_up() {
    for format in [0, 9] {
        let storage = node(5, 4);
        let key = keys::StoredKey::ShardState { shard: SHARD }.encode();
        let value = Some(Bytes::copy_from_slice(&[format, 1, 2, 3]));
        let at = LogPosition { term: 1, index: 4 };
        storage.state.commit(SHARD, vec![Write { space: Space::Shard, key, value }], at, None).unwrap();
        examine(&storage).unwrap();
    }
}

#[test]
fn a_state_that_is_damaged_is_not() {
    let failing = Arc::new(FailingEngine::new(Arc::new(MemoryEngine::new(StateDb::TABLES.len()))));
    let storage = NodeStorage { state: StateDb::open(failing.clone()).unwrap(), ..node(0, 0) };
    storage.state.seed(ReplicaRecord::empty(SHARD, REPLICA), Vec::new()).unwrap();
    examine(&storage).unwrap();
    failing.inject(Fault::Damage(0));
    let error = examine(&storage).unwrap_err();
    assert!(error.is_damage(), "{error}");
}
