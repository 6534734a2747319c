//! All replicas killed in the same moment, under load, and started again: everything acknowledged is there (G3), although
//! nobody had time to flush anything.

use ringfence_tests::{Cluster, Load};

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_killed_at_once_and_started_again_keep_everything_acknowledged() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 16);
    for _ in 0..3 {
        load.goes_on(400).await;
        for node in cluster.running() {
            cluster.kill(node);
        }
        for node in 1..=3 {
            cluster.start_node(node);
        }
        cluster.led().await;
    }
    load.goes_on(100).await;
    load.stop_and_check().await;
    cluster.level().await;
}
