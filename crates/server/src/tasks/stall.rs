//! Hands over what this node leads when its disk hangs: a leader that cannot write its own log decides nothing, and the others
//! would go on waiting for it, as long as it says that it is there.
//!
//! With a disk that hangs, this node cannot even note that another one leads. So the others are asked in turn, and what comes of
//! it is not waited for; [`Gateway`] asks them, too, as long as the disk hangs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringfence_raft_host::Shard;
use ringfence_types::NodeId;
use tokio::time::Instant;

use crate::gateway::Gateway;

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long a voter has to be elected before another is asked.
const PATIENCE: Duration = Duration::from_secs(4);

pub(super) async fn run(gateway: Arc<Gateway>) {
    let mut asked = BTreeMap::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let stalled: Vec<Shard> =
            gateway.host.shards().into_iter().filter(|shard| shard.is_leader() && shard.is_stalled()).collect();
        asked.retain(|id, _| stalled.iter().any(|shard| shard.id() == *id));
        for shard in stalled {
            let (times, last) = asked.entry(shard.id()).or_insert((0, None::<Instant>));
            if last.is_some_and(|last| last.elapsed() < PATIENCE) {
                continue;
            }
            let voters = voters(&gateway, &shard);
            if voters.is_empty() {
                continue;
            }
            let to = voters[*times % voters.len()];
            (*times, *last) = (*times + 1, Some(Instant::now()));
            tracing::warn!(
                shard = shard.id().0,
                "the disk has finished nothing for {} s; node {to} is asked to lead",
                shard.disk_wait().as_secs()
            );
            if let Err(error) = shard.ask_to_lead(to).await {
                tracing::warn!(shard = shard.id().0, "it is not: {error}");
            }
        }
    }
}

/// On other nodes.
fn voters(gateway: &Gateway, shard: &Shard) -> Vec<NodeId> {
    let Ok(descriptor) = shard.descriptor() else { return Vec::new() };
    descriptor.voters().map(|voter| voter.node).filter(|node| *node != gateway.node).collect()
}
