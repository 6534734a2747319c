//! Calls that go on to the node that leads the shard.
//!
//! Per peer there is one lane: one connection with one `Forward` stream that all calls share. Whenever the stream can
//! take more, everything that waits goes into one message. Answers come in any order and are handed out by number.
//!
//! The one thing that must be exact here is what is known about a call whose answer never comes:
//!
//! ```text
//!   waiting ──── the stream takes it ───▶ sent ──── answer ───▶ answered
//!      │                                   │
//!      └─ given up: certainly not sent     └─ connection ends, or given up: may have happened
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use ringfence_proto::internal::v1::node_service_client::NodeServiceClient;
use ringfence_proto::v1;
use ringfence_types::NodeId;
use ringfence_types::limits::GRPC_MESSAGE_BYTES_MAX;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::address_book::AddressBook;
use crate::backoff::Backoff;
use crate::outbox::{Outbox, Refused};
use crate::peers;

/// Calls that may wait for one peer, in bytes. A tenth of what a node admits is plenty for a peer that keeps up.
const LANE_QUEUE_BYTES_MAX: usize = 32 << 20;

/// A message takes no further call once it has this many bytes.
const LANE_MESSAGE_BYTES_SOFT_MAX: usize = 4 << 20;

/// What a call takes beside its operation.
const CALL_BYTES: usize = 64;

/// Waits between connections to a peer that is down.
const RECONNECT_FIRST: Duration = Duration::from_millis(10);
const RECONNECT_MAX: Duration = Duration::from_millis(250);

/// What became of a forwarded call.
#[derive(Debug)]
pub(crate) enum Forwarded {
    /// The peer answered.
    Answered(v1::Result),
    /// It was never sent: the peer cannot be reached, or keeps us waiting. Certainly nothing happened.
    NotSent,
    /// The queue for the peer is full. Certainly nothing happened.
    Full,
    /// It was sent, and the answer is lost or late.
    Lost,
}

/// All lanes of a node.
pub(crate) struct Forwarder {
    book: AddressBook,
    cut: CancellationToken,
    lanes: Mutex<BTreeMap<NodeId, Arc<Lane>>>,
}

impl Forwarder {
    /// Tasks run until `cut` is cancelled.
    pub(crate) fn new(book: AddressBook, cut: CancellationToken) -> Forwarder {
        Forwarder { book, cut, lanes: Mutex::default() }
    }

    /// Sends a call to a node, and waits for its answer until the deadline. The call is queued at the first poll, so calls
    /// polled in order are sent in order.
    pub(crate) async fn call(&self, to: NodeId, operation: v1::Operation, deadline: Instant) -> Forwarded {
        let (answer, answered) = oneshot::channel();
        let stage = Arc::new(AtomicU8::new(WAITING));
        let bytes = operation.encoded_len() + CALL_BYTES;
        let waiting = Waiting { operation, deadline, stage: stage.clone(), answer };
        match self.lane(to).outbox.push(bytes, waiting) {
            Ok(()) => {}
            Err(Refused::Full(_)) => return Forwarded::Full,
            Err(Refused::Closed(_)) => return Forwarded::NotSent,
        }
        match timeout_at(deadline, answered).await {
            Ok(Ok(result)) => Forwarded::Answered(result),
            Ok(Err(_)) | Err(_) => match stage.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => Forwarded::NotSent,
                Err(_) => Forwarded::Lost,
            },
        }
    }

    fn lane(&self, to: NodeId) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().expect("no code panics while it holds this lock");
        let lane = lanes.entry(to).or_insert_with(|| {
            let lane = Arc::new(Lane {
                to,
                book: self.book.clone(),
                outbox: Outbox::new(LANE_QUEUE_BYTES_MAX),
                sent: Mutex::default(),
            });
            let (task, cut) = (lane.clone(), self.cut.clone());
            tokio::spawn(async move {
                cut.run_until_cancelled(task.clone().run()).await;
                task.outbox.close();
                task.lock_sent().by_number.clear();
            });
            lane
        });
        lane.clone()
    }
}

// The stages of a call. Only the step out of WAITING is contended: by the stream that sends, and the caller that gives up.
const WAITING: u8 = 0;
const SENT: u8 = 1;
const GIVEN_UP: u8 = 2;

struct Waiting {
    operation: v1::Operation,
    deadline: Instant,
    stage: Arc<AtomicU8>,
    answer: oneshot::Sender<v1::Result>,
}

struct Lane {
    to: NodeId,
    book: AddressBook,
    outbox: Outbox<Waiting>,
    sent: Mutex<Sent>,
}

/// Calls whose answers are awaited. A call leaves when its answer comes or the stream ends, so at most what the peer
/// takes in one session is here.
#[derive(Default)]
struct Sent {
    last_number: u64,
    by_number: BTreeMap<u64, oneshot::Sender<v1::Result>>,
}

impl Lane {
    async fn run(self: Arc<Lane>) {
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MAX);
        loop {
            if let Ok(answers) = self.connect().await {
                self.outbox.open();
                backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MAX);
                self.receive(answers).await;
            }
            // Dropping what waits and what was sent tells the callers; each knows its own stage.
            self.outbox.close();
            self.lock_sent().by_number.clear();
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn connect(self: &Arc<Lane>) -> Result<tonic::Streaming<v1::SessionResponse>, String> {
        let address = self.book.dial(self.to).ok_or("its address is not known")?;
        let channel = peers::connect(&address).await.map_err(|error| error.to_string())?;
        let mut client = NodeServiceClient::new(channel)
            .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX);
        let lane = self.clone();
        let requests = futures::stream::unfold(lane, |lane| async move {
            let request = lane.next_request().await;
            Some((request, lane))
        });
        let response = client.forward(requests).await.map_err(|status| status.message().to_owned())?;
        Ok(response.into_inner())
    }

    /// Everything that waits, as one message. From here on a call counts as sent.
    async fn next_request(&self) -> v1::SessionRequest {
        loop {
            let waiting = self.outbox.drain(LANE_MESSAGE_BYTES_SOFT_MAX).await;
            let now = Instant::now();
            let mut calls = Vec::with_capacity(waiting.len());
            let mut sent = self.lock_sent();
            for waiting in waiting {
                let claimed = waiting.stage.compare_exchange(WAITING, SENT, Ordering::AcqRel, Ordering::Acquire);
                if claimed.is_err() || waiting.answer.is_closed() {
                    continue; // its caller is gone
                }
                sent.last_number += 1;
                let call = sent.last_number;
                sent.by_number.insert(call, waiting.answer);
                let left_ms = waiting.deadline.saturating_duration_since(now).as_millis();
                calls.push(v1::Call {
                    call,
                    operation: Some(waiting.operation),
                    timeout_ms: u32::try_from(left_ms).unwrap_or(u32::MAX).max(1),
                });
            }
            drop(sent);
            if !calls.is_empty() {
                return v1::SessionRequest { calls };
            }
        }
    }

    async fn receive(&self, mut answers: tonic::Streaming<v1::SessionResponse>) {
        while let Ok(Some(response)) = answers.message().await {
            let mut sent = self.lock_sent();
            for answer in response.answers {
                if let (Some(caller), Some(result)) = (sent.by_number.remove(&answer.call), answer.result) {
                    let _ = caller.send(result); // a caller that gave up is told nothing
                }
            }
        }
    }

    fn lock_sent(&self) -> std::sync::MutexGuard<'_, Sent> {
        self.sent.lock().expect("no code panics while it holds this lock")
    }
}
