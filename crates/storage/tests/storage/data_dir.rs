//! A directory knows whose it is. Each refusal must name the trouble and leave everything as it was.

use std::fs;

use ringfence_storage::{DataDir, StorageError};
use ringfence_types::{ClusterId, NodeId, ReplicaId};
use tempfile::TempDir;

use crate::fixture::{all, done, records, seed_shard};

const CLUSTER: ClusterId = ClusterId(77);
const NODE: NodeId = NodeId(1);

#[test]
fn a_directory_opens_again_with_what_was_in_it() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("data/n1");
    assert_eq!(DataDir::peek(&path).unwrap(), None);
    let node = DataDir::open(&path, CLUSTER, NODE).unwrap();
    let storage = node.storage();
    let log = storage.log.group(ReplicaId(1)).unwrap();
    let (callback, answer) = done();
    log.append(records(1, 0..10), callback);
    answer.recv().unwrap().unwrap();
    seed_shard(&storage.state, 1, ringfence_shard_router::ShardRange::ALL);
    let identity = node.identity();
    drop((log, storage, node));

    assert_eq!(DataDir::peek(&path).unwrap(), Some(identity));
    let node = DataDir::open(&path, CLUSTER, NODE).unwrap();
    assert_eq!(all(&node.storage().log.group(ReplicaId(1)).unwrap()), records(1, 0..10));
    assert_eq!(node.storage().state.replicas().unwrap().len(), 1);
}

#[test]
fn a_second_server_is_refused_while_the_first_runs() {
    let dir = TempDir::new().unwrap();
    let first = DataDir::open(dir.path(), CLUSTER, NODE).unwrap();
    let second = DataDir::open(dir.path(), CLUSTER, NODE).err();
    assert_eq!(second, Some(StorageError::InUse { path: dir.path().to_owned() }));
    drop(first);
    DataDir::open(dir.path(), CLUSTER, NODE).unwrap();
}

/// Handles that outlive the directory's lock still hold the databases; whoever comes next is told, not let in.
#[test]
fn a_database_that_is_still_open_is_in_use() {
    let dir = TempDir::new().unwrap();
    let first = DataDir::open(dir.path(), CLUSTER, NODE).unwrap();
    let storage = first.storage();
    drop(first);
    let second = DataDir::open(dir.path(), CLUSTER, NODE).err();
    assert!(matches!(second, Some(StorageError::InUse { .. })), "{second:?}");
    drop(storage);
    DataDir::open(dir.path(), CLUSTER, NODE).unwrap();
}

#[test]
fn another_nodes_or_clusters_directory_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    drop(DataDir::open(dir.path(), CLUSTER, NODE).unwrap());
    let node = DataDir::open(dir.path(), CLUSTER, NodeId(2)).err().unwrap();
    assert!(matches!(node, StorageError::Foreign { .. }) && node.to_string().contains("node 1"), "{node}");
    let cluster = DataDir::open(dir.path(), ClusterId(78), NODE).err().unwrap();
    assert!(matches!(cluster, StorageError::Foreign { .. }) && cluster.to_string().contains("cluster 77"), "{cluster}");
    DataDir::open(dir.path(), CLUSTER, NODE).unwrap();
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("thesis.tex"), "do not touch").unwrap();
    let refused = DataDir::open(dir.path(), CLUSTER, NODE).err().unwrap();
    assert!(matches!(refused, StorageError::Foreign { .. }) && refused.to_string().contains("thesis.tex"), "{refused}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was put into it");
}

#[test]
fn a_directory_of_a_newer_release_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(DataDir::open(dir.path(), CLUSTER, NODE).unwrap());
    // A newer format may look different in everything after the version.
    fs::write(dir.path().join("identity"), "ringfence data directory\nformat 2\nshape unknown\n").unwrap();
    let refused = DataDir::open(dir.path(), CLUSTER, NODE).err().unwrap();
    assert!(matches!(refused, StorageError::UnknownVersion { found: 2, known: 1, .. }), "{refused}");
    assert!(DataDir::peek(dir.path()).is_err());
}

#[test]
fn an_unreadable_identity_is_corrupt_and_never_replaced() {
    let dir = TempDir::new().unwrap();
    drop(DataDir::open(dir.path(), CLUSTER, NODE).unwrap());
    let file = dir.path().join("identity");
    let good = fs::read_to_string(&file).unwrap();
    let bad = [
        "".into(),
        "hello".into(),
        good.replace("node 1", "node 2"),
        good.replace("node 1\n", ""),
        good[..60].to_owned(),
    ];
    for text in bad {
        fs::write(&file, &text).unwrap();
        let refused = DataDir::open(dir.path(), CLUSTER, NODE).err();
        assert!(matches!(refused, Some(StorageError::Corrupt { .. })), "{text:?}: {refused:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    fs::write(&file, [0xff, 0xfe]).unwrap();
    assert!(DataDir::open(dir.path(), CLUSTER, NODE).is_err());
    fs::write(&file, good).unwrap();
    DataDir::open(dir.path(), CLUSTER, NODE).unwrap();
}
