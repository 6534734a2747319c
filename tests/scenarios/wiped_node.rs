//! A node whose disk was lost must not come back as if it had never promised anything: under its old name it could vote for a
//! leader that lacks what it acknowledged.

use ringfence_tests::{Cluster, Load, Server, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_directory_is_refused_and_the_others_go_on() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 4);
    eventually("the others know node 2's incarnation", async || {
        for other in [1, 3] {
            let nodes = cluster.describe(other).await?.nodes;
            nodes.iter().find(|node| node.node == 2 && node.incarnation != 0)?;
        }
        Some(())
    })
    .await;
    cluster.kill(2);
    let (kept, lost) = (cluster.path("kept"), cluster.data_dir(2));
    std::fs::rename(&lost, &kept).unwrap();
    let ended = Server::start(&cluster.arguments(2), &cluster.path("refused.log")).wait();
    assert!(!ended.success);
    assert!(ended.log.contains("has served before with another data directory"), "{}", ended.log);
    load.goes_on(200).await;

    // With its directory it is welcome.
    let _ = std::fs::remove_dir_all(&lost);
    std::fs::rename(&kept, &lost).unwrap();
    cluster.start_node(2);
    cluster.level_within(64).await;
    load.stop_and_check().await;
    cluster.level().await;
}
