//! A shard works with any majority of its replicas (G3): with one of three nodes, or two of five, never there at all.

use ringfence_tests::{Cluster, Load};

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_down_throughout() {
    works_without(3, &[2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_five_down_throughout() {
    works_without(5, &[1, 4]).await;
}

async fn works_without(nodes: u64, down: &[u64]) {
    // Five replicas on five nodes, so that two missing ones are a minority of every shard.
    let replication = format!("--replication={nodes}");
    let mut cluster = Cluster::start_with(nodes, &[&replication]).await;
    for node in down {
        cluster.kill(*node);
    }
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    load.goes_on(1_000).await;
    load.stop_and_check().await;
    // What was missed is caught up.
    for node in down {
        cluster.start_node(*node);
    }
    cluster.level().await;
}
