//! A disk that hangs says neither yes nor no, and the node on it still says that it is there. If it leads, its shards must not
//! wait for the disk: the others can go on without it.

use ringfence_tests::{Fault, Load, SyncFaults};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_hangs_hands_over_and_comes_back_when_the_disk_does() {
    let (mut cluster, faults) = SyncFaults::start_cluster(3, &["--on-distrust=wait"]).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    load.goes_on(100).await;
    cluster.let_lead(2).await;
    faults.order(Fault::Hangs, &["/node-2/log/", ".log"]);
    faults.bitten().await;
    // Every writer meets every shard.
    load.goes_on(1_000).await;
    faults.withdraw();
    cluster.level_within(64).await;
    load.stop_and_check().await;
    cluster.level().await;
}
