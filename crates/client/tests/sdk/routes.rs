//! Which node is asked, and what is learnt from its answer.

use std::time::Duration;

use ringfence_client::{
    NodeId, Outcome, Reason, ReplicaHashError, ShardId, StateHash, StatusError, TransferLeaderError,
};
use ringfence_proto::{metadata, v1};

use crate::fake::{Cluster, Fault, answer};

fn nodes_asked(cluster: &Cluster) -> Vec<u64> {
    cluster.arrivals().iter().map(|arrival| arrival.node).collect()
}

#[tokio::test]
async fn a_named_leader_is_followed_and_remembered() {
    let cluster = Cluster::start(3).await;
    let db = cluster.client().await;
    let error = v1::Error::new(Reason::NotLeader, "ask n3");
    let error = error.with(metadata::LEADER_NODE, 3).with(metadata::LEADER_ADDRESS, cluster.address(3));
    cluster.fault(1, Fault::Answer(error));
    cluster.state.lock().unwrap().leader = 3;
    db.put("k", "v").await.unwrap();
    db.put("k", "v").await.unwrap();
    assert_eq!(nodes_asked(&cluster), [1, 3, 3]);
    let ids: Vec<_> = cluster.arrivals().iter().map(|arrival| arrival.id).collect();
    assert_eq!(ids[0], ids[1]);
}

/// The node forwarded; its answer tells who leads, so the next call goes straight there.
#[tokio::test]
async fn the_leader_is_learnt_from_an_answer() {
    let cluster = Cluster::start(2).await;
    let db = cluster.client().await;
    cluster.state.lock().unwrap().leader = 2;
    db.put("k", "v").await.unwrap();
    db.get("k").await.unwrap();
    assert_eq!(nodes_asked(&cluster), [1, 2]);
}

#[tokio::test]
async fn a_stopping_node_and_one_without_a_leader_send_us_elsewhere() {
    for reason in [Reason::ShuttingDown, Reason::NotLeader] {
        let cluster = Cluster::start(2).await;
        let db = cluster.client().await;
        cluster.fault(1, answer(reason));
        db.put("k", "v").await.unwrap();
        assert_eq!(nodes_asked(&cluster), [1, 2], "{reason}");
    }
}

/// Many put a time limit of their own around a call, shorter than it would take us to try another node. If each such call began at
/// the silent node, none would ever end well.
#[tokio::test]
async fn a_node_on_which_a_caller_gave_up_is_not_asked_first_again() {
    let cluster = Cluster::start(2).await;
    let db = cluster.client().await;
    db.put("k", "v").await.unwrap();
    cluster.state.lock().unwrap().leader = 2;
    (0..10).for_each(|_| cluster.fault(1, Fault::LoseAnswer));
    let patience = Duration::from_millis(400);
    let mut served = 0;
    for _ in 0..10 {
        served += usize::from(tokio::time::timeout(patience, db.put("k", "w").into_future()).await.is_ok());
    }
    assert!(served > 0, "all ten began at the silent node: {:?}", nodes_asked(&cluster));
    assert_eq!(nodes_asked(&cluster).last(), Some(&2));
}

/// The map is stale: fetched once, however many calls found out.
#[tokio::test]
async fn a_wrong_shard_makes_many_calls_fetch_the_map_once() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    db.put("k", "v").await.unwrap();
    (0..50).for_each(|_| cluster.fault(1, answer(Reason::WrongShard)));
    let before = cluster.state.lock().unwrap().descriptions;
    let puts = (0..50).map(|_| db.put("k", "v").into_future());
    futures::future::try_join_all(puts).await.unwrap();
    let fetched = cluster.state.lock().unwrap().descriptions - before;
    assert!((1..=3).contains(&fetched), "{fetched}");
}

#[tokio::test]
async fn nodes_are_learnt_from_the_first_one_and_asked_for_their_status() {
    let cluster = Cluster::start(2).await;
    let db = cluster.client().await;
    let info = db.describe().await.unwrap();
    assert_eq!((info.nodes.len(), info.shards.len()), (2, 1));
    assert_eq!(info.shards[0].leader, Some(NodeId(1)));
    assert_eq!(db.status(NodeId(2)).await.unwrap().node, NodeId(2));
    assert_eq!(db.status_at(&cluster.address(2)).await.unwrap().node, NodeId(2));
    let unknown = db.status(NodeId(9)).await.unwrap_err();
    assert_eq!(unknown, StatusError::UnknownNode { node: NodeId(9) });
    let unknown = db.status_of(NodeId(1), ShardId(5)).await.unwrap_err();
    assert!(matches!(unknown, StatusError::UnknownShard { shard: ShardId(5), .. }), "{unknown:?}");
}

/// Whoever moved a leader should not be sent astray by it; and a transfer that was asked for must not be reported as certain if its
/// answer was lost.
#[tokio::test]
async fn a_leader_that_was_moved_is_asked_next() {
    let cluster = Cluster::start(2).await;
    let db = cluster.client().await;
    cluster.state.lock().unwrap().leader = 1;
    let moved = db.transfer_leader(ShardId(1), Some(NodeId(2))).await.unwrap();
    assert_eq!((moved.from, moved.leader), (NodeId(1), NodeId(2)));
    db.put("k", "v").await.unwrap();
    assert_eq!(nodes_asked(&cluster), [2]);
    let unknown = db.transfer_leader(ShardId(9), None).await.unwrap_err();
    assert!(matches!(unknown, TransferLeaderError::UnknownShard { .. }), "{unknown:?}");
    assert_eq!(unknown.outcome(), Outcome::Refused);

    // A node that is down is passed over. One that accepts and says nothing may have begun.
    cluster.kill(1).await;
    let moved = db.transfer_leader(ShardId(1), Some(NodeId(2))).await.unwrap();
    assert_eq!(moved.leader, NodeId(2));
    let paused = Cluster::start(1).await;
    let _silent = paused.add_paused_node(2).await;
    let db = paused.client_with(|config| config.timeout = Duration::from_secs(2)).await;
    let mut ends = Vec::new();
    for _ in 0..4 {
        ends.push(db.transfer_leader(ShardId(1), None).await);
    }
    let unknown = |end: &Result<_, TransferLeaderError>| end.as_ref().is_err_and(|e| e.outcome() == Outcome::Unknown);
    assert!(ends.iter().any(unknown), "the silent one was asked first at least once: {ends:?}");
    assert!(ends.iter().any(Result::is_ok), "and the other one: {ends:?}");
}

/// The fake's nodes hold different things, and say so.
#[tokio::test]
async fn hashes_are_told_by_the_node_that_was_meant() {
    let cluster = Cluster::start(2).await;
    let db = cluster.client().await;
    for node in [1, 2] {
        let hash = db.replica_hash(NodeId(node), ShardId(1)).await.unwrap();
        assert_eq!((hash.node, hash.hash), (NodeId(node), StateHash(node.into())));
        assert_eq!(hash.hash.to_string(), format!("{node:032x}"));
    }
    let nobody = db.replica_hash(NodeId(9), ShardId(1)).await;
    assert_eq!(nobody, Err(ReplicaHashError::UnknownNode { node: NodeId(9) }));
    cluster.kill(2).await;
    let gone = db.replica_hash(NodeId(2), ShardId(1)).await;
    assert!(matches!(gone, Err(ReplicaHashError::Unavailable(_))), "{gone:?}");
}
