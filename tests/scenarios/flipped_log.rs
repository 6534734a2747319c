//! The log holds what a node has acknowledged and whom it has voted for. A disk that changes a single bit of it must not make
//! the node forget anything silently: it would help to elect a leader without what was acknowledged. RocksDB by itself takes
//! some of these bits for the end of the file, or reads on for ever.

use std::path::Path;

use ringfence_tests::damage::{copy, files_of, flip, last_records, manifest_of};
use ringfence_tests::{Cluster, Load};

/// A record in the middle of the last block.
fn middle(bytes: &[u8]) -> usize {
    let records = last_records(bytes);
    assert!(records.len() > 2, "there are records behind the damaged one");
    records[records.len() / 2]
}

/// What a bad disk does to a data directory.
type Damage = fn(&Path);

/// What is damaged, and a word of what the node must say.
const DAMAGES: [(&str, Damage, &str); 6] = [
    ("a byte of an entry", |dir| flip(&files_of(dir, "log", ".log")[0], 0x10, |wal| wal.len() / 2), "wrong checksum"),
    ("a record's length", |dir| flip(&files_of(dir, "log", ".log")[0], 0x40, |wal| middle(wal) + 5), "wrong"),
    ("a record's type", |dir| flip(&files_of(dir, "log", ".log")[0], 4, |wal| middle(wal) + 6), "recycled"),
    ("an entry in a table", |dir| flip(&files_of(dir, "log", ".sst")[0], 0x10, |table| table.len() / 4), "checksum"),
    ("a table's end", |dir| flip(&files_of(dir, "log", ".sst")[0], 0x10, |table| table.len() - 4), "magic"),
    ("the list of tables", |dir| flip(&manifest_of(dir, "log"), 0xff, |manifest| middle(manifest) + 4), "MANIFEST"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_of_the_log_is_noticed_and_the_node_takes_no_part() {
    let mut cluster = Cluster::start_with(3, &["--on-distrust=wait"]).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 4);
    for (n, (what, damage, says)) in DAMAGES.into_iter().enumerate() {
        let node = n as u64 % 3 + 1;
        load.goes_on(200).await;
        cluster.kill(node);
        // What is in the write-ahead log now is moved to a table by this start, and there is a new log behind it.
        cluster.start_node(node);
        cluster.level_within(64).await;
        load.goes_on(300).await;
        cluster.kill(node);
        let (data, kept) = (cluster.data_dir(node), cluster.path(&format!("kept-{n}")));
        copy(&data, &kept);
        println!("node {node}: {what}");
        damage(&data);

        cluster.start_node(node);
        let reason = cluster.distrusted(node).await;
        assert!(reason.contains(says), "{what}: {reason}");
        load.goes_on(100).await;
        if n % 3 == 1 {
            cluster.gives_no_votes(node).await;
            load.goes_on(100).await;
        }

        // The disk was not that bad: nothing was given up, so the old directory, whole, is as good as ever.
        cluster.kill(node);
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::rename(&kept, &data).unwrap();
        cluster.start_node(node);
        cluster.level_within(64).await;
    }
    load.stop_and_check().await;
    cluster.level().await;
}
