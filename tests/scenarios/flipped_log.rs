//! The log holds what a node has acknowledged and whom it has voted for. A disk that changes a single bit of it must not make
//! the node forget anything silently: it would help to elect a leader without what was acknowledged. RocksDB by itself takes
//! some of these bits for the end of the file, or reads on for ever.

use std::path::Path;

use ringfence_tests::damage::{files_of, flip, manifest_of, middle_record};
use ringfence_tests::{Cluster, Damage, Load, eventually};

/// So much is in a node's log, at the least, when it is damaged: the table that it becomes has blocks of entries then.
const LOG_BYTES_MIN: usize = 32 << 10;

fn middle(bytes: &[u8]) -> usize {
    middle_record(bytes).expect("there are records before and behind the damaged one")
}

const DAMAGES: [Damage; 6] = [
    Damage(
        "a byte of an entry",
        |dir| flip(&files_of(dir, "log", ".log")[0], 0x10, |wal| middle(wal) + 7),
        "wrong checksum",
    ),
    Damage("a record's length", |dir| flip(&files_of(dir, "log", ".log")[0], 0x40, |wal| middle(wal) + 5), "wrong"),
    Damage("a record's type", |dir| flip(&files_of(dir, "log", ".log")[0], 4, |wal| middle(wal) + 6), "recycled"),
    Damage(
        "an entry in a table",
        |dir| flip(&files_of(dir, "log", ".sst")[0], 0x10, |table| table.len() / 4),
        "checksum",
    ),
    Damage("a table's end", |dir| flip(&files_of(dir, "log", ".sst")[0], 0x10, |table| table.len() - 4), "magic"),
    Damage(
        "the list of tables",
        |dir| flip(&manifest_of(dir, "log"), 0xff, |manifest| middle(manifest) + 4),
        "MANIFEST",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_of_the_log_is_noticed_and_the_node_takes_no_part() {
    let mut cluster = Cluster::start_with(3, &["--on-distrust=wait"]).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 4);
    for (n, damage) in DAMAGES.into_iter().enumerate() {
        let node = n as u64 % 3 + 1;
        kill_with_log(&mut cluster, node).await;
        // What is in the write-ahead log now is moved to a table by this start, and there is a new log behind it.
        cluster.start_node(node);
        cluster.level_within(64).await;
        kill_with_log(&mut cluster, node).await;
        cluster.takes_no_part_with(node, &damage, n % 3 == 1, &load).await;
    }
    load.stop_and_check().await;
    cluster.level().await;
}

/// Kills a node when there is enough in its write-ahead log to damage. That writes are acknowledged says nothing of this
/// node: the others need only each other, and may not even have connected to it again.
async fn kill_with_log(cluster: &mut Cluster, node: u64) {
    loop {
        let data = cluster.data_dir(node);
        eventually(&format!("node {node} has records to damage"), async || has_log(&data).then_some(())).await;
        cluster.kill(node);
        // What it wrote last may just have begun another block.
        if has_log(&data) {
            return;
        }
        cluster.start_node(node);
        cluster.level_within(64).await;
    }
}

fn has_log(data_dir: &Path) -> bool {
    let wal = files_of(data_dir, "log", ".log").first().and_then(|wal| std::fs::read(wal).ok());
    wal.is_some_and(|wal| wal.len() >= LOG_BYTES_MIN && middle_record(&wal).is_some())
}
