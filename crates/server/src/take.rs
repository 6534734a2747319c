//! Asks a shard's leader to take a fresh replica of this node, wherever it leads.

use ringfence_proto::internal::v1 as internal;
use ringfence_proto::internal::v1::node_service_client::NodeServiceClient;
use ringfence_proto::internal::v1::take_replica_response::Stage;
use ringfence_proto::{Reason, metadata, v1};
use ringfence_raft_host::{Shard, TakeError, Taking};
use ringfence_types::{NodeId, ReplicaId, ShardId};
use tokio::time::{Instant, timeout_at};

use crate::gateway::Gateway;
use crate::grpc::status;
use crate::peers;

/// One step, at whoever leads. One try: the task that wants it tries again by itself.
pub(crate) async fn ask(gateway: &Gateway, shard: &Shard, deadline: Instant) -> Result<Taking, v1::Error> {
    let (id, fresh) = (shard.id(), shard.replica_id());
    if shard.is_leader() {
        return take_here(gateway, id, gateway.node, fresh, deadline).await;
    }
    let others = gateway.known.shard(id).map(|descriptor| descriptor.replicas).unwrap_or_default();
    let others: Vec<NodeId> = others.iter().map(|replica| replica.node).filter(|node| *node != gateway.node).collect();
    if others.is_empty() {
        let what = format!("shard {} has no replica on any other node, so there is nobody to fill it from", id.0);
        return Err(status::invalid(format!(
            "{what}. Restore the directory that was set aside, if it is whole after all"
        )));
    }
    // Any replica knows the leader and names it; picked by chance, so that one that is down is not asked for ever.
    let anyone = others[rand::random_range(0..others.len())];
    let leader = shard.leader().or_else(|| gateway.known.leader(id)).filter(|leader| *leader != gateway.node);
    let to = leader.unwrap_or(anyone);
    let outcome = timeout_at(deadline, take_at(gateway, id, to, fresh)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(status::unreachable(id, to)));
    match &outcome {
        Ok(_) => gateway.known.learn_leader(id, to),
        Err(error) => {
            gateway.known.forget_leader(id, to);
            if let Some(leader) = error.fact::<u64>(metadata::LEADER_NODE)
                && error.reason() == Some(Reason::NotLeader)
            {
                gateway.known.learn_leader(id, NodeId(leader));
            }
        }
    }
    outcome
}

/// One step at this node, which must lead the shard.
pub(crate) async fn take_here(
    gateway: &Gateway,
    id: ShardId,
    node: NodeId,
    fresh: ReplicaId,
    deadline: Instant,
) -> Result<Taking, v1::Error> {
    let not_leader = |leader: Option<NodeId>| {
        let leader = leader.filter(|leader| *leader != gateway.node);
        status::not_leader(id, leader.map(|node| (node, gateway.known.book.address(node))))
    };
    let Some(shard) = gateway.host.shard(id) else { return Err(not_leader(gateway.known.leader(id))) };
    match timeout_at(deadline, shard.take_replica(node, fresh)).await {
        Ok(Ok(taking)) => Ok(taking),
        Ok(Err(TakeError::NotLeader { leader })) => Err(not_leader(leader)),
        Ok(Err(error)) => Err(status::take(id, &error)),
        Err(_) => Err(status::no_leader(id)), // no majority answers; whoever leads next goes on from what was committed
    }
}

async fn take_at(gateway: &Gateway, id: ShardId, to: NodeId, fresh: ReplicaId) -> Result<Taking, v1::Error> {
    let address = gateway.known.book.dial(to).ok_or_else(|| status::unknown_node(to))?;
    let channel = peers::connect(&address).await.map_err(|_| status::unreachable(id, to))?;
    let request = internal::TakeReplicaRequest {
        cluster: gateway.cluster.0,
        shard: id.0,
        node: gateway.node.0,
        replica: fresh.0,
    };
    let response = NodeServiceClient::new(channel).take_replica(request).await.map_err(v1::Error::from)?.into_inner();
    Ok(match response.stage() {
        Stage::Settled => Taking::Settled,
        Stage::Removed => Taking::Removed,
        Stage::Added => Taking::Added,
        Stage::Learning => Taking::Learning { lag: response.lag },
        Stage::Taken => Taking::Taken,
        Stage::Unspecified => {
            return Err(status::invalid(format!("node {} gave an answer that this release does not know", to.0)));
        }
    })
}

/// As it goes over the wire.
pub(crate) fn answer(taking: Taking) -> internal::TakeReplicaResponse {
    let (stage, lag) = match taking {
        Taking::Settled => (Stage::Settled, 0),
        Taking::Removed => (Stage::Removed, 0),
        Taking::Added => (Stage::Added, 0),
        Taking::Learning { lag } => (Stage::Learning, lag),
        Taking::Taken => (Stage::Taken, 0),
    };
    internal::TakeReplicaResponse { stage: stage.into(), lag }
}
