//! A shard's descriptor follows its Raft membership.
//!
//! Who votes is decided by Raft's own membership entries, which the host keeps; the descriptor is what everybody else goes by.
//! When such an entry is applied the host asks here what it does to the descriptor, and makes the writes together with the
//! position applied. So each replica's descriptor is that of the last membership entry it has applied, on all of them alike.

use ringfence_shard_router::Replica;
use ringfence_types::{NodeId, ShardId};

use crate::{ShardState, Unreadable, View, Write};

/// The writes that give a shard these replicas. None if it has them already: the first half of a joint change may leave
/// everybody where they were, and the epoch rises only when the replicas change.
pub fn membership_changed(
    view: &dyn View,
    shard: ShardId,
    mut replicas: Vec<Replica>,
) -> Result<Vec<Write>, Unreadable> {
    replicas.sort_by_key(|replica| replica.id);
    let is_on_a_node = |replica: &Replica| replica.node != NodeId(0);
    for (place, replica) in replicas.iter().enumerate() {
        let clash = |other: &Replica| other.id == replica.id || other.node == replica.node && is_on_a_node(replica);
        if replicas[..place].iter().any(clash) {
            return Err(Unreadable::new(format!("a membership of {shard} has {} or its node twice", replica.id)));
        }
    }
    let mut state = ShardState::load_existing(view, shard)?;
    let mut known = state.descriptor.replicas.clone();
    known.sort_by_key(|replica| replica.id);
    if known == replicas {
        return Ok(Vec::new());
    }
    state.descriptor.replicas = replicas;
    state.descriptor.epoch.membership += 1;
    Ok(vec![state.write()])
}

#[cfg(test)]
mod tests {
    use ringfence_shard_router::{Epoch, Role, ShardDescriptor, ShardRange};
    use ringfence_types::ReplicaId;

    use super::*;
    use crate::{Limits, MemoryView, seed};

    const SHARD: ShardId = ShardId(4);

    fn replica(id: u64, node: u64, role: Role) -> Replica {
        Replica { id: ReplicaId(id), node: NodeId(node), role }
    }

    fn store() -> MemoryView {
        let replicas = [3, 1, 2].map(|n| replica(n, n, Role::Voter)).to_vec();
        let epoch = Epoch { range: 7, membership: 1 };
        let mut store = MemoryView::default();
        let descriptor = ShardDescriptor { shard: SHARD, range: ShardRange::ALL, epoch, replicas };
        store.apply_writes(&seed(&descriptor, Limits::default()));
        store
    }

    fn descriptor(store: &MemoryView) -> ShardDescriptor {
        ShardState::load(store, SHARD).unwrap().unwrap().descriptor
    }

    /// The way of a replacement: the old replica goes, a fresh one learns, and then votes.
    #[test]
    fn the_descriptor_follows_and_its_epoch_rises_with_each_change() {
        let mut store = store();
        let voters = [1, 2].map(|n| replica(n, n, Role::Voter));
        for (expected, third) in
            [(2, None), (3, Some(replica(10, 3, Role::Learner))), (4, Some(replica(10, 3, Role::Voter)))]
        {
            let members: Vec<_> = voters.into_iter().chain(third).collect();
            store.apply_writes(&membership_changed(&store, SHARD, members.clone()).unwrap());
            assert_eq!(descriptor(&store).replicas, members);
            assert_eq!(descriptor(&store).epoch, Epoch { range: 7, membership: expected });
        }
    }

    #[test]
    fn a_membership_that_changes_nothing_raises_no_epoch() {
        let store = store();
        let same = [1, 2, 3].map(|n| replica(n, n, Role::Voter)).to_vec();
        assert_eq!(membership_changed(&store, SHARD, same).unwrap(), []);
    }

    #[test]
    fn what_cannot_be_a_descriptor_stops_the_replica() {
        let store = store();
        for twice in [replica(1, 9, Role::Voter), replica(9, 1, Role::Learner)] {
            let members = vec![replica(1, 1, Role::Voter), replica(2, 2, Role::Voter), twice];
            assert!(membership_changed(&store, SHARD, members).is_err());
        }
        let elsewhere = membership_changed(&store, ShardId(5), vec![replica(1, 1, Role::Voter)]);
        assert!(elsewhere.is_err(), "a replica without state has no descriptor to change");
    }
}
