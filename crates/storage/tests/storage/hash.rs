//! The hash of a replica takes in all that is replicated, and nothing else.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use ringfence_shard_router::ShardRange;
use ringfence_state_machine::Limits;
use ringfence_state_machine::{Acquire, Action, Command, Condition, LockCommand, Mutation, Request, Space, seed};
use ringfence_storage::engine::{Batch, Durability, Engine, MemoryEngine, Table};
use ringfence_storage::{ReplicaHash, ReplicaRecord, StateDb};
use ringfence_types::{
    ClientId, Holder, Key, LeaseTtl, LockMode, LockName, Metadata, ReplicaId, RequestId, Revision, ShardId, Value,
};

use crate::fixture::{STATE_TABLES, at, commit, descriptor, engines, halves, put, seed_shard};

const S: ShardId = ShardId(1);

fn hash(db: &StateDb) -> ReplicaHash {
    db.snapshot_view().unwrap().replica_hash(S, &mut || true).unwrap().expect("it has a state")
}

/// Applies something of everything: versions, ttls, outcomes, leases, a queue.
fn fill(db: &StateDb) {
    put(db, 1, 6, (0..20).map(|i| format!("key {i}")));
    put(db, 1, 7, (10..15).map(|i| format!("key {i}")));
    let id = |sequence| Some(RequestId { client: ClientId(5), sequence, birth: Revision(1 << 18) });
    let request = |id, command| Request { id, seen: Revision::ZERO, command };
    let key = |key: &str| Key::new(key.to_owned()).unwrap();
    let mutate = |key, action| Command::Mutate(Mutation { key, condition: Condition::None, action });
    let acquire = |holder: &str| {
        Command::Lock(LockCommand::Acquire(Acquire {
            name: LockName::new("lock").unwrap(),
            holder: Holder::new(holder.to_owned()).unwrap(),
            mode: LockMode::Exclusive,
            ttl: LeaseTtl::from_ms(60_000).unwrap(),
            metadata: Metadata::default(),
            waits: true,
        }))
    };
    let ttl = Action::Put { value: Value::new("short").unwrap(), ttl_ms: Some(9_000) };
    let requests = vec![
        request(id(1), mutate(key("t"), ttl)),
        request(id(2), mutate(key("key 3"), Action::Delete)),
        request(id(3), acquire("a")),
        request(id(4), acquire("b")),
    ];
    commit(db, 1, 8, requests);
}

fn spaces() -> impl Iterator<Item = Table> {
    Space::ALL.into_iter().map(|space| Table(space as u8))
}

fn records(engine: &dyn Engine, table: Table) -> Vec<(Bytes, Bytes)> {
    let mut records = Vec::new();
    let end = [0xff; 40];
    engine
        .scan(table, &[], &end, &mut |key, value| {
            records.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        })
        .unwrap();
    records
}

/// Each byte of each key and value, one after the other. What cannot be read any more is told in another way; it must only not
/// have the hash that it had.
#[test]
fn no_changed_byte_keeps_its_hash_and_no_record_goes_or_comes_unnoticed() {
    let engine = Arc::new(MemoryEngine::new(STATE_TABLES));
    let db = StateDb::open(engine.clone()).unwrap();
    seed_shard(&db, 1, ShardRange::ALL);
    fill(&db);
    let before = hash(&db);
    let put = |table, key: &Bytes, value: Vec<u8>| {
        let mut batch = Batch::new();
        batch.put(table, key.clone(), value);
        engine.write(batch, Durability::Buffered).unwrap();
    };
    let delete = |table, key: Bytes| {
        let mut batch = Batch::new();
        batch.delete(table, key);
        engine.write(batch, Durability::Buffered).unwrap();
    };
    // What is unreadable poisons the database that reads it, so each look is at another one.
    let look = || {
        let db = StateDb::open(engine.clone()).ok()?;
        db.snapshot_view().unwrap().replica_hash(S, &mut || true).ok().flatten()
    };
    let mut looked = 0;
    for table in spaces() {
        let kept = records(&*engine, table);
        assert!(!kept.is_empty(), "nothing of space {}", table.0);
        for (key, value) in kept {
            for place in 0..value.len() {
                let mut changed = value.to_vec();
                changed[place] ^= 1;
                put(table, &key, changed);
                assert_ne!(
                    look().map(|hash| hash.digest),
                    Some(before.digest),
                    "byte {place} of {}",
                    key.escape_ascii()
                );
                looked += 1;
            }
            delete(table, key.clone());
            assert_ne!(look().map(|hash| hash.digest), Some(before.digest), "without {}", key.escape_ascii());
            let mut other = key.to_vec();
            *other.last_mut().unwrap() ^= 1;
            if table != Table(Space::Shard as u8) {
                put(table, &other.clone().into(), value.to_vec());
                assert_ne!(look().map(|hash| hash.digest), Some(before.digest), "{} moved", key.escape_ascii());
                delete(table, other.into());
            }
            put(table, &key, value.to_vec());
            assert_eq!(look(), Some(before), "as it was");
        }
    }
    assert!(looked > 2_000, "{looked}");
}

#[test]
fn the_membership_is_replicated_and_the_neighbours_the_log_and_the_replicas_own_are_not() {
    let (low, high) = halves();
    let new = |replica: u64, neighbour: bool| {
        let db = StateDb::open(Arc::new(MemoryEngine::new(STATE_TABLES))).unwrap();
        let record = ReplicaRecord {
            applied: Some(at(0, 5)),
            membership: Bytes::from_static(b"members"),
            ..ReplicaRecord::empty(S, ReplicaId(replica))
        };
        db.seed(record, seed(&descriptor(1, low), Limits::default())).unwrap();
        if neighbour {
            seed_shard(&db, 2, high);
            put(&db, 2, 6, (0..50).map(|i| format!("key {i}")));
        }
        put(&db, 1, 6, (0..50).map(|i| format!("key {i}")));
        db
    };
    let (one, other) = (new(7, true), new(8, false));
    assert_eq!(hash(&one).digest, hash(&other).digest);
    assert_eq!((hash(&one).replica, hash(&other).replica), (ReplicaId(7), ReplicaId(8)));
    one.commit(S, Vec::new(), at(1, 7), None).unwrap();
    assert_eq!(hash(&one).digest, hash(&other).digest, "where it stands is told beside the hash");
    assert_eq!((hash(&one).applied, hash(&other).applied), (at(1, 7), at(1, 6)));
    one.commit(S, Vec::new(), at(1, 8), Some("other members".into())).unwrap();
    assert_ne!(hash(&one).digest, hash(&other).digest);
}

#[test]
fn every_engine_a_snapshot_and_collecting_give_the_same() {
    let mut seen = Vec::new();
    for (name, engine, _dir) in engines(StateDb::TABLES) {
        println!("on {name}");
        let db = StateDb::open(engine).unwrap();
        seed_shard(&db, 1, ShardRange::ALL);
        fill(&db);
        let history = Revision((1_007 << 18) + 1_000);
        commit(
            &db,
            1,
            9,
            vec![Request {
                id: None,
                seen: Revision::ZERO,
                command: Command::Collect { history, dedup: Revision::ZERO },
            }],
        );
        let before = hash(&db);
        assert_eq!((before.applied, before.replica), (at(1, 9), ReplicaId(10)));
        assert_eq!(before.digest.keys, 20, "20 were put, one was deleted, one has a ttl");

        let installed = StateDb::open(Arc::new(MemoryEngine::new(STATE_TABLES))).unwrap();
        let mut export = db.export(S).unwrap();
        let record = ReplicaRecord { replica: ReplicaId(77), ..export.record().clone() };
        let mut install = installed.begin_install(S, record, export.range()).unwrap();
        while let Some(chunk) = export.next_chunk(500).unwrap() {
            install.chunk(chunk).unwrap();
        }
        install.finish().unwrap();
        assert_eq!(hash(&installed), ReplicaHash { replica: ReplicaId(77), ..before });

        assert!(db.collect(S).unwrap() > 0, "there was something to collect");
        assert_eq!(hash(&db), before);
        seen.push(before);
    }
    assert!(seen.iter().all(|hash| *hash == seen[0]), "{seen:?}");
}

#[test]
fn whoever_has_gone_is_not_read_for() {
    let db = StateDb::open(Arc::new(MemoryEngine::new(STATE_TABLES))).unwrap();
    seed_shard(&db, 1, ShardRange::ALL);
    put(&db, 1, 6, (0..5_000).map(|i| format!("key {i}")));
    let mut asked = 0;
    let stopped = db.snapshot_view().unwrap().replica_hash(S, &mut || {
        asked += 1;
        asked < 3
    });
    assert_eq!(stopped, Ok(None));
    assert_eq!(asked, 3);
    let unknown = db.snapshot_view().unwrap().replica_hash(ShardId(9), &mut || true);
    assert_eq!(unknown, Ok(None), "nothing is here of it");
}
