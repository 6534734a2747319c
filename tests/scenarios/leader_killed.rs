//! The promise that everything else stands on (G3): what was acknowledged survives a leader that dies with no warning.

use ringfence_tests::{Cluster, Load};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_killed_under_load_loses_nothing_acknowledged() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 16);
    for shard in cluster.shards().await {
        load.goes_on(300).await;
        let leader = cluster.leader(shard).await;
        cluster.kill(leader);
        load.goes_on(300).await;
        cluster.start_node(leader);
        cluster.led().await;
    }
    let acknowledged = load.stop_and_check().await;
    assert!(acknowledged > 1_800, "the load was real: {acknowledged}");
    cluster.level().await;
}
