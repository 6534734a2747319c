//! A node that finds what a newer release has written must not guess, and must not touch it: it says which version it found,
//! which it knows, and what to do, and the newer release finds everything as it was.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ringfence_storage::engine::{Batch, Durability, Engine, RocksEngine, RocksProfile, Table};
use ringfence_storage::{LogDb, StateDb};
use ringfence_tests::{Cluster, Ended};

/// Every file of a directory, but for the log messages of RocksDB.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.file_name().unwrap().to_string_lossy().starts_with("LOG") {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// One of the two databases of a stopped node, with nothing of the server.
fn open(dir: &Path, database: &str) -> RocksEngine {
    let (tables, profile) = match database {
        "log" => (LogDb::TABLES, RocksProfile::Log),
        _ => (StateDb::TABLES, RocksProfile::State),
    };
    RocksEngine::open(&dir.join(database), tables, profile).unwrap()
}

/// All records of a table.
fn records(engine: &RocksEngine, table: Table) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    engine
        .scan(table, &[], &[0xff; 64], &mut |key, value| {
            found.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

fn put(engine: &RocksEngine, table: Table, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(table, key.to_vec(), value.to_vec());
    engine.write(batch, Durability::Synced).unwrap();
}

async fn refused(cluster: &mut Cluster, what: &str, version: u32, known: u32) {
    cluster.start_node(1);
    let Ended { success, log } = cluster.ended(1).await;
    let last = log.lines().last().unwrap_or_default();
    assert!(!success && last.starts_with("ringfence: "), "{last}");
    for word in [what, &format!("version {version}"), &format!("knows {known}"), "Start the release that wrote it"] {
        assert!(last.contains(word), "{word:?} is not in {last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_newer_release_are_refused_and_left_as_they_are() {
    let mut cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    client.put("k", "v").await.unwrap();
    cluster.take(1).stop();
    let dir = cluster.data_dir(1);
    for (file, begin, end, known) in
        [("identity", "format ", "\n", 1), ("founding.json", "\"format\": ", ",", founding_format(&dir))]
    {
        let path = dir.join(file);
        let whole = std::fs::read_to_string(&path).unwrap();
        let newer = whole.replacen(&format!("{begin}{known}{end}"), &format!("{begin}99{end}"), 1);
        assert_ne!(whole, newer, "{file} has a format");
        std::fs::write(&path, newer).unwrap();
        let before = files(&dir);
        refused(&mut cluster, file, 99, known).await;
        assert!(files(&dir) == before, "something was changed");
        std::fs::write(&path, whole).unwrap();
    }
    cluster.start_node(1);
    cluster.led().await;
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
}

fn founding_format(dir: &Path) -> u32 {
    let text = std::fs::read_to_string(dir.join("founding.json")).unwrap();
    let number = text.split_once("\"format\": ").unwrap().1.split_once(',').unwrap().0;
    number.parse().unwrap()
}

/// The databases have their version in every record: `version(1) | crc32c(4) over version, key and body | body`.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_newer_release_are_refused_and_left_as_they_are() {
    let mut cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    client.put("k", "v").await.unwrap();
    cluster.take(1).stop();
    let dir = cluster.data_dir(1);
    let replicas = Table(StateDb::TABLES.iter().position(|name| *name == "replicas").unwrap() as u8);
    for (database, table, what) in
        [("log", Table(0), "log DB, record"), ("state", replicas, "state DB, replica record")]
    {
        let engine = open(&dir, database);
        let before = records(&engine, table);
        let (key, whole) = before.iter().next().unwrap();
        let mut newer = whole.clone();
        newer[0] = 2;
        let checksum = [&[2][..], key, &newer[5..]].iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        newer[1..5].copy_from_slice(&checksum.to_be_bytes());
        put(&engine, table, key, &newer);
        drop(engine);

        refused(&mut cluster, what, 2, 1).await;
        let engine = open(&dir, database);
        let mut expected = before.clone();
        expected.insert(key.clone(), newer);
        assert!(records(&engine, table) == expected, "something was changed in the {database} DB");
        put(&engine, table, key, whole);
    }
    cluster.start_node(1);
    cluster.led().await;
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
}

/// What a shard itself has written is read by its replica alone: that one does not start, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_of_a_newer_release_does_not_start_and_says_why() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    client.put("k", "v").await.unwrap();
    cluster.kill(1);
    let dir = cluster.data_dir(1);
    let shards = Table(StateDb::TABLES.iter().position(|name| *name == "shard").unwrap() as u8);
    let engine = open(&dir, "state");
    let before = records(&engine, shards);
    for (key, whole) in &before {
        let mut newer = whole.clone();
        newer[0] = 9;
        put(&engine, shards, key, &newer);
    }
    drop(engine);
    cluster.start_node(1);
    let status =
        ringfence_tests::eventually("the node says how its replicas are", async || cluster.status(1).await).await;
    assert_eq!(status.replicas.len(), 4);
    for replica in status.replicas {
        assert_eq!(replica.role, "stopped");
        assert!(replica.problem.contains("format 9") && replica.problem.contains("newer build"), "{}", replica.problem);
    }
    client.put("k2", "v2").await.unwrap();

    cluster.kill(1);
    let engine = open(&dir, "state");
    before.iter().for_each(|(key, whole)| put(&engine, shards, key, whole));
    drop(engine);
    cluster.start_node(1);
    cluster.level().await;
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
}
