use ringfence_shard_router::ShardDescriptor;
use ringfence_state_machine::{Limits, NodeInfo, seed, seed_meta};
use ringfence_storage::{LogPosition, NodeStorage, ReplicaRecord, StorageError};
use ringfence_types::{NodeId, ShardId};

use crate::raft::{StoredMembership, encode_membership, log_id, membership_of};

/// The position that a newborn replica's state stands at, without a log that led to it. Any index above 0 would do; index
/// 0 is where openraft expects the membership entry of a group that it initialized itself.
const SEED: LogPosition = LogPosition { term: 0, index: 5 };

/// Birth of a cluster, as one node sees it: seeds every descriptor that has a replica on `node`.
///
/// Every node of a new cluster makes the same descriptors from the same list of nodes and seeds its own replicas with the
/// same state at the same position, so no node has to tell another, and the groups elect leaders as if they had been there
/// for ever. Shards that are here already are left alone, so a crash in the middle is mended by doing it again.
pub fn bootstrap(
    storage: &NodeStorage,
    node: NodeId,
    meta: &ShardDescriptor,
    shards: &[ShardDescriptor],
    nodes: &[NodeInfo],
    limits: Limits,
) -> Result<(), StorageError> {
    for descriptor in std::iter::once(meta).chain(shards) {
        let Some(replica) = descriptor.replica_on(node) else { continue };
        if storage.state.replica(descriptor.shard)?.is_some() {
            continue;
        }
        let writes = if descriptor.shard == ShardId::META {
            seed_meta(descriptor, limits, nodes, shards)
        } else {
            seed(descriptor, limits)
        };
        let membership = StoredMembership::new(Some(log_id(SEED)), membership_of(descriptor));
        let record = ReplicaRecord {
            applied: Some(SEED),
            base: Some(SEED),
            membership: encode_membership(&membership),
            ..ReplicaRecord::empty(descriptor.shard, replica.id)
        };
        storage.state.seed(record, writes)?;
    }
    Ok(())
}
