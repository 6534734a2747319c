//! `ringfence.v1.ClusterService`: what this node knows of the cluster, and how its own replicas are.

use std::sync::Arc;

use ringfence_proto::v1;
use ringfence_proto::v1::cluster_service_server::ClusterService;
use ringfence_raft_host::Shard;
use ringfence_shard_router::ShardDescriptor;
use ringfence_state_machine::ShardState;
use ringfence_types::{NodeId, Revision, ShardId};
use tonic::{Request, Response, Status};

use super::status;
use crate::VERSION;
use crate::gateway::Gateway;
use crate::replica_hash::Hashing;
use crate::{deadline, hand_over};

/// The service.
pub(crate) struct Cluster {
    pub gateway: Arc<Gateway>,
    pub hashing: Hashing,
}

impl Cluster {
    /// A replica here knows its leader better than the map does.
    fn leader(&self, shard: ShardId) -> Option<NodeId> {
        let gateway = &self.gateway;
        gateway.host.shard(shard).and_then(|here| here.leader()).or_else(|| gateway.known.leader(shard))
    }

    fn message(&self, descriptor: &ShardDescriptor) -> v1::Shard {
        v1::Shard::new(descriptor, self.leader(descriptor.shard))
    }

    fn replica(&self, shard: &Shard) -> v1::ReplicaStatus {
        let seen = shard.status();
        let mut problem = seen.problem.unwrap_or_default();
        let state = ShardState::load(&shard.view(), shard.id());
        if let Err(error) = &state {
            problem = error.to_string();
        }
        let state = state.ok().flatten();
        let descriptor = state.as_ref().map(|state| state.descriptor.clone());
        let descriptor = descriptor.or_else(|| self.gateway.known.shard(shard.id()));
        let size = descriptor.as_ref().and_then(|d| self.gateway.state.estimate(shard.id(), &d.range).ok());
        let size = size.unwrap_or_default();
        v1::ReplicaStatus {
            shard: descriptor.map(|descriptor| v1::Shard::new(&descriptor, seen.leader)),
            replica: seen.replica.0,
            role: seen.role.to_string(),
            problem,
            term: seen.term,
            last_log_index: seen.last_log_index,
            committed_index: seen.committed_index,
            applied_index: seen.applied_index,
            revision: state.map(|state| state.clock.0).unwrap_or_default(),
            keys_estimate: size.keys,
            bytes_estimate: size.bytes,
        }
    }

    /// The highest clock of any replica here, or revision that passed through: a birth that no shard has forgotten.
    fn revision(&self) -> Revision {
        let clocks = self.gateway.host.shards().into_iter().filter_map(|shard| {
            let state = ShardState::load(&shard.view(), shard.id()).ok().flatten()?;
            Some(state.clock)
        });
        clocks.chain([self.gateway.mint.seen()]).max().unwrap_or_default()
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn describe(&self, _: Request<v1::DescribeRequest>) -> Result<Response<v1::DescribeResponse>, Status> {
        let gateway = &self.gateway;
        let nodes = gateway.known.book.nodes().into_iter();
        Ok(Response::new(v1::DescribeResponse {
            cluster: gateway.cluster.0,
            node: gateway.node.0,
            nodes: nodes
                .map(|info| v1::Node {
                    node: info.node.0,
                    address: info.address,
                    labels: info.labels,
                    incarnation: info.incarnation,
                })
                .collect(),
            shards: gateway.known.shards().iter().map(|descriptor| self.message(descriptor)).collect(),
            meta: Some(self.message(&gateway.known.meta())),
            revision: self.revision().0,
            version: VERSION.to_owned(),
        }))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let gateway = &self.gateway;
        let replicas = match request.into_inner().shard.map(ShardId) {
            None => gateway.host.shards(),
            Some(shard) if gateway.known.shard(shard).is_none() => return Err(status::unknown_shard(shard).into()),
            Some(shard) => gateway.host.shard(shard).into_iter().collect(),
        };
        Ok(Response::new(v1::StatusResponse {
            cluster: gateway.cluster.0,
            node: gateway.node.0,
            replicas: replicas.iter().map(|shard| self.replica(shard)).collect(),
            version: VERSION.to_owned(),
            distrust: gateway.rejoin.as_ref().and_then(|rejoin| rejoin.progress()).map(|progress| v1::Distrust {
                reason: progress.reason,
                waiting: progress.waiting,
                replicas_filled: progress.filled as u32,
                replicas: progress.replicas as u32,
                obstacles: progress.obstacles,
            }),
            disk: Some(gateway.room.message()),
        }))
    }

    async fn replace_node(
        &self,
        request: Request<v1::ReplaceNodeRequest>,
    ) -> Result<Response<v1::ReplaceNodeResponse>, Status> {
        let gateway = &self.gateway;
        let node = NodeId(request.into_inner().node);
        if node != gateway.node {
            return Err(status::not_this_node(node, gateway.node).into());
        }
        let Some(rejoin) = gateway.rejoin.clone().filter(|rejoin| rejoin.progress().is_some()) else {
            let what = format!("node {} trusts its disk, so there is nothing to replace", node.0);
            return Err(status::invalid(what).into());
        };
        let recorded = tokio::task::spawn_blocking(move || rejoin.consent()).await;
        recorded
            .map_err(|error| error.to_string())
            .and_then(|recorded| recorded.map_err(|error| error.to_string()))
            .map_err(|error| status::internal(&format!("the consent was not recorded: {error}")))?;
        tracing::info!("an operator lets this node be replaced");
        Ok(Response::new(v1::ReplaceNodeResponse {}))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata());
        let response = hand_over::answer(&self.gateway, request.into_inner(), deadline).await?;
        Ok(Response::new(response))
    }

    async fn replica_hash(
        &self,
        request: Request<v1::ReplicaHashRequest>,
    ) -> Result<Response<v1::ReplicaHashResponse>, Status> {
        Ok(Response::new(self.hashing.answer(&self.gateway, request.into_inner()).await?))
    }
}
