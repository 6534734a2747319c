//! Concurrent calls share messages; a lone call waits for nobody.

use std::time::Duration;

use futures::future::try_join_all;
use ringfence_client::{BatchAnswer, BatchError};
use tokio::time::Instant;

use crate::fake::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_calls_share_few_messages() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    let puts = (0..2000).map(|n| db.put(format!("k{n}"), "v").into_future());
    try_join_all(puts).await.unwrap();
    let state = cluster.state.lock().unwrap();
    assert_eq!(state.keys.len(), 2000);
    assert_eq!(state.arrivals.len(), 2000, "nothing was sent twice");
    // How many gather depends on how the tasks are scheduled: a few hundred at a time on a quiet machine, ten on a busy one.
    assert!(state.messages < 1000, "{} messages for 2000 calls", state.messages);
    assert!(state.largest_message_calls <= 256, "{}", state.largest_message_calls);
}

#[tokio::test]
async fn a_lone_call_is_a_message_and_is_not_delayed() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    db.put("k", "v").await.unwrap();
    let began = Instant::now();
    for _ in 0..100 {
        db.get("k").await.unwrap();
    }
    let each = began.elapsed() / 100;
    assert_eq!(cluster.state.lock().unwrap().messages, 101);
    assert!(each < Duration::from_millis(20), "{each:?} for one call on loopback");
}

#[tokio::test]
async fn large_values_pass_and_do_not_pile_up_in_one_message() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    let value = vec![7u8; 1 << 20];
    let puts = (0..24).map(|n| db.put(format!("k{n}"), value.clone()).into_future());
    try_join_all(puts).await.unwrap();
    assert_eq!(cluster.state.lock().unwrap().largest_message_calls, 1);
    assert_eq!(db.get("k23").await.unwrap().unwrap().value, value);
}

#[tokio::test]
async fn a_batch_answers_each_operation_in_the_order_asked() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    db.put("n", "40").await.unwrap();
    let answers = db.batch().put("a", "1").and_add(db.add("n", 2)).get("missing").get("").delete("missing").await;
    assert!(matches!(answers[0], Ok(BatchAnswer::Written(written)) if written.version == 1));
    assert!(matches!(answers[1], Ok(BatchAnswer::Added(added)) if added.value == 42));
    assert_eq!(answers[2], Ok(BatchAnswer::Got(None)));
    assert!(matches!(answers[3], Err(BatchError::Get(_))), "one that fails does not fail the others");
    assert!(matches!(answers[4], Ok(BatchAnswer::Deleted(deleted)) if !deleted.existed));
}
