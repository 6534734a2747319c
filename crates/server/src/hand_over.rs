//! Has a shard's leader hand over, wherever it leads: what an operator asks for.
//!
//! Asked of any node. The one that is asked looks for the leader until the caller's deadline, and asks it as a client would; the
//! leader makes sure that it leads, decides, and knows first how it ended. What it had begun may not end in time, or its answer
//! may be lost; then it is asked for again. That is harmless where a node is named. Where the choice is the leader's, the *next*
//! leader would move the shard once more: so who had begun is remembered, and any other leader is success.

use std::time::Duration;

use ringfence_proto::v1::cluster_service_client::ClusterServiceClient;
use ringfence_proto::{Reason, metadata, v1};
use ringfence_raft_host::{ReadError, Shard, TransferError};
use ringfence_types::{NodeId, ShardId};
use tokio::time::{Instant, sleep, timeout_at};

use crate::gateway::{Gateway, retries};
use crate::grpc::status;
use crate::peers;

/// How long the node that was asked may lag behind the leader in knowing who leads, once that is settled.
const HEARSAY_MAX: Duration = Duration::from_secs(2);

/// How often it looks.
const HEARSAY_STEP: Duration = Duration::from_millis(10);

/// How long one attempt may take at another node: longer than any leader that is well needs, see `raft-host`.
const ATTEMPT_MAX: Duration = Duration::from_secs(7);

/// How one attempt ended.
enum Attempt {
    /// This node leads.
    Done(NodeId),
    Final(v1::Error),
    /// Nothing was begun.
    Again(v1::Error),
    /// It may have been begun, or may be still.
    Begun(v1::Error),
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) shard: ShardId,
    /// `None`: whoever is best.
    pub(crate) to: Option<NodeId>,
    /// Only if this node leads.
    pub(crate) no_forward: bool,
}

/// Who led, and who leads now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandedOver {
    pub(crate) from: NodeId,
    pub(crate) leader: NodeId,
}

pub(crate) async fn hand_over(gateway: &Gateway, wish: Wish, deadline: Instant) -> Result<HandedOver, v1::Error> {
    if gateway.known.shard(wish.shard).is_none() {
        return Err(status::unknown_shard(wish.shard));
    }
    if let Some(to) = wish.to.filter(|to| gateway.known.book.address(*to).is_none()) {
        return Err(status::unknown_node(to));
    }
    let (mut begun, mut attempts, mut backoff) = (None, 0, retries());
    loop {
        let leader = leader(gateway, wish.shard);
        if let (None, Some(begun), Some(leader)) = (wish.to, begun, leader)
            && leader != begun
        {
            return Ok(HandedOver { from: begun, leader });
        }
        let (asked, attempt) = attempt(gateway, wish, leader, attempts, deadline).await;
        let error = match attempt {
            Attempt::Done(leader) => {
                gateway.known.learn_leader(wish.shard, leader);
                until_heard(gateway, wish.shard, leader, deadline).await;
                return Ok(HandedOver { from: begun.unwrap_or(asked), leader });
            }
            Attempt::Final(error) => return Err(error),
            Attempt::Again(error) => error,
            Attempt::Begun(error) => {
                begun = begun.or(Some(asked));
                error
            }
        };
        attempts += 1;
        let wait = backoff.next();
        if wish.no_forward || Instant::now() + wait >= deadline {
            return Err(error);
        }
        sleep(wait).await;
    }
}

/// Who leads, as far as this node can tell: its own replica knows best, if it takes part.
fn leader(gateway: &Gateway, id: ShardId) -> Option<NodeId> {
    match gateway.host.shard(id).filter(Shard::takes_part) {
        Some(here) => here.leader(),
        None => gateway.known.leader(id),
    }
}

/// Asks whoever seems to lead. Also says who that was.
async fn attempt(
    gateway: &Gateway,
    wish: Wish,
    leader: Option<NodeId>,
    attempts: usize,
    deadline: Instant,
) -> (NodeId, Attempt) {
    let id = wish.shard;
    if let Some(here) = gateway.host.shard(id).filter(Shard::decides) {
        return (gateway.node, at_leader(gateway, here, wish, deadline).await);
    }
    let leader = leader.filter(|leader| *leader != gateway.node);
    if wish.no_forward {
        return (gateway.node, Attempt::Final(gateway.not_leader(id, leader)));
    }
    // Whoever has a replica knows the leader better than we do, and names it.
    let replicas = gateway.known.shard(id).map(|descriptor| descriptor.replicas).unwrap_or_default();
    let others: Vec<NodeId> =
        replicas.iter().map(|replica| replica.node).filter(|node| *node != gateway.node).collect();
    let anyone = (!others.is_empty()).then(|| others[attempts % others.len()]);
    match leader.or(anyone) {
        Some(node) => (node, at(gateway, node, wish, deadline).await),
        None => (gateway.node, Attempt::Again(status::no_leader(id))),
    }
}

/// This node leads, if a majority says so.
async fn at_leader(gateway: &Gateway, here: Shard, wish: Wish, deadline: Instant) -> Attempt {
    let (id, node) = (here.id(), gateway.node);
    match timeout_at(deadline, here.read_barrier()).await {
        Ok(Ok(_)) => {}
        Ok(Err(ReadError::NotLeader { leader })) => return Attempt::Again(gateway.not_leader(id, leader)),
        Ok(Err(error @ ReadError::Overloaded { .. })) => return Attempt::Final(status::read(id, &error)),
        Ok(Err(error)) => return Attempt::Again(status::read(id, &error)),
        Err(_) => return Attempt::Again(status::no_leader(id)),
    }
    // What was begun is brought to its end, even if the caller goes away: a leader that hands over takes no requests until
    // somebody has been elected, and if that fails it must be told to stand again.
    let handing = tokio::spawn(async move { here.hand_over(node, wish.to).await });
    match timeout_at(deadline, handing).await {
        Ok(Ok(Ok(leader))) => {
            if leader != node {
                tracing::info!(shard = id.0, to = leader.0, "handed over, as somebody asked");
            }
            Attempt::Done(leader)
        }
        Ok(Ok(Err(TransferError::NotLeader))) => Attempt::Again(gateway.not_leader(id, leader_elsewhere(gateway, id))),
        Ok(Ok(Err(error @ (TransferError::TimedOut | TransferError::Another(_) | TransferError::Stopped(_))))) => {
            Attempt::Begun(status::transfer(id, &error))
        }
        Ok(Ok(Err(error))) => Attempt::Final(status::transfer(id, &error)),
        Ok(Err(_)) | Err(_) => Attempt::Begun(status::transfer(id, &TransferError::TimedOut)),
    }
}

fn leader_elsewhere(gateway: &Gateway, id: ShardId) -> Option<NodeId> {
    leader(gateway, id).filter(|leader| *leader != gateway.node)
}

/// Another node leads, or knows who does: ask it.
async fn at(gateway: &Gateway, to: NodeId, wish: Wish, deadline: Instant) -> Attempt {
    let id = wish.shard;
    let deadline = deadline.min(Instant::now() + ATTEMPT_MAX);
    let address = gateway.known.book.dial(to);
    let connected = match &address {
        Some(address) => timeout_at(deadline, peers::connect(address)).await.ok().and_then(Result::ok),
        None => None,
    };
    let Some(channel) = connected else {
        gateway.known.forget_leader(id, to);
        return Attempt::Again(status::unreachable(id, to));
    };
    let mut request = tonic::Request::new(v1::TransferLeaderRequest {
        cluster: gateway.cluster.0,
        shard: id.0,
        to_node: wish.to.map_or(0, |node| node.0),
        no_forward: true,
    });
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    let answer = timeout_at(deadline, ClusterServiceClient::new(channel).transfer_leader(request)).await;
    let error = match answer {
        Ok(Ok(response)) => return Attempt::Done(NodeId(response.into_inner().leader_node)),
        Ok(Err(error)) => v1::Error::from(error),
        Err(_) => status::transfer(id, &TransferError::TimedOut),
    };
    match error.reason() {
        Some(Reason::NotLeader) => {
            gateway.known.forget_leader(id, to);
            let Some(leader) = error.fact::<u64>(metadata::LEADER_NODE) else {
                return Attempt::Again(status::no_leader(id));
            };
            gateway.known.learn_leader(id, NodeId(leader));
            Attempt::Again(error)
        }
        Some(Reason::NoQuorum | Reason::ShuttingDown) => {
            gateway.known.forget_leader(id, to);
            Attempt::Again(error)
        }
        // It was begun there, or the connection broke. Who leads will show.
        Some(Reason::OutcomeUnknown | Reason::DeadlineExceeded) => Attempt::Begun(error),
        None => {
            gateway.known.forget_leader(id, to);
            Attempt::Begun(status::transfer(id, &TransferError::TimedOut))
        }
        Some(_) => Attempt::Final(error),
    }
}

/// Waits until this node's replica has heard of the leader, or of a later one: what is asked here next should find it.
async fn until_heard(gateway: &Gateway, id: ShardId, leader: NodeId, deadline: Instant) {
    let until = deadline.min(Instant::now() + HEARSAY_MAX);
    let Some(here) = gateway.host.shard(id).filter(Shard::takes_part) else { return };
    let before = here.leader();
    while here.leader() != Some(leader) && Instant::now() < until {
        if here.leader().is_some() && here.leader() != before {
            return; // it has moved on already
        }
        sleep(HEARSAY_STEP).await;
    }
}

/// As the service has it.
pub(crate) async fn answer(
    gateway: &Gateway,
    request: v1::TransferLeaderRequest,
    deadline: Instant,
) -> Result<v1::TransferLeaderResponse, v1::Error> {
    if request.cluster != 0 && request.cluster != gateway.cluster.0 {
        return Err(status::wrong_cluster(request.cluster, gateway.cluster));
    }
    let wish = Wish {
        shard: ShardId(request.shard),
        to: (request.to_node != 0).then_some(NodeId(request.to_node)),
        no_forward: request.no_forward,
    };
    let HandedOver { from, leader } = hand_over(gateway, wish, deadline).await?;
    Ok(v1::TransferLeaderResponse { shard: request.shard, from_node: from.0, leader_node: leader.0 })
}
