use std::collections::BTreeSet;

use ringfence_shard_router::{Epoch, Replica, Role, ShardDescriptor, ShardRange};
use ringfence_types::{NodeId, ReplicaId, RingPosition, ShardId};

use crate::v1;

impl v1::Shard {
    /// A descriptor, and who leads as far as the answering node knows.
    pub fn new(descriptor: &ShardDescriptor, leader: Option<NodeId>) -> v1::Shard {
        v1::Shard {
            shard: descriptor.shard.0,
            first_position: descriptor.range.first.0,
            last_position: descriptor.range.last.0,
            range_epoch: descriptor.epoch.range,
            membership_epoch: descriptor.epoch.membership,
            replicas: descriptor.replicas.iter().map(v1::Replica::from).collect(),
            leader_node: leader.unwrap_or_default().0,
        }
    }

    /// Who leads, as far as the answering node knew.
    pub fn leader(&self) -> Option<NodeId> {
        (self.leader_node != 0).then_some(NodeId(self.leader_node))
    }
}

impl From<&Replica> for v1::Replica {
    fn from(replica: &Replica) -> v1::Replica {
        v1::Replica { replica: replica.id.0, node: replica.node.0, voter: replica.role == Role::Voter }
    }
}

/// Why a message does not describe a shard. Peers are not trusted to keep a [`ShardDescriptor`]'s invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidShard {
    /// Its range ends before it begins.
    #[error("{0} ends before it begins")]
    EmptyRange(ShardId),
    /// A replica is on node 0, which is no node.
    #[error("a replica of {0} is on no node")]
    ReplicaOnNoNode(ShardId),
    /// Two replicas have one id, or are on one node.
    #[error("{0} has a replica id or a node twice")]
    ReplicaTwice(ShardId),
}

impl TryFrom<&v1::Shard> for ShardDescriptor {
    type Error = InvalidShard;

    fn try_from(shard: &v1::Shard) -> Result<ShardDescriptor, InvalidShard> {
        let id = ShardId(shard.shard);
        if shard.first_position > shard.last_position {
            return Err(InvalidShard::EmptyRange(id));
        }
        if shard.replicas.iter().any(|replica| replica.node == 0) {
            return Err(InvalidShard::ReplicaOnNoNode(id));
        }
        let ids: BTreeSet<_> = shard.replicas.iter().map(|replica| replica.replica).collect();
        let nodes: BTreeSet<_> = shard.replicas.iter().map(|replica| replica.node).collect();
        if ids.len() < shard.replicas.len() || nodes.len() < shard.replicas.len() {
            return Err(InvalidShard::ReplicaTwice(id));
        }
        let replicas = shard.replicas.iter().map(|replica| Replica {
            id: ReplicaId(replica.replica),
            node: NodeId(replica.node),
            role: if replica.voter { Role::Voter } else { Role::Learner },
        });
        Ok(ShardDescriptor {
            shard: id,
            range: ShardRange { first: RingPosition(shard.first_position), last: RingPosition(shard.last_position) },
            epoch: Epoch { range: shard.range_epoch, membership: shard.membership_epoch },
            replicas: replicas.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> ShardDescriptor {
        ShardDescriptor {
            shard: ShardId(7),
            range: ShardRange { first: RingPosition(5), last: RingPosition::MAX },
            epoch: Epoch { range: 3, membership: 9 },
            replicas: vec![
                Replica { id: ReplicaId(11), node: NodeId(1), role: Role::Voter },
                Replica { id: ReplicaId(12), node: NodeId(2), role: Role::Learner },
            ],
        }
    }

    #[test]
    fn a_descriptor_goes_there_and_back() {
        let shard = v1::Shard::new(&descriptor(), Some(NodeId(1)));
        assert_eq!(shard.leader(), Some(NodeId(1)));
        assert_eq!(ShardDescriptor::try_from(&shard), Ok(descriptor()));
        assert_eq!(v1::Shard::new(&descriptor(), None).leader(), None);
    }

    #[test]
    fn descriptors_that_cannot_be_are_refused() {
        let good = v1::Shard::new(&descriptor(), None);
        let mut empty = good.clone();
        empty.last_position = 4;
        assert_eq!(ShardDescriptor::try_from(&empty), Err(InvalidShard::EmptyRange(ShardId(7))));
        let mut nowhere = good.clone();
        nowhere.replicas[0].node = 0;
        assert_eq!(ShardDescriptor::try_from(&nowhere), Err(InvalidShard::ReplicaOnNoNode(ShardId(7))));
        let mut twice = good;
        twice.replicas[0].node = 2;
        assert_eq!(ShardDescriptor::try_from(&twice), Err(InvalidShard::ReplicaTwice(ShardId(7))));
    }
}
