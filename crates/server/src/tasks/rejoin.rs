//! Brings a node back whose databases were set aside: see [`rejoin`](crate::rejoin) for the whole way. Whatever this task did
//! before a crash, it does again or finds done.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use ringfence_raft_host::{Shard, Taking};
use ringfence_state_machine::{Done, MetaCommand, NodeInfo};
use ringfence_types::{ReplicaId, ShardId};
use tokio::time::Instant;

use super::{proposal_deadline, refresh, register};
use crate::backoff::Backoff;
use crate::gateway::Gateway;
use crate::rejoin::{Filling, Rejoin, Way};
use crate::{meta, take};

/// Waits between tries while nothing moves.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Replicas that are filled at the same time. Each is a snapshot on its way, read by one disk and written by another.
const FILLED_AT_ONCE: usize = 4;

/// How long a replica that does not move keeps its place among those.
const STUCK_MAX: Duration = Duration::from_secs(10);

/// How long one step at a leader may take; it commits two entries at the most.
const STEP_MAX: Duration = Duration::from_secs(5);

pub(super) async fn run(gateway: Arc<Gateway>, rejoin: Arc<Rejoin>, here: NodeInfo) {
    if let Some(progress) = rejoin.progress().filter(|progress| progress.waiting) {
        tracing::error!(
            "node {} waits for an operator: {}. `ringctl node replace {}` lets the other nodes fill it anew",
            gateway.node.0,
            progress.reason,
            gateway.node.0
        );
    }
    rejoin.reached(Way::Registering).await;
    tracing::info!("coming back with fresh replicas");
    let revive = MetaCommand::ReviveNode { info: here.clone(), forgotten: rejoin.given_up() };
    register::register(&gateway, &here, revive).await;
    rejoin.advance(Way::Filling);

    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    while !round(&gateway, &rejoin).await {
        tokio::time::sleep(backoff.next()).await;
    }
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    loop {
        let done = rejoin.clone();
        match tokio::task::spawn_blocking(move || done.finish()).await {
            Ok(Ok(())) => break,
            failed => tracing::error!("the data directory cannot be marked as whole: {failed:?}"),
        }
        tokio::time::sleep(backoff.next()).await;
    }
    tracing::info!("replaced: the other nodes have filled every replica of this node");
}

/// Hosts what is missing, and has it filled. True when nothing is left to do.
async fn round(gateway: &Gateway, rejoin: &Arc<Rejoin>) -> bool {
    let others = refresh::others(gateway);
    let heard = join_all(others.iter().map(|peer| refresh::from(gateway, peer))).await.contains(&true);
    if !heard || !host_missing(gateway, rejoin).await {
        return false;
    }
    let hosted = gateway.host.shards();
    let fillings: Vec<_> = hosted.iter().map(|shard| fill(gateway, rejoin, shard)).collect();
    let filled: Vec<bool> = stream::iter(fillings).buffer_unordered(FILLED_AT_ONCE).collect().await;
    filled.into_iter().all(|filled| filled)
}

/// Hosts a fresh replica of every shard that is to have one here and has none. False if one is missing still.
async fn host_missing(gateway: &Gateway, rejoin: &Arc<Rejoin>) -> bool {
    let known = gateway.known.shards().into_iter().chain([gateway.known.meta()]);
    let placed = known.filter(|shard| shard.replica_on(gateway.node).is_some()).map(|shard| shard.shard);
    let remembered = rejoin.shards();
    let mut wanted: Vec<ShardId> =
        placed.chain(remembered.iter().copied()).chain(gateway.host.shards().iter().map(Shard::id)).collect();
    wanted.sort();
    wanted.dedup();
    if wanted != remembered {
        let (keeper, shards) = (rejoin.clone(), wanted.clone());
        let kept = tokio::task::spawn_blocking(move || keeper.keep_shards(shards)).await;
        if !matches!(kept, Ok(Ok(()))) {
            tracing::error!("cannot record which shards are to be filled: {kept:?}");
            return false;
        }
    }
    let mut all = true;
    for shard in wanted {
        if gateway.host.shard(shard).is_some() {
            continue;
        }
        rejoin.note(shard, Filling::UnderWay);
        match host_fresh(gateway, shard).await {
            Ok(replica) => tracing::info!(shard = shard.0, replica = replica.0, "hosting a fresh replica"),
            Err(why) => {
                rejoin.note(shard, Filling::Stuck(why));
                all = false;
            }
        }
    }
    all
}

async fn host_fresh(gateway: &Gateway, shard: ShardId) -> Result<ReplicaId, String> {
    match meta::propose(gateway, MetaCommand::AllotReplica, proposal_deadline()).await {
        Ok(Ok(Done::Allotted { replica, .. })) => {
            gateway.host.host_fresh(shard, replica).await.map_err(|error| error.to_string())?;
            Ok(replica)
        }
        Ok(Ok(other)) => Err(format!("the meta group answered {other:?} where it should allot a replica id")),
        Ok(Err(refusal)) => Err(refusal.to_string()),
        Err(error) => Err(error.message),
    }
}

/// Has a replica filled. False if nothing moves for too long.
async fn fill(gateway: &Gateway, rejoin: &Rejoin, shard: &Shard) -> bool {
    rejoin.note(shard.id(), Filling::UnderWay);
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    let mut moved = (None, Instant::now());
    loop {
        match take::ask(gateway, shard, Instant::now() + STEP_MAX).await {
            Ok(Taking::Taken) => {
                tracing::info!(shard = shard.id().0, replica = shard.replica_id().0, "the fresh replica votes");
                rejoin.note(shard.id(), Filling::Filled);
                return true;
            }
            Ok(taking) => {
                tracing::debug!(shard = shard.id().0, "{taking:?}");
                if moved.0 != Some(taking) {
                    moved = (Some(taking), Instant::now());
                    backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
                }
                rejoin.note(shard.id(), Filling::UnderWay);
                if moved.1.elapsed() > STUCK_MAX {
                    return false; // a snapshot may take this long, or its sender is stuck: others may go on meanwhile
                }
            }
            Err(error) => {
                if moved.1.elapsed() > STUCK_MAX {
                    rejoin.note(shard.id(), Filling::Stuck(error.message));
                    return false;
                }
            }
        }
        tokio::time::sleep(backoff.next()).await;
    }
}
