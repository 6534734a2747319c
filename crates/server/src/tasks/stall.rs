//! Hands over what this node leads when its disk hangs: a leader that cannot write its own log decides nothing, and the others
//! would go on waiting for it, as long as it says that it is there.

use std::sync::Arc;
use std::time::Duration;

use ringfence_raft_host::Shard;

use crate::gateway::Gateway;

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(500);

/// A sync that takes so long is not slow any more. Longer than a disk's own hiccups, about as long as an election.
const STALL_MAX: Duration = Duration::from_secs(3);

pub(super) async fn run(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        for shard in
            gateway.host.shards().into_iter().filter(|shard| shard.is_leader() && shard.disk_wait() > STALL_MAX)
        {
            tracing::warn!(
                shard = shard.id().0,
                "the disk has finished nothing for {} s; another node is asked to lead",
                shard.disk_wait().as_secs()
            );
            hand_over(&gateway, &shard).await;
        }
    }
}

/// To whichever voter takes it.
async fn hand_over(gateway: &Gateway, shard: &Shard) {
    let Ok(descriptor) = shard.descriptor() else { return };
    for voter in descriptor.voters().filter(|voter| voter.node != gateway.node) {
        match shard.transfer_leader(voter.node).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(shard = shard.id().0, "leadership was not handed over: {error}"),
        }
    }
}
