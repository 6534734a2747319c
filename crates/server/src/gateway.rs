//! Any node takes any request.
//!
//! An operation that arrives is checked ([`Call`]), its key hashed, its shard looked up. If this node leads the shard it
//! decides here; otherwise the operation goes to the leader, once. Leaders change and maps grow old, so an attempt may
//! come to nothing, and what happens then rests on a single question: *did it certainly do nothing?*
//!
//! | attempt ended with | for a mutation | for a read |
//! |---|---|---|
//! | an answer, or a refusal by the shard | told | told |
//! | not the leader, wrong shard, no majority, not sent | tried again | tried again |
//! | sent or proposed, and no answer | `OUTCOME_UNKNOWN`, never sent twice, unless that is harmless | tried again |
//! | this replica cannot read its own state | – | tried again: the node stops, and another takes over |
//! | a full queue | told | told |
//!
//! A replica that has stopped, or whose disk hangs, counts for nothing here, whatever it believes: others are asked.
//!
//! Trying again goes on until the caller's deadline, with growing pauses, except at a leader that has lost its majority: it would
//! be the last to hear who leads now, so its callers are sent on. A call from another gateway is never forwarded
//! again and never tried again here: the first gateway knows the deadline and the map as well as we do.

use std::sync::Arc;
use std::time::Duration;

use ringfence_planted::{Bug, planted};
use ringfence_proto::v1::result::Kind;
use ringfence_proto::{Reason, metadata, v1};
use ringfence_raft_host::{Host, Lane, ProposeError, ReadError, Shard};
use ringfence_state_machine::{Command, ReadRefusal, Refusal, Reply, Request, get};
use ringfence_storage::{StateDb, StateView};
use ringfence_types::{ClusterId, NodeId, Revision, ShardId};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::answer::{Answering, revision_of};
use crate::backoff::Backoff;
use crate::call::{Ask, Call, MutationKind, header_of};
use crate::caller::{Caller, Origin};
use crate::forward::{Forwarded, Forwarder};
use crate::grpc::status;
use crate::incarnation::Standing;
use crate::known::Known;
use crate::mint::Mint;
use crate::rejoin::Rejoin;
use crate::room::Room;
use crate::scan;

/// Pauses between attempts: an election takes a second, a lost hint a millisecond.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_millis(200);

/// How one attempt ended.
#[derive(Clone)]
pub(crate) enum Attempt {
    /// Nothing more is to be tried.
    Final(Result<Kind, v1::Error>),
    /// It certainly did nothing, or was a read; this is why.
    Again(v1::Error),
}

/// An operation on its way.
pub(crate) struct Task {
    /// As it came.
    pub operation: v1::Operation,
    /// As it was understood.
    pub call: Call,
    /// The id was minted here.
    minted: bool,
    /// Attempts so far.
    attempts: usize,
}

impl Task {
    /// Checks the operation.
    pub(crate) fn new(operation: v1::Operation, cluster: ClusterId) -> Result<Task, v1::Error> {
        let call = Call::check(&operation, cluster)?;
        Ok(Task { operation, call, minted: false, attempts: 0 })
    }
}

/// Takes operations and finds who can answer them.
pub(crate) struct Gateway {
    pub(crate) node: NodeId,
    pub(crate) cluster: ClusterId,
    pub(crate) host: Host,
    pub(crate) state: StateDb,
    pub(crate) known: Arc<Known>,
    pub(crate) forwarder: Forwarder,
    pub(crate) admission: Admission,
    pub(crate) mint: Mint,
    /// This node as its peers know it.
    pub(crate) standing: Standing,
    /// If the node has not come back yet from distrust.
    pub(crate) rejoin: Option<Arc<Rejoin>>,
    pub(crate) room: Arc<Room>,
    /// Cancelled when the node takes no new calls: those that wait for a lock are then sent on.
    pub(crate) stopping: CancellationToken,
}

impl Gateway {
    /// Carries out one operation. The first poll goes as far as proposing or queueing it, so operations polled in order are
    /// proposed in order.
    pub(crate) async fn execute(&self, operation: v1::Operation, deadline: Instant, caller: Caller) -> v1::Result {
        let kind = self.perform(operation, deadline, caller).await.unwrap_or_else(Kind::Error);
        v1::Result { kind: Some(kind) }
    }

    async fn perform(&self, operation: v1::Operation, deadline: Instant, caller: Caller) -> Result<Kind, v1::Error> {
        let mut task = self.begin(operation)?;
        let _admitted = self.admission.admit(caller.lane(&task.call), task.call.cost_bytes)?;
        let attempt = self.attempt(&mut task, deadline, caller).await;
        self.persist(task, attempt, deadline, caller).await
    }

    /// Tries on after an attempt that came to nothing, until the deadline.
    pub(crate) async fn persist(
        &self,
        mut task: Task,
        first: Attempt,
        deadline: Instant,
        caller: Caller,
    ) -> Result<Kind, v1::Error> {
        let mut attempt = first;
        let mut backoff = retries();
        loop {
            match attempt {
                Attempt::Final(result) => return result,
                Attempt::Again(error) if caller.origin == Origin::Peer || task.call.no_forward => return Err(error),
                Attempt::Again(error) => {
                    if let Some(shard) = self.lost_shard(&task.call) {
                        return Err(status::lost_majority(shard));
                    }
                    let wait = backoff.next();
                    if Instant::now() + wait >= deadline {
                        return Err(error);
                    }
                    sleep(wait).await;
                }
            }
            attempt = self.attempt(&mut task, deadline, caller).await;
        }
    }

    /// The shard of a call, if it is led here without a majority.
    fn lost_shard(&self, call: &Call) -> Option<ShardId> {
        let shard = self.host.shard(self.known.shard_at(call.position()))?;
        shard.has_lost_majority().then(|| shard.id())
    }

    /// Checks an operation, and names it if it is a mutation without a name.
    pub(crate) fn begin(&self, operation: v1::Operation) -> Result<Task, v1::Error> {
        let mut task = Task::new(operation, self.cluster)?;
        if task.call.is_remembered() && task.call.id.is_none() {
            task.minted = true;
            task.call.id = Some(self.mint.id(task.call.seen));
        }
        Ok(task)
    }

    /// Tries once, here or at the leader.
    pub(crate) async fn attempt(&self, task: &mut Task, deadline: Instant, caller: Caller) -> Attempt {
        if Instant::now() >= deadline {
            return Attempt::Final(Err(status::too_late()));
        }
        let attempt = self.attempt_once(task, deadline, caller).await;
        self.settle(task, attempt)
    }

    /// What every attempt leaves behind, however it was made.
    pub(crate) fn settle(&self, task: &mut Task, attempt: Attempt) -> Attempt {
        task.attempts += 1;
        match &attempt {
            Attempt::Final(Ok(kind)) => {
                if let Some(revision) = revision_of(kind) {
                    self.mint.saw(Revision(revision));
                }
            }
            Attempt::Final(Err(error)) if task.minted && error.reason() == Some(Reason::RequestTooOld) => {
                // Never sent before, so certainly nothing happened: it was only born too early for this shard.
                let clock = error.fact::<i64>(metadata::CLOCK).map(Revision).unwrap_or_default();
                self.mint.saw(clock);
                task.call.id = Some(self.mint.id(clock));
                let Attempt::Final(Err(error)) = attempt else { unreachable!("matched above") };
                return Attempt::Again(error);
            }
            _ => {}
        }
        attempt
    }

    async fn attempt_once(&self, task: &Task, deadline: Instant, caller: Caller) -> Attempt {
        let call = &task.call;
        let route = self.known.route(call.position());
        let here = self.host.shard(route.shard);
        if let Some(shard) = here.as_ref().filter(|shard| shard.decides() || answers_itself(shard, call)) {
            return self.lead(shard, call, caller.lane(call), deadline).await;
        }
        let here = here.filter(Shard::takes_part);
        let may_forward = caller.origin == Origin::Client && !call.no_forward;
        let leader = match &here {
            Some(shard) => shard.leader(),
            None => route.leader,
        };
        let leader = leader.filter(|leader| *leader != self.node);
        if !may_forward {
            return Attempt::Final(Err(self.not_leader(route.shard, leader)));
        }
        // Whoever has a replica knows the leader better than we do, and names it.
        let others: Vec<NodeId> = route.replicas.into_iter().filter(|node| *node != self.node).collect();
        let ask = match (leader, &here) {
            (None, None) if !others.is_empty() => Some(others[task.attempts % others.len()]),
            (leader, _) => leader,
        };
        match ask {
            Some(node) => self.forward(task, route.shard, node, deadline).await,
            None => Attempt::Again(status::no_leader(route.shard)),
        }
    }

    /// This node leads: decide here.
    async fn lead(&self, shard: &Shard, call: &Call, lane: Lane, deadline: Instant) -> Attempt {
        match &call.ask {
            Ask::Mutate { command, kind } => {
                if let Err(error) = self.room.admit(command) {
                    return Attempt::Final(Err(error));
                }
                let request = Request { id: call.id, seen: call.seen, command: command.clone() };
                self.mutate(shard, request, lane, *kind, deadline).await
            }
            Ask::Get { key, at } => {
                let view = match self.barrier(shard, deadline).await {
                    Ok(view) => view,
                    Err(attempt) => return attempt,
                };
                // A read at a revision takes several looks at the store, which must all see one moment.
                let found = match at {
                    None => get(&view, shard.id(), key, None),
                    Some(at) => {
                        if let Err(attempt) = self.reach(shard, *at, lane, deadline).await {
                            return attempt;
                        }
                        match self.state.snapshot_view() {
                            Ok(view) => get(&view, shard.id(), key, Some(*at)),
                            Err(error) => return Attempt::Final(Err(status::internal(&error.to_string()))),
                        }
                    }
                };
                match found {
                    Ok(Ok(answer)) => Attempt::Final(Ok(self.answering(shard).get(answer.clock, answer.value))),
                    Ok(Err(refusal)) => self.read_refused(shard.id(), refusal),
                    Err(error) => Attempt::Again(status::unreadable(shard.id(), &error)),
                }
            }
            Ask::Wait { waiter, within } => self.wait(shard, waiter, *within, lane, deadline).await,
            Ask::Inspect { name, unless, within } => self.inspect(shard, name, *unless, *within, deadline).await,
            Ask::ListLeases(list) => self.list_leases(shard, list, deadline).await,
            Ask::Scan(query) => {
                if let Err(attempt) = self.barrier(shard, deadline).await {
                    return attempt;
                }
                match timeout_at(deadline, scan::page(self.state.clone(), self.answering(shard), query)).await {
                    Ok(Ok(Ok(page))) => Attempt::Final(Ok(Kind::Scan(page))),
                    Ok(Ok(Err(refusal))) => self.read_refused(shard.id(), refusal),
                    Ok(Err(error)) if error.reason() == Some(Reason::NoQuorum) => Attempt::Again(error),
                    Ok(Err(error)) => Attempt::Final(Err(error)),
                    Err(_) => Attempt::Final(Err(status::read_too_late(shard.id()))),
                }
            }
        }
    }

    async fn mutate(
        &self,
        shard: &Shard,
        request: Request,
        lane: Lane,
        kind: MutationKind,
        deadline: Instant,
    ) -> Attempt {
        match timeout_at(deadline, shard.propose(request, lane)).await {
            Ok(answer) => self.decided(shard, kind, answer),
            Err(_) => Attempt::Final(Err(status::outcome_unknown(shard.id()))),
        }
    }

    /// What a shard's word on a mutation means for its caller.
    pub(crate) fn decided(&self, shard: &Shard, kind: MutationKind, answer: Result<Reply, ProposeError>) -> Attempt {
        match answer {
            Ok(Ok(done)) => Attempt::Final(self.answering(shard).mutation(kind, &done)),
            Ok(Err(refusal)) => self.refused(shard, refusal),
            Err(error) => self.not_decided(shard, error),
        }
    }

    /// What a refusal by the shard means for the caller.
    pub(crate) fn refused(&self, shard: &Shard, refusal: Refusal) -> Attempt {
        let error = status::refusal(shard.id(), &refusal);
        match refusal {
            Refusal::WrongShard { descriptor } => {
                self.known.learn_descriptors([descriptor]);
                Attempt::Again(error)
            }
            _ => Attempt::Final(Err(error)),
        }
    }

    /// What it means for the caller that the shard has said nothing.
    pub(crate) fn not_decided(&self, shard: &Shard, error: ProposeError) -> Attempt {
        match error {
            ProposeError::NotLeader { leader } => Attempt::Again(self.not_leader(shard.id(), leader)),
            error => Attempt::Final(Err(status::propose(shard.id(), &error))),
        }
    }

    pub(crate) async fn barrier(&self, shard: &Shard, deadline: Instant) -> Result<StateView, Attempt> {
        match timeout_at(deadline, shard.read_barrier()).await {
            Ok(Ok(view)) => Ok(view),
            Ok(Err(ReadError::NotLeader { leader })) => Err(Attempt::Again(self.not_leader(shard.id(), leader))),
            Ok(Err(error @ ReadError::Overloaded { .. })) => Err(Attempt::Final(Err(status::read(shard.id(), &error)))),
            Ok(Err(error)) => Err(Attempt::Again(status::read(shard.id(), &error))),
            Err(_) => Err(Attempt::Final(Err(status::read_too_late(shard.id())))),
        }
    }

    /// Raises the shard's clock to a revision that is to be read, unless it is there already: below its clock a shard's
    /// history is final. A revision that lies too far ahead stays ahead, and the read is refused.
    async fn reach(&self, shard: &Shard, at: Revision, lane: Lane, deadline: Instant) -> Result<(), Attempt> {
        let state = ringfence_state_machine::ShardState::load(&shard.view(), shard.id());
        match state {
            Ok(Some(state)) if state.clock < at => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(Attempt::Again(status::unreadable(shard.id(), &error))),
        }
        let advance = Request { id: None, seen: Revision::ZERO, command: Command::Advance(at) };
        match timeout_at(deadline, shard.propose(advance, lane)).await {
            Ok(Ok(_)) => Ok(()), // whether it got there, the read tells
            Ok(Err(ProposeError::NotLeader { leader })) => Err(Attempt::Again(self.not_leader(shard.id(), leader))),
            Ok(Err(ProposeError::Overloaded { retry_after })) => {
                let what = "too many requests wait for the shard";
                Err(Attempt::Final(Err(status::overloaded(what, retry_after))))
            }
            Ok(Err(_)) | Err(_) => Err(Attempt::Again(status::read_too_late(shard.id()))),
        }
    }

    pub(crate) fn read_refused(&self, shard: ShardId, refusal: ReadRefusal) -> Attempt {
        let error = status::read_refusal(shard, &refusal);
        match refusal {
            ReadRefusal::WrongShard { descriptor } => {
                self.known.learn_descriptors([descriptor]);
                Attempt::Again(error)
            }
            _ => Attempt::Final(Err(error)),
        }
    }

    /// Another node leads: ask it, once.
    async fn forward(&self, task: &Task, shard: ShardId, to: NodeId, deadline: Instant) -> Attempt {
        let mut operation = task.operation.clone();
        if let Some(header) = header_of(&mut operation) {
            header.id = task.call.id.map(v1::RequestId::from);
            header.no_forward = true;
            header.cluster = self.cluster.0;
        }
        match self.forwarder.call(to, operation, deadline).await {
            Forwarded::Answered(v1::Result { kind: Some(Kind::Error(error)) }) => {
                self.forward_refused(shard, to, error)
            }
            Forwarded::Answered(v1::Result { kind: Some(kind) }) => {
                self.known.learn_leader(shard, to);
                Attempt::Final(Ok(kind))
            }
            // A newer peer answered with what we do not know.
            Forwarded::Answered(v1::Result { kind: None }) => self.lost(task, shard),
            Forwarded::NotSent => {
                self.known.forget_leader(shard, to);
                Attempt::Again(status::unreachable(shard, to))
            }
            Forwarded::Full => {
                let what = "too many requests wait for the shard's leader";
                Attempt::Final(Err(status::overloaded(what, Duration::from_millis(50))))
            }
            Forwarded::Lost => self.lost(task, shard),
        }
    }

    fn forward_refused(&self, shard: ShardId, to: NodeId, error: v1::Error) -> Attempt {
        match error.reason() {
            Some(Reason::NotLeader) => {
                self.known.forget_leader(shard, to);
                match error.fact::<u64>(metadata::LEADER_NODE) {
                    Some(leader) => {
                        self.known.learn_leader(shard, NodeId(leader));
                        Attempt::Again(error)
                    }
                    None => Attempt::Again(status::no_leader(shard)),
                }
            }
            Some(Reason::WrongShard | Reason::NoQuorum) => Attempt::Again(error),
            Some(Reason::ShuttingDown) => {
                self.known.forget_leader(shard, to);
                Attempt::Again(error)
            }
            _ => Attempt::Final(Err(error)),
        }
    }

    fn lost(&self, task: &Task, shard: ShardId) -> Attempt {
        match task.call.is_remembered() {
            true => Attempt::Final(Err(status::outcome_unknown(shard))),
            false => Attempt::Again(status::read_too_late(shard)),
        }
    }

    pub(crate) fn not_leader(&self, shard: ShardId, leader: Option<NodeId>) -> v1::Error {
        status::not_leader(shard, leader.map(|node| (node, self.known.book.address(node))))
    }

    pub(crate) fn answering(&self, shard: &Shard) -> Answering {
        Answering { shard: shard.id(), node: self.node }
    }
}

/// Planted: a replica that does not lead answers reads of what is now.
fn answers_itself(shard: &Shard, call: &Call) -> bool {
    let is_read = matches!(call.ask, Ask::Get { at: None, .. } | Ask::Scan(_));
    planted(Bug::FollowerServesReads) && is_read && shard.takes_part()
}

/// The pauses of one call.
pub(crate) fn retries() -> Backoff {
    Backoff::new(RETRY_FIRST, RETRY_MAX)
}
