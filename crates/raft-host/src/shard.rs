use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use ringfence_planted::{Bug, planted};
use ringfence_shard_router::ShardDescriptor;
use ringfence_state_machine::{Reply, Request, ShardState, Unreadable};
use ringfence_storage::StateView;
use ringfence_types::{LockName, NodeId, ReplicaId, Revision, ShardId};

use crate::fair_queue::Lane;
use crate::host::Slot;
use crate::lock_room::Seat;
use crate::majority::{self, leader_node};
use crate::membership::{self, TakeError, Taking};
use crate::proposer::{ProposeError, Proposed};
use crate::reader::ReadError;
use crate::replica::Replica;

/// A sync that takes so long is not slow any more. Longer than a disk's own hiccups, about as long as an election.
const DISK_STALL_MAX: Duration = Duration::from_secs(3);

/// How long a transfer of leadership may take before it is called failed.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(3);

/// This node's replica of a shard. Cheap to clone; stays good when the replica is restarted behind it.
#[derive(Clone)]
pub struct Shard {
    pub(crate) slot: Arc<Slot>,
}

/// How many entries a replica may lack to be asked to lead. A failed transfer can leave no leader (openraft issue 2088), so
/// only one that is right behind gets it.
pub(crate) const LAG_MAX: u64 = 64;

/// What a replica of this node is, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardStatus {
    /// Of which shard.
    pub shard: ShardId,
    /// Which replica.
    pub replica: ReplicaId,
    /// What it does.
    pub role: ReplicaRole,
    /// Why it has stopped or is distrusted.
    pub problem: Option<String>,
    /// The node that leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Raft's term.
    pub term: u64,
    /// Index of the last log entry.
    pub last_log_index: u64,
    /// Index of the last entry known to be committed.
    pub committed_index: u64,
    /// Index of the last entry applied.
    pub applied_index: u64,
}

/// What a replica does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaRole {
    /// Proposes and answers.
    Leader,
    /// Follows a leader.
    Follower,
    /// Stands for election.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Does nothing: see the status's problem.
    Stopped,
}

impl std::fmt::Display for ReplicaRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ReplicaRole::Leader => "leader",
            ReplicaRole::Follower => "follower",
            ReplicaRole::Candidate => "candidate",
            ReplicaRole::Learner => "learner",
            ReplicaRole::Stopped => "stopped",
        })
    }
}

/// Why leadership was not handed over. The shard has a leader all the same, or elects one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Only the leader can hand over.
    #[error("this replica does not lead the shard; ask the leader")]
    NotLeader,
    /// The node has no voting replica of the shard.
    #[error("{0} has no voting replica of this shard; see `ringctl shard list`")]
    NoReplica(NodeId),
    /// The replica there is too far behind: it would be elected late or not at all.
    #[error("the replica on {node} lags by {entries} entries; wait until it has caught up")]
    Behind {
        /// Where.
        node: NodeId,
        /// By how much.
        entries: u64,
    },
    /// The leader has heard nothing of the replica there for a while.
    #[error("the leader hears nothing from the replica on {0}; look whether that node is up")]
    Silent(NodeId),
    /// There is no other voter.
    #[error("the shard has no other voting replica to lead it")]
    OnlyVoter,
    /// The shard elected another one meanwhile.
    #[error("{0} was elected instead")]
    Another(NodeId),
    /// It did not happen in time; the shard elects a leader by itself.
    #[error("the transfer did not finish in time; the shard elects a leader by itself")]
    TimedOut,
    /// The replica has stopped.
    #[error("this replica has stopped: {0}")]
    Stopped(String),
}

impl Shard {
    /// Which shard.
    pub fn id(&self) -> ShardId {
        self.slot.shard
    }

    /// Which replica of it.
    pub fn replica_id(&self) -> ReplicaId {
        self.slot.replica_id
    }

    pub(crate) fn replica(&self) -> Result<Arc<Replica>, String> {
        self.slot.replica()
    }

    /// The node that leads, as far as this replica knows.
    pub fn leader(&self) -> Option<NodeId> {
        leader_node(&self.replica().ok()?.raft)
    }

    /// Whether this replica believes that it leads.
    pub fn is_leader(&self) -> bool {
        self.replica().is_ok_and(|replica| replica.raft.is_leader())
    }

    /// Whether this replica led and has lost touch with a majority: another may lead by now, and others will know.
    pub fn has_lost_majority(&self) -> bool {
        self.replica().is_ok_and(|replica| replica.raft.is_leader() && majority::is_lost(&replica.raft))
    }

    /// How long this node's disk has finished nothing of the shard's log, though there is something to write. A leader that is
    /// kept waiting decides nothing, and should hand over.
    pub fn disk_wait(&self) -> Duration {
        self.replica().map_or(Duration::ZERO, |replica| replica.flushed.wait())
    }

    /// Whether this node's disk has finished nothing for so long that the replica decides nothing and does not hear who leads:
    /// what it believes is not worth asking for.
    pub fn is_stalled(&self) -> bool {
        self.disk_wait() > DISK_STALL_MAX
    }

    /// Whether this replica is the one to ask: it believes that it leads, and its disk does not hang.
    pub fn decides(&self) -> bool {
        self.is_leader() && !self.is_stalled()
    }

    /// Whether this replica takes part, so that it knows who leads: its Raft runs, and its disk does not hang.
    pub fn takes_part(&self) -> bool {
        self.replica().is_ok_and(|replica| replica.stopped().is_none()) && !self.is_stalled()
    }

    /// The shard's descriptor, as this replica's state has it.
    pub fn descriptor(&self) -> Result<ShardDescriptor, Unreadable> {
        let state = ShardState::load(&self.view(), self.id())?;
        state.map(|s| s.descriptor).ok_or_else(|| Unreadable::new(format!("{} has no descriptor here", self.id())))
    }

    /// Puts a request into the shard's log and waits for what the shard decides. A refusal is an ordinary reply.
    ///
    /// Has no deadline of its own: callers give up by dropping it, and do not know then whether it happened.
    pub async fn propose(&self, request: Request, lane: Lane) -> Result<Reply, ProposeError> {
        let replica = self.replica().map_err(|problem| ProposeError::Stopped { problem })?;
        replica.proposer.propose([request], lane).single().await
    }

    /// The same for several requests at once, which enter the log in this order, mostly in one entry, and are answered as
    /// soon as each is decided.
    pub fn propose_all(&self, requests: Vec<Request>, lane: Lane) -> Result<Proposed, ProposeError> {
        let replica = self.replica().map_err(|problem| ProposeError::Stopped { problem })?;
        Ok(replica.proposer.propose(requests, lane))
    }

    /// Waits for a ticket of one of the shard's locks. Sit down first, then ask the shard how things stand, then wait to be
    /// called; nobody is called where the shard's grants are not applied.
    pub fn sit(&self, name: LockName, ticket: Revision) -> Result<Seat, ProposeError> {
        let replica = self.replica().map_err(|problem| ProposeError::Stopped { problem })?;
        Ok(replica.locks.room.sit(name, ticket))
    }

    /// Waits for a change of the leases of a lock: who holds it, and what they show. Also renewals call.
    pub fn watch(&self, name: LockName) -> Result<Seat, ProposeError> {
        let replica = self.replica().map_err(|problem| ProposeError::Stopped { problem })?;
        Ok(replica.locks.room.watch(name))
    }

    /// The reading of the lease clock now, in milliseconds. Only a leader that has proposed something in its term knows it.
    pub fn lease_clock_ms(&self) -> Option<u64> {
        self.replica().ok()?.proposer.lease_clock_ms()
    }

    /// A view that contains every write acknowledged before the call. Only the leader gives one.
    pub async fn read_barrier(&self) -> Result<StateView, ReadError> {
        let replica = self.replica().map_err(|problem| ReadError::Stopped { problem })?;
        // Planted: who does not lead asks nobody.
        if !planted(Bug::FollowerServesReads) || replica.raft.is_leader() {
            replica.reader.barrier().await?;
        }
        Ok(replica.state.view())
    }

    /// What this replica has applied, which may be old.
    pub fn view(&self) -> StateView {
        self.slot.state.view()
    }

    /// What this replica is, as it sees itself.
    pub fn status(&self) -> ShardStatus {
        match self.replica() {
            Ok(replica) => replica.status(),
            Err(problem) => ShardStatus {
                shard: self.id(),
                replica: self.slot.replica_id,
                role: ReplicaRole::Stopped,
                problem: Some(problem),
                leader: None,
                term: 0,
                last_log_index: 0,
                committed_index: 0,
                applied_index: 0,
            },
        }
    }

    /// Makes the next step towards a group in which the replica on a node is this fresh one, and says how far it is. Only the
    /// leader can. Ask again until it is [`Taking::Taken`].
    pub async fn take_replica(&self, node: NodeId, fresh: ReplicaId) -> Result<Taking, TakeError> {
        let replica = self.replica().map_err(TakeError::Stopped)?;
        membership::take(&replica.raft, node, fresh).await
    }

    /// Hands leadership to the replica on a node, which must have caught up. Reads and writes pause meanwhile.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), TransferError> {
        let replica = self.replica().map_err(TransferError::Stopped)?;
        let me = replica.replica.0;
        let target = self.ask_to_lead(to).await?;
        let moved = replica
            .raft
            .wait(Some(TRANSFER_TIMEOUT))
            .metrics(
                |m| target == me || m.current_leader.is_some_and(|leader| leader != me),
                "leadership is transferred",
            )
            .await;
        match moved {
            Ok(metrics) if metrics.current_leader == Some(target) => Ok(()),
            // It would be deposed by an election of ours.
            Ok(_) => Err(self.leader().map_or(TransferError::TimedOut, TransferError::Another)),
            Err(_) => {
                let _ = replica.raft.trigger().elect(false).await;
                Err(TransferError::TimedOut)
            }
        }
    }

    /// Asks the replica on a node to stand for election, and the others to vote before they have lost patience. Does not wait for
    /// what comes of it: a leader whose disk hangs would not hear.
    ///
    /// Gives the id of the replica, as Raft knows it.
    pub async fn ask_to_lead(&self, to: NodeId) -> Result<u64, TransferError> {
        let replica = self.replica().map_err(TransferError::Stopped)?;
        let target = {
            let metrics = replica.raft.metrics();
            let metrics = metrics.borrow_watched();
            let Some(replication) = metrics.replication.as_ref() else { return Err(TransferError::NotLeader) };
            let membership = metrics.membership_config.membership();
            let target = membership
                .voter_ids()
                .find(|id| membership.get_node(id).is_some_and(|placement| placement.0 == to))
                .ok_or(TransferError::NoReplica(to))?;
            if target == replica.replica.0 {
                return Ok(target);
            }
            let matched = replication.get(&target).and_then(|id| id.as_ref()).map_or(0, |id| id.index);
            let entries = metrics.last_log_index.unwrap_or(0).saturating_sub(matched);
            if entries > LAG_MAX {
                return Err(TransferError::Behind { node: to, entries });
            }
            target
        };
        let stopped = |e: &dyn std::fmt::Display| TransferError::Stopped(e.to_string());
        replica.raft.trigger().transfer_leader(target).await.map_err(|e| stopped(&e))?;
        Ok(target)
    }
}
