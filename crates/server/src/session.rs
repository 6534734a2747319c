//! A stream of calls and a stream of their answers: `Kv.Session` for clients, `NodeService.Forward` between nodes.
//!
//! One task drives all calls of a session, those of one message and shard together (`bundle`). Every answer that is ready when
//! the stream can take a message goes into that message, and a lone answer goes at once.
//!
//! ```text
//!   inbound ──calls──▶ under way (at most CALLS_MAX) ──results──▶ ready (at most READY_BYTES_SOFT_MAX) ──▶ outbound
//! ```
//!
//! Everything is bounded by not reading on: a client that does not take its answers stops being heard, and HTTP/2 flow
//! control makes it wait.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::SelectAll;
use prost::Message;
use ringfence_proto::v1;
use ringfence_types::limits::{GRPC_MESSAGE_BYTES_MAX, KEY_BYTES_MAX, SCAN_PAGE_BYTES_SOFT_MAX, VALUE_BYTES_MAX};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::bundle::Answers;
use crate::caller::{Caller, Origin};
use crate::gateway::Gateway;
use crate::grpc::status;

/// Calls of one session that are under way at once. Enough to fill several log entries of every shard; the rest waits in
/// the client, which knows best what is still worth doing.
const CALLS_MAX: usize = 8192;

/// Answers are no longer gathered once they have this many bytes: they wait for the client to take them.
const READY_BYTES_SOFT_MAX: usize = 4 << 20;

// The last answer gathered may be the largest there is: a page of a scan.
const _: () = assert!(
    READY_BYTES_SOFT_MAX + 2 * (SCAN_PAGE_BYTES_SOFT_MAX + VALUE_BYTES_MAX + KEY_BYTES_MAX) < GRPC_MESSAGE_BYTES_MAX
);

/// What goes back to the caller.
pub(crate) type Outbound = ReceiverStream<Result<v1::SessionResponse, Status>>;

/// Starts a session. When `stopping` is cancelled it takes no further calls, finishes those under way, and ends.
pub(crate) fn start(
    gateway: Arc<Gateway>,
    origin: Origin,
    inbound: Streaming<v1::SessionRequest>,
    stopping: CancellationToken,
) -> Outbound {
    let (outbound, answers) = mpsc::channel(1);
    tokio::spawn(run(gateway, Caller::of_stream(origin), inbound, outbound, stopping));
    ReceiverStream::new(answers)
}

async fn run(
    gateway: Arc<Gateway>,
    caller: Caller,
    mut inbound: Streaming<v1::SessionRequest>,
    outbound: mpsc::Sender<Result<v1::SessionResponse, Status>>,
    stopping: CancellationToken,
) {
    let gateway = &*gateway;
    let mut under_way: SelectAll<Answers> = SelectAll::new();
    let mut calls = 0;
    let mut ready = Ready::default();
    let mut end = None;
    while end.is_none() || !under_way.is_empty() || !ready.answers.is_empty() {
        tokio::select! {
            biased;
            // First everything that is ready, then one message with all of it, then more calls.
            Some(answers) = under_way.next(), if ready.bytes < READY_BYTES_SOFT_MAX => {
                calls -= answers.len();
                answers.into_iter().for_each(|answer| ready.push(answer));
            }
            permit = outbound.reserve(), if !ready.answers.is_empty() => match permit {
                Ok(permit) => permit.send(Ok(ready.take())),
                Err(_) => return, // the caller is gone
            },
            () = stopping.cancelled(), if end.is_none() => end = Some(Status::from(status::shutting_down())),
            message = inbound.message(), if end.is_none() && calls < CALLS_MAX => match message {
                Ok(Some(request)) => {
                    calls += request.calls.len();
                    under_way.extend(gateway.execute_all(request.calls, caller));
                }
                Ok(None) => end = Some(Status::ok("")),
                Err(error) => end = Some(error),
            },
            () = outbound.closed() => return, // what is under way goes on in the shards, and nobody is told
        }
    }
    if let Some(error) = end.filter(|end| end.code() != tonic::Code::Ok) {
        let _ = outbound.send(Err(error)).await;
    }
}

/// Answers that wait for the stream.
#[derive(Default)]
struct Ready {
    answers: Vec<v1::Answer>,
    bytes: usize,
}

impl Ready {
    fn push(&mut self, answer: v1::Answer) {
        self.bytes += answer.encoded_len();
        self.answers.push(answer);
    }

    fn take(&mut self) -> v1::SessionResponse {
        self.bytes = 0;
        v1::SessionResponse { answers: std::mem::take(&mut self.answers) }
    }
}
