//! The state DB: state and position move together, and durability is asked for.

use std::sync::Arc;

use bytes::Bytes;
use ringfence_shard_router::ShardRange;
use ringfence_state_machine::{Command, Request, Space, View, Write, digest};
use ringfence_storage::engine::{FailingEngine, Fault, MemoryEngine, Operation};
use ringfence_storage::{ReplicaRecord, StateDb, StorageError};
use ringfence_types::{ReplicaId, Revision, ShardId};

use crate::fixture::{STATE_TABLES, at, commit, engines, put, seed_shard};

const S: ShardId = ShardId(1);

fn write(value: &str) -> Vec<Write> {
    vec![Write { space: Space::Current, key: "k".into(), value: Some(Bytes::copy_from_slice(value.as_bytes())) }]
}

#[test]
fn a_replica_is_born_once_and_remembered() {
    for (name, engine, _dir) in engines(StateDb::TABLES) {
        println!("on {name}");
        let db = StateDb::open(engine.clone()).unwrap();
        assert_eq!(db.replica(S).unwrap(), None);
        seed_shard(&db, 1, ShardRange::ALL);
        let record = db.replica(S).unwrap().unwrap();
        assert_eq!((record.replica, record.applied), (ReplicaId(10), Some(at(0, 5))));
        let again = db.seed(ReplicaRecord::empty(S, ReplicaId(11)), Vec::new());
        assert!(matches!(again, Err(StorageError::Misuse { .. })), "{again:?}");
        db.commit(S, write("v"), at(1, 6), Some("new members".into())).unwrap();

        let db = StateDb::open(engine).unwrap();
        let record = db.replica(S).unwrap().unwrap();
        assert_eq!((record.applied, &record.membership[..]), (Some(at(1, 6)), &b"new members"[..]));
        assert_eq!(db.replicas().unwrap(), [record]);
        assert_eq!(db.view().get(Space::Current, b"k").unwrap(), Some("v".into()));
    }
}

#[test]
fn an_entry_is_applied_once_and_only_to_a_replica_that_is_here() {
    let db = StateDb::open(Arc::new(MemoryEngine::new(STATE_TABLES))).unwrap();
    assert!(matches!(db.commit(S, write("v"), at(1, 1), None), Err(StorageError::Misuse { .. })));
    seed_shard(&db, 1, ShardRange::ALL);
    db.commit(S, write("v"), at(1, 6), None).unwrap();
    assert!(matches!(db.commit(S, write("w"), at(1, 6), None), Err(StorageError::Misuse { .. })));
    assert!(matches!(db.commit(S, write("w"), at(0, 7), None), Err(StorageError::Misuse { .. })));
    assert_eq!(db.view().get(Space::Current, b"k").unwrap(), Some("v".into()));
}

/// Whatever a crash leaves, the state must be the one that the stored position says: else an `Add` counts twice or never.
#[test]
fn state_and_position_never_part_whatever_survives() {
    for kept in 0..=6 {
        let engine = Arc::new(MemoryEngine::new(STATE_TABLES));
        let db = StateDb::open(engine.clone()).unwrap();
        seed_shard(&db, 1, ShardRange::ALL);
        db.commit(S, write("6"), at(1, 6), None).unwrap();
        db.make_durable().unwrap();
        for index in 7..=12 {
            db.commit(S, write(&index.to_string()), at(1, index), None).unwrap();
        }
        let db = StateDb::open(Arc::new(engine.power_loss(kept))).unwrap();
        let applied = db.replica(S).unwrap().unwrap().applied.unwrap();
        assert_eq!(applied, at(1, 6 + kept as u64), "what was made durable is there, and so much of the rest");
        assert_eq!(db.view().get(Space::Current, b"k").unwrap(), Some(applied.index.to_string().into()));
    }
}

#[test]
fn a_failed_commit_is_final() {
    let engine = Arc::new(FailingEngine::new(Arc::new(MemoryEngine::new(STATE_TABLES))));
    let db = StateDb::open(engine.clone()).unwrap();
    seed_shard(&db, 1, ShardRange::ALL);
    let (told, failure) = std::sync::mpsc::channel();
    db.on_failure(move |error| told.send(error).unwrap());
    engine.inject(Fault::Error(Operation::Write, 0));
    let error = db.commit(S, write("v"), at(1, 6), None).unwrap_err();
    assert_eq!(failure.try_recv().unwrap(), error);
    assert_eq!(db.commit(S, write("v"), at(1, 6), None), Err(error.clone()), "not retried");
    assert_eq!(db.make_durable(), Err(error.clone()));
    assert_eq!(db.replica(S), Err(error));
}

#[test]
fn a_snapshot_view_stays_at_its_moment() {
    for (name, engine, _dir) in engines(StateDb::TABLES) {
        println!("on {name}");
        let db = StateDb::open(engine).unwrap();
        seed_shard(&db, 1, ShardRange::ALL);
        put(&db, 1, 6, (0..50).map(|i| format!("key {i}")));
        let (view, before) = (db.snapshot_view().unwrap(), digest(&db.view(), S).unwrap());
        put(&db, 1, 7, (25..75).map(|i| format!("key {i}")));
        assert_eq!(digest(&view, S).unwrap(), before);
        assert_ne!(digest(&db.view(), S).unwrap(), before);
    }
}

/// Collecting must take what lies below the floors, and nothing that any replica could still tell apart.
#[test]
fn collecting_removes_history_and_changes_nothing_readable() {
    for (name, engine, _dir) in engines(StateDb::TABLES) {
        println!("on {name}");
        let db = StateDb::open(engine).unwrap();
        seed_shard(&db, 1, ShardRange::ALL);
        for index in 6..16 {
            put(&db, 1, index, (0..1000).map(|i| format!("key {i}")));
        }
        assert_eq!(db.collect(S).unwrap(), 0, "no floor, nothing to collect");
        // Everything that ended before the entry of index 14, whose first revision is this.
        let history = Revision((1014 << 18) - 1);
        let command = Command::Collect { history, dedup: Revision::ZERO };
        commit(&db, 1, 16, vec![Request { id: None, seen: Revision::ZERO, command }]);
        let before = digest(&db.view(), S).unwrap();
        let removed = db.collect(S).unwrap();
        assert_eq!(removed, 7000, "of nine replaced versions of each key, those replaced by entries 7 to 13");
        assert_eq!(digest(&db.view(), S).unwrap(), before);
        assert_eq!(db.collect(S).unwrap(), 0, "once is enough");
    }
}
