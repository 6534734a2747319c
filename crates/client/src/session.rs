//! One `Kv.Session` stream to one node, shared by all calls to it.
//!
//! Calls queue; one task takes what waits, up to [`MESSAGE_CALLS_MAX`] calls or [`MESSAGE_BYTES_SOFT_MAX`], and puts it
//! into one message. It never waits to fill one: what gathers while the last message is on its way is the next one. So
//! a lone call leaves at once, and a thousand share a few messages.
//!
//! Whoever wants to end a call needs to know whether it was *sent*. The task **claims** a call when it puts it into a
//! message; a caller whose time is up claims it too. Whoever claims first wins: a call that its caller got back was
//! certainly not sent, and never will be.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ringfence_proto::v1;
use ringfence_proto::v1::kv_client::KvClient;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::retry::Failure;

/// Most calls in one message: enough to make the cost of a message small against that of its calls.
const MESSAGE_CALLS_MAX: usize = 256;
/// A message that holds this many bytes gets no further call. One of the largest size still fits gRPC's limit.
const MESSAGE_BYTES_SOFT_MAX: usize = 1 << 20;
/// Calls that wait for their message; further ones wait outside. A few messages' worth keeps the stream busy.
const QUEUE_CALLS_MAX: usize = 4 * MESSAGE_CALLS_MAX;
/// Messages handed to the transport and not yet taken by it. One: while it is there, the next one gathers.
const MESSAGES_AHEAD_MAX: usize = 1;
/// Below this many unanswered calls nobody looks for those whose callers have left.
const FORGOTTEN_CALLS_MIN: usize = 1024;

/// A handle to the stream. The stream ends when the last handle is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    queue: mpsc::Sender<Outgoing>,
    ended: Arc<OnceLock<String>>,
}

#[derive(Debug)]
struct Outgoing {
    operation: v1::Operation,
    bytes: usize,
    timeout: Duration,
    claim: Arc<AtomicBool>,
    answer: oneshot::Sender<v1::Result>,
}

impl Session {
    /// Connects in the background; calls may queue at once.
    pub(crate) fn open(client: KvClient<Channel>) -> Session {
        let (queue, waiting) = mpsc::channel(QUEUE_CALLS_MAX);
        let ended = Arc::new(OnceLock::new());
        let told = Arc::clone(&ended);
        tokio::spawn(async move {
            let mut waiting = waiting;
            let why = run(client, &mut waiting).await;
            // Before the queue is dropped, so that whoever sees it closed can read why.
            told.set(why).expect("a session ends once");
        });
        Session { queue, ended }
    }

    /// Whether the stream has ended; a new session is needed.
    pub(crate) fn has_ended(&self) -> bool {
        self.queue.is_closed()
    }

    /// One call, one attempt.
    pub(crate) async fn call(
        &self,
        operation: v1::Operation,
        bytes: usize,
        within: Duration,
    ) -> Result<v1::Result, Failure> {
        let claim = Arc::new(AtomicBool::new(false));
        let (answer, answered) = oneshot::channel();
        let outgoing = Outgoing { operation, bytes, timeout: within, claim: Arc::clone(&claim), answer };
        let attempt = async {
            self.queue.send(outgoing).await.ok()?;
            answered.await.ok()
        };
        let outcome = timeout(within, attempt).await;
        if let Ok(Some(answer)) = outcome {
            return Ok(answer);
        }
        let was_sent = claim.swap(true, Ordering::AcqRel);
        let why = || self.ended.get().cloned().unwrap_or_else(|| "the stream ended".to_owned());
        match (outcome, was_sent) {
            (Ok(_), true) => Err(Failure::Broken(why())),
            (Ok(_), false) => Err(Failure::NotSent(why())),
            (Err(_), true) => Err(Failure::Silent),
            (Err(_), false) => Err(Failure::NotSent("the node accepts no further calls".to_owned())),
        }
    }
}

/// Runs the stream to its end and tells why it ended.
async fn run(mut client: KvClient<Channel>, waiting: &mut mpsc::Receiver<Outgoing>) -> String {
    let (messages, outbound) = mpsc::channel(MESSAGES_AHEAD_MAX);
    let mut inbound = match client.session(ReceiverStream::new(outbound)).await {
        Ok(response) => response.into_inner(),
        Err(status) => return describe(&status),
    };
    let mut unanswered = Unanswered::default();
    let mut held: Option<Outgoing> = None;
    let mut has_room = true;
    loop {
        tokio::select! {
            message = inbound.message() => match message {
                Ok(Some(message)) => message.answers.into_iter().for_each(|answer| unanswered.answer(answer)),
                Ok(None) => return "the node closed the stream".to_owned(),
                Err(status) => return describe(&status),
            },
            room = messages.reserve(), if !has_room => match room {
                Ok(_) => has_room = true, // only this task sends, so the room stays
                Err(_) => return "the connection closed".to_owned(),
            },
            first = next(waiting, &mut held), if has_room => {
                let Some(first) = first else { return "the client was dropped".to_owned() };
                let calls = gather(first, waiting, &mut held, &mut unanswered);
                if !calls.is_empty() {
                    if messages.try_send(v1::SessionRequest { calls }).is_err() {
                        return "the connection closed".to_owned();
                    }
                    has_room = false;
                }
            }
        }
    }
}

/// The call that did not fit into the last message, or else the next in the queue. Cancel safe.
async fn next(waiting: &mut mpsc::Receiver<Outgoing>, held: &mut Option<Outgoing>) -> Option<Outgoing> {
    match held.take() {
        Some(outgoing) => Some(outgoing),
        None => waiting.recv().await,
    }
}

/// Claims what waits, up to a message's worth.
fn gather(
    first: Outgoing,
    waiting: &mut mpsc::Receiver<Outgoing>,
    held: &mut Option<Outgoing>,
    unanswered: &mut Unanswered,
) -> Vec<v1::Call> {
    let mut calls = Vec::new();
    let mut bytes = 0;
    let mut candidate = Some(first);
    while let Some(outgoing) = candidate {
        if !calls.is_empty() && bytes + outgoing.bytes > MESSAGE_BYTES_SOFT_MAX {
            *held = Some(outgoing);
            break;
        }
        if !outgoing.answer.is_closed() && !outgoing.claim.swap(true, Ordering::AcqRel) {
            bytes += outgoing.bytes;
            calls.push(v1::Call {
                call: unanswered.register(outgoing.answer),
                operation: Some(outgoing.operation),
                timeout_ms: u32::try_from(outgoing.timeout.as_millis()).unwrap_or(u32::MAX).max(1),
            });
        }
        candidate = if calls.len() < MESSAGE_CALLS_MAX { waiting.try_recv().ok() } else { None };
    }
    calls
}

/// Calls that were sent, by the number that their answer will name.
///
/// * A number is never used twice on one stream.
/// * At most twice as many are kept as callers wait, plus [`FORGOTTEN_CALLS_MIN`].
#[derive(Default)]
struct Unanswered {
    last_call: u64,
    callers: BTreeMap<u64, oneshot::Sender<v1::Result>>,
    sweep_at: usize,
}

impl Unanswered {
    fn register(&mut self, answer: oneshot::Sender<v1::Result>) -> u64 {
        if self.callers.len() >= self.sweep_at.max(FORGOTTEN_CALLS_MIN) {
            self.callers.retain(|_, caller| !caller.is_closed());
            self.sweep_at = 2 * self.callers.len();
        }
        self.last_call += 1;
        self.callers.insert(self.last_call, answer);
        self.last_call
    }

    /// An answer that nobody waits for any more is dropped: its caller has asked again, or left.
    fn answer(&mut self, answer: v1::Answer) {
        if let (Some(caller), Some(result)) = (self.callers.remove(&answer.call), answer.result) {
            let _ = caller.send(result);
        }
    }
}

/// A status of the transport, for people. Its own message often hides the cause.
pub(crate) fn describe(status: &tonic::Status) -> String {
    let mut text = match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(bytes: usize) -> (Outgoing, oneshot::Receiver<v1::Result>, Arc<AtomicBool>) {
        let (answer, answered) = oneshot::channel();
        let claim = Arc::new(AtomicBool::new(false));
        let operation = v1::Operation::default();
        let call = Outgoing { operation, bytes, timeout: Duration::from_secs(1), claim: Arc::clone(&claim), answer };
        (call, answered, claim)
    }

    #[tokio::test]
    async fn a_message_holds_what_waits_up_to_its_bounds() {
        let (queue, mut waiting) = mpsc::channel(1024);
        let mut answers = Vec::new();
        let mut put = |bytes| {
            let (call, answered, _) = outgoing(bytes);
            answers.push(answered);
            queue.try_send(call).unwrap();
        };
        (0..300).for_each(|_| put(10));
        put(MESSAGE_BYTES_SOFT_MAX - 5);
        put(10);
        let (mut held, mut unanswered) = (None, Unanswered::default());
        let mut sizes = Vec::new();
        while let Ok(first) = held.take().ok_or(()).or_else(|()| waiting.try_recv()) {
            sizes.push(gather(first, &mut waiting, &mut held, &mut unanswered).len());
        }
        assert_eq!(sizes, [256, 44, 1, 1], "calls, then bytes, then what is left");
        assert_eq!(unanswered.callers.len(), 302);
    }

    /// Else a call that was reported as refused could still happen.
    #[tokio::test]
    async fn a_call_that_its_caller_took_back_is_never_sent() {
        let (_queue, mut waiting) = mpsc::channel(1);
        let (taken_back, _answered, claim) = outgoing(1);
        claim.store(true, Ordering::Release);
        let calls = gather(taken_back, &mut waiting, &mut None, &mut Unanswered::default());
        assert!(calls.is_empty());
        let (dropped, answered, _) = outgoing(1);
        drop(answered);
        assert!(gather(dropped, &mut waiting, &mut None, &mut Unanswered::default()).is_empty());
    }

    /// A node that takes calls and never answers must not fill our memory.
    #[test]
    fn callers_that_left_are_forgotten() {
        let mut unanswered = Unanswered::default();
        for _ in 0..100_000 {
            let (answer, answered) = oneshot::channel();
            drop(answered);
            unanswered.register(answer);
        }
        assert!(unanswered.callers.len() <= FORGOTTEN_CALLS_MIN, "{}", unanswered.callers.len());
    }
}
