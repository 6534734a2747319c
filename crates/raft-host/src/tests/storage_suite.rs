//! openraft's own storage suite on our log store and state machine. Many of its invariants are debug assertions, so it runs
//! with them too (`cargo xtask test`).

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use ringfence_shard_router::{Epoch, ShardDescriptor, ShardRange};
use ringfence_state_machine::{Limits, seed};
use ringfence_storage::{DataDir, NodeStorage, ReplicaRecord};
use ringfence_types::{ClusterId, NodeId, ReplicaId, ShardId};

use crate::apply_pool::ApplyPool;
use crate::descriptor_cell::DescriptorCell;
use crate::flushed::Flushed;
use crate::locks::Locks;
use crate::log_store::{Durable, LogStore};
use crate::machine::{AppliedBytes, Machine};
use crate::moments::Moments;
use crate::raft::Types;

const SHARD: ShardId = ShardId(1);
const REPLICA: ReplicaId = ReplicaId(1);

fn stores(storage: &NodeStorage) -> (ApplyPool, LogStore, Machine) {
    let descriptor =
        ShardDescriptor { shard: SHARD, range: ShardRange::ALL, epoch: Epoch::default(), replicas: Vec::new() };
    storage
        .state
        .seed(ReplicaRecord::empty(SHARD, REPLICA), seed(&descriptor, Limits { value_bytes_max: 1 << 20 }))
        .unwrap();
    let pool = ApplyPool::start(1).unwrap();
    // The suite purges what it has just applied; here everything counts as durable at once.
    let durable = Durable::default();
    durable.raise(u64::MAX);
    let log = LogStore::new(storage.log.group(REPLICA).unwrap(), durable.clone());
    // It applies entries that it never put into a log.
    let (state, flushed) = (storage.state.clone(), Flushed::before(u64::MAX));
    let (applied_bytes, descriptor) = (AppliedBytes::default(), DescriptorCell::new(Some(descriptor)));
    let machine = Machine::new(
        SHARD,
        REPLICA,
        state,
        pool.thread(SHARD),
        durable,
        flushed,
        applied_bytes,
        descriptor,
        Locks::default(),
        Moments::default(),
    );
    (pool, log, machine)
}

struct InMemory;

impl StoreBuilder<Types, LogStore, Machine, ApplyPool> for InMemory {
    async fn build(&self) -> Result<(ApplyPool, LogStore, Machine), StorageError<Types>> {
        Ok(stores(&NodeStorage::memory().unwrap()))
    }
}

struct OnRocksDb;

impl StoreBuilder<Types, LogStore, Machine, (ApplyPool, DataDir, tempfile::TempDir)> for OnRocksDb {
    async fn build(&self) -> Result<((ApplyPool, DataDir, tempfile::TempDir), LogStore, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path(), ClusterId(1), NodeId(1)).unwrap();
        let (pool, log, machine) = stores(&data.storage());
        Ok(((pool, data, dir), log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_what_openraft_wants_of_a_store() {
    Suite::test_all(InMemory).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rocksdb_keeps_what_openraft_wants_of_a_store() {
    Suite::test_all(OnRocksDb).await.unwrap();
}
