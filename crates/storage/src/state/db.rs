//! The handle of the state DB.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use ringfence_state_machine::Write;
use ringfence_types::ShardId;

use super::replica::{self, REPLICAS, ReplicaRecord};
use super::view::{SnapshotView, StateView, table};
use crate::engine::{Batch, Durability, Engine};
use crate::poison::Poison;
use crate::{LogPosition, StorageError};

/// The state of all local replicas. A cheap handle.
///
/// * The state of a replica is exactly the state after its `applied` entry.
/// * One thread at a time commits to a shard; different shards may be committed to at once.
#[derive(Clone)]
pub struct StateDb {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) poison: Poison,
    /// As stored, so that a commit need not read its record first.
    replicas: Mutex<BTreeMap<ShardId, ReplicaRecord>>,
    /// Shards that a snapshot is arriving for.
    pub(super) installs: Mutex<BTreeSet<ShardId>>,
}

impl StateDb {
    /// The tables that its engine must have.
    pub const TABLES: &'static [&'static str] = replica::TABLES;

    /// Reads the records of the local replicas, and finishes what a crash interrupted.
    pub fn open(engine: Arc<dyn Engine>) -> Result<StateDb, StorageError> {
        let mut replicas = BTreeMap::new();
        let mut outcome = Ok(());
        engine.scan(REPLICAS, &[], &[0xff; 9], &mut |key, value| match replica::decode(key, value) {
            Ok(record) => {
                replicas.insert(record.shard, record);
                ControlFlow::Continue(())
            }
            Err(error) => {
                outcome = Err(error);
                ControlFlow::Break(())
            }
        })?;
        outcome?;
        let shared =
            Shared { engine, poison: Poison::default(), replicas: Mutex::new(replicas), installs: Mutex::default() };
        let db = StateDb { shared: Arc::new(shared) };
        db.mend()?;
        Ok(db)
    }

    /// All local replicas, by shard.
    pub fn replicas(&self) -> Result<Vec<ReplicaRecord>, StorageError> {
        self.shared.poison.check()?;
        Ok(self.records().values().cloned().collect())
    }

    /// The local replica of a shard.
    pub fn replica(&self, shard: ShardId) -> Result<Option<ReplicaRecord>, StorageError> {
        self.shared.poison.check()?;
        Ok(self.records().get(&shard).cloned())
    }

    /// A replica is born with this state: one batch, durable on return. Refused if the shard has one here already.
    pub fn seed(&self, record: ReplicaRecord, writes: Vec<Write>) -> Result<(), StorageError> {
        if let Some(there) = self.replica(record.shard)? {
            return Err(StorageError::misuse(format!(
                "{} has the replica {} here already",
                there.shard, there.replica
            )));
        }
        let mut batch = batch_of(writes);
        self.write_record(&mut batch, record, Durability::Synced)
    }

    /// What reads the state as it is whenever it is asked.
    pub fn view(&self) -> StateView {
        StateView { shared: self.shared.clone() }
    }

    /// What reads the state as it is now.
    pub fn snapshot_view(&self) -> Result<SnapshotView, StorageError> {
        Ok(SnapshotView { snapshot: self.shared.engine.snapshot()?.into(), shared: self.shared.clone() })
    }

    /// What the entry at `applied` changed, in one batch with that position and the membership it brought. Not synced.
    pub fn commit(
        &self,
        shard: ShardId,
        writes: Vec<Write>,
        applied: LogPosition,
        membership: Option<Bytes>,
    ) -> Result<(), StorageError> {
        let Some(mut record) = self.replica(shard)? else {
            return Err(StorageError::misuse(format!("{shard} has no replica here to apply {applied} to")));
        };
        if record.applied.is_some_and(|before| before >= applied) {
            let before = record.applied.unwrap_or(applied);
            return Err(StorageError::misuse(format!(
                "{shard} has applied {before}; {applied} does not come after it"
            )));
        }
        if record.installing {
            return Err(StorageError::misuse(format!("{shard} is being installed; nothing can be applied to it")));
        }
        record.applied = Some(applied);
        record.membership = membership.unwrap_or(record.membership);
        let mut batch = batch_of(writes);
        self.write_record(&mut batch, record, Durability::Buffered)
    }

    /// Every commit before this call is durable on return. Called before a log is purged.
    pub fn make_durable(&self) -> Result<(), StorageError> {
        self.shared.poison.check()?;
        self.shared.poison.guard(self.shared.engine.sync())
    }

    /// Calls `listener` once a write or a sync has failed or a read has found damage, at once if one has: the process must
    /// stop then.
    pub fn on_failure(&self, listener: impl FnOnce(StorageError) + Send + 'static) {
        self.shared.poison.listen(Box::new(listener));
    }

    /// The failure, if there was one.
    pub fn failure(&self) -> Option<StorageError> {
        self.shared.poison.check().err()
    }

    /// Adds the record to the batch, writes it, and remembers the record.
    pub(super) fn write_record(
        &self,
        batch: &mut Batch,
        record: ReplicaRecord,
        durability: Durability,
    ) -> Result<(), StorageError> {
        let key = replica::key(record.shard);
        let value = replica::encode(&key, &record);
        batch.put(REPLICAS, key, value);
        self.write(std::mem::take(batch), durability)?;
        self.records().insert(record.shard, record);
        Ok(())
    }

    pub(super) fn write(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        self.shared.poison.check()?;
        self.shared.poison.guard(self.shared.engine.write(batch, durability))
    }

    pub(super) fn records(&self) -> MutexGuard<'_, BTreeMap<ShardId, ReplicaRecord>> {
        self.shared.replicas.lock().expect("no code panics while it holds this lock")
    }
}

pub(super) fn batch_of(writes: Vec<Write>) -> Batch {
    let mut batch = Batch::new();
    for Write { space, key, value } in writes {
        match value {
            Some(value) => batch.put(table(space), key, value),
            None => batch.delete(table(space), key),
        }
    }
    batch
}
