//! Commands for the meta group: here if this node leads it, otherwise at the node that does.

use ringfence_proto::internal::v1 as internal;
use ringfence_proto::internal::v1::node_service_client::NodeServiceClient;
use ringfence_proto::{Reason, metadata, v1};
use ringfence_raft_host::{Lane, ProposeError};
use ringfence_state_machine::{Command, MetaCommand, Reply, Request, decode_reply};
use ringfence_types::{NodeId, Revision, ShardId};
use tokio::time::{Instant, timeout_at};

use crate::gateway::Gateway;
use crate::grpc::status;
use crate::peers;

/// Proposes to the meta group, wherever it is led. One try: background tasks try again by themselves.
pub(crate) async fn propose(gateway: &Gateway, command: MetaCommand, deadline: Instant) -> Result<Reply, v1::Error> {
    // These commands are harmless to repeat, so they have no request id.
    let request = Request { id: None, seen: Revision::ZERO, command: Command::Meta(command) };
    let here = gateway.host.shard(ShardId::META);
    if here.as_ref().is_some_and(|shard| shard.is_leader()) {
        return propose_here(gateway, request, deadline).await;
    }
    let leader = here.and_then(|shard| shard.leader()).or_else(|| gateway.known.leader(ShardId::META));
    let replicas = gateway.known.meta().replicas;
    // Any replica knows the leader and names it; picked by chance, so that one that is down is not asked for ever.
    let anyone = replicas.get(rand::random_range(0..replicas.len().max(1))).map(|replica| replica.node);
    let to = leader.or(anyone).filter(|node| *node != gateway.node).ok_or_else(|| status::no_leader(ShardId::META))?;
    let outcome = propose_at(gateway, to, request, deadline).await;
    match &outcome {
        Ok(_) => gateway.known.learn_leader(ShardId::META, to),
        Err(error) => {
            gateway.known.forget_leader(ShardId::META, to);
            if let Some(leader) = error.fact::<u64>(metadata::LEADER_NODE)
                && error.reason() == Some(Reason::NotLeader)
            {
                gateway.known.learn_leader(ShardId::META, NodeId(leader));
            }
        }
    }
    outcome
}

/// Proposes to the meta group, which this node must lead. Only commands of the meta group are taken.
pub(crate) async fn propose_here(gateway: &Gateway, request: Request, deadline: Instant) -> Result<Reply, v1::Error> {
    let Command::Meta(_) = &request.command else {
        return Err(status::invalid("the meta group takes only its own commands"));
    };
    let known_leader = || {
        let leader = gateway.host.shard(ShardId::META).and_then(|shard| shard.leader());
        leader.or_else(|| gateway.known.leader(ShardId::META)).filter(|node| *node != gateway.node)
    };
    let not_leader = |leader: Option<NodeId>| {
        let leader = leader.map(|node| (node, gateway.known.book.address(node)));
        status::not_leader(ShardId::META, leader)
    };
    let Some(shard) = gateway.host.shard(ShardId::META).filter(|shard| shard.is_leader()) else {
        return Err(not_leader(known_leader()));
    };
    match timeout_at(deadline, shard.propose(request, Lane::NODE)).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(ProposeError::NotLeader { leader })) => Err(not_leader(leader)),
        Ok(Err(error)) => Err(status::propose(ShardId::META, &error)),
        Err(_) => Err(status::outcome_unknown(ShardId::META)),
    }
}

async fn propose_at(gateway: &Gateway, to: NodeId, request: Request, deadline: Instant) -> Result<Reply, v1::Error> {
    let address = gateway.known.book.dial(to).ok_or_else(|| status::unknown_node(to))?;
    let ask = async {
        let channel = peers::connect(&address).await.map_err(|_| status::unreachable(ShardId::META, to))?;
        let request = internal::ProposeMetaRequest { cluster: gateway.cluster.0, request: request.encode() };
        let response = NodeServiceClient::new(channel).propose_meta(request).await.map_err(v1::Error::from)?;
        decode_reply(&response.into_inner().reply)
            .map_err(|error| status::invalid(format!("node {} gave a reply that cannot be read: {error}", to.0)))
    };
    timeout_at(deadline, ask).await.unwrap_or_else(|_| Err(status::outcome_unknown(ShardId::META)))
}
