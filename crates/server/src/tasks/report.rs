//! Tells the meta group what became of the shards that this node leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringfence_shard_router::Epoch;
use ringfence_state_machine::MetaCommand;
use ringfence_types::ShardId;

use super::proposal_deadline;
use crate::gateway::Gateway;
use crate::meta;

/// How often to look. A stale map costs detours, so there is no hurry.
const INTERVAL: Duration = Duration::from_secs(2);

pub(super) async fn run(gateway: Arc<Gateway>) {
    // What the meta group was told by this task. What is known here may come from our own replicas, so that says nothing.
    let mut reported: BTreeMap<ShardId, Epoch> = BTreeMap::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        for shard in gateway.host.shards() {
            if shard.id() == ShardId::META || !shard.is_leader() {
                continue;
            }
            let Ok(descriptor) = shard.descriptor() else { continue };
            let epoch = descriptor.epoch;
            if reported.get(&shard.id()).is_some_and(|known| *known >= epoch) {
                continue;
            }
            match meta::propose(&gateway, MetaCommand::ReportShard(descriptor), proposal_deadline()).await {
                Ok(Ok(_)) => {
                    reported.insert(shard.id(), epoch);
                }
                Ok(Err(refusal)) => tracing::error!(shard = shard.id().0, "the meta group refuses a report: {refusal}"),
                Err(error) => tracing::debug!(shard = shard.id().0, "not reported yet: {}", error.message),
            }
        }
    }
}
