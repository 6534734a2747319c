//! A node that was away for so long that the others have cut their logs gets the data itself, while they go on. Afterwards it
//! has everything: the shards can rely on it as on any other.

use ringfence_tests::{Cluster, Load, cuts, eventually};

/// The least that a server takes: logs are cut when they have twice as many entries.
const KEEP: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_for_long_gets_a_snapshot_and_then_has_everything_by_itself() {
    let mut cluster = Cluster::start_telling_cuts(&[&format!("--log-keep-entries={KEEP}")]).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    load.goes_on(200).await;
    cluster.kill(3);
    // It has no entry that a leader had not written before; what is under way is a few entries at most.
    let (one, other) = (cluster.applied(1).await, cluster.applied(2).await);
    eventually("the others have cut their logs", async || {
        let beyond = |shard: &u64| one[shard].max(other[shard]) + 100;
        let cut = |node, shard| cuts(&cluster.server(node).log(), shard).any(|upto| upto > beyond(&shard));
        one.keys().filter(|shard| **shard != 0).all(|shard| cut(1, *shard) && cut(2, *shard)).then_some(())
    })
    .await;
    cluster.start_node(3);
    for shard in cluster.shards().await {
        let installed = format!("installed a snapshot shard=s{shard}");
        eventually(&installed, async || cluster.server(3).log().contains(&installed).then_some(())).await;
    }
    load.goes_on(200).await;
    cluster.level_within(64).await;

    // By itself: it leads, and of the others only one is there. Leadership may move on a slow machine; then once more.
    let recorded = load.stop().await;
    assert!(recorded.puts.len() > 300, "the load was real: {}", recorded.puts.len());
    loop {
        cluster.let_lead(3).await;
        cluster.level().await;
        cluster.kill(1);
        recorded.check(&client).await;
        let led = cluster.leads_all(3).await;
        cluster.start_node(1);
        if led {
            break;
        }
    }
    cluster.level().await;
}
