//! Leadership goes where it was asked to go, or stays with nothing done.

use ringfence_types::NodeId;

use super::cluster::{Cluster, eventually};
use crate::{Compaction, TransferError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_round_and_whoever_does_not_lead_cannot_give_it() {
    let mut cluster = Cluster::start(Compaction::default()).await;
    cluster.put("a", "1").await;
    for to in [1, 2, 3, 2, 1].map(NodeId) {
        eventually("the leader hands over", async || {
            let from = cluster.leader().await;
            let moved = cluster.shard(from).hand_over(from, Some(to)).await;
            // Elections of a busy machine may come between.
            moved.is_ok_and(|leader| leader == to).then_some(())
        })
        .await;
        cluster.put("a", &to.to_string()).await;
    }
    eventually("the leader chooses", async || {
        let from = cluster.leader().await;
        let to = cluster.shard(from).hand_over(from, None).await.ok()?;
        assert_ne!(to, from, "to another");
        Some(())
    })
    .await;
    let leader = cluster.leader().await;
    let follower = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    let refused = cluster.shard(follower).hand_over(follower, Some(leader)).await;
    assert_eq!(refused, Err(TransferError::NotLeader));
    assert_eq!(cluster.get("a").await.as_deref(), Some(&b"n1"[..]));
}

/// It would cost the shard seconds to find out by trying.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hands_over_to_a_replica_that_is_not_heard_of() {
    let mut cluster = Cluster::start(Compaction::default()).await;
    cluster.put("a", "1").await;
    let leader = cluster.leader().await;
    let mut others = cluster.nodes();
    others.retain(|node| *node != leader);
    let (gone, there) = (others[0], others[1]);
    cluster.stop_node(gone).await;
    let shard = cluster.shard(leader);
    let term = shard.status().term;
    assert_eq!(shard.hand_over(leader, Some(gone)).await, Err(TransferError::Silent(gone)));
    assert_eq!(shard.hand_over(leader, Some(NodeId(9))).await, Err(TransferError::NoReplica(NodeId(9))));
    assert_eq!(shard.hand_over(leader, Some(leader)).await, Ok(leader));
    assert_eq!((shard.is_leader(), shard.status().term), (true, term), "nothing was done");
    cluster.put("a", "2").await;
    assert_eq!(shard.hand_over(leader, None).await, Ok(there), "the only one that is heard of");
}
