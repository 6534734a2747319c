//! A shard moves from one state DB to another, and a crash at any step leaves the old state or the new one.

use std::sync::Arc;

use bytes::Bytes;
use ringfence_shard_router::ShardRange;
use ringfence_state_machine::{Space, View, digest, space_range};
use ringfence_storage::engine::{FailingEngine, Fault, MemoryEngine, Operation};
use ringfence_storage::{ReplicaRecord, StateDb, StorageError};
use ringfence_types::{ReplicaId, ShardId};

use crate::fixture::{STATE_TABLES, at, engines, halves, put, seed_shard};

const S: ShardId = ShardId(1);

fn keys(from: u64, to: u64) -> impl Iterator<Item = String> {
    (from..to).map(|i| format!("key {i}"))
}

/// A shard with 300 keys and a neighbour, at entry 8.
fn source() -> StateDb {
    let db = StateDb::open(Arc::new(MemoryEngine::new(STATE_TABLES))).unwrap();
    let (low, high) = halves();
    seed_shard(&db, 1, low);
    seed_shard(&db, 2, high);
    put(&db, 1, 6, keys(0, 400));
    put(&db, 1, 8, keys(200, 600));
    put(&db, 2, 6, keys(0, 100));
    db
}

fn chunks(db: &StateDb, bytes_max: usize) -> (ReplicaRecord, ShardRange, Vec<Bytes>) {
    let mut export = db.export(S).unwrap();
    let record = ReplicaRecord { replica: ReplicaId(99), ..export.record().clone() };
    let mut chunks = Vec::new();
    while let Some(chunk) = export.next_chunk(bytes_max).unwrap() {
        chunks.push(chunk);
    }
    (record, export.range(), chunks)
}

#[test]
fn what_is_installed_is_what_was_exported() {
    let source = source();
    let (record, range, chunks) = chunks(&source, 4096);
    assert!(chunks.len() > 10 && chunks.iter().all(|chunk| chunk.len() < 5000), "{} chunks", chunks.len());
    for (name, engine, _dir) in engines(StateDb::TABLES) {
        println!("on {name}");
        let db = StateDb::open(engine.clone()).unwrap();
        let (low, high) = halves();
        seed_shard(&db, 1, low);
        seed_shard(&db, 2, high);
        put(&db, 1, 6, keys(5000, 5500));
        put(&db, 2, 6, keys(0, 100));
        let neighbour = digest(&db.view(), ShardId(2)).unwrap();
        let mut install = db.begin_install(S, record.clone(), range).unwrap();
        for chunk in &chunks {
            install.chunk(chunk.clone()).unwrap();
        }
        install.finish().unwrap();
        let db = StateDb::open(engine).unwrap();
        assert_eq!(db.replica(S).unwrap().unwrap(), record);
        assert_eq!(
            digest(&db.view(), S).unwrap(),
            digest(&source.view(), S).unwrap(),
            "nothing of the old state is left"
        );
        assert_eq!(digest(&db.view(), ShardId(2)).unwrap(), neighbour, "the neighbour was not touched");
        put(&db, 1, 9, keys(0, 10));
    }
}

/// A receiver that has not applied a split yet owns more than the snapshot. What it gives up must not come back to life
/// when the other half is installed here.
#[test]
fn what_the_old_state_owned_beyond_the_new_is_removed() {
    let (record, range, chunks) = chunks(&source(), 8192);
    let db = StateDb::open(Arc::new(MemoryEngine::new(STATE_TABLES))).unwrap();
    seed_shard(&db, 1, ShardRange::ALL);
    put(&db, 1, 6, keys(0, 100));
    let mut install = db.begin_install(S, record, range).unwrap();
    chunks.iter().try_for_each(|chunk| install.chunk(chunk.clone())).unwrap();
    install.finish().unwrap();
    let (from, to) = space_range(Space::Current, &halves().1);
    let visit = &mut |key: &[u8], _: &[u8]| panic!("{} is left of the old state", key.escape_ascii());
    db.view().scan(Space::Current, &from, &to, visit).unwrap();
}

#[test]
fn an_export_shows_the_moment_it_was_begun() {
    let db = source();
    let before = digest(&db.view(), S).unwrap();
    let mut export = db.export(S).unwrap();
    put(&db, 1, 9, keys(0, 600));
    assert_eq!(export.record().applied, Some(at(1, 8)));
    let target = StateDb::open(Arc::new(MemoryEngine::new(STATE_TABLES))).unwrap();
    let mut install = target.begin_install(S, export.record().clone(), export.range()).unwrap();
    while let Some(chunk) = export.next_chunk(10_000).unwrap() {
        install.chunk(chunk).unwrap();
    }
    install.finish().unwrap();
    assert_eq!(digest(&target.view(), S).unwrap(), before);
}

/// Every write and every sync of an installation fails once, before or after it took effect, with more or less of the
/// unsynced tail surviving. What is there afterwards is one of two states, never a third.
#[test]
fn a_crash_at_any_step_leaves_the_old_state_or_the_new_one() {
    let source = source();
    let (record, range, chunks) = chunks(&source, 8192);
    let new = digest(&source.view(), S).unwrap();
    let (mut old_seen, mut new_seen) = (0, 0);
    let kinds: [fn(u64) -> Fault; 3] =
        [|n| Fault::Error(Operation::Write, n), |n| Fault::Error(Operation::Sync, n), Fault::ErrorAfterWrite];
    for kind in kinds {
        for n in 0.. {
            let mut failed = false;
            for kept in [0, 1, 7, 1000] {
                let memory = Arc::new(MemoryEngine::new(STATE_TABLES));
                let failing = Arc::new(FailingEngine::new(memory.clone()));
                let db = StateDb::open(failing.clone()).unwrap();
                seed_shard(&db, 1, halves().0);
                put(&db, 1, 6, keys(5000, 5500));
                db.make_durable().unwrap();
                let old = digest(&db.view(), S).unwrap();
                failing.inject(kind(n));
                let installed = db.begin_install(S, record.clone(), range).and_then(|mut install| {
                    chunks.iter().try_for_each(|chunk| install.chunk(chunk.clone()))?;
                    install.finish()
                });
                failed |= installed.is_err();
                let db = StateDb::open(Arc::new(memory.power_loss(kept))).unwrap();
                let there = db.replica(S).unwrap().unwrap();
                let found = digest(&db.view(), S).unwrap();
                assert!(!there.installing);
                if found == new {
                    assert_eq!(there, record);
                    new_seen += 1;
                } else {
                    assert!(found == old && there.applied == Some(at(1, 6)), "{:?} {n} {kept}: a third state", kind(n));
                    assert!(installed.is_err(), "an installation that succeeded was lost");
                    old_seen += 1;
                }
            }
            if !failed {
                break;
            }
        }
    }
    assert!(old_seen > 10 && new_seen > 10, "the faults must hit before and after the point of no return");
}

#[test]
fn a_snapshot_that_is_not_whole_changes_nothing() {
    let source = source();
    let (record, range, chunks) = chunks(&source, 8192);
    let db = StateDb::open(Arc::new(MemoryEngine::new(STATE_TABLES))).unwrap();
    seed_shard(&db, 1, halves().0);
    put(&db, 1, 6, keys(5000, 5500));
    let old = digest(&db.view(), S).unwrap();
    let begin = || db.begin_install(S, record.clone(), range).unwrap();

    let mut install = begin();
    install.chunk(chunks[0].clone()).unwrap();
    let twice = install.chunk(chunks[0].clone());
    assert!(matches!(twice, Err(StorageError::Misuse { .. })), "{twice:?}");
    let skipped = install.chunk(chunks[2].clone());
    assert!(matches!(skipped, Err(StorageError::Misuse { .. })), "{skipped:?}");
    let mut flipped = chunks[1].to_vec();
    flipped[500] ^= 1;
    let flipped = install.chunk(flipped.into());
    assert!(matches!(flipped, Err(StorageError::Corrupt { .. })), "{flipped:?}");
    let another = db.begin_install(S, record.clone(), range);
    assert!(matches!(another, Err(StorageError::Misuse { .. })), "two at once");
    let early = install.finish();
    assert!(matches!(early, Err(StorageError::Misuse { .. })), "{early:?}");

    let (_, high) = halves();
    let mut install = db.begin_install(S, record.clone(), high).unwrap();
    let foreign = chunks.iter().try_for_each(|chunk| install.chunk(chunk.clone()));
    assert!(matches!(foreign, Err(StorageError::Corrupt { .. })), "keys outside of what was announced: {foreign:?}");
    drop(install);
    assert_eq!(digest(&db.view(), S).unwrap(), old);

    let mut install = begin();
    chunks.iter().try_for_each(|chunk| install.chunk(chunk.clone())).unwrap();
    install.finish().unwrap();
    assert_eq!(digest(&db.view(), S).unwrap(), digest(&source.view(), S).unwrap());
}

#[test]
fn a_snapshot_over_anothers_range_is_refused() {
    let db = StateDb::open(Arc::new(MemoryEngine::new(STATE_TABLES))).unwrap();
    let (low, high) = halves();
    seed_shard(&db, 2, high);
    let record = ReplicaRecord::empty(S, ReplicaId(10));
    let refused = db.begin_install(S, record.clone(), ShardRange::ALL).err().unwrap();
    assert!(matches!(refused, StorageError::Misuse { .. }), "{refused:?}");
    assert!(db.begin_install(S, record, low).is_ok());
}

#[test]
fn a_destroyed_replica_leaves_nothing_and_takes_nothing_along() {
    for (name, engine, _dir) in engines(StateDb::TABLES) {
        println!("on {name}");
        let db = StateDb::open(engine.clone()).unwrap();
        let (low, high) = halves();
        seed_shard(&db, 1, low);
        seed_shard(&db, 2, high);
        put(&db, 1, 6, keys(0, 300));
        put(&db, 2, 6, keys(0, 300));
        let neighbour = digest(&db.view(), ShardId(2)).unwrap();
        db.destroy(S).unwrap();
        let db = StateDb::open(engine).unwrap();
        assert_eq!(db.replica(S).unwrap(), None);
        assert!(digest(&db.view(), S).is_err(), "there is no state of it");
        assert_eq!(digest(&db.view(), ShardId(2)).unwrap(), neighbour);
        assert!(matches!(db.export(S).err(), Some(StorageError::Misuse { .. })));
        seed_shard(&db, 1, low);
        let empty = db.export(S).unwrap().next_chunk(1 << 20).unwrap().unwrap();
        assert!(empty.len() < 300, "a newborn shard holds only its own record, not the old data: {}", empty.len());
    }
}
