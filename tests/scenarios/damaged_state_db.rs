//! The state is what a node answers from when it leads. Damage in it must never become an answer: the node stops at what it
//! cannot read, says so, and takes no part with any of it afterwards.

use std::path::{Path, PathBuf};

use ringfence_client::Client;
use ringfence_tests::damage::{copy, files_of, find, flip, manifest_of};
use ringfence_tests::{Cluster, Damage, Load, eventually, noise};

const DAMAGES: [Damage; 5] = [
    Damage("a table is gone", |dir| std::fs::remove_file(&files_of(dir, "state", ".sst")[0]).unwrap(), ".sst"),
    Damage("a table's end", |dir| flip(&files_of(dir, "state", ".sst")[0], 1, |table| table.len() - 4), ".sst"),
    Damage(
        "the list of tables",
        |dir| flip(&manifest_of(dir, "state"), 0x20, |manifest| manifest.len() / 2),
        "MANIFEST",
    ),
    Damage("the list is gone", |dir| std::fs::remove_file(manifest_of(dir, "state")).unwrap(), "MANIFEST"),
    Damage("CURRENT is cut short", |dir| std::fs::write(dir.join("state/CURRENT"), "MANIF").unwrap(), "CURRENT"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_be_opened_is_told_and_the_node_takes_no_part() {
    let mut cluster = Cluster::start_with(3, &["--on-distrust=wait"]).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 4);
    for (n, damage) in DAMAGES.into_iter().enumerate() {
        let node = n as u64 % 3 + 1;
        load.goes_on(200).await;
        into_tables(&mut cluster, node).await;
        cluster.takes_no_part_with(node, &damage, n == 0, &load).await;
    }
    load.stop_and_check().await;
    cluster.level().await;
}

/// What is lost at the end of the state DB's own log is no damage, for the node's log has it; unless that was cut already.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_goes_back_to_before_its_log_begins_is_told() {
    let extra = ["--shards=1", "--log-keep-entries=100", "--on-distrust=wait"];
    let mut cluster = Cluster::start_telling_cuts(&extra).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 4);
    let node = 2;
    eventually("a log is cut", async || cluster.server(node).log().contains("cut the log").then_some(())).await;
    cluster.kill(node);
    let (data, kept) = (cluster.data_dir(node), cluster.path("kept"));
    copy(&data, &kept);

    // The very end: nobody minds.
    let wal = files_of(&data, "state", ".log").remove(0);
    flip(&wal, 1, |bytes| bytes.len() - 10);
    cluster.start_node(node);
    cluster.level_within(64).await;
    cluster.kill(node);

    // Soon after the replicas were seeded.
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&kept, &data).unwrap();
    flip(&wal, 1, |bytes| bytes.len() / 10);
    cluster.start_node(node);
    let reason = cluster.distrusted(node).await;
    // How much a tenth is depends on how fast the load was: the replica is there without its data, or not there at all.
    assert!(reason.contains("its log begins behind") || reason.contains("knows no such replica"), "{reason}");
    load.goes_on(100).await;
    load.stop_and_check().await;
}

/// One flipped bit in one value, which nobody notices until somebody wants it from this node. Then it must not answer, whatever
/// it was asked for, and the others take over.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_cannot_be_read_is_answered_by_the_others() {
    let (mut cluster, client, load) = with_values().await;

    let node = 1;
    into_tables(&mut cluster, node).await;
    flip_value(&cluster.data_dir(node), 17);
    cluster.start_node(node);
    loop {
        // On a slow machine leadership may move before the value is read.
        cluster.let_lead(node).await;
        let found = client.get("value/17").await.unwrap().unwrap();
        assert!(found.value == value(17), "it was answered with something else");
        if !cluster.is_running(node) {
            break;
        }
    }
    stopped_at_damage(&mut cluster, node).await;
    load.goes_on(100).await;
    load.stop_and_check().await;
    for n in 0..64 {
        assert!(client.get(format!("value/{n}")).await.unwrap().unwrap().value == value(n));
    }
}

/// The same, met by a follower while it applies what the others have decided: it stops rather than to go on with less.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_cannot_be_read_stops_whoever_must_apply_a_change_of_it() {
    let (mut cluster, client, load) = with_values().await;

    let node = cluster.leader(1).await % 3 + 1;
    into_tables(&mut cluster, node).await;
    flip_value(&cluster.data_dir(node), 23);
    cluster.start_node(node);
    cluster.level_within(64).await;
    client.put("value/23", "replaced").await.unwrap();
    stopped_at_damage(&mut cluster, node).await;
    load.goes_on(100).await;
    load.stop_and_check().await;
    assert_eq!(client.get("value/23").await.unwrap().unwrap().value, "replaced");
}

/// Three nodes, one shard, 64 values, and a load beside them.
async fn with_values() -> (Cluster, Client, Load) {
    let cluster = Cluster::start_with(3, &["--shards=1", "--on-distrust=wait"]).await;
    let client = cluster.client().await;
    for n in 0..64 {
        client.put(format!("value/{n}"), value(n)).await.unwrap();
    }
    cluster.level().await;
    let load = Load::start(&client, 4);
    (cluster, client, load)
}

/// The process has ended at what it read, and says what to do; started again it takes no part.
async fn stopped_at_damage(cluster: &mut Cluster, node: u64) {
    let ended = cluster.ended(node).await;
    let last = ended.log.lines().last().unwrap_or_default();
    assert!(!ended.success && last.contains("checksum mismatch") && last.contains("Start it again"), "{last}");
    cluster.start_node(node);
    let reason = cluster.distrusted(node).await;
    assert!(reason.contains("checksum mismatch"), "{reason}");
}

/// Kills a node with all of its state in tables: a start writes what it finds in the write-ahead log to one.
async fn into_tables(cluster: &mut Cluster, node: u64) {
    cluster.kill(node);
    cluster.start_node(node);
    cluster.level_within(64).await;
    cluster.kill(node);
}

/// Flips one bit in the middle of a value, where it stands in a table. What was written since the last start is not there.
fn flip_value(data_dir: &Path, n: u64) {
    let whole = value(n);
    let part = &whole[1000..1064];
    let holds = |file: &PathBuf| find(&std::fs::read(file).unwrap(), part).is_some();
    let tables: Vec<PathBuf> = files_of(data_dir, "state", ".sst").into_iter().filter(holds).collect();
    assert!(!tables.is_empty(), "the value is in a table");
    for table in tables {
        flip(&table, 1, |bytes| find(bytes, part).unwrap());
    }
}

/// It cannot be compressed, so its bytes stand in the table as they are.
fn value(n: u64) -> Vec<u8> {
    noise(n, 8 << 10)
}
