//! Nodes come and go; what was acknowledged stays.

use std::time::Duration;

use crate::harness::{Cluster, add, get, put, reason, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_keeps_everything_over_a_crash_and_a_stop() {
    let mut cluster = Cluster::start(1).await;
    for round in 0..4 {
        let mut kv = cluster.kv(1).await;
        for i in 0..20 {
            assert_eq!(kv.add(add(format!("k{i}"), 1)).await.unwrap().into_inner().value, round + 1);
        }
        drop(kv);
        match round % 2 {
            0 => cluster.kill(1).await,
            _ => cluster.stop(1).await,
        }
        cluster.restart(1).await;
        cluster.until_led().await;
    }
    assert_eq!(cluster.kv(1).await.get(get("k3")).await.unwrap().into_inner().kv.unwrap().value, "4");
}

/// The client did nothing special: it asked a node that is well, and was answered within its deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader(1).unwrap();
    let other = leader % 3 + 1;
    let mut kv = cluster.kv(other).await;
    for i in 0..50 {
        kv.put(put(format!("k{i}"), "before")).await.unwrap();
    }
    cluster.kill(leader).await;
    for i in 0..50 {
        // A call that was under way at the dead leader may end unknown; a new one after that may not.
        let mut response = kv.put(put(format!("n{i}"), "after")).await;
        if response.as_ref().is_err_and(|status| reason(status) == "OUTCOME_UNKNOWN") {
            response = kv.put(put(format!("n{i}"), "after")).await;
        }
        response.unwrap();
    }
    for i in 0..50 {
        assert_eq!(kv.get(get(format!("k{i}"))).await.unwrap().into_inner().kv.unwrap().value, "before");
        assert_eq!(kv.get(get(format!("n{i}"))).await.unwrap().into_inner().kv.unwrap().value, "after");
    }
    cluster.restart(leader).await;
    cluster.until_led().await;
    let mut kv = cluster.kv(leader).await;
    assert_eq!(kv.get(get("n49")).await.unwrap().into_inner().kv.unwrap().value, "after");
}

/// A polite stop hands leadership over first, so that clients of the other nodes hardly notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_leader_hands_over() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader(1).unwrap();
    let other = leader % 3 + 1;
    let mut kv = cluster.kv(other).await;
    kv.put(put("k", "v")).await.unwrap();
    cluster.stop(leader).await;
    assert!((0..=3).all(|shard| cluster.leader(shard).is_some()), "every shard is led by another node already");
    kv.put(put("k", "w")).await.unwrap();
}

/// Without a majority nothing is promised and nothing hangs: the caller is told before its deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_minority_says_that_there_is_no_majority() {
    let mut cluster = Cluster::start(3).await;
    cluster.kv(1).await.put(put("k", "v")).await.unwrap();
    cluster.kill(2).await;
    cluster.kill(3).await;
    // A leader that has lost its followers may have taken the write into its log; then the honest word is "unknown".
    let mut write = tonic::Request::new(put("k", "w"));
    write.set_timeout(Duration::from_secs(3));
    let told = reason(&cluster.kv(1).await.put(write).await.unwrap_err());
    assert!(["NO_QUORUM", "OUTCOME_UNKNOWN"].contains(&told.as_str()), "{told}");
    let mut read = tonic::Request::new(get("k"));
    read.set_timeout(Duration::from_secs(3));
    let told = reason(&cluster.kv(1).await.get(read).await.unwrap_err());
    assert!(["NO_QUORUM", "DEADLINE_EXCEEDED"].contains(&told.as_str()), "{told}");
    cluster.restart(2).await;
    until("two of three are enough", async || cluster.kv(1).await.get(get("k")).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_crash_at_once_and_come_back_with_everything() {
    let mut cluster = Cluster::start(3).await;
    let mut kv = cluster.kv(1).await;
    for i in 0..100 {
        kv.put(put(format!("k{i}"), i.to_string())).await.unwrap();
    }
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    for id in 1..=3 {
        cluster.restart(id).await;
    }
    cluster.until_led().await;
    let mut kv = cluster.kv(2).await;
    for i in 0..100 {
        assert_eq!(kv.get(get(format!("k{i}"))).await.unwrap().into_inner().kv.unwrap().value, i.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_nodes_found_a_cluster_and_one_may_go() {
    let mut cluster = Cluster::start(5).await;
    let mut kv = cluster.kv(3).await;
    for i in 0..20 {
        kv.put(put(format!("k{i}"), "v")).await.unwrap();
    }
    // Each shard has three replicas, on some of the nodes; node 3 forwards to where they are.
    cluster.kill(5).await;
    for i in 0..20 {
        until("the shard is served again", async || {
            cluster.kv(3).await.get(get(format!("k{i}"))).await.is_ok_and(|r| r.into_inner().kv.is_some())
        })
        .await;
    }
}
