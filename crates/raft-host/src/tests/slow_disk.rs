//! A replica whose own disk is slower than those of the others learns that an entry is committed before its own log has it.

use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use ringfence_shard_router::{Epoch, ShardDescriptor, ShardRange};
use ringfence_state_machine::{Limits, seed};
use ringfence_storage::engine::{FailingEngine, Fault, MemoryEngine, Operation};
use ringfence_storage::{LogDb, LogPosition, NodeStorage, ReplicaRecord};
use ringfence_types::{ReplicaId, ShardId};

use crate::apply_pool::ApplyPool;
use crate::descriptor_cell::DescriptorCell;
use crate::locks::Locks;
use crate::log_store::{Durable, LogStore};
use crate::machine::{AppliedBytes, Machine};
use crate::moments::Moments;
use crate::raft::{RaftEntry, log_id};

const SHARD: ShardId = ShardId(1);
const REPLICA: ReplicaId = ReplicaId(11);

fn blank(index: u64) -> RaftEntry {
    RaftEntry { log_id: log_id(LogPosition { term: 1, index }), payload: EntryPayload::Blank }
}

/// If the state were ahead of the log when the process ends, the next start would distrust a replica that lost nothing.
#[tokio::test]
async fn nothing_is_applied_before_the_own_log_has_it() {
    let engine = Arc::new(FailingEngine::new(Arc::new(MemoryEngine::new(LogDb::TABLES.len()))));
    let log = LogDb::open_inline(engine.clone()); // writes when it is told to
    let state = NodeStorage::memory().unwrap().state;
    let descriptor =
        ShardDescriptor { shard: SHARD, range: ShardRange::ALL, epoch: Epoch::default(), replicas: Vec::new() };
    state.seed(ReplicaRecord::empty(SHARD, REPLICA), seed(&descriptor, Limits::default())).unwrap();
    let pool = ApplyPool::start(1).unwrap();
    let mut store = LogStore::new(log.group(REPLICA).unwrap(), Durable::default());
    let mut machine = Machine::new(
        SHARD,
        REPLICA,
        state.clone(),
        pool.thread(SHARD),
        Durable::default(),
        store.flushed(),
        AppliedBytes::default(),
        DescriptorCell::new(Some(descriptor)),
        Locks::default(),
        Moments::default(),
    );
    let applied = || state.replica(SHARD).unwrap().unwrap().applied.map_or(0, |applied| applied.index);
    let committed = |index| stream::iter([Ok((blank(index), None))]);

    for index in 1..=3 {
        store.append([blank(index)], IOFlushed::noop()).await.unwrap();
    }
    // Two are applied when the first write has been made, which takes both.
    {
        let mut applying = std::pin::pin!(machine.apply(committed(2)));
        let waited = tokio::time::timeout(Duration::from_millis(100), &mut applying).await;
        assert!(waited.is_err() && applied() == 0, "{} was applied, and its log is empty", applied());
        assert!(log.step());
        applying.await.unwrap();
        assert_eq!(applied(), 2);
    }
    // Another leader's entry in the place of one that was flushed counts from its own flush.
    {
        let truncating = tokio::spawn({
            let mut store = store.clone();
            async move { store.truncate_after(Some(log_id(LogPosition { term: 1, index: 2 }))).await }
        });
        while !log.step() {
            tokio::task::yield_now().await;
        }
        truncating.await.unwrap().unwrap();
        store.append([blank(3)], IOFlushed::noop()).await.unwrap();
        let mut applying = std::pin::pin!(machine.apply(committed(3)));
        let waited = tokio::time::timeout(Duration::from_millis(100), &mut applying).await;
        assert!(waited.is_err() && applied() == 2);
        assert!(log.step());
        applying.await.unwrap();
        assert_eq!(applied(), 3);
    }
    // Whoever waits for a write that fails is told.
    engine.inject(Fault::Error(Operation::Write, 0));
    store.append([blank(4)], IOFlushed::noop()).await.unwrap();
    log.step();
    assert!(machine.apply(committed(4)).await.is_err());
    assert_eq!(applied(), 3);
}
