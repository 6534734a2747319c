//! Raft messages to other nodes, over gRPC.
//!
//! Per peer there is one task with one connection of its own, so that a heartbeat never stands behind a client's
//! megabyte. Whenever the connection can take more, everything that waits for the peer goes into one frame: the
//! messages of all shards share it, and nothing is delayed to fill it. When the connection ends, what was under way is
//! lost (Raft repeats it), and the task connects again by itself, soon, whether or not there is something to send.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use ringfence_proto::internal::v1 as internal;
use ringfence_proto::internal::v1::node_service_client::NodeServiceClient;
use ringfence_raft_host::{Transport, Undeliverable};
use ringfence_types::limits::{ENTRY_BYTES_MAX, GRPC_MESSAGE_BYTES_MAX};
use ringfence_types::{ClusterId, NodeId};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::address_book::AddressBook;
use crate::backoff::Backoff;
use crate::incarnation::{Incarnation, Standing};
use crate::outbox::{Outbox, Refused};
use crate::peers;

/// Raft messages that may wait for one peer. A follower that is this far behind is better served from the log, later.
const PEER_QUEUE_BYTES_MAX: usize = 64 << 20;

/// A frame takes no further message once it has this many bytes.
const FRAME_BYTES_SOFT_MAX: usize = 4 << 20;

const _: () = assert!(FRAME_BYTES_SOFT_MAX + 2 * ENTRY_BYTES_MAX < GRPC_MESSAGE_BYTES_MAX);

/// Beyond this no frame could carry the message at all.
const ENVELOPE_BYTES_MAX: usize = GRPC_MESSAGE_BYTES_MAX - 1024;

/// Waits between connections to a peer that is down. Short: a restarted node should be heard of within a heartbeat or two.
const RECONNECT_FIRST: Duration = Duration::from_millis(20);
const RECONNECT_MAX: Duration = Duration::from_millis(500);

/// The sending half of the node-to-node Raft streams. The receiving half is `grpc/node.rs`.
pub(crate) struct PeerTransport {
    node: NodeId,
    cluster: ClusterId,
    standing: Standing,
    book: AddressBook,
    runtime: Handle,
    cut: CancellationToken,
    peers: Mutex<BTreeMap<NodeId, Arc<Outbox<Bytes>>>>,
}

impl PeerTransport {
    /// Tasks run on the current runtime until `cut` is cancelled.
    pub(crate) fn new(
        node: NodeId,
        cluster: ClusterId,
        standing: Standing,
        book: AddressBook,
        cut: CancellationToken,
    ) -> PeerTransport {
        PeerTransport { node, cluster, standing, book, runtime: Handle::current(), cut, peers: Mutex::default() }
    }

    /// The outbox of a peer; the first call starts its task.
    fn outbox(&self, to: NodeId) -> Arc<Outbox<Bytes>> {
        let mut peers = self.peers.lock().expect("no code panics while it holds this lock");
        let outbox = peers.entry(to).or_insert_with(|| {
            let outbox = Arc::new(Outbox::new(PEER_QUEUE_BYTES_MAX));
            let link = Link {
                from: self.node,
                to,
                cluster: self.cluster,
                standing: self.standing.clone(),
                book: self.book.clone(),
                outbox: outbox.clone(),
            };
            let cut = self.cut.clone();
            self.runtime.spawn(async move { cut.run_until_cancelled(link.run()).await });
            outbox
        });
        outbox.clone()
    }
}

impl Transport for PeerTransport {
    fn send(&self, to: NodeId, envelope: Bytes) -> Result<(), Undeliverable> {
        let undeliverable = |reason: &str| Undeliverable { to, reason: reason.to_owned() };
        if self.cut.is_cancelled() {
            return Err(undeliverable("this node is stopping"));
        }
        if envelope.len() > ENVELOPE_BYTES_MAX {
            return Err(undeliverable("the message is larger than a frame"));
        }
        self.outbox(to).push(envelope.len(), envelope).map_err(|refused| match refused {
            Refused::Full(_) => undeliverable("too much is waiting for it"),
            Refused::Closed(_) => undeliverable("there is no connection"),
        })
    }
}

/// One peer, seen by its task.
struct Link {
    from: NodeId,
    to: NodeId,
    cluster: ClusterId,
    standing: Standing,
    book: AddressBook,
    outbox: Arc<Outbox<Bytes>>,
}

impl Link {
    async fn run(self) {
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MAX);
        let mut last_problem = String::new();
        loop {
            let problem = match self.connect().await {
                Ok(mut client) => {
                    self.outbox.open();
                    backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MAX);
                    let connected = std::time::Instant::now();
                    let ended = client.raft(self.frames()).await;
                    if connected.elapsed() < RECONNECT_MAX {
                        backoff = Backoff::new(RECONNECT_MAX, RECONNECT_MAX); // it was refused, not interrupted
                    }
                    match ended.map(|closed| closed.into_inner().registered) {
                        Ok(0) => "the peer closed the stream".into(),
                        Ok(registered) => self.refused(registered).await,
                        Err(status) => status.message().to_owned(),
                    }
                }
                Err(problem) => problem,
            };
            self.outbox.close();
            if problem != last_problem {
                tracing::info!(peer = self.to.0, "no connection to the peer: {problem}");
                last_problem = problem;
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn refused(&self, registered: u64) -> String {
        let (standing, peer) = (self.standing.clone(), self.to.0);
        let _ = tokio::task::spawn_blocking(move || standing.refused(peer, registered)).await;
        "it knows another incarnation of this node".into()
    }

    async fn connect(&self) -> Result<NodeServiceClient<tonic::transport::Channel>, String> {
        let address = self.book.dial(self.to).ok_or("its address is not known")?;
        let channel = peers::connect(&address).await.map_err(|error| with_causes(&error))?;
        Ok(NodeServiceClient::new(channel).max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX))
    }

    /// First an empty frame that says who we are, then everything that waits whenever the connection can take more.
    fn frames(&self) -> impl futures::Stream<Item = internal::RaftFrame> + Send + use<> {
        let frame = internal::RaftFrame {
            cluster: self.cluster.0,
            from_node: self.from.0,
            to_node: self.to.0,
            ..Default::default()
        };
        let Incarnation { now: incarnation, given_up } = self.standing.incarnation();
        let hello = internal::RaftFrame { incarnation, given_up, ..frame.clone() };
        let hello = futures::stream::once(std::future::ready(hello));
        let outbox = self.outbox.clone();
        let rest = futures::stream::unfold((outbox, frame), |(outbox, frame)| async move {
            let envelopes = outbox.drain(FRAME_BYTES_SOFT_MAX).await;
            Some((internal::RaftFrame { envelopes, ..frame.clone() }, (outbox, frame)))
        });
        hello.chain(rest)
    }
}

/// An error and what caused it, in one line: tonic's own text is only "transport error".
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
