//! What a node knows of its own replicas.

use bytes::Bytes;
use ringfence_types::{ReplicaId, ShardId};
use serde::{Deserialize, Serialize};

use crate::engine::Table;
use crate::seal::{seal, unseal};
use crate::{LogPosition, StorageError};

/// After the spaces of the state machine.
pub(super) const REPLICAS: Table = Table(6);
/// Chunks of a snapshot that is being installed, at `shard(8) | sequence(8)`.
pub(super) const STAGED: Table = Table(7);

/// The tables of the state DB: the spaces in their order, then ours.
pub(super) const TABLES: &[&str] =
    &["current", "history", "dedup", "deadlines", "shard", "locks", "replicas", "staged"];

const _: () = assert!(TABLES.len() == ringfence_state_machine::Space::ALL.len() + 2);

/// One local replica, and how far its state has come. Stored sealed at `shard(8)`: a node has at most one replica of a
/// shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// Of which shard.
    pub shard: ShardId,
    /// Which replica of it.
    pub replica: ReplicaId,
    /// The last entry whose changes are in the state. `None` before the first.
    pub applied: Option<LogPosition>,
    /// Where the state stood when it came without a log: by birth or by a snapshot. A log that ends below `applied` is
    /// right only while `applied` is this; otherwise entries are missing and the replica is not to be trusted.
    pub base: Option<LogPosition>,
    /// The last applied membership, in the host's own format; empty before the first.
    pub membership: Bytes,
    /// A snapshot was being put in place when the node stopped. Never true for anyone outside: opening the state DB
    /// finishes it.
    pub installing: bool,
}

impl ReplicaRecord {
    /// A replica without any state: it will get it from the log, or by a snapshot.
    pub fn empty(shard: ShardId, replica: ReplicaId) -> ReplicaRecord {
        ReplicaRecord { shard, replica, applied: None, base: None, membership: Bytes::new(), installing: false }
    }
}

pub(super) fn key(shard: ShardId) -> Bytes {
    Bytes::copy_from_slice(&shard.0.to_be_bytes())
}

pub(super) fn encode(key: &[u8], record: &ReplicaRecord) -> Bytes {
    let body = postcard::to_stdvec(record).expect("a plain struct is always encodable");
    seal(key, &[&body])
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<ReplicaRecord, StorageError> {
    let what = || format!("state DB, replica record at {}", key.escape_ascii());
    let body = unseal(key, value, what)?;
    let record: ReplicaRecord =
        postcard::from_bytes(body).map_err(|error| StorageError::corrupt(format!("{}: {error}", what())))?;
    if *key != record.shard.0.to_be_bytes() {
        return Err(StorageError::corrupt(format!("{}: it is of {}", what(), record.shard)));
    }
    Ok(record)
}
