//! What the local replica of a shard holds, as one number, at one position of its log.
//!
//! The records are those that [`export`](super::ShardExport) sends, the Raft membership included, and read from a snapshot of the
//! database in the same way: nobody waits for it, and it needs no memory to speak of. Of the replica's record only the
//! membership is hashed: where it is applied to is told beside the hash, and the rest is this replica's own.

use ringfence_state_machine::{Digest, ShardState, digest_while};
use ringfence_types::{ReplicaId, Revision, ShardId};

use super::replica::{self, REPLICAS};
use super::view::SnapshotView;
use crate::{LogPosition, StorageError};

/// A replica and its state at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaHash {
    /// Which replica.
    pub replica: ReplicaId,
    /// The last entry whose changes are in it.
    pub applied: LogPosition,
    /// The shard's clock there.
    pub clock: Revision,
    /// Of its state, and of the membership.
    pub digest: Digest,
}

impl SnapshotView {
    /// Up to where the shard's log is applied in this view. `None` if it has no replica here, or one without any state.
    pub fn applied(&self, shard: ShardId) -> Result<Option<LogPosition>, StorageError> {
        Ok(self.record(shard)?.and_then(|record| record.applied))
    }

    /// Hashes what this view holds of a shard. Reads all of it: not on an async worker. `None` if it has no state to hash, or if
    /// `go_on` said no on the way.
    pub fn replica_hash(
        &self,
        shard: ShardId,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<ReplicaHash>, StorageError> {
        let unreadable = |what: &ringfence_state_machine::Unreadable| {
            StorageError::corrupt(format!("state of {shard}: {}", what.reason))
        };
        let Some(record) = self.record(shard)?.filter(|record| !record.installing) else { return Ok(None) };
        let Some(applied) = record.applied else { return Ok(None) };
        let Some(state) = ShardState::load(self, shard).map_err(|e| unreadable(&e))? else { return Ok(None) };
        let digest = digest_while(self, shard, &record.membership, go_on).map_err(|e| unreadable(&e))?;
        Ok(digest.map(|digest| ReplicaHash { replica: record.replica, applied, clock: state.clock, digest }))
    }

    fn record(&self, shard: ShardId) -> Result<Option<replica::ReplicaRecord>, StorageError> {
        let key = replica::key(shard);
        let stored = self.snapshot.get(REPLICAS, &key).map_err(|e| self.shared.note_damage(e))?;
        stored.map(|value| replica::decode(&key, &value)).transpose()
    }
}
