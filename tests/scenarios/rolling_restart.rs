//! Nodes asked to stop and started again one by one, under load: nothing lost, nothing twice, and each stop is a clean one.

use ringfence_tests::{Cluster, Load};

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_is_only_latency() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    for node in 1..=3 {
        load.goes_on(200).await;
        let ended = cluster.take(node).stop();
        assert!(ended.success, "node {node} did not stop cleanly:\n{}", ended.log);
        load.goes_on(50).await;
        cluster.start_node(node);
        cluster.led().await;
        cluster.level_within(64).await;
    }
    load.stop_and_check().await;
    cluster.level().await;
}
