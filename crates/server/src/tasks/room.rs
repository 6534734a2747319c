//! Looks how much room the disk has left, and hands leadership to nodes that have more before there is too little.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringfence_raft_host::Shard;
use ringfence_types::NodeId;
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::peers;
use crate::room::Level;

/// How often to look. What is written meanwhile comes out of the reserve.
const INTERVAL: Duration = Duration::from_millis(500);

/// How often to try to hand over.
const HAND_OVER_INTERVAL: Duration = Duration::from_secs(3);

/// How long another node may take to tell how much room it has.
const ASK_MAX: Duration = Duration::from_secs(1);

pub(super) async fn run(gateway: Arc<Gateway>) {
    let mut next_hand_over = Instant::now();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let room = gateway.room.clone();
        if tokio::task::spawn_blocking(move || room.look()).await.is_err() {
            return; // the runtime ends
        }
        if gateway.room.level() > Level::Ample && Instant::now() >= next_hand_over {
            hand_over(&gateway).await;
            next_hand_over = Instant::now() + HAND_OVER_INTERVAL;
        }
    }
}

/// Hands every shard that this node leads to a voter whose node has room. Where there is none it stays.
async fn hand_over(gateway: &Gateway) {
    let mut has_room: BTreeMap<NodeId, bool> = BTreeMap::new();
    for shard in gateway.host.shards().into_iter().filter(Shard::is_leader) {
        let Ok(descriptor) = shard.descriptor() else { continue };
        for voter in descriptor.voters().filter(|voter| voter.node != gateway.node) {
            let fits = match has_room.get(&voter.node) {
                Some(fits) => *fits,
                None => {
                    let fits = ask(gateway, voter.node).await;
                    has_room.insert(voter.node, fits);
                    fits
                }
            };
            if !fits {
                continue;
            }
            match shard.transfer_leader(voter.node).await {
                Ok(()) => {
                    let (shard, to) = (shard.id().0, voter.node.0);
                    tracing::info!(shard, to, "handed over, for want of room on the disk");
                    break;
                }
                Err(error) => tracing::debug!(shard = shard.id().0, "leadership was not handed over: {error}"),
            }
        }
    }
}

async fn ask(gateway: &Gateway, node: NodeId) -> bool {
    let Some(address) = gateway.known.book.dial(node) else { return false };
    let status = peers::status(&address, ASK_MAX).await;
    status.is_some_and(|status| status.node == node.0 && status.disk.is_some_and(|disk| !disk.low))
}
