use std::collections::BTreeMap;

use ringfence_types::{NodeId, RingPosition, ShardId};

use crate::{Epoch, ShardDescriptor, ShardMap};

/// Where to send a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Who owns the key, as far as is known.
    pub shard: ShardId,
    /// How new that knowledge is; sent along, so that a node with newer knowledge can say so.
    pub epoch: Epoch,
    /// Who is believed to lead the shard. `None`: ask any replica, it forwards or names the leader.
    pub leader: Option<NodeId>,
    /// The nodes that hold a replica, the believed leader first.
    pub replicas: Vec<NodeId>,
}

/// What a client or a gateway remembers of the shards: a map that may be stale, and who was last seen to lead each.
///
/// * A leader hint names a node that holds a replica of the shard.
/// * Being wrong costs a detour, never correctness: the shard itself checks every key and every leader its own office.
#[derive(Clone, Debug)]
pub struct RouteCache {
    map: ShardMap,
    leaders: BTreeMap<ShardId, NodeId>,
}

impl RouteCache {
    /// Without any leader hint yet.
    pub fn new(map: ShardMap) -> RouteCache {
        RouteCache { map, leaders: BTreeMap::new() }
    }

    /// The map it routes by.
    pub fn map(&self) -> &ShardMap {
        &self.map
    }

    /// Where to send a request for a key at this position.
    pub fn route(&self, position: RingPosition) -> Route {
        self.route_to(self.map.lookup(position))
    }

    /// Where to send a request for a shard, if it is known.
    pub fn route_shard(&self, shard: ShardId) -> Option<Route> {
        self.map.get(shard).map(|descriptor| self.route_to(descriptor))
    }

    /// Someone said that this node leads the shard. A node without a replica cannot, and is not believed.
    pub fn learn_leader(&mut self, shard: ShardId, leader: NodeId) {
        if self.map.get(shard).is_some_and(|d| d.replica_on(leader).is_some()) {
            self.leaders.insert(shard, leader);
        }
    }

    /// This node was asked and did not lead, or did not answer. A hint that names another node meanwhile stays.
    pub fn forget_leader(&mut self, shard: ShardId, not_leader: NodeId) {
        if self.leaders.get(&shard) == Some(&not_leader) {
            self.leaders.remove(&shard);
        }
    }

    /// Takes in newer descriptors (see [`ShardMap::merge_all`]) and tells whether anything changed. If nothing did though
    /// a shard refused the route, the map has a hole in its knowledge: fetch the whole map and call this with all of it.
    pub fn learn_descriptors(&mut self, offered: impl IntoIterator<Item = ShardDescriptor>) -> bool {
        let changed = self.map.merge_all(offered);
        if changed {
            let map = &self.map;
            self.leaders.retain(|shard, leader| map.get(*shard).is_some_and(|d| d.replica_on(*leader).is_some()));
        }
        changed
    }

    fn route_to(&self, descriptor: &ShardDescriptor) -> Route {
        let leader = self.leaders.get(&descriptor.shard).copied();
        let others = descriptor.replicas.iter().map(|r| r.node).filter(|node| Some(*node) != leader);
        Route {
            shard: descriptor.shard,
            epoch: descriptor.epoch,
            leader,
            replicas: leader.into_iter().chain(others).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ringfence_types::ReplicaId;

    use super::*;
    use crate::{Replica, Role, ShardRange};

    fn descriptor(membership: u64, nodes: &[u64]) -> ShardDescriptor {
        let replica = |node: &u64| Replica { id: ReplicaId(*node), node: NodeId(*node), role: Role::Voter };
        ShardDescriptor {
            shard: ShardId(1),
            range: ShardRange::ALL,
            epoch: Epoch { range: 1, membership },
            replicas: nodes.iter().map(replica).collect(),
        }
    }

    fn cache() -> RouteCache {
        RouteCache::new(ShardMap::new([descriptor(1, &[1, 2, 3])]).unwrap())
    }

    #[test]
    fn the_believed_leader_is_asked_first() {
        let mut cache = cache();
        assert_eq!(cache.route(RingPosition(7)).leader, None);
        cache.learn_leader(ShardId(1), NodeId(3));
        let route = cache.route(RingPosition(7));
        assert_eq!((route.leader, route.replicas), (Some(NodeId(3)), vec![NodeId(3), NodeId(1), NodeId(2)]));
    }

    /// Two calls are under way: the slow one fails at the old leader after the fast one has learnt the new leader.
    #[test]
    fn a_late_failure_does_not_erase_a_newer_hint() {
        let mut cache = cache();
        cache.learn_leader(ShardId(1), NodeId(1));
        cache.learn_leader(ShardId(1), NodeId(2));
        cache.forget_leader(ShardId(1), NodeId(1));
        assert_eq!(cache.route(RingPosition(7)).leader, Some(NodeId(2)));
        cache.forget_leader(ShardId(1), NodeId(2));
        assert_eq!(cache.route(RingPosition(7)).leader, None);
    }

    #[test]
    fn a_leader_without_a_replica_is_not_believed() {
        let mut cache = cache();
        cache.learn_leader(ShardId(1), NodeId(9));
        cache.learn_leader(ShardId(8), NodeId(1));
        assert_eq!(cache.route(RingPosition(7)).leader, None);
        assert_eq!(cache.route_shard(ShardId(8)), None);

        cache.learn_leader(ShardId(1), NodeId(3));
        assert!(cache.learn_descriptors([descriptor(2, &[1, 2, 4])]));
        let route = cache.route(RingPosition(7));
        assert_eq!((route.leader, route.replicas), (None, vec![NodeId(1), NodeId(2), NodeId(4)]));
    }
}
