//! A node that dies in the middle of a write leaves half of it behind. That write was never acknowledged, so the node may
//! forget it and goes on as if nothing had happened: whoever distrusted it would lose a good replica with every power cut.

use std::path::{Path, PathBuf};

use ringfence_tests::{Fault, Load, SyncFaults, eventually};

/// The log DB's newest write-ahead log.
fn newest_wal(data_dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(data_dir.join("log")).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|ending| ending == "log")).max().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_write_cut_short_is_forgotten_and_the_node_goes_on() {
    let (mut cluster, faults) = SyncFaults::start_cluster(3, &["--on-distrust=wait"]).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    // A few bytes, a record's head, half a record of this load.
    for (node, cut) in [(1, 1), (2, 7), (3, 60)] {
        load.goes_on(100).await;
        // Written, not synced, never acknowledged: there it ends.
        faults.order(Fault::Kills, &[&format!("/node-{node}/log/"), ".log"]);
        let wal = faults.bitten().await;
        let ended = cluster.ended(node).await;
        assert!(!ended.success);
        assert_eq!(wal, newest_wal(&cluster.data_dir(node)));
        let file = std::fs::File::options().write(true).open(&wal).unwrap();
        file.set_len(file.metadata().unwrap().len() - cut).unwrap();

        cluster.start_node(node);
        cluster.level_within(64).await; // and no replica has a problem
        assert!(cluster.status(node).await.unwrap().distrust.is_none());
    }
    load.stop_and_check().await;
    cluster.level().await;
}

/// A follower hears that entries are committed while its own disk hangs, because the others have them. When it is killed then,
/// its log lacks what everybody else has; that is no reason to distrust it, for it never acknowledged any of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_while_its_disk_hangs_is_trusted_afterwards() {
    let (mut cluster, faults) = SyncFaults::start_cluster(3, &["--shards=1", "--on-distrust=wait"]).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    load.goes_on(100).await;
    let follower = cluster.leader(1).await % 3 + 1;
    faults.order(Fault::Hangs, &[&format!("/node-{follower}/log/"), ".log"]);
    faults.bitten().await;
    let had = cluster.applied(follower).await[&1];
    // It hears of commits beyond what its disk has, as far as others send them.
    load.goes_on(400).await;
    let heard = eventually("the node hears of what the others have committed", async || {
        let replicas = cluster.status(follower).await?.replicas;
        let committed = replicas.iter().find(|r| r.shard.as_ref().is_some_and(|s| s.shard == 1))?.committed_index;
        (committed > had).then_some(committed)
    })
    .await;
    println!("applied {had} when the disk began to hang, heard of {heard}");
    cluster.kill(follower);
    faults.withdraw();
    cluster.start_node(follower);
    cluster.level_within(64).await;
    assert!(cluster.status(follower).await.unwrap().distrust.is_none());
    load.stop_and_check().await;
    cluster.level().await;
}
