//! Takes a fresh replica into a group, in the place of one that its node has lost.
//!
//! A node whose disk cannot be trusted comes back with fresh, empty replicas ([`Host::host_fresh`](crate::Host::host_fresh)).
//! It then asks each group's leader, again and again, to take them; each time the leader makes the next step that its
//! membership lacks:
//!
//! ```text
//!  voters 1 2 3   ── 3 is gone for good, node 3 has 7 ──▶   1 2   ──▶   1 2 +7   ── 7 has caught up ──▶   1 2 7
//!                     remove 3 (joint)                       add a learner           promote (joint)
//! ```
//!
//! What is to be done is read from the membership alone ([`next_step`]), and everything that must be remembered is with the
//! node that asks. So it does not matter which leader is asked, how often, or where the last one stopped. Each step is made
//! only if the membership is still the one that it was read from, so two who ask do not mix, and an old message that comes
//! late is refused: ids rise, and a replica never gives way to one with a lower id.
//!
//! The lost replica goes first. That costs nothing: it never votes again, so the others need the same votes with and without
//! it (of three, both; of five, three). And it must go first, as a node has at most one replica of a shard.
//!
//! What this cannot do is to help a group that has lost its majority: nothing is committed there, no membership either.

use std::collections::BTreeSet;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::Precondition;
use openraft::{ChangeMembers, Membership};
use ringfence_types::{NodeId, ReplicaId};

use crate::majority::{leader_elsewhere, leader_named};
use crate::raft::{Placement, Raft};

/// How many entries a learner may be behind when it becomes a voter. It counts for majorities from then on, so it should
/// be able to answer at once; under load it is always a little behind.
const LAG_MAX: u64 = 256;

/// How far a fresh replica has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// A change that somebody had left half done was finished.
    Settled,
    /// The replica that was on the node is no member any more.
    Removed,
    /// The fresh one is a learner now.
    Added,
    /// It is a learner that has this many entries to catch up.
    Learning {
        /// How many.
        lag: u64,
    },
    /// It votes.
    Taken,
}

/// Why no step was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// Only the leader can.
    #[error("this replica does not lead the shard; ask the leader")]
    NotLeader {
        /// The node that leads, as far as this one knows.
        leader: Option<NodeId>,
    },
    /// The node has come back once more since.
    #[error("{node} has the newer replica {newer} already; this is an old request")]
    Outlived {
        /// Which node.
        node: NodeId,
        /// What it has.
        newer: ReplicaId,
    },
    /// The node has the only replica that votes.
    #[error("{0} has the only voting replica of this shard, so there is nobody to fill a fresh one from")]
    OnlyVoter(NodeId),
    /// Another change is under way, or was made meanwhile.
    #[error("the membership is being changed; ask again")]
    Busy,
    /// The replica has stopped.
    #[error("this replica has stopped: {0}")]
    Stopped(String),
}

/// What a membership lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// It is joint: leave the old half behind.
    Settle,
    /// Other replicas on the node are voters.
    RemoveVoters(BTreeSet<u64>),
    /// Other replicas on the node are learners.
    RemoveLearners(BTreeSet<u64>),
    /// The node has no replica.
    Add,
    /// The fresh replica does not vote yet.
    Promote,
    /// Nothing.
    Done,
}

fn next_step(membership: &Membership<u64, Placement>, node: NodeId, fresh: ReplicaId) -> Result<Step, TakeError> {
    let on_node: BTreeSet<u64> =
        membership.nodes().filter(|(_, placement)| placement.0 == node).map(|(id, _)| *id).collect();
    if let Some(newer) = on_node.last().filter(|id| **id > fresh.0) {
        return Err(TakeError::Outlived { node, newer: ReplicaId(*newer) });
    }
    if membership.get_joint_config().len() > 1 {
        return Ok(Step::Settle);
    }
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let others: BTreeSet<u64> = on_node.iter().copied().filter(|id| *id != fresh.0).collect();
    let (voting, learning): (BTreeSet<u64>, BTreeSet<u64>) = others.iter().partition(|id| voters.contains(id));
    if !voting.is_empty() {
        return if voting == voters { Err(TakeError::OnlyVoter(node)) } else { Ok(Step::RemoveVoters(voting)) };
    }
    if !learning.is_empty() {
        return Ok(Step::RemoveLearners(learning));
    }
    Ok(match on_node.contains(&fresh.0) {
        false => Step::Add,
        true if voters.contains(&fresh.0) => Step::Done,
        true => Step::Promote,
    })
}

/// Makes one step, if this replica leads.
pub(crate) async fn take(raft: &Raft, node: NodeId, fresh: ReplicaId) -> Result<Taking, TakeError> {
    let (read_from, step, lag, is_applied) = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(replication) = metrics.replication.as_ref() else {
            drop(metrics);
            return Err(TakeError::NotLeader { leader: leader_elsewhere(raft) });
        };
        let matched = replication.get(&fresh.0).and_then(|id| id.as_ref()).map_or(0, |id| id.index);
        let lag = metrics.last_log_index.unwrap_or(0).saturating_sub(matched);
        let stored = &metrics.membership_config;
        (*stored.log_id(), next_step(stored.membership(), node, fresh)?, lag, metrics.last_applied >= *stored.log_id())
    };
    let ids = |id: u64| BTreeSet::from([id]);
    let (change, retain, then) = match step {
        Step::Done if is_applied => return Ok(Taking::Taken),
        Step::Done => return Err(TakeError::Busy), // not committed yet: it might still be lost
        Step::Promote if lag > LAG_MAX => return Ok(Taking::Learning { lag }),
        Step::Promote => (ChangeMembers::AddVoterIds(ids(fresh.0)), false, Taking::Taken),
        Step::Settle => (ChangeMembers::AddVoterIds(BTreeSet::new()), false, Taking::Settled),
        Step::RemoveVoters(old) => (ChangeMembers::RemoveVoters(old), false, Taking::Removed),
        Step::RemoveLearners(old) => (ChangeMembers::RemoveNodes(old), true, Taking::Removed),
        Step::Add => (ChangeMembers::AddNodes([(fresh.0, Placement(node))].into()), true, Taking::Added),
    };
    tracing::info!(%node, %fresh, "changing the membership: {change:?}");
    let unchanged = Precondition::LastMembershipLogId { last_membership_log_id: read_from };
    match raft.change_membership_if(change, retain, [unchanged]).await {
        Ok(_) => Ok(then),
        Err(RaftError::APIError(
            ClientWriteError::ForwardToLeader(forward) | ClientWriteError::LogEntryDiscarded(forward),
        )) => Err(TakeError::NotLeader { leader: leader_named(&forward, raft) }),
        Err(RaftError::APIError(
            ClientWriteError::PreconditionFailed(_)
            | ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)),
        )) => Err(TakeError::Busy),
        Err(e) => Err(TakeError::Stopped(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(replica, node)`.
    fn membership(halves: &[&[u64]], nodes: &[(u64, u64)]) -> Membership<u64, Placement> {
        let halves = halves.iter().map(|half| half.iter().copied().collect()).collect();
        let nodes: std::collections::BTreeMap<u64, Placement> =
            nodes.iter().map(|(id, node)| (*id, Placement(NodeId(*node)))).collect();
        Membership::new(halves, nodes).unwrap()
    }

    const OTHERS: [(u64, u64); 2] = [(1, 1), (2, 2)];

    fn step(halves: &[&[u64]], on_node_3: &[u64]) -> Result<Step, TakeError> {
        let nodes: Vec<_> = OTHERS.into_iter().chain(on_node_3.iter().map(|id| (*id, 3))).collect();
        next_step(&membership(halves, &nodes), NodeId(3), ReplicaId(7))
    }

    /// The whole way, and whatever a crash leaves of it.
    #[test]
    fn each_membership_has_one_next_step() {
        assert_eq!(step(&[&[1, 2, 3]], &[3]), Ok(Step::RemoveVoters([3].into())));
        assert_eq!(step(&[&[1, 2, 3], &[1, 2]], &[3]), Ok(Step::Settle));
        assert_eq!(step(&[&[1, 2]], &[]), Ok(Step::Add));
        assert_eq!(step(&[&[1, 2]], &[7]), Ok(Step::Promote));
        assert_eq!(step(&[&[1, 2], &[1, 2, 7]], &[7]), Ok(Step::Settle));
        assert_eq!(step(&[&[1, 2, 7]], &[7]), Ok(Step::Done));
        // The node was lost again before the replica of its last life voted.
        assert_eq!(step(&[&[1, 2]], &[6]), Ok(Step::RemoveLearners([6].into())));
    }

    #[test]
    fn an_old_request_and_a_lost_group_are_refused() {
        let newer = Err(TakeError::Outlived { node: NodeId(3), newer: ReplicaId(8) });
        assert_eq!(step(&[&[1, 2, 8]], &[8]), newer);
        assert_eq!(step(&[&[1, 2]], &[7, 8]), newer);
        let alone = membership(&[&[3]], &[(3, 3)]);
        assert_eq!(next_step(&alone, NodeId(3), ReplicaId(7)), Err(TakeError::OnlyVoter(NodeId(3))));
    }
}
