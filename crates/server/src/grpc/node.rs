//! `ringfence.internal.v1.NodeService`: what the nodes tell each other.

use std::sync::Arc;

use ringfence_proto::internal::v1 as internal;
use ringfence_proto::internal::v1::node_service_server::NodeService;
use ringfence_proto::v1;
use ringfence_state_machine::{Request as Proposal, encode_reply};
use ringfence_types::{NodeId, ReplicaId, ShardId};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::status;
use crate::caller::Origin;
use crate::deadline;
use crate::gateway::Gateway;
use crate::incarnation::Incarnation;
use crate::meta;
use crate::session;
use crate::take;

/// The service.
pub(crate) struct Node {
    pub gateway: Arc<Gateway>,
    pub stopping: CancellationToken,
    /// Raft messages are taken a little longer than calls: what is under way needs them.
    pub quiet: CancellationToken,
}

impl Node {
    fn check_cluster(&self, cluster: u64) -> Result<(), v1::Error> {
        match cluster == self.gateway.cluster.0 {
            true => Ok(()),
            false => Err(status::wrong_cluster(cluster, self.gateway.cluster)),
        }
    }

    /// A frame must come from a node of this cluster and be meant for this one. An address that leads to another node
    /// must not make a replica there count for a majority.
    fn check_frame(&self, frame: &internal::RaftFrame) -> Result<NodeId, v1::Error> {
        self.check_cluster(frame.cluster)?;
        let (from, to) = (NodeId(frame.from_node), NodeId(frame.to_node));
        if to != self.gateway.node {
            return Err(status::not_this_node(to, self.gateway.node));
        }
        if from == self.gateway.node || self.gateway.known.book.address(from).is_none() {
            return Err(status::unknown_node(from));
        }
        Ok(from)
    }
}

#[tonic::async_trait]
impl NodeService for Node {
    type ForwardStream = session::Outbound;

    async fn raft(
        &self,
        request: Request<Streaming<internal::RaftFrame>>,
    ) -> Result<Response<internal::RaftClosed>, Status> {
        let mut frames = request.into_inner();
        let mut speaker = None;
        while let Some(mut frame) = self.quiet.run_until_cancelled(frames.message()).await.transpose()?.flatten() {
            let from = self.check_frame(&frame)?;
            let speaker = speaker.get_or_insert_with(|| Incarnation {
                now: frame.incarnation,
                given_up: std::mem::take(&mut frame.given_up),
            });
            let registered = self.gateway.known.book.incarnation(from);
            if !speaker.may_speak(registered) {
                tracing::debug!(peer = from.0, registered, "not heard: it is another incarnation");
                return Ok(Response::new(internal::RaftClosed { registered }));
            }
            for envelope in frame.envelopes {
                self.gateway.host.receive(from, envelope);
            }
        }
        Ok(Response::new(internal::RaftClosed::default()))
    }

    async fn forward(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<session::Outbound>, Status> {
        if self.stopping.is_cancelled() {
            return Err(status::shutting_down().into());
        }
        let (gateway, stopping) = (self.gateway.clone(), self.stopping.clone());
        Ok(Response::new(session::start(gateway, Origin::Peer, request.into_inner(), stopping)))
    }

    async fn propose_meta(
        &self,
        request: Request<internal::ProposeMetaRequest>,
    ) -> Result<Response<internal::ProposeMetaResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata());
        let request = request.into_inner();
        self.check_cluster(request.cluster)?;
        let proposal = Proposal::decode(&request.request)
            .map_err(|error| status::invalid(format!("not a request that this release understands: {error}")))?;
        let reply = meta::propose_here(&self.gateway, proposal, deadline).await?;
        Ok(Response::new(internal::ProposeMetaResponse { reply: encode_reply(&reply) }))
    }

    async fn take_replica(
        &self,
        request: Request<internal::TakeReplicaRequest>,
    ) -> Result<Response<internal::TakeReplicaResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata());
        let request = request.into_inner();
        self.check_cluster(request.cluster)?;
        let (node, fresh) = (NodeId(request.node), ReplicaId(request.replica));
        if self.gateway.known.book.address(node).is_none() {
            return Err(status::unknown_node(node).into());
        }
        let taking = take::take_here(&self.gateway, ShardId(request.shard), node, fresh, deadline).await?;
        Ok(Response::new(take::answer(taking)))
    }
}
