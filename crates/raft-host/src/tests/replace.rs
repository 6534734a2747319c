//! A node that lost everything gets fresh replicas in the place of those it had, whatever happens meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use ringfence_shard_router::Role;
use ringfence_state_machine::digest;
use ringfence_types::{NodeId, ReplicaId};

use super::cluster::{Cluster, SHARD, eventually, read};
use crate::{Compaction, TakeError, Taking};

const LOST: NodeId = NodeId(3);
const FRESH: ReplicaId = ReplicaId(101);

/// Cut early, so that some of what the fresh replica needs is only in the state.
fn keep_little() -> Compaction {
    Compaction { entries: 20, bytes: u64::MAX / 4 }
}

/// Asks whoever leads for one step.
async fn step(cluster: &Cluster, fresh: ReplicaId) -> Option<Taking> {
    for node in cluster.nodes() {
        let Some(shard) = cluster.shard_if_hosted(node) else { continue };
        if let Ok(Ok(taking)) = tokio::time::timeout(Duration::from_secs(2), shard.take_replica(LOST, fresh)).await {
            return Some(taking);
        }
    }
    None
}

async fn take(cluster: &Cluster, fresh: ReplicaId) {
    eventually("the fresh replica is taken", async || (step(cluster, fresh).await? == Taking::Taken).then_some(()))
        .await;
}

/// The voters of the shard's descriptor at a node.
fn voters(cluster: &Cluster, node: NodeId) -> Vec<ReplicaId> {
    let descriptor = cluster.shard(node).descriptor().unwrap();
    descriptor.replicas.iter().filter(|r| r.role == Role::Voter).map(|r| r.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_replica_gives_way_to_a_fresh_one_that_counts() {
    let mut cluster = Cluster::start(keep_little()).await;
    for i in 0..50 {
        cluster.put(&format!("k{i}"), "before").await;
    }
    cluster.lose_node(LOST).await;
    cluster.start_node(LOST).await;
    assert!(cluster.shard_if_hosted(LOST).is_none(), "a node that lost everything hosts nothing");
    cluster.host_fresh(LOST, FRESH).await;
    assert!(cluster.shard(LOST).status().leader.is_none(), "nobody has spoken to it yet");
    let mut seen = Vec::new();
    eventually("the fresh replica is taken", async || {
        let taking = step(&cluster, FRESH).await?;
        if !matches!(taking, Taking::Learning { .. }) && seen.last() != Some(&taking) {
            seen.push(taking);
        }
        (taking == Taking::Taken).then_some(())
    })
    .await;
    assert_eq!(seen, [Taking::Removed, Taking::Added, Taking::Taken]);
    let members = [ReplicaId(11), ReplicaId(12), FRESH];
    for node in cluster.nodes() {
        eventually("every descriptor follows", async || (voters(&cluster, node) == members).then_some(())).await;
        // Removed, added, promoted.
        assert_eq!(cluster.shard(node).descriptor().unwrap().epoch.membership, 4);
    }
    // Its vote counts: with one of the others gone it makes the majority.
    let leader = cluster.leader().await;
    let gone = if leader == LOST { NodeId(1) } else { leader };
    cluster.stop_node(gone).await;
    for i in 0..50 {
        assert_eq!(cluster.get(&format!("k{i}")).await.as_deref(), Some(&b"before"[..]));
    }
    cluster.put("k0", "after").await;
    // After a restart it is what it was.
    cluster.start_node(gone).await;
    cluster.stop_node(LOST).await;
    cluster.start_node(LOST).await;
    eventually("the fresh replica has caught up", async || {
        (read(&cluster.shard(LOST).view(), "k0").as_deref() == Some(b"after")).then_some(())
    })
    .await;
    assert_eq!(voters(&cluster, LOST), members);
    // An old request, from the life before, changes nothing.
    let leader = cluster.leader().await;
    let old = cluster.shard(leader).take_replica(LOST, ReplicaId(13)).await;
    assert_eq!(old, Err(TakeError::Outlived { node: LOST, newer: FRESH }));
}

/// A fresh replica knows no membership: alone it must wait for ever, however long nobody speaks to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_replicas_never_elect_a_leader_among_themselves() {
    let mut cluster = Cluster::start(keep_little()).await;
    cluster.put("a", "1").await;
    for node in cluster.nodes() {
        cluster.lose_node(node).await;
        cluster.start_node(node).await;
        cluster.host_fresh(node, ReplicaId(100 + node.0)).await;
    }
    // Several election timeouts.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for node in cluster.nodes() {
        let status = cluster.shard(node).status();
        assert_eq!((status.term, status.leader), (0, None), "{node} stood for election");
    }
}

/// Nodes stop at any moment of it, the leader above all, and go on where they were. Nothing acknowledged is lost, and in the
/// end all three replicas are equal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_survives_stops_at_any_moment() {
    let seeds: Vec<u64> = match std::env::var("RINGFENCE_SEED") {
        Ok(seed) => vec![seed.parse().expect("RINGFENCE_SEED is a number")],
        Err(_) => vec![1, 2, 3, 4],
    };
    for seed in seeds {
        println!("seed {seed}; RINGFENCE_SEED={seed} repeats it");
        let mut random = StdRng::seed_from_u64(seed);
        let mut cluster = Cluster::start(keep_little()).await;
        let mut written = 0;
        for _ in 0..30 {
            cluster.put(&format!("k{written}"), "v").await;
            written += 1;
        }
        // Twice: the second time what is lost is the fresh replica of the first.
        for (life, fresh) in [FRESH, ReplicaId(102)].into_iter().enumerate() {
            cluster.lose_node(LOST).await;
            cluster.start_node(LOST).await;
            cluster.host_fresh(LOST, fresh).await;
            let stops = if life == 0 { 6 } else { 2 };
            for _ in 0..stops {
                // A step, and somewhere in the middle of it a node stops.
                let asking = Arc::new(AtomicBool::new(true));
                let shards: Vec<_> = cluster.nodes().into_iter().map(|node| cluster.shard(node)).collect();
                let (go_on, pause) = (asking.clone(), random.random_range(0..20));
                let asks = tokio::spawn(async move {
                    while go_on.load(Ordering::Relaxed) {
                        for shard in &shards {
                            let _ = shard.take_replica(LOST, fresh).await;
                        }
                        tokio::time::sleep(Duration::from_millis(pause)).await;
                    }
                });
                tokio::time::sleep(Duration::from_millis(random.random_range(0..120))).await;
                let leader = cluster.nodes().into_iter().find(|node| cluster.shard(*node).is_leader());
                let victim = match random.random_range(0..4) {
                    0 => LOST,
                    1 => NodeId(random.random_range(1..=2)),
                    _ => leader.unwrap_or(NodeId(1)),
                };
                cluster.stop_node(victim).await;
                asking.store(false, Ordering::Relaxed);
                asks.abort();
                cluster.start_node(victim).await;
                cluster.put(&format!("k{written}"), "v").await;
                written += 1;
            }
            take(&cluster, fresh).await;
        }
        let leader = cluster.leader().await;
        let digest_of = |node| digest(&cluster.shard(node).view(), SHARD).unwrap();
        for node in cluster.nodes() {
            eventually("the replicas are equal", async || (digest_of(node) == digest_of(leader)).then_some(())).await;
            assert_eq!(voters(&cluster, node), [ReplicaId(11), ReplicaId(12), ReplicaId(102)], "seed {seed}");
        }
        cluster.stop_node(if leader == LOST { NodeId(2) } else { leader }).await;
        for key in 0..written {
            assert_eq!(cluster.get(&format!("k{key}")).await.as_deref(), Some(&b"v"[..]), "seed {seed}: k{key}");
        }
        for node in cluster.nodes() {
            cluster.stop_node(node).await;
        }
    }
}
