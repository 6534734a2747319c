//! Hands leadership over because somebody asked for it, not because this node must let go of it.
//!
//! A transfer stops reads and writes until the other replica has been elected, and if that one does not answer, until this one
//! has been elected again: seconds. So who gets it is looked at first. A voter that the leader has not heard of lately, that does
//! not answer it now, or that lags, is given a moment to come closer, and otherwise refused with nothing done.

use std::time::{Duration, Instant};

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use ringfence_types::{NodeId, ReplicaId};

use crate::proposer::leading_term;
use crate::raft::Raft;
use crate::replica::Replica;
use crate::shard::{LAG_MAX, Shard, TransferError};
use crate::wire::Message;

/// A voter that has answered nothing for so long is not asked to lead. Several heartbeats, and a pause of a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// How long a voter may take to come close enough.
const APPROACH_MAX: Duration = Duration::from_secs(2);

/// How long it may take to say that it is there.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// How often to look whether it has.
const APPROACH_STEP: Duration = Duration::from_millis(20);

/// Another voter, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Voter {
    /// Of the replica.
    id: u64,
    node: NodeId,
    /// Entries that it has not been seen to have.
    lag: u64,
    /// Since it last answered. `None`: it never has.
    silence: Option<Duration>,
}

impl Voter {
    fn check(&self) -> Result<NodeId, TransferError> {
        match self.silence {
            Some(silence) if silence <= SILENCE_MAX => {}
            _ => return Err(TransferError::Silent(self.node)),
        }
        if self.lag > LAG_MAX {
            return Err(TransferError::Behind { node: self.node, entries: self.lag });
        }
        Ok(self.node)
    }
}

/// Who may be asked to lead, best first: the voter on `to`, or else all that are fit.
fn candidates(voters: &[Voter], to: Option<NodeId>) -> Result<Vec<Voter>, TransferError> {
    if let Some(to) = to {
        let voter = voters.iter().find(|voter| voter.node == to).ok_or(TransferError::NoReplica(to))?;
        return voter.check().map(|_| vec![*voter]);
    }
    let mut by_merit = voters.to_vec();
    by_merit.sort_by_key(|voter| (voter.check().is_err(), voter.lag, voter.node));
    by_merit.first().ok_or(TransferError::OnlyVoter)?.check()?;
    by_merit.retain(|voter| voter.check().is_ok());
    Ok(by_merit)
}

/// Whether a voter is there, now, and follows this leader.
async fn answers(replica: &Replica, voter: &Voter) -> bool {
    let Some(term) = leading_term(&replica.raft) else { return false };
    let mut call = replica.link.calls.open();
    let question = Message::Confirm { call: call.id, term };
    if replica.link.send(ReplicaId(voter.id), voter.node, &question).is_err() {
        return false;
    }
    let answer = tokio::time::timeout(ANSWER_MAX, &mut call.answers).await;
    matches!(answer, Ok(Ok(Message::Confirmed { granted: true, .. })))
}

/// All other voters; of a joint membership only those that stay. `None` if this replica does not lead.
fn others(raft: &Raft) -> Option<Vec<Voter>> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let (replication, heard) = (metrics.replication.as_ref()?, metrics.heartbeat.as_ref()?);
    let membership = metrics.membership_config.membership();
    let last = metrics.last_log_index.unwrap_or(0);
    let staying = membership.get_joint_config().last()?.iter().filter(|id| **id != metrics.id);
    let voter = |id: &u64| {
        let matched = replication.get(id).and_then(|at| at.as_ref()).map_or(0, |at| at.index);
        let heard = heard.get(id).and_then(|at| at.as_ref());
        Some(Voter {
            id: *id,
            node: membership.get_node(id)?.0,
            lag: last.saturating_sub(matched),
            silence: heard.map(|at| at.elapsed()),
        })
    };
    Some(staying.filter_map(voter).collect())
}

impl Shard {
    /// Hands leadership to the voter on a node, or to the best of the others, and says where it is now. Only the leader can. A
    /// node that leads already is right at once.
    pub async fn hand_over(&self, here: NodeId, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        let until = Instant::now() + APPROACH_MAX;
        loop {
            let replica = self.replica().map_err(TransferError::Stopped)?;
            let voters = others(&replica.raft).ok_or(TransferError::NotLeader)?;
            if to == Some(here) {
                return Ok(here);
            }
            let error = match candidates(&voters, to) {
                Ok(candidates) => {
                    for voter in &candidates {
                        if answers(&replica, voter).await {
                            return self.transfer_leader(voter.node).await.map(|()| voter.node);
                        }
                    }
                    TransferError::Silent(candidates[0].node)
                }
                Err(error) => error,
            };
            let may_pass = matches!(error, TransferError::Behind { .. } | TransferError::Silent(_));
            if !may_pass || Instant::now() >= until {
                return Err(error);
            }
            tokio::time::sleep(APPROACH_STEP).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(node: u64, lag: u64, silent_ms: Option<u64>) -> Voter {
        Voter { id: 10 + node, node: NodeId(node), lag, silence: silent_ms.map(Duration::from_millis) }
    }

    fn nodes(voters: &[Voter], to: Option<u64>) -> Result<Vec<u64>, TransferError> {
        let candidates = candidates(voters, to.map(NodeId))?;
        Ok(candidates.iter().map(|voter| voter.node.0).collect())
    }

    /// Handing over to one that is down costs the shard seconds, so nobody is a candidate whom the leader does not hear.
    #[test]
    fn the_best_is_heard_of_and_least_behind() {
        let well = [voter(1, 9, Some(10)), voter(2, 3, Some(200)), voter(3, 0, Some(5_000)), voter(4, 0, None)];
        assert_eq!(nodes(&well, None), Ok(vec![2, 1]));
        assert_eq!(nodes(&well, Some(1)), Ok(vec![1]));
        assert_eq!(nodes(&well, Some(3)), Err(TransferError::Silent(NodeId(3))));
        assert_eq!(nodes(&well, Some(4)), Err(TransferError::Silent(NodeId(4))));
        assert_eq!(nodes(&well, Some(9)), Err(TransferError::NoReplica(NodeId(9))));

        let behind = [voter(1, 5_000, Some(0)), voter(2, LAG_MAX + 1, Some(0)), voter(3, LAG_MAX, Some(0))];
        assert_eq!(nodes(&behind, None), Ok(vec![3]));
        let refused = Err(TransferError::Behind { node: NodeId(2), entries: LAG_MAX + 1 });
        assert_eq!(nodes(&behind, Some(2)), refused);
        assert_eq!(nodes(&behind[..2], None), refused, "the least behind of those who cannot");
        assert_eq!(nodes(&[], None), Err(TransferError::OnlyVoter));
    }
}
