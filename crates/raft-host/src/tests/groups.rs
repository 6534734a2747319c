//! What a group promises while nodes and links come and go.

use ringfence_state_machine::{Action, Done, digest};

use super::cluster::{Cluster, SHARD, eventually, read};
use crate::{Compaction, Lane, ProposeError, ReadError};

/// Nothing is cut unless a test wants it.
fn keep_all() -> Compaction {
    Compaction { entries: u64::MAX / 4, bytes: u64::MAX / 4 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_loses_nothing_acknowledged() {
    let mut cluster = Cluster::start(keep_all()).await;
    for i in 0..20 {
        cluster.put(&format!("k{i}"), "before").await;
    }
    let leader = cluster.leader().await;
    cluster.stop_node(leader).await;
    for i in 0..20 {
        assert_eq!(cluster.get(&format!("k{i}")).await.as_deref(), Some(&b"before"[..]));
    }
    cluster.put("k0", "after").await;
    cluster.start_node(leader).await;
    eventually("the stopped node has caught up", async || {
        (read(&cluster.shard(leader).view(), "k0").as_deref() == Some(b"after")).then_some(())
    })
    .await;
}

/// A cut-off leader goes on believing that it leads. It must not answer reads, and what is sent to it must not count twice
/// when it is sent again elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_leader_serves_no_reads_and_a_retried_add_counts_once() {
    let mut cluster = Cluster::start(keep_all()).await;
    cluster.put("x", "1").await;
    let old = cluster.leader().await;
    let add = cluster.request("counter", Action::Add { delta: 5, min: i64::MIN, max: i64::MAX });
    cluster.isolate(old, true);
    // In flight on the deposed leader, and then asked again of the others.
    let stranded = cluster.shard(old);
    let first_try = tokio::spawn({
        let add = add.clone();
        async move { stranded.propose(add, Lane(1)).await }
    });
    let elected = eventually("the others elect a leader", async || {
        cluster.nodes().into_iter().find(|node| *node != old && cluster.shard(*node).is_leader())
    })
    .await;
    cluster.put("x", "2").await;
    let refused = cluster.shard(old).read_barrier().await;
    assert!(refused.is_err(), "an isolated leader confirmed a read");
    let Ok(Done::Added { value, revision, .. }) = cluster.decide(&add).await else { panic!("an Add without bounds") };
    assert_eq!(value, 5);
    cluster.isolate(old, false);
    // Again, when all are joined: told the same, not done again.
    let Ok(again) = cluster.decide(&add).await else { panic!("an Add without bounds") };
    assert_eq!(again, Done::Added { value: 5, version: 1, revision });
    let _ = first_try.await;
    assert_eq!(cluster.get("counter").await.as_deref(), Some(&b"5"[..]));
    assert_ne!(old, elected);
}

/// Whoever still reaches a leader that was cut off must hear that it is none, and so that nothing happened; else they stay with it
/// as long as the partition lasts. Once it is heard again it serves by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_a_majority_says_that_it_knows_of_none() {
    let mut cluster = Cluster::start(keep_all()).await;
    cluster.put("x", "1").await;
    let old = cluster.leader().await;
    let value = ringfence_types::Value::new("2").unwrap();
    let put = cluster.request("x", Action::Put { value, ttl_ms: None });
    cluster.isolate(old, true);
    let shard = cluster.shard(old);
    eventually("it knows of no leader", async || shard.leader().is_none().then_some(())).await;
    assert!(shard.is_leader(), "nobody can tell it that another was elected");
    assert_eq!(shard.status().leader, None);
    assert_eq!(shard.propose(put.clone(), Lane(1)).await, Err(ProposeError::NotLeader { leader: None }));
    assert_eq!(shard.read_barrier().await.err(), Some(ReadError::NoQuorum));
    cluster.isolate(old, false);
    eventually("it knows who leads", async || shard.leader()).await;
    cluster.decide(&put).await.unwrap();
    eventually("all have the change", async || {
        let has = |node| read(&cluster.shard(node).view(), "x").as_deref() == Some(b"2");
        cluster.nodes().into_iter().all(has).then_some(())
    })
    .await;
}

/// A follower away for longer than the log is kept gets the shard as a snapshot, dedup memory included, and is then equal
/// to the others, byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_away_for_too_long_catches_up_by_snapshot() {
    let mut cluster = Cluster::start(Compaction { entries: 20, bytes: u64::MAX / 4 }).await;
    cluster.put("a", "1").await;
    let leader = cluster.leader().await;
    let away = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    cluster.stop_node(away).await;
    for i in 0..100 {
        cluster.put(&format!("k{}", i % 17), &format!("v{i}")).await;
    }
    let counted = cluster.request("n", Action::Add { delta: 1, min: 0, max: 10 });
    cluster.decide(&counted).await.unwrap();
    // Wait until the log that the follower would need is gone.
    eventually("the log has been cut", async || {
        let index = cluster.shard(leader).status().applied_index;
        let purged = cluster.purged(leader);
        (purged > 30 && index > purged).then_some(())
    })
    .await;
    cluster.start_node(away).await;
    let applied = cluster.shard(leader).status().applied_index;
    eventually("the follower has caught up", async || {
        (cluster.shard(away).status().applied_index >= applied).then_some(())
    })
    .await;
    let digest_of = |node| digest(&cluster.shard(node).view(), SHARD).unwrap();
    eventually("the replicas are equal", async || (digest_of(away) == digest_of(leader)).then_some(())).await;
    // The new leader, whoever it is, still knows the request.
    cluster.stop_node(leader).await;
    let Ok(Done::Added { value, .. }) = cluster.decide(&counted).await else { panic!("within its bounds") };
    assert_eq!(value, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_stopped_and_started_keep_everything() {
    let mut cluster = Cluster::start(keep_all()).await;
    for i in 0..10 {
        cluster.put(&format!("k{i}"), "v").await;
    }
    let nodes = cluster.nodes();
    for node in &nodes {
        cluster.stop_node(*node).await;
    }
    for node in &nodes {
        cluster.start_node(*node).await;
    }
    for i in 0..10 {
        assert_eq!(cluster.get(&format!("k{i}")).await.as_deref(), Some(&b"v"[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_a_ttl_goes_after_its_time_and_not_before() {
    let mut cluster = Cluster::start(keep_all()).await;
    let began = std::time::Instant::now();
    let value = ringfence_types::Value::new("short").unwrap();
    let put = cluster.request("t", Action::Put { value, ttl_ms: Some(1500) });
    cluster.decide(&put).await.unwrap();
    let leader = cluster.leader().await;
    cluster.stop_node(leader).await; // its remaining time must survive a leader change
    eventually("the key has gone", async || cluster.get("t").await.is_none().then_some(())).await;
    assert!(began.elapsed().as_millis() >= 1500, "the key went after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_can_be_handed_over() {
    let mut cluster = Cluster::start(keep_all()).await;
    cluster.put("a", "1").await;
    let from = cluster.leader().await;
    let to = cluster.nodes().into_iter().find(|node| *node != from).unwrap();
    eventually("leadership moves", async || cluster.shard(from).transfer_leader(to).await.ok()).await;
    assert_eq!(cluster.get("a").await.as_deref(), Some(&b"1"[..]));
    cluster.put("a", "2").await;
}
