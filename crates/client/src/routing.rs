//! Where a request goes first, and where next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ringfence_proto::v1;
use ringfence_shard_router::{Route, RouteCache, ShardDescriptor, ShardMap};
use ringfence_types::{NodeId, RingPosition, ShardId};

use crate::pool::lock;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Keys at one position of the ring.
    Position(RingPosition),
    /// Keys anywhere: whoever is asked has to ask around.
    Everywhere,
}

/// What is known of the cluster: a shard map that may be stale, leader hints, addresses.
#[derive(Debug)]
pub(crate) struct Routing {
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// `None` until some node has told a complete map. Until then anyone is asked.
    cache: Option<RouteCache>,
    addresses: BTreeMap<NodeId, Arc<str>>,
    /// As configured. Asked too, because nodes may have moved since.
    seeds: Vec<Arc<str>>,
    /// Spreads requests that have no better place to go.
    turn: usize,
}

impl Routing {
    pub(crate) fn new(seeds: &[String]) -> Routing {
        let seeds = seeds.iter().map(|seed| Arc::from(seed.as_str())).collect();
        Routing { known: Mutex::new(Known { cache: None, addresses: BTreeMap::new(), seeds, turn: 0 }) }
    }

    /// Takes in what a node told. Newer descriptors win; leader hints that we have are younger than its hearsay.
    pub(crate) fn learn(&self, described: &v1::DescribeResponse) {
        let descriptors: Vec<_> = described.shards.iter().filter_map(|s| ShardDescriptor::try_from(s).ok()).collect();
        let mut known = lock(&self.known);
        for node in &described.nodes {
            known.addresses.insert(NodeId(node.node), Arc::from(node.address.as_str()));
        }
        match &mut known.cache {
            Some(cache) => drop(cache.learn_descriptors(descriptors)),
            none => *none = ShardMap::new(descriptors).ok().map(RouteCache::new),
        }
        let Some(cache) = &mut known.cache else { return };
        for shard in &described.shards {
            let id = ShardId(shard.shard);
            if let (Some(leader), Some(Route { leader: None, .. })) = (shard.leader(), cache.route_shard(id)) {
                cache.learn_leader(id, leader);
            }
        }
    }

    /// A node answered for a shard, or was named as its leader. Tells whether its address and its shard are known.
    pub(crate) fn learn_leader(&self, shard: ShardId, leader: NodeId) -> bool {
        let mut known = lock(&self.known);
        let Known { cache: Some(cache), addresses, .. } = &mut *known else { return false };
        cache.learn_leader(shard, leader);
        addresses.contains_key(&leader) && cache.map().get(shard).is_some()
    }

    /// The leader of the shard at a place has just been named, with its address.
    pub(crate) fn learn_named(&self, place: Place, leader: NodeId, address: &str) {
        let mut known = lock(&self.known);
        known.addresses.insert(leader, Arc::from(address));
        if let (Place::Position(position), Some(cache)) = (place, &mut known.cache) {
            let shard = cache.route(position).shard;
            cache.learn_leader(shard, leader);
        }
    }

    /// A node did not answer, or does not lead: do not ask it first again.
    pub(crate) fn forget_leader(&self, place: Place, address: &str) {
        let mut known = lock(&self.known);
        let Known { cache: Some(cache), addresses, .. } = &mut *known else { return };
        let Place::Position(position) = place else { return };
        if let Route { shard, leader: Some(leader), .. } = cache.route(position)
            && addresses.get(&leader).is_some_and(|known| **known == *address)
        {
            cache.forget_leader(shard, leader);
        }
    }

    /// Where the believed leader listens.
    pub(crate) fn leader(&self, place: Place) -> Option<Arc<str>> {
        let known = lock(&self.known);
        let Place::Position(position) = place else { return None };
        let leader = known.cache.as_ref()?.route(position).leader?;
        known.addresses.get(&leader).cloned()
    }

    /// Where a node listens.
    pub(crate) fn address(&self, node: NodeId) -> Option<Arc<str>> {
        lock(&self.known).addresses.get(&node).cloned()
    }

    /// Everyone who may be asked, best first: the leader, nodes with a replica, other nodes, seeds. Equals take turns.
    pub(crate) fn candidates(&self, place: Place) -> Vec<Arc<str>> {
        let mut known = lock(&self.known);
        known.turn = known.turn.wrapping_add(1);
        let turn = known.turn;
        let route = match (place, &known.cache) {
            (Place::Position(position), Some(cache)) => Some(cache.route(position)),
            _ => None,
        };
        let (leader, mut replicas) = route.map(|route| (route.leader, route.replicas)).unwrap_or_default();
        replicas.retain(|node| Some(*node) != leader);
        rotate(&mut replicas, turn);
        let mut rest: Vec<_> = known.addresses.values().chain(&known.seeds).cloned().collect();
        rotate(&mut rest, turn);

        let mut candidates = Vec::new();
        let best = leader.into_iter().chain(replicas).filter_map(|node| known.addresses.get(&node).cloned());
        for address in best.chain(rest) {
            if !candidates.contains(&address) {
                candidates.push(address);
            }
        }
        candidates
    }
}

fn rotate<T>(items: &mut [T], turn: usize) {
    if !items.is_empty() {
        items.rotate_left(turn % items.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(leader: u64) -> v1::DescribeResponse {
        let replica = |node| v1::Replica { replica: node, node, voter: true };
        let shard = |shard, first_position, last_position, replicas| v1::Shard {
            shard,
            first_position,
            last_position,
            range_epoch: 1,
            membership_epoch: 1,
            replicas,
            leader_node: leader,
        };
        v1::DescribeResponse {
            nodes: (1..=4)
                .map(|n| v1::Node { node: n, address: format!("h:{n}"), labels: String::new(), incarnation: 0 })
                .collect(),
            shards: vec![
                shard(1, 0, 99, vec![replica(1), replica(2)]),
                shard(2, 100, u64::MAX, vec![replica(2), replica(3)]),
            ],
            ..Default::default()
        }
    }

    fn at(position: u64) -> Place {
        Place::Position(RingPosition(position))
    }

    /// A request must reach somebody whatever is known: wrong guesses cost a detour, an empty list costs the call.
    #[test]
    fn the_leader_comes_first_then_replicas_and_everyone_is_there() {
        let routing = Routing::new(&["seed:1".to_owned()]);
        assert_eq!(routing.candidates(at(5)), [Arc::from("seed:1")]);
        routing.learn(&described(0));
        assert_eq!(routing.leader(at(5)), None);
        assert!(routing.learn_leader(ShardId(2), NodeId(3)));
        assert_eq!(routing.leader(at(100)).as_deref(), Some("h:3"));
        for _ in 0..5 {
            let candidates = routing.candidates(at(100));
            assert_eq!(candidates[..2], [Arc::from("h:3"), Arc::from("h:2")]);
            assert_eq!(candidates.len(), 5, "{candidates:?}");
        }
        assert_eq!(routing.candidates(Place::Everywhere).len(), 5);
    }

    #[test]
    fn hearsay_does_not_replace_what_a_leader_itself_told() {
        let routing = Routing::new(&[]);
        routing.learn(&described(2));
        assert_eq!(routing.leader(at(5)).as_deref(), Some("h:2"), "better than nothing");
        routing.learn_named(at(5), NodeId(1), "moved:1");
        routing.learn(&described(2));
        assert_eq!(routing.leader(at(5)).as_deref(), Some("h:1"), "the registry knows addresses best");
    }

    #[test]
    fn a_late_failure_does_not_erase_a_newer_leader() {
        let routing = Routing::new(&[]);
        routing.learn(&described(1));
        routing.learn_leader(ShardId(1), NodeId(2));
        routing.forget_leader(at(5), "h:1");
        assert_eq!(routing.leader(at(5)).as_deref(), Some("h:2"));
        routing.forget_leader(at(5), "h:2");
        assert_eq!(routing.leader(at(5)), None);
        assert!(!routing.learn_leader(ShardId(9), NodeId(2)), "an unknown shard: the map is stale");
    }
}
