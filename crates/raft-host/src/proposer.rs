//! Gathers the requests of a shard into log entries.
//!
//! CPU per write is decided by how many requests share an entry, so all requests that arrive while earlier entries are
//! under way become the next entry. Nothing ever waits in order to fill one: with nothing under way a request goes at once,
//! alone.
//!
//! What waits is bounded in three ways, and beyond each a request is turned away with `Overloaded`, certain that nothing
//! happened: in requests and in bytes at the door, and in *time*: a request that has waited for [`QUEUE_WAIT_MAX`] would
//! only be served when its caller has given up, so it makes room for one that can still be in time. Under overload the
//! shard so goes on at its full speed, for callers who get their turns fairly ([`FairQueue`]).
//!
//! An entry carries the leader's clocks, and the lease clock is only right for one term. So a leader first *takes office*:
//! it confirms that it leads and has applied everything of earlier terms, reads the lease clock there, and from then on
//! proposes only as the leader of that very term. If the term changes in between, openraft refuses the entry unappended.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use ringfence_state_machine::{Command, Entry, LockCommand, Reply, Request, ShardState};
use ringfence_storage::StateDb;
use ringfence_types::limits::{ENTRY_BYTES_SOFT_MAX, ENTRY_REQUESTS_MAX, REQUEST_BYTES_MAX};
use ringfence_types::{NodeId, ShardId};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::Admission;
use crate::fair_queue::{FairQueue, Lane};
use crate::lease_clock::{self, LeaseClock};
use crate::lock_room::LockRoom;
use crate::majority::{self, leader_elsewhere, leader_named};
use crate::raft::{CommittedLeaderId, Proposal, Raft};
use crate::wall_time::WallTime;

/// Entries of one shard under way at once. One would leave the disk idle while followers work and the other way round;
/// many would make small entries. A second one is only begun for at least as many requests as are under way already: when
/// everybody waits for the CPU, as on a busy machine, two half entries cost nearly twice as much as a whole one.
const ENTRIES_IN_FLIGHT_MAX: usize = 2;

/// How long a new leader may take to confirm its office before its callers are told to look elsewhere.
const OFFICE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait before trying again when the queue is full: about what a full queue takes to drain.
const OVERLOADED_RETRY: Duration = Duration::from_millis(50);

/// How long a request may wait for its place in an entry. Many times what a busy shard needs, and less than callers wait.
const QUEUE_WAIT_MAX: Duration = Duration::from_millis(500);

/// Arrivals looked at in one go.
const ARRIVALS_MAX: usize = 256;

/// How often to look after those who wait while nothing moves.
const PATROL: Duration = Duration::from_millis(100);

/// How long a request that is in no hurry waits for one that is, to ride in its entry.
const RIDE_MAX: Duration = Duration::from_millis(3);

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
    /// Unbounded by itself: the door counts what is in it.
    queue: mpsc::UnboundedSender<Vec<Waiting>>,
    door: Arc<Door>,
    raft: Raft,
    clock: Arc<dyn Clock>,
    reckoning: Reckoning,
    room: LockRoom,
}

/// The lease clock of the term in which this replica led last, for those who have to know what time it is.
type Reckoning = Arc<Mutex<Option<(u64, LeaseClock)>>>;

/// Counts what was let in, waiting or under way.
struct Door {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    most: Admission,
}

/// A request that was let in, until it is answered.
struct Waiting {
    request: Request,
    lane: Lane,
    since: Instant,
    /// Until then it may wait for company in its entry.
    departs: Instant,
    bytes: usize,
    ticket: Ticket,
    _admitted: Admitted,
}

/// Where an answer goes: the place of the request among those it was proposed with, and who waits for them.
struct Ticket {
    place: usize,
    answers: mpsc::UnboundedSender<Vec<(usize, Answer)>>,
}

/// Counts against the shard's bounds until this is dropped.
struct Admitted {
    bytes: usize,
    door: Arc<Door>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.door.requests.fetch_sub(1, Ordering::Relaxed);
        self.door.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Door {
    fn admit(self: &Arc<Door>, bytes: usize) -> Result<Admitted, ProposeError> {
        let requests_before = self.requests.fetch_add(1, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let admitted = Admitted { bytes, door: self.clone() };
        match requests_before < self.most.requests_max && bytes_before + bytes <= self.most.bytes_max {
            true => Ok(admitted),
            false => Err(OVERLOADED),
        }
    }
}

const OVERLOADED: ProposeError = ProposeError::Overloaded { retry_after: OVERLOADED_RETRY };

impl Proposer {
    /// Starts the task that proposes for a shard.
    pub(crate) fn start(office: Office, most: &Admission, room: LockRoom) -> Proposer {
        let (queue, inbox) = mpsc::unbounded_channel();
        let (raft, clock, reckoning) = (office.raft.clone(), office.clock.clone(), office.held.clone());
        tokio::spawn(run(office, inbox));
        let door = Door { requests: AtomicUsize::new(0), bytes: AtomicUsize::new(0), most: *most };
        Proposer { queue, door: Arc::new(door), raft, clock, reckoning, room }
    }

    /// What an entry made now would have on its lease clock. `None` if this replica does not lead, or has proposed nothing in its
    /// term yet. Whoever was deposed without knowing it is never behind its successors.
    pub(crate) fn lease_clock_ms(&self) -> Option<u64> {
        let (term, clock) = (*self.reckoning.lock().expect("never poisoned"))?;
        (leading_term(&self.raft) == Some(term)).then(|| clock.reading_ms(lease_clock::time(&*self.clock)))
    }

    /// Puts requests into the log, in this order, and gives back what tells their answers. They are queued at once.
    pub(crate) fn propose(&self, requests: impl IntoIterator<Item = Request>, lane: Lane) -> Proposed {
        let (answers, receiver) = mpsc::unbounded_channel();
        let since = Instant::now();
        let mut waiting = Vec::new();
        let mut refused = Vec::new();
        let mut unanswered = 0;
        for (place, request) in requests.into_iter().enumerate() {
            unanswered += 1;
            let bytes = request.encoded_len_estimate();
            let admitted = match bytes > REQUEST_BYTES_MAX {
                true => Err(ProposeError::TooLarge { bytes }),
                false => self.door.admit(bytes),
            };
            match admitted {
                Ok(_admitted) => {
                    let ticket = Ticket { place, answers: answers.clone() };
                    let departs = if self.can_ride(&request) { since + RIDE_MAX } else { since };
                    waiting.push(Waiting { request, lane, since, departs, bytes, ticket, _admitted });
                }
                Err(e) => refused.push((place, Err(e))),
            }
        }
        if !waiting.is_empty() {
            let _ = self.queue.send(waiting); // if the task has ended the tickets are dropped, and say so
        }
        Proposed { receiver, refused, unanswered }
    }
}

impl Proposer {
    /// Whether a request is in no hurry: it asks for a lock that others wait for already, so it will only be queued. What those
    /// wait for, a release, must not stand behind it.
    fn can_ride(&self, request: &Request) -> bool {
        match &request.command {
            Command::Lock(LockCommand::Acquire(acquire)) => acquire.waits && self.room.is_waited_for(&acquire.name),
            _ => false,
        }
    }
}

/// Requests that were proposed together, until all are answered. Whoever drops it does not learn what happened.
pub struct Proposed {
    receiver: mpsc::UnboundedReceiver<Vec<(usize, Answer)>>,
    refused: Vec<(usize, Answer)>,
    unanswered: usize,
}

impl Proposed {
    /// The answers that are there next, each with its request's place among those proposed together; every place comes
    /// once. `None` when all have come.
    pub async fn next(&mut self) -> Option<Vec<(usize, Result<Reply, ProposeError>)>> {
        if self.unanswered == 0 {
            return None;
        }
        let answers = match self.refused.is_empty() {
            true => self.receiver.recv().await,
            false => Some(std::mem::take(&mut self.refused)),
        };
        self.unanswered -= answers.as_ref().map_or(self.unanswered, Vec::len);
        answers
    }

    /// The answer of a request that was proposed alone.
    pub(crate) async fn single(mut self) -> Answer {
        let answers = self.next().await;
        answers.and_then(|mut answers| answers.pop()).map_or_else(|| Err(stopped()), |(_, answer)| answer)
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
    held: Reckoning,
}

impl Office {
    pub(crate) fn new(
        shard: ShardId,
        raft: Raft,
        state: StateDb,
        clock: Arc<dyn Clock>,
        wall_time: Arc<WallTime>,
    ) -> Office {
        Office { shard, raft, state, clock, wall_time, held: Reckoning::default() }
    }

    fn not_leader(&self) -> ProposeError {
        ProposeError::NotLeader { leader: leader_elsewhere(&self.raft) }
    }

    /// Makes sure that this replica leads and knows the lease clock of its term.
    async fn take(&mut self) -> Result<(u64, LeaseClock), ProposeError> {
        let Some(term) = leading_term(&self.raft) else {
            *self.held.lock().expect("never poisoned") = None;
            return Err(self.not_leader());
        };
        if majority::is_lost(&self.raft) {
            return Err(self.not_leader());
        }
        let held = *self.held.lock().expect("never poisoned");
        if let Some((held, clock)) = held
            && held == term
        {
            return Ok((held, clock));
        }
        let confirmed = tokio::time::timeout(OFFICE_TIMEOUT, async {
            let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await.ok()?;
            linearizer.await_ready(&self.raft).await.ok()
        })
        .await;
        if !matches!(confirmed, Ok(Some(_))) || leading_term(&self.raft) != Some(term) {
            return Err(self.not_leader());
        }
        // Everything of earlier terms is applied now, so what the state says is the highest reading in the log.
        let state = ShardState::load(&self.state.view(), self.shard)
            .map_err(|e| ProposeError::Stopped { problem: e.to_string() })?
            .ok_or_else(|| ProposeError::Stopped { problem: format!("{} has no state", self.shard) })?;
        let clock = LeaseClock::take_office(state.lease_clock_ms, lease_clock::time(&*self.clock));
        *self.held.lock().expect("never poisoned") = Some((term, clock));
        tracing::info!(shard = %self.shard, term, "took office");
        Ok((term, clock))
    }

    /// The lease clock's reading now, if in office.
    fn entry(&self, clock: &LeaseClock, requests: Vec<Request>) -> Entry {
        Entry {
            now_ms: self.wall_time.stamp(&*self.clock),
            lease_clock_ms: clock.reading_ms(lease_clock::time(&*self.clock)),
            requests,
        }
    }
}

/// The term in which this replica leads, if it believes it does.
pub(crate) fn leading_term(raft: &Raft) -> Option<u64> {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let leads = metrics.state.is_leader() && metrics.vote.leader_id.voted_for == metrics.id;
    leads.then_some(metrics.vote.leader_id.term)
}

async fn run(mut office: Office, mut inbox: mpsc::UnboundedReceiver<Vec<Waiting>>) {
    let mut in_flight: FuturesUnordered<BoxFuture<'static, usize>> = FuturesUnordered::new();
    let mut requests_in_flight = 0;
    let mut gathered: FairQueue<Waiting> = FairQueue::new();
    let mut arrived = Vec::with_capacity(ARRIVALS_MAX);
    let mut patrol = Instant::now() + PATROL;
    // How long what is gathered may wait for more. `None`: nothing is gathered.
    let mut ride_ends: Option<Instant> = None;
    loop {
        while !gathered.is_empty()
            && ride_ends.is_some_and(|end| end <= Instant::now())
            && in_flight.len() < ENTRIES_IN_FLIGHT_MAX
            && gathered.len().min(ENTRY_REQUESTS_MAX) >= requests_in_flight
        {
            match propose_next(&mut office, &mut gathered).await {
                Ok(Some((requests, under_way))) => {
                    requests_in_flight += requests;
                    in_flight.push(under_way);
                }
                Ok(None) => {}
                // Whoever waits is told at once, also about what has been gathered since: a deposed leader must not sit
                // on requests that another could serve.
                Err(e) => turn_away(std::iter::from_fn(|| gathered.pop()), &e),
            }
        }
        if gathered.is_empty() {
            ride_ends = None;
        }
        tokio::select! {
            biased;
            Some(requests) = in_flight.next(), if !in_flight.is_empty() => requests_in_flight -= requests,
            count = inbox.recv_many(&mut arrived, ARRIVALS_MAX) => {
                if count == 0 {
                    return;
                }
                for waiting in arrived.drain(..).flatten() {
                    ride_ends = Some(ride_ends.map_or(waiting.departs, |end| end.min(waiting.departs)));
                    gathered.push(waiting.lane, waiting);
                }
            }
            () = sleep_until(ride_ends), if ride_ends.is_some_and(|end| end > Instant::now()) => {}
            // A leader that lost touch may have entries under way for ever; who waits behind them must not.
            () = tokio::time::sleep_until(patrol), if !gathered.is_empty() => {
                patrol = Instant::now() + PATROL;
                if leading_term(&office.raft).is_none() || majority::is_lost(&office.raft) {
                    turn_away(std::iter::from_fn(|| gathered.pop()), &office.not_leader());
                } else {
                    turn_away(gathered.take_late(Waiting::is_late), &OVERLOADED);
                }
            }
        }
    }
}

fn turn_away(waiting: impl IntoIterator<Item = Waiting>, error: &ProposeError) {
    answer(waiting.into_iter().map(|waiting| (waiting.ticket, Err(error.clone()))));
}

/// Tells answers, those of one caller that follow each other together.
fn answer(answers: impl IntoIterator<Item = (Ticket, Answer)>) {
    let mut together: Option<(mpsc::UnboundedSender<_>, Vec<_>)> = None;
    for (Ticket { place, answers }, answer) in answers {
        match &mut together {
            Some((to, told)) if to.same_channel(&answers) => told.push((place, answer)),
            _ => {
                if let Some((to, told)) = together.replace((answers, vec![(place, answer)])) {
                    let _ = to.send(told); // who has left is told nothing
                }
            }
        }
    }
    if let Some((to, told)) = together {
        let _ = to.send(told);
    }
}

impl Waiting {
    fn is_late(&self) -> bool {
        self.since.elapsed() > QUEUE_WAIT_MAX
    }
}

/// Sleeps while it is known until when.
async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Proposes one entry of what has been gathered, as much as fits. Gives back how many requests that is, and what resolves,
/// to the same number, when all are answered. `None`: nobody was left to propose for.
async fn propose_next(
    office: &mut Office,
    gathered: &mut FairQueue<Waiting>,
) -> Result<Option<(usize, BoxFuture<'static, usize>)>, ProposeError> {
    let (term, clock) = office.take().await?;
    let now = Instant::now();
    let mut requests = Vec::with_capacity(gathered.len().min(ENTRY_REQUESTS_MAX));
    let mut tickets = Vec::with_capacity(requests.capacity());
    let mut bytes = 0;
    while requests.len() < ENTRY_REQUESTS_MAX && bytes < ENTRY_BYTES_SOFT_MAX {
        let Some(waiting) = gathered.pop() else { break };
        if waiting.ticket.answers.is_closed() {
            continue; // its caller has given up
        }
        if now.saturating_duration_since(waiting.since) > QUEUE_WAIT_MAX {
            turn_away([waiting], &OVERLOADED);
            continue;
        }
        bytes += waiting.bytes;
        requests.push(waiting.request);
        tickets.push((waiting.ticket, waiting._admitted));
    }
    if requests.is_empty() {
        return Ok(None);
    }
    let entry = office.entry(&clock, requests);
    let proposal = Proposal { bytes: entry.encode(), parsed: Some(Arc::new(entry)) };
    let (responder, done) = ProgressResponder::complete_only();
    let submitted = office.raft.write(proposal).with_leader(CommittedLeaderId::new(term)).responder(responder).await;
    let raft = office.raft.clone();
    let count = tickets.len();
    let under_way = async move {
        let outcome = match submitted {
            Err(fatal) => Err(ProposeError::Stopped { problem: fatal.to_string() }),
            Ok(()) => match done.await {
                Ok(Ok(response)) => Ok(response.data.0),
                // Refused before it was appended.
                Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                    Err(ProposeError::NotLeader { leader: leader_named(&forward, &raft) })
                }
                // Appended, and then thrown out of this replica's log; another may have committed it.
                Ok(Err(_)) => Err(ProposeError::Unknown),
                Err(_) => Err(stopped()),
            },
        };
        match outcome {
            Ok(replies) => {
                assert_eq!(replies.len(), tickets.len(), "one reply for each request of an entry");
                answer(tickets.into_iter().zip(replies).map(|((ticket, _admitted), reply)| (ticket, Ok(reply))));
            }
            Err(e) => answer(tickets.into_iter().map(|(ticket, _admitted)| (ticket, Err(e.clone())))),
        }
        count
    };
    Ok(Some((count, Box::pin(under_way))))
}
