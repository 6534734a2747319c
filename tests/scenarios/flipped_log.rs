//! The log holds what a node has acknowledged and whom it has voted for. A disk that changes a single bit of it must not make
//! the node forget anything silently: it would help to elect a leader without what was acknowledged. RocksDB by itself takes
//! some of these bits for the end of the file, or reads on for ever.

use ringfence_tests::damage::{files_of, flip, last_records, manifest_of};
use ringfence_tests::{Cluster, Damage, Load};

/// A record in the middle of the last block.
fn middle(bytes: &[u8]) -> usize {
    let records = last_records(bytes);
    assert!(records.len() > 2, "there are records behind the damaged one");
    records[records.len() / 2]
}

const DAMAGES: [Damage; 6] = [
    Damage(
        "a byte of an entry",
        |dir| flip(&files_of(dir, "log", ".log")[0], 0x10, |wal| wal.len() / 2),
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
        load.goes_on(200).await;
        cluster.kill(node);
        // What is in the write-ahead log now is moved to a table by this start, and there is a new log behind it.
        cluster.start_node(node);
        cluster.level_within(64).await;
        load.goes_on(300).await;
        cluster.kill(node);
        cluster.takes_no_part_with(node, &damage, n % 3 == 1, &load).await;
    }
    load.stop_and_check().await;
    cluster.level().await;
}
