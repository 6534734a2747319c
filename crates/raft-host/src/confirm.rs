//! Confirms, for reads, that this replica still leads.
//!
//! A read is linearizable if, at some moment after it arrived, a majority of the voters had not voted for a newer leader, and
//! the state it is answered from holds everything acknowledged before it arrived. (ReadIndex: Raft thesis, section 6.4.)
//!
//! The second half is cheap here. What this leader acknowledged it has applied first, so its state holds it. What leaders
//! before it acknowledged it holds once it has applied an entry of its own term: that is waited for once, by openraft's own
//! ReadIndex, when it *takes office*.
//!
//! The first half costs one round trip, and is asked beside openraft: its own way goes through two tasks per follower and
//! the core of every replica. Here a follower looks at the vote that its log holds. A vote enters the log, in memory,
//! before it is granted to anybody, so "the log's vote is for you, in this term" means that no newer one was granted
//! before this moment; and a majority that says so makes a newer leader impossible up to the moment when the question was
//! sent. Whenever that does not succeed at once (a follower that has not heard of this term yet, a change of membership),
//! openraft's way decides.

use std::collections::BTreeSet;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{LinearizableReadError, RaftError};
use ringfence_planted::{Bug, planted};
use ringfence_types::ReplicaId;

use crate::log_store::LogStore;
use crate::majority::{self, leader_elsewhere, leader_named};
use crate::network::Link;
use crate::proposer::leading_term;
use crate::raft::{Raft, Vote};
use crate::reader::ReadError;
use crate::wire::Message;

/// See the module.
pub(crate) struct Confirmer {
    raft: Raft,
    link: Link,
    log: LogStore,
    /// The term in which this replica has taken office.
    office: Option<u64>,
}

/// Whether a vote is for this leader in this term.
pub(crate) fn is_for(vote: Option<Vote>, leader: ReplicaId, term: u64) -> bool {
    vote.is_some_and(|vote| vote.leader_id.term == term && vote.leader_id.voted_for == leader.0)
}

impl Confirmer {
    pub(crate) fn new(raft: Raft, link: Link, log: LogStore) -> Confirmer {
        Confirmer { raft, link, log, office: None }
    }

    /// Returns when the state holds every write that was acknowledged before the call.
    pub(crate) async fn confirm(&mut self) -> Result<(), ReadError> {
        let Some(term) = leading_term(&self.raft) else {
            return Err(ReadError::NotLeader { leader: leader_elsewhere(&self.raft) });
        };
        let is_in_office = self.office == Some(term);
        // Planted: whoever believes to lead does.
        if is_in_office && planted(Bug::ReadIndexWithoutQuorum) {
            return Ok(());
        }
        if majority::is_lost(&self.raft) {
            return Err(ReadError::NoQuorum); // instead of waiting for one
        }
        if is_in_office && self.ask_voters(term).await {
            return Ok(());
        }
        self.by_openraft().await?;
        // What was confirmed is confirmed for whichever term it is now; only if it is still this one we know which.
        self.office = leading_term(&self.raft).filter(|now| *now == term);
        Ok(())
    }

    /// Asks all voters for their votes. True as soon as a majority, of both halves of a joint membership, is for us.
    async fn ask_voters(&self, term: u64) -> bool {
        let metrics = self.raft.metrics();
        let membership = metrics.borrow_watched().membership_config.membership().clone();
        let me = self.link.from;
        let mut call = self.link.calls.open_session();
        let question = Message::Confirm { call: call.id, term };
        let mut outstanding = 0;
        for voter in membership.voter_ids().filter(|voter| *voter != me.0).collect::<BTreeSet<_>>() {
            let Some(placement) = membership.get_node(&voter) else { continue };
            outstanding += usize::from(self.link.send(ReplicaId(voter), placement.0, &question).is_ok());
        }
        let mut ours = BTreeSet::from([me.0]);
        let halves = membership.get_joint_config();
        while !halves.iter().all(|half| 2 * half.intersection(&ours).count() > half.len()) {
            if outstanding == 0 {
                return false;
            }
            outstanding -= 1;
            if let Some(Message::Confirmed { voter, granted: true, .. }) = call.answers.recv().await {
                ours.insert(voter);
            }
        }
        // Our own vote counts like the others': as of now.
        is_for(self.log.vote(), me, term)
    }

    async fn by_openraft(&self) -> Result<(), ReadError> {
        let linearizer = match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => linearizer,
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                return Err(ReadError::NotLeader { leader: leader_named(&forward, &self.raft) });
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => return Err(ReadError::NoQuorum),
            Err(RaftError::Fatal(fatal)) => return Err(ReadError::Stopped { problem: fatal.to_string() }),
        };
        match linearizer.await_ready(&self.raft).await {
            Ok(_) => Ok(()),
            Err(fatal) => Err(ReadError::Stopped { problem: fatal.to_string() }),
        }
    }
}
