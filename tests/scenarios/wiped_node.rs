//! A node whose disk was lost must not come back as if it had never promised anything: under its old name it could vote for a
//! leader that lacks what it acknowledged. It comes back with fresh replicas that the others fill, by itself or when an
//! operator says so.

use std::process::Command;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use ringfence_tests::{Cluster, Load, binary, eventually};
use tokio::time::{Duration, sleep};

/// Until then a node that comes with an empty directory is taken for new.
async fn known_to_the_others(cluster: &Cluster, node: u64) {
    eventually("the others know the node's incarnation", async || {
        for other in cluster.running().into_iter().filter(|other| *other != node) {
            let nodes = cluster.describe(other).await?.nodes;
            nodes.iter().find(|known| known.node == node && known.incarnation != 0)?;
        }
        Some(())
    })
    .await;
}

fn wipe(cluster: &mut Cluster, node: u64) {
    cluster.kill(node);
    std::fs::remove_dir_all(cluster.data_dir(node)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_directory_is_filled_anew_and_counts_again() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 4);
    known_to_the_others(&cluster, 2).await;
    load.goes_on(200).await;
    wipe(&mut cluster, 2);
    load.goes_on(200).await;
    cluster.start_node(2);
    cluster.replaced(2).await;
    let log = cluster.server(2).log();
    assert!(log.contains("has served before with another data directory"), "{log}");
    load.goes_on(200).await;

    // Its fresh replicas count: with another node gone they make the majority, and hold everything.
    cluster.kill(1);
    load.goes_on(200).await;
    load.stop_and_check().await;
    cluster.level().await;
}

/// Two replicas that are as good as gone must not vote for each other.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_majority_wiped_nothing_is_elected_until_one_is_back() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    client.put("kept", "by one node").await.unwrap();
    for node in [2, 3] {
        known_to_the_others(&cluster, node).await;
    }
    let kept = cluster.path("kept");
    for node in [2, 3] {
        cluster.kill(node);
    }
    std::fs::rename(cluster.data_dir(3), &kept).unwrap();
    std::fs::remove_dir_all(cluster.data_dir(2)).unwrap();
    for node in [2, 3] {
        cluster.start_node(node);
    }
    for node in [2, 3] {
        eventually("a wiped node says so", async || {
            let distrust = cluster.status(node).await?.distrust?;
            distrust.reason.contains("has served before").then_some(())
        })
        .await;
    }
    sleep(Duration::from_secs(4)).await; // two elections long
    for node in [2, 3] {
        assert!(cluster.status(node).await.unwrap().replicas.is_empty(), "node {node} took part without being told to");
    }
    // One of the lost directories is whole after all. With it there is a majority again, which takes the other node in.
    cluster.kill(3);
    std::fs::remove_dir_all(cluster.data_dir(3)).unwrap();
    std::fs::rename(&kept, cluster.data_dir(3)).unwrap();
    cluster.start_node(3);
    cluster.replaced(2).await;
    let found = client.get("kept").await.unwrap().expect("what was acknowledged");
    assert_eq!(found.value, "by one node".as_bytes());
}

/// Where nobody can be asked, a node with an empty directory is founded anew, under the replica ids that have promised things. It
/// must not elect a leader who lacks what they promised: whoever remembers does not hear it, and it learns who it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_that_was_founded_anew_is_not_heard_and_finds_out() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    client.put("early", "by all").await.unwrap();
    known_to_the_others(&cluster, 2).await;
    cluster.kill(3);
    client.put("kept", "by two, and one of them forgets").await.unwrap();
    cluster.kill(1);
    wipe(&mut cluster, 2);
    cluster.start_node(2);
    eventually("node 2 is founded anew", async || {
        let status = cluster.status(2).await?;
        (status.distrust.is_none() && !status.replicas.is_empty()).then_some(())
    })
    .await;
    cluster.start_node(3);
    let ended = cluster.ended(2).await;
    assert!(!ended.success && ended.log.contains("has served before with another data directory"), "{}", ended.log);
    assert_eq!(cluster.status(3).await.unwrap().replicas.iter().filter(|replica| replica.role == "leader").count(), 0);

    cluster.start_node(1);
    cluster.start_node(2);
    cluster.replaced(2).await;
    let found = client.get("kept").await.unwrap().expect("what was acknowledged");
    assert_eq!(found.value, "by two, and one of them forgets".as_bytes());
    cluster.kill(1);
    assert!(client.get("early").await.unwrap().is_some(), "its fresh replicas count");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_to_wait_waits_for_an_operator() {
    let mut cluster = Cluster::start_with(3, &["--on-distrust=wait"]).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 4);
    known_to_the_others(&cluster, 2).await;
    wipe(&mut cluster, 2);
    cluster.start_node(2);
    let waiting = async || {
        let status = cluster.status(2).await?;
        (status.distrust?.waiting && status.replicas.is_empty()).then_some(())
    };
    eventually("the node waits", waiting).await;
    // Meanwhile it takes requests, and sends them on.
    load.goes_on(200).await;
    let replace = |node: &str| {
        let ringctl = Command::new(binary("ringctl"))
            .args(["node", "replace", node, "--endpoints", &cluster.endpoints().join(",")])
            .output()
            .unwrap();
        (ringctl.status.code(), String::from_utf8_lossy(&ringctl.stderr).into_owned())
    };
    let (code, said) = replace("1");
    assert_eq!(code, Some(4), "a node that trusts its disk is left alone: {said}");
    assert!(said.contains("trusts its disk"), "{said}");
    eventually("the node still waits", waiting).await;
    assert_eq!(replace("2").0, Some(0));
    cluster.replaced(2).await;
    cluster.kill(3);
    load.goes_on(200).await;
    load.stop_and_check().await;
}

/// The way back is several steps on several nodes, and none of them may need the one before to have ended well.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_again_and_again_on_its_way_back_gets_there() {
    let seed = match std::env::var("RINGFENCE_SEED") {
        Ok(seed) => seed.parse().expect("RINGFENCE_SEED is a number"),
        Err(_) => rand::random(),
    };
    println!("seed {seed}; RINGFENCE_SEED={seed} repeats it");
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 4);
    known_to_the_others(&cluster, 2).await;
    load.goes_on(500).await;
    wipe(&mut cluster, 2);
    for _ in 0..12 {
        cluster.start_node(2);
        sleep(Duration::from_millis(random.random_range(0..1500))).await; // the moment is what the seed is for
        cluster.kill(2);
    }
    cluster.start_node(2);
    cluster.replaced(2).await;
    cluster.kill(3);
    load.goes_on(200).await;
    load.stop_and_check().await;
    cluster.level().await;
}
