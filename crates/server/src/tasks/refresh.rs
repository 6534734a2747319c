//! Keeps what this node knows of the cluster fresh: from its own replicas first, and if it has none of the meta group,
//! from another node. Whatever is newer is kept on disk.

use std::sync::Arc;
use std::time::Duration;

use ringfence_shard_router::ShardDescriptor;
use ringfence_state_machine::{NodeInfo, nodes, shards};
use ringfence_types::{NodeId, ShardId};

use super::PROPOSE_TIMEOUT;
use crate::gateway::Gateway;
use crate::peers;

/// How often to look. Requests that meet a stale map refresh what they need by themselves.
const INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn run(gateway: Arc<Gateway>) {
    loop {
        for shard in gateway.host.shards() {
            if let Ok(descriptor) = shard.descriptor() {
                gateway.known.learn_descriptors([descriptor]);
            }
        }
        match gateway.host.shard(ShardId::META).filter(|meta| meta.descriptor().is_ok()) {
            Some(meta) => from_own_replica(&gateway, &meta.view()),
            None => from_a_peer(&gateway).await, // none here, or a fresh one that is still empty
        }
        gateway.known.keep();
        tokio::time::sleep(INTERVAL).await;
    }
}

fn from_own_replica(gateway: &Gateway, view: &dyn ringfence_state_machine::View) {
    match (nodes(view), shards(view)) {
        (Ok(nodes), Ok(shards)) => learn(gateway, &nodes, shards),
        (Err(error), _) | (_, Err(error)) => tracing::error!("the meta group's tables here cannot be read: {error}"),
    }
}

fn learn(gateway: &Gateway, nodes: &[NodeInfo], shards: Vec<ShardDescriptor>) {
    if gateway.known.book.learn(nodes) {
        tracing::info!("the registry has news of {} nodes", nodes.len());
    }
    gateway.known.learn_descriptors(shards);
}

/// Any node will do; the next round asks another.
async fn from_a_peer(gateway: &Gateway) {
    let peers = others(gateway);
    if !peers.is_empty() {
        from(gateway, &peers[rand::random_range(0..peers.len())]).await;
    }
}

/// Every other node, as far as is known.
pub(super) fn others(gateway: &Gateway) -> Vec<NodeInfo> {
    gateway.known.book.nodes().into_iter().filter(|info| info.node != gateway.node).collect()
}

/// Learns what another node knows. Tells whether it said anything.
pub(super) async fn from(gateway: &Gateway, peer: &NodeInfo) -> bool {
    let Some(address) = gateway.known.book.dial(peer.node) else { return false };
    let Some(described) = peers::describe(&address, PROPOSE_TIMEOUT).await else { return false };
    if described.cluster != gateway.cluster.0 {
        tracing::warn!(peer = peer.node.0, "{address} leads to another cluster");
        return false;
    }
    let nodes: Vec<NodeInfo> = described
        .nodes
        .iter()
        .map(|node| NodeInfo {
            node: NodeId(node.node),
            address: node.address.clone(),
            labels: node.labels.clone(),
            incarnation: node.incarnation,
        })
        .collect();
    let all = described.shards.iter().chain(&described.meta);
    let shards = all.filter_map(|shard| ShardDescriptor::try_from(shard).ok()).collect();
    learn(gateway, &nodes, shards);
    for shard in described.shards.iter().chain(&described.meta) {
        if let Some(leader) = shard.leader() {
            gateway.known.learn_leader(ShardId(shard.shard), leader);
        }
    }
    true
}
