//! The least that a batching client can be: one stream, one task, no retries, no deadlines, no request ids.

use std::collections::VecDeque;

use bytes::Bytes;
use ringfence_bench::{Cas, Found, OpError, Path, Peer, Target};
use ringfence_proto::v1;
use ringfence_proto::v1::kv_client::KvClient;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Operations in one message at the most.
const MESSAGE_OPERATIONS_MAX: usize = 64;
/// Operations that wait for a message; clients are closed loops, so there are never more than the most of them.
const QUEUE_MAX: usize = ringfence_bench::CLIENTS_MAX;

type Waiting = (v1::Operation, oneshot::Sender<v1::Result>);

/// A handle to the stream.
#[derive(Clone)]
pub(crate) struct Stream {
    queue: mpsc::Sender<Waiting>,
}

impl Stream {
    pub(crate) fn open(client: KvClient<Channel>) -> Stream {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(client, waiting));
        Stream { queue }
    }

    async fn call(&self, ask: Ask) -> Result<Told, OpError> {
        let broken = || OpError::new("UNAVAILABLE", "the stream to the echo server broke");
        let (answer, answered) = oneshot::channel();
        self.queue.send((v1::Operation { kind: Some(ask) }, answer)).await.map_err(|_| broken())?;
        answered.await.ok().and_then(|result| result.kind).ok_or_else(broken)
    }
}

/// Never waits to fill a message: what gathers while the last one is on its way is the next one. Answers come in the
/// order of the questions, as the echo server promises.
async fn run(mut client: KvClient<Channel>, mut waiting: mpsc::Receiver<Waiting>) -> Option<()> {
    let (messages, outbound) = mpsc::channel(1);
    let mut inbound = client.session(ReceiverStream::new(outbound)).await.ok()?.into_inner();
    let mut unanswered = VecDeque::new();
    let mut gathered = Vec::with_capacity(MESSAGE_OPERATIONS_MAX);
    loop {
        tokio::select! {
            message = inbound.message() => {
                for answer in message.ok()??.answers {
                    let caller: oneshot::Sender<_> = unanswered.pop_front()?;
                    let _ = caller.send(answer.result?);
                }
            }
            (room, count) = async {
                let room = messages.reserve().await;
                (room, waiting.recv_many(&mut gathered, MESSAGE_OPERATIONS_MAX).await)
            } => {
                if count == 0 {
                    return None; // the last handle was dropped
                }
                let calls = gathered.drain(..).map(|(operation, caller)| {
                    unanswered.push_back(caller);
                    v1::Call { call: 0, operation: Some(operation), timeout_ms: 0 }
                });
                room.ok()?.send(v1::SessionRequest { calls: calls.collect() });
            }
        }
    }
}

impl Peer for Stream {
    type Target = Stream;

    fn target(&self, _client: usize, _clients: usize) -> Stream {
        self.clone()
    }

    fn path(&self) -> Path {
        Path::Sdk
    }
}

impl Target for Stream {
    async fn get(&mut self, key: &Bytes) -> Result<Option<Found>, OpError> {
        match self.call(Ask::Get(v1::GetRequest { header: None, key: key.clone(), at_revision: 0 })).await? {
            Told::Get(get) => Ok(get.kv.map(|kv| Found { revision: kv.revision, value_bytes: kv.value.len() })),
            _ => Err(mismatch()),
        }
    }

    async fn put(&mut self, key: &Bytes, value: &Bytes) -> Result<i64, OpError> {
        let put =
            v1::PutRequest { header: None, key: key.clone(), value: value.clone(), ttl_ms: None, fences: Vec::new() };
        match self.call(Ask::Put(put)).await? {
            Told::Put(put) => Ok(put.header.map_or(0, |header| header.revision)),
            _ => Err(mismatch()),
        }
    }

    async fn cas(&mut self, _: &Bytes, _: i64, _: &Bytes) -> Result<Cas, OpError> {
        Err(mismatch())
    }

    async fn delete(&mut self, _: &Bytes) -> Result<(), OpError> {
        Err(mismatch())
    }
}

fn mismatch() -> OpError {
    OpError::new("MISMATCH", "the echo server answers only gets and puts")
}
