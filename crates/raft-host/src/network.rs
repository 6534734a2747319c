//! What a replica says to its peers, as openraft wants it, over the node's [`Transport`].
//!
//! Entries go through a *session* per follower: appends are sent without waiting for the answers to those before, which
//! come back in order. A session ends at the first trouble (a gap, a conflict, silence), and openraft begins another at the
//! right place. Heartbeats and ReadIndex confirmations are single calls beside it. All of them share one stream per pair of
//! nodes, where the transport packs what is waiting into one message: that is how heartbeats of many groups coalesce.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use ringfence_planted::{Bug, planted};
use ringfence_storage::StateDb;
use ringfence_types::{NodeId, ReplicaId, ShardId};
use tokio::time::Instant;

use crate::calls::Calls;
use crate::clock::Clock;
use crate::descriptor_cell::DescriptorCell;
use crate::holds::Holds;
use crate::raft::{Placement, Types, Vote, log_id, position};
use crate::snapshot::{self, SnapshotSource};
use crate::transport::Transport;
use crate::wire::{AppendResult, Header, Message, SnapshotResult, encode};

/// Appends of one session that may wait for their answers. At one to a few entries each this covers the delay of a
/// synced disk several times over.
const SESSION_APPENDS_MAX: usize = 32;

/// How long a session with unanswered appends may hear nothing. Longer than a slow fsync, shorter than an election.
const SESSION_SILENCE_MAX: Duration = Duration::from_secs(2);

/// How long the receiver of a snapshot may take for one piece.
const SNAPSHOT_CHUNK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the receiver of a whole snapshot may say nothing. While it installs it says so every
/// [`SNAPSHOT_INSTALL_SIGN`], however long that takes: one that has died must not be waited for.
const SNAPSHOT_INSTALL_SILENCE_MAX: Duration = Duration::from_secs(5);

/// See [`SNAPSHOT_INSTALL_SILENCE_MAX`].
pub(crate) const SNAPSHOT_INSTALL_SIGN: Duration = Duration::from_secs(1);

type RpcError = RPCError<Types>;

/// One replica's way to its peers.
#[derive(Clone)]
pub(crate) struct Link {
    pub group: ShardId,
    pub from: ReplicaId,
    pub descriptor: DescriptorCell,
    pub transport: Arc<dyn Transport>,
    pub calls: Arc<Calls>,
    pub clock: Arc<dyn Clock>,
    pub state: StateDb,
    pub holds: Holds,
}

impl Link {
    /// Sends a message to a peer replica. Errors are local: it was not sent.
    pub(crate) fn send(&self, to: ReplicaId, node: NodeId, message: &Message) -> Result<(), RpcError> {
        let header = Header {
            group: self.group,
            from: self.from,
            to,
            epoch: self.descriptor.epoch(),
            wall_ms: self.clock.wall_ms(),
        };
        self.transport.send(node, encode(&header, message)).map_err(|e| RPCError::Unreachable(Unreachable::new(&e)))
    }
}

impl RaftNetworkFactory<Types> for Link {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Placement) -> Peer {
        Peer { link: self.clone(), to: ReplicaId(target), node: node.0, single: false }
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Placement) -> Peer {
        Peer { link: self.clone(), to: ReplicaId(target), node: node.0, single: true }
    }
}

/// The way to one peer replica.
pub(crate) struct Peer {
    link: Link,
    to: ReplicaId,
    node: NodeId,
    /// Appends one by one instead of in a session: for heartbeats, which must not end the session of the entries.
    single: bool,
}

impl Peer {
    async fn call(
        &self,
        action: RPCTypes,
        timeout: Duration,
        message: impl FnOnce(u64) -> Message,
    ) -> Result<Message, RpcError> {
        let mut call = self.link.calls.open();
        self.link.send(self.to, self.node, &message(call.id))?;
        match tokio::time::timeout(timeout, &mut call.answers).await {
            Ok(Ok(Message::Refused { reason, .. })) => Err(self.refused(&reason)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(network_error("the call was dropped")),
            Err(_) => Err(self.timeout(action, timeout)),
        }
    }

    fn refused(&self, reason: &str) -> RpcError {
        RPCError::Unreachable(Unreachable::from_string(format!("{}: {reason}", self.node)))
    }

    fn timeout(&self, action: RPCTypes, timeout: Duration) -> RpcError {
        RPCError::Timeout(Timeout { action, id: self.link.from.0, target: self.to.0, timeout })
    }

    async fn ask_vote(
        &self,
        option: RPCOption,
        message: impl FnOnce(u64) -> Message,
    ) -> Result<VoteResponse<Types>, RpcError> {
        match self.call(RPCTypes::Vote, option.hard_ttl(), message).await? {
            Message::VoteReply { vote, granted, last, .. } => Ok(VoteResponse::new(vote, last.map(log_id), granted)),
            other => Err(unexpected(&other)),
        }
    }
}

fn network_error(reason: impl ToString) -> RpcError {
    RPCError::Network(NetworkError::from_string(reason))
}

fn unexpected(message: &Message) -> RpcError {
    network_error(format!("unexpected answer {message:?}"))
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotSource;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RpcError> {
        let answer =
            self.call(RPCTypes::AppendEntries, option.hard_ttl(), |call| Message::Append { call, request }).await;
        // Planted: what was sent counts as stored. A heartbeat does not.
        if planted(Bug::CommitWithoutQuorum) && !self.single && answer.is_err() {
            return Ok(AppendEntriesResponse::Success);
        }
        match answer? {
            Message::AppendReply { result, .. } => Ok(match result {
                AppendResult::Matching(matching) => AppendEntriesResponse::PartialSuccess(matching.map(log_id)),
                AppendResult::Conflict(_) => AppendEntriesResponse::Conflict,
                AppendResult::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote),
            }),
            other => Err(unexpected(&other)),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        if self.single || planted(Bug::CommitWithoutQuorum) {
            return openraft::network::stream_append_sequential(self, input, option);
        }
        let session = Session {
            call: self.link.calls.open_session(),
            peer: self,
            input: input.fuse(),
            sent: 0,
            answered: 0,
            silent_since: Instant::now(),
        };
        let stream = futures::stream::unfold(Some(session), |session| async move {
            let mut session = session?;
            let item = session.next().await?;
            let go_on = matches!(item, Ok(Ok(_)));
            Some((item, go_on.then_some(session)))
        });
        Box::pin(async move { Ok(stream.boxed()) })
    }

    async fn vote(&mut self, request: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RpcError> {
        self.ask_vote(option, |call| Message::Vote { call, request }).await
    }

    // The default grants without asking, which would make pre-vote worthless.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        self.ask_vote(option, |call| Message::PreVote { call, request }).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        _snapshot: SnapshotOf<Types, SnapshotSource>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RpcError> {
        let answer = self
            .call(RPCTypes::TransferLeader, option.hard_ttl(), |call| Message::TransferLeader {
                call,
                from_leader: *request.from_leader(),
                to: *request.to_node_id(),
                last: request.last_log_id().map(position),
            })
            .await?;
        match answer {
            Message::TransferLeaderReply { accepted: true, .. } => Ok(Ok(())),
            Message::TransferLeaderReply { accepted: false, .. } => {
                Err(network_error("the replica does not take the leadership now"))
            }
            other => Err(unexpected(&other)),
        }
    }
}

impl Peer {
    async fn send_snapshot(&self, vote: Vote) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let mut export = snapshot::export(self.link.state.clone(), self.link.group)
            .await
            .map_err(|e| network_error(format!("cannot export {}: {e}", self.link.group)))?;
        let manifest = export.manifest.clone();
        let _held = self.link.holds.sending(self.to, export.applied);
        let begun = self.link.calls.fresh_id();
        let (shard, to) = (self.link.group, self.node);
        tracing::info!(%shard, %to, "sending a snapshot: what the log had for it is cut");
        self.call(RPCTypes::InstallSnapshot, SNAPSHOT_CHUNK_TIMEOUT, |call| Message::SnapshotBegin {
            call,
            begun,
            vote,
            manifest,
        })
        .await?;
        let mut chunks = 0;
        while let Some(bytes) = export.next_chunk().await {
            let bytes = bytes.map_err(|e| network_error(format!("cannot export {}: {e}", self.link.group)))?;
            self.call(RPCTypes::InstallSnapshot, SNAPSHOT_CHUNK_TIMEOUT, |call| Message::SnapshotChunk {
                call,
                begun,
                sequence: chunks,
                bytes,
            })
            .await?;
            chunks += 1;
        }
        let vote = self.end_snapshot(begun, chunks).await?;
        tracing::info!(%shard, %to, chunks, "sent a snapshot");
        Ok(SnapshotResponse::new(vote))
    }

    /// Waits until the receiver has installed what was sent, and returns its vote.
    async fn end_snapshot(&self, begun: u64, chunks: u64) -> Result<Vote, RpcError> {
        let mut call = self.link.calls.open_session();
        self.link.send(self.to, self.node, &Message::SnapshotEnd { call: call.id, begun, chunks })?;
        loop {
            match tokio::time::timeout(SNAPSHOT_INSTALL_SILENCE_MAX, call.answers.recv()).await {
                Ok(Some(Message::SnapshotReply { result: SnapshotResult::GoOn, .. })) => {}
                Ok(Some(Message::SnapshotReply { result: SnapshotResult::Installed(vote), .. })) => return Ok(vote),
                Ok(Some(Message::Refused { reason, .. })) => return Err(self.refused(&reason)),
                Ok(Some(other)) => return Err(unexpected(&other)),
                Ok(None) => return Err(network_error("the call was dropped")),
                Err(_) => return Err(self.timeout(RPCTypes::InstallSnapshot, SNAPSHOT_INSTALL_SILENCE_MAX)),
            }
        }
    }
}

/// A pipelined session with one follower. Yields answers in the order of the requests.
struct Session<'a, S> {
    peer: &'a Peer,
    call: crate::calls::Call<tokio::sync::mpsc::UnboundedReceiver<Message>>,
    input: futures::stream::Fuse<S>,
    sent: u64,
    answered: u64,
    /// Since when answers are due and none has come. Means nothing while none is due: a session may be idle for ever.
    silent_since: Instant,
}

impl<S> Session<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin,
{
    /// Sends what there is to send and returns the next answer. `None`: everything is answered and nothing more comes.
    async fn next(&mut self) -> Option<Result<StreamAppendResult<Types>, RpcError>> {
        let mut exhausted = false;
        loop {
            let waiting = self.sent - self.answered;
            if waiting == 0 && exhausted {
                return None;
            }
            tokio::select! {
                biased;
                answer = self.call.answers.recv(), if waiting > 0 => {
                    return Some(self.take(answer));
                }
                request = self.input.next(), if !exhausted && waiting < SESSION_APPENDS_MAX as u64 => match request {
                    None => exhausted = true,
                    Some(request) => {
                        let message =
                            Message::AppendStream { session: self.call.id, sequence: self.sent, request };
                        if let Err(e) = self.peer.link.send(self.peer.to, self.peer.node, &message) {
                            return Some(Err(e));
                        }
                        self.sent += 1;
                        if waiting == 0 {
                            self.silent_since = Instant::now();
                        }
                    }
                },
                () = tokio::time::sleep_until(self.silent_since + SESSION_SILENCE_MAX), if waiting > 0 => {
                    return Some(Err(self.peer.timeout(RPCTypes::AppendEntries, SESSION_SILENCE_MAX)));
                }
            }
        }
    }

    fn take(&mut self, answer: Option<Message>) -> Result<StreamAppendResult<Types>, RpcError> {
        self.silent_since = Instant::now();
        match answer {
            Some(Message::AppendStreamReply { sequence, result, .. }) if sequence == self.answered => {
                self.answered += 1;
                Ok(match result {
                    AppendResult::Matching(matching) => Ok(matching.map(log_id)),
                    AppendResult::Conflict(Some(at)) => Err(StreamAppendError::Conflict(log_id(at))),
                    AppendResult::Conflict(None) => return Err(network_error("a conflict without a position")),
                    AppendResult::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
                })
            }
            Some(Message::AppendStreamReply { sequence, .. }) => {
                Err(network_error(format!("answer {sequence} came, {} was lost", self.answered)))
            }
            Some(Message::Refused { reason, .. }) => Err(self.peer.refused(&reason)),
            Some(other) => Err(unexpected(&other)),
            None => Err(network_error("the session was dropped")),
        }
    }
}
