//! Gathers the requests of a shard into log entries.
//!
//! CPU per write is decided by how many requests share an entry, so all requests that arrive while earlier entries are
//! under way become the next entry. Nothing ever waits in order to fill one: with nothing under way a request goes at once,
//! alone.
//!
//! An entry carries the leader's clocks, and the lease clock is only right for one term. So a leader first *takes office*:
//! it confirms that it leads and has applied everything of earlier terms, reads the lease clock there, and from then on
//! proposes only as the leader of that very term. If the term changes in between, openraft refuses the entry unappended.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use ringfence_state_machine::{Entry, Reply, Request, ShardState};
use ringfence_storage::StateDb;
use ringfence_types::limits::{ENTRY_BYTES_SOFT_MAX, ENTRY_REQUESTS_MAX, REQUEST_BYTES_MAX};
use ringfence_types::{NodeId, ShardId};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::config::Admission;
use crate::lease_clock::LeaseClock;
use crate::raft::{CommittedLeaderId, Proposal, Raft};
use crate::wall_time::WallTime;

/// Entries of one shard under way at once. One would leave the disk idle while followers work and the other way round;
/// many would make small entries.
const ENTRIES_IN_FLIGHT_MAX: usize = 2;

/// How long a new leader may take to confirm its office before its callers are told to look elsewhere.
const OFFICE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait before trying again when the queue is full: about what a full queue takes to drain.
const OVERLOADED_RETRY: Duration = Duration::from_millis(50);

/// Why a request has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Certain: nothing happened. Ask the leader, if it is known.
    #[error("this replica does not lead the shard; nothing happened")]
    NotLeader {
        /// The node that leads, as far as this one knows.
        leader: Option<NodeId>,
    },
    /// Certain: nothing happened. Too much is waiting already.
    #[error("too many requests wait for this shard; nothing happened. Try again in {} ms", .retry_after.as_millis())]
    Overloaded {
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// Certain: nothing happened. No entry could hold the request.
    #[error("the request has {bytes} bytes; the most is {REQUEST_BYTES_MAX}. Nothing happened")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It may have happened, or may still happen. Ask again with the same request id.
    #[error(
        "the leader changed while the request was under way; it may have happened. Ask again with the same request id"
    )]
    Unknown,
    /// This replica has stopped. The request may have happened.
    #[error(
        "this replica has stopped: {problem}. The request may have happened; ask another node with the same request id"
    )]
    Stopped {
        /// Why.
        problem: String,
    },
}

type Answer = Result<Reply, ProposeError>;

/// A shard's inbox. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Waiting>,
    waiting_bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// A request that was let in, until it is answered.
struct Waiting {
    request: Request,
    bytes: usize,
    answer: oneshot::Sender<Answer>,
    _admitted: Admitted,
}

/// Bytes that count against the shard's bound until this is dropped.
struct Admitted {
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Proposer {
    /// Starts the task that proposes for a shard.
    pub(crate) fn start(office: Office, admission: &Admission) -> Proposer {
        let (queue, inbox) = mpsc::channel(admission.requests_max);
        tokio::spawn(run(office, inbox));
        Proposer { queue, waiting_bytes: Arc::default(), bytes_max: admission.bytes_max }
    }

    /// Puts a request into the log and waits for what the shard decides.
    pub(crate) async fn propose(&self, request: Request) -> Answer {
        let bytes = request.encoded_len_estimate();
        if bytes > REQUEST_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes });
        }
        let overloaded = ProposeError::Overloaded { retry_after: OVERLOADED_RETRY };
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let admitted = Admitted { bytes, total: self.waiting_bytes.clone() };
        if before + bytes > self.bytes_max {
            return Err(overloaded);
        }
        let (answer, wait) = oneshot::channel();
        match self.queue.try_send(Waiting { request, bytes, answer, _admitted: admitted }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(stopped()),
        }
        wait.await.unwrap_or_else(|_| Err(stopped()))
    }
}

fn stopped() -> ProposeError {
    ProposeError::Stopped { problem: "the node is shutting down, or the replica failed".into() }
}

/// What a leader needs in order to propose: its term, confirmed, and the clocks.
pub(crate) struct Office {
    pub shard: ShardId,
    pub raft: Raft,
    pub state: StateDb,
    pub clock: Arc<dyn Clock>,
    pub wall_time: Arc<WallTime>,
    held: Option<(u64, LeaseClock)>,
}

impl Office {
    pub(crate) fn new(
        shard: ShardId,
        raft: Raft,
        state: StateDb,
        clock: Arc<dyn Clock>,
        wall_time: Arc<WallTime>,
    ) -> Office {
        Office { shard, raft, state, clock, wall_time, held: None }
    }

    fn not_leader(&self) -> ProposeError {
        ProposeError::NotLeader { leader: leader_node(&self.raft) }
    }

    /// The term in which this replica leads, if it believes it does.
    fn leading_term(&self) -> Option<u64> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let leads = metrics.state.is_leader() && metrics.vote.leader_id.voted_for == metrics.id;
        leads.then_some(metrics.vote.leader_id.term)
    }

    /// Makes sure that this replica leads and knows the lease clock of its term.
    async fn take(&mut self) -> Result<(u64, LeaseClock), ProposeError> {
        let Some(term) = self.leading_term() else {
            self.held = None;
            return Err(self.not_leader());
        };
        if let Some((held, clock)) = self.held
            && held == term
        {
            return Ok((held, clock));
        }
        let confirmed = tokio::time::timeout(OFFICE_TIMEOUT, async {
            let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await.ok()?;
            linearizer.await_ready(&self.raft).await.ok()
        })
        .await;
        if !matches!(confirmed, Ok(Some(_))) || self.leading_term() != Some(term) {
            return Err(self.not_leader());
        }
        // Everything of earlier terms is applied now, so what the state says is the highest reading in the log.
        let state = ShardState::load(&self.state.view(), self.shard)
            .map_err(|e| ProposeError::Stopped { problem: e.to_string() })?
            .ok_or_else(|| ProposeError::Stopped { problem: format!("{} has no state", self.shard) })?;
        let clock = LeaseClock::take_office(state.lease_clock_ms, self.clock.monotonic());
        self.held = Some((term, clock));
        tracing::info!(shard = %self.shard, term, "took office");
        Ok((term, clock))
    }

    /// The lease clock's reading now, if in office.
    fn entry(&self, clock: &LeaseClock, requests: Vec<Request>) -> Entry {
        Entry {
            now_ms: self.wall_time.stamp(&*self.clock),
            lease_clock_ms: clock.reading_ms(self.clock.monotonic()),
            requests,
        }
    }
}

/// The node that leads, as far as this replica knows.
pub(crate) fn leader_node(raft: &Raft) -> Option<NodeId> {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let leader = metrics.current_leader?;
    metrics.membership_config.get_node(&leader).map(|placement| placement.0)
}

async fn run(mut office: Office, mut inbox: mpsc::Receiver<Waiting>) {
    let mut in_flight: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    let mut gathered: VecDeque<Waiting> = VecDeque::new();
    let mut arrived = Vec::with_capacity(ENTRY_REQUESTS_MAX);
    loop {
        while !gathered.is_empty() && in_flight.len() < ENTRIES_IN_FLIGHT_MAX {
            match propose_next(&mut office, &mut gathered).await {
                Ok(under_way) => in_flight.push(under_way),
                // Whoever waits is told at once, also about what has been gathered since: a deposed leader must not sit
                // on requests that another could serve.
                Err(e) => {
                    for waiting in gathered.drain(..) {
                        let _ = waiting.answer.send(Err(e.clone()));
                    }
                }
            }
        }
        // A leader that lost touch may have entries under way for ever; what comes meanwhile is turned away above.
        let take_more =
            gathered.is_empty() && in_flight.len() < ENTRIES_IN_FLIGHT_MAX || office.leading_term().is_none();
        tokio::select! {
            biased;
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
            count = inbox.recv_many(&mut arrived, ENTRY_REQUESTS_MAX), if take_more => {
                if count == 0 {
                    return;
                }
                if in_flight.len() >= ENTRIES_IN_FLIGHT_MAX {
                    for waiting in arrived.drain(..) {
                        let _ = waiting.answer.send(Err(office.not_leader()));
                    }
                }
                gathered.extend(arrived.drain(..).filter(|waiting| !waiting.answer.is_closed()));
            }
            // Leadership may be lost while everything is under way.
            () = tokio::time::sleep(OFFICE_TIMEOUT), if !take_more => {}
        }
    }
}

/// Proposes one entry of what has been gathered, as much as fits. Resolves when all of it is answered.
async fn propose_next(
    office: &mut Office,
    gathered: &mut VecDeque<Waiting>,
) -> Result<BoxFuture<'static, ()>, ProposeError> {
    let (term, clock) = office.take().await?;
    let mut requests = Vec::with_capacity(gathered.len().min(ENTRY_REQUESTS_MAX));
    let mut answers = Vec::with_capacity(requests.capacity());
    let mut bytes = 0;
    while requests.len() < ENTRY_REQUESTS_MAX && bytes < ENTRY_BYTES_SOFT_MAX {
        let Some(waiting) = gathered.pop_front() else { break };
        bytes += waiting.bytes;
        requests.push(waiting.request);
        answers.push((waiting.answer, waiting._admitted));
    }
    let entry = office.entry(&clock, requests);
    let proposal = Proposal { bytes: entry.encode(), parsed: Some(Arc::new(entry)) };
    let (responder, done) = ProgressResponder::complete_only();
    let submitted = office.raft.write(proposal).with_leader(CommittedLeaderId::new(term)).responder(responder).await;
    let raft = office.raft.clone();
    Ok(Box::pin(async move {
        let outcome = match submitted {
            Err(fatal) => Err(ProposeError::Stopped { problem: fatal.to_string() }),
            Ok(()) => match done.await {
                Ok(Ok(response)) => Ok(response.data.0),
                // Refused before it was appended.
                Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                    let leader = forward.leader_node.map(|placement| placement.0).or_else(|| leader_node(&raft));
                    Err(ProposeError::NotLeader { leader })
                }
                // Appended, and then thrown out of this replica's log; another may have committed it.
                Ok(Err(_)) => Err(ProposeError::Unknown),
                Err(_) => Err(stopped()),
            },
        };
        match outcome {
            Ok(replies) => {
                assert_eq!(replies.len(), answers.len(), "one reply for each request of an entry");
                for ((answer, _admitted), reply) in answers.into_iter().zip(replies) {
                    let _ = answer.send(Ok(reply));
                }
            }
            Err(e) => {
                for (answer, _admitted) in answers {
                    let _ = answer.send(Err(e.clone()));
                }
            }
        }
    }))
}
