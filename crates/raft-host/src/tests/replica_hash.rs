//! Replicas can be compared at one entry, whatever goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use ringfence_storage::ReplicaHash;

use super::cluster::{Cluster, eventually};
use crate::{Compaction, Hashed, Lane, ProposeError};

const LONG: Duration = Duration::from_secs(60);

/// Everybody at this entry.
async fn at(cluster: &Cluster, index: u64, within: Duration) -> Vec<Hashed> {
    let shards: Vec<_> = cluster.nodes().into_iter().map(|node| cluster.shard(node)).collect();
    let asked = shards.iter().map(|shard| shard.replica_hash(Some(index), within, ()));
    join_all(asked).await.into_iter().map(Result::unwrap).collect()
}

fn all_there(hashed: Vec<Hashed>) -> Vec<ReplicaHash> {
    let there = hashed.into_iter().map(|hashed| match hashed {
        Hashed::At(hash) => hash,
        Hashed::Elsewhere(stands) => panic!("it was asked for in time, and stood at {stands}"),
    });
    there.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_writes_every_replica_has_the_same_hash_at_the_same_entry() {
    let mut cluster = Cluster::start(Compaction { entries: 50, bytes: u64::MAX / 4 }).await;
    cluster.put("a", "1").await;
    let (network, stop) = (cluster.network(), Arc::new(AtomicBool::new(false)));
    let requests: Vec<_> = (0..50_000)
        .map(|i| {
            let value = ringfence_types::Value::new(format!("v{i}")).unwrap();
            let action = ringfence_state_machine::Action::Put { value, ttl_ms: Some(100 + i % 900) };
            cluster.request(&format!("k{}", i % 97), action)
        })
        .collect();
    let writer = tokio::spawn({
        let stop = stop.clone();
        async move {
            for request in requests {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                for shard in network.shards().into_iter().filter(|shard| shard.is_leader()) {
                    match shard.propose(request.clone(), Lane(1)).await {
                        Ok(_) | Err(ProposeError::NotLeader { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        }
    });
    let mut seen = Vec::new();
    for _ in 0..10 {
        let highest = cluster.nodes().iter().map(|node| cluster.shard(*node).status().applied_index).max().unwrap();
        // Far enough that nobody is there before it is asked.
        let hashes = all_there(at(&cluster, highest + 500, LONG).await);
        for hash in &hashes {
            assert_eq!((hash.applied, hash.digest, hash.clock), (hashes[0].applied, hashes[0].digest, hashes[0].clock));
            assert_eq!(hash.applied.index, highest + 500);
        }
        seen.push(hashes[0].digest.hash);
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 10, "another position, another hash");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_there_says_where_and_who_was_filled_by_a_snapshot_has_the_same() {
    let mut cluster = Cluster::start(Compaction { entries: 20, bytes: u64::MAX / 4 }).await;
    cluster.put("a", "1").await;
    let leader = cluster.leader().await;
    let away = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    cluster.stop_node(away).await;
    for i in 0..100 {
        cluster.put(&format!("k{}", i % 17), &format!("v{i}")).await;
    }
    eventually("the log has been cut", async || (cluster.purged(leader) > 30).then_some(())).await;
    cluster.start_node(away).await;

    let hashes = eventually("all stand at one entry", async || {
        let index = cluster.shard(leader).status().applied_index;
        let hashed = at(&cluster, index, Duration::from_secs(1)).await;
        hashed.iter().all(|hashed| matches!(hashed, Hashed::At(_))).then(|| all_there(hashed))
    })
    .await;
    assert!(hashes.iter().all(|hash| hash.digest == hashes[0].digest), "{hashes:?}");
    assert_eq!(hashes[0].digest.keys, 18);

    let stands = hashes[0].applied;
    assert!(at(&cluster, stands.index - 1, LONG).await.iter().all(|hashed| matches!(hashed, Hashed::Elsewhere(_))));
    let ahead = at(&cluster, stands.index + 1_000_000, Duration::from_millis(10)).await;
    assert!(ahead.iter().all(|hashed| matches!(hashed, Hashed::Elsewhere(at) if *at >= stands)), "{ahead:?}");
    let now = cluster.shard(away).replica_hash(None, Duration::ZERO, ()).await.unwrap();
    assert!(matches!(now, Hashed::At(hash) if hash.applied >= stands), "{now:?}");
}
