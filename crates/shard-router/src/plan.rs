//! Where replicas go.
//!
//! Every node of a new cluster computes the first placement by itself and must come to the same result, so it is a plain
//! function of the node ids. Replicas are picked by *rendezvous hashing*: each node scores `xxh3(node, shard)` and the
//! highest scores win. A further node takes its share from all others and moves nothing between them: about 1/N of the
//! replicas move when the N-th node comes. All nodes count alike here; nodes of different size would multiply their
//! chances by scoring several times.

use ringfence_types::{NodeId, ReplicaId, RingPosition, ShardId};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Epoch, Replica, Role, ShardDescriptor, ShardRange};

/// Replicas of the meta group at the most: five survive the loss of any two, and more only cost.
pub const META_REPLICAS_MAX: usize = 5;

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A cluster has at least one shard.
    #[error("a cluster needs at least one shard; give the initial shard count")]
    NoShards,
    /// A shard has at least one replica.
    #[error("a shard needs at least one replica; 3 survive the loss of one node")]
    NoReplicas,
    /// Two replicas of one shard never share a node.
    #[error("{replication} replicas need as many nodes, and there are {nodes}. Add nodes or lower the replication")]
    TooFewNodes {
        /// Wanted.
        replication: usize,
        /// There are.
        nodes: usize,
    },
    /// Node ids are unique and positive.
    #[error("node id {node} is given twice, or is 0; every node needs a positive id of its own")]
    BadNodeId {
        /// Which.
        node: NodeId,
    },
}

/// The first shards of a cluster: the meta group, and shards 1 to `shards` that tile the ring evenly.
///
/// * The order of `nodes` does not matter.
/// * Replica ids are unique over all shards and the meta group, from 1 upwards.
/// * The meta group is on [`META_REPLICAS_MAX`] nodes, or on all if there are fewer.
pub fn initial(
    nodes: &[NodeId],
    shards: u32,
    replication: usize,
) -> Result<(ShardDescriptor, Vec<ShardDescriptor>), PlanError> {
    let mut nodes = nodes.to_vec();
    nodes.sort();
    if let Some(node) = nodes.iter().find(|node| node.0 == 0) {
        return Err(PlanError::BadNodeId { node: *node });
    }
    if let Some(pair) = nodes.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(PlanError::BadNodeId { node: pair[0] });
    }
    if shards == 0 {
        return Err(PlanError::NoShards);
    }
    if replication == 0 {
        return Err(PlanError::NoReplicas);
    }
    if replication > nodes.len() {
        return Err(PlanError::TooFewNodes { replication, nodes: nodes.len() });
    }

    let mut next_replica_id = 1;
    let mut place = |shard: ShardId, range: ShardRange, count: usize| {
        let replicas = pick(&nodes, shard, count).into_iter().map(|node| {
            let id = ReplicaId(next_replica_id);
            next_replica_id += 1;
            Replica { id, node, role: Role::Voter }
        });
        ShardDescriptor { shard, range, epoch: Epoch { range: 1, membership: 1 }, replicas: replicas.collect() }
    };
    let meta = place(ShardId::META, ShardRange::ALL, nodes.len().min(META_REPLICAS_MAX));
    let shards = (1..=shards).map(|i| place(ShardId(i.into()), even_piece(i - 1, shards), replication)).collect();
    Ok((meta, shards))
}

/// The nodes that a shard's replicas go to, best first.
pub fn pick(nodes: &[NodeId], shard: ShardId, count: usize) -> Vec<NodeId> {
    let mut scored: Vec<_> = nodes.iter().map(|node| (score(*node, shard), *node)).collect();
    scored.sort_by(|a, b| b.cmp(a));
    scored.into_iter().take(count).map(|(_, node)| node).collect()
}

fn score(node: NodeId, shard: ShardId) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&node.0.to_be_bytes());
    bytes[8..].copy_from_slice(&shard.0.to_be_bytes());
    xxh3_64(&bytes)
}

/// Piece `index` of the ring cut into `pieces` equal ones.
fn even_piece(index: u32, pieces: u32) -> ShardRange {
    let first = |index: u32| (u128::from(index) << 64) / u128::from(pieces);
    ShardRange { first: RingPosition(first(index) as u64), last: RingPosition((first(index + 1) - 1) as u64) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::ShardMap;

    fn nodes(count: u64) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    #[test]
    fn what_cannot_be_placed_is_refused() {
        assert_eq!(initial(&nodes(3), 0, 3), Err(PlanError::NoShards));
        assert_eq!(initial(&nodes(3), 1, 0), Err(PlanError::NoReplicas));
        assert_eq!(initial(&nodes(2), 1, 3), Err(PlanError::TooFewNodes { replication: 3, nodes: 2 }));
        assert_eq!(initial(&[], 1, 1), Err(PlanError::TooFewNodes { replication: 1, nodes: 0 }));
        assert_eq!(initial(&[NodeId(1), NodeId(1)], 1, 1), Err(PlanError::BadNodeId { node: NodeId(1) }));
        assert_eq!(initial(&[NodeId(0), NodeId(1)], 1, 1), Err(PlanError::BadNodeId { node: NodeId(0) }));
    }

    /// Nodes that restart during bootstrap, or run another build, must come to the same placement: it is a format.
    #[test]
    fn the_first_placement_never_changes() {
        let (meta, shards) = initial(&nodes(5), 3, 3).unwrap();
        let on = |d: &ShardDescriptor| d.replicas.iter().map(|r| r.node.0).collect::<Vec<_>>();
        assert_eq!(on(&meta).len(), 5);
        assert_eq!(shards.iter().map(on).collect::<Vec<_>>(), PLACEMENT_OF_5_NODES);
    }

    const PLACEMENT_OF_5_NODES: [[u64; 3]; 3] = [[2, 3, 4], [4, 1, 5], [3, 1, 5]];

    proptest! {
        #[test]
        fn a_placement_is_sound(count in 1u64..12, shards in 1u32..200, replication in 1usize..6, turn in 0usize..12) {
            let nodes = nodes(count);
            prop_assume!(replication <= nodes.len());
            let (meta, shards) = initial(&nodes, shards, replication).unwrap();
            prop_assert_eq!(meta.replicas.len(), nodes.len().min(META_REPLICAS_MAX));

            ShardMap::new(shards.clone()).unwrap().check();
            let sizes: Vec<u64> = shards.iter().map(|s| s.range.last.0 - s.range.first.0).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);

            let mut ids = BTreeSet::new();
            for descriptor in shards.iter().chain([&meta]) {
                let on: BTreeSet<_> = descriptor.replicas.iter().map(|r| r.node).collect();
                prop_assert_eq!(on.len(), descriptor.replicas.len(), "two replicas on one node");
                for replica in &descriptor.replicas {
                    prop_assert!(replica.id.0 > 0 && ids.insert(replica.id), "a replica id twice");
                }
            }
            for shard in &shards {
                prop_assert_eq!(shard.replicas.len(), replication);
            }

            let mut turned = nodes.clone();
            turned.rotate_left(turn % nodes.len());
            prop_assert_eq!(initial(&turned, shards.len() as u32, replication).unwrap(), (meta, shards));
        }

        /// Adding the N-th node moves about 1/N of the replicas, all of them to the new node.
        #[test]
        fn a_further_node_moves_only_its_share(before in 3u64..12) {
            let (old, new) = (nodes(before), nodes(before + 1));
            let (shards, replication) = (1000, 3);
            let mut moved = 0;
            for shard in (1..=shards).map(ShardId) {
                let had: BTreeSet<_> = pick(&old, shard, replication).into_iter().collect();
                let has: BTreeSet<_> = pick(&new, shard, replication).into_iter().collect();
                let gained: Vec<_> = has.difference(&had).collect();
                prop_assert!(gained.iter().all(|node| node.0 == before + 1), "a replica moved between old nodes");
                moved += gained.len();
            }
            let share = (shards as usize * replication) as f64 / (before + 1) as f64;
            prop_assert!((moved as f64 - share).abs() < share * 0.2, "moved {moved}, fair share {share}");
        }
    }
}
