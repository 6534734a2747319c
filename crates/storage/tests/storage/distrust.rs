//! A disk that returns something else than what was written is found out, never guessed around.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ringfence_shard_router::ShardRange;
use ringfence_state_machine::ShardState;
use ringfence_storage::engine::{
    Batch, Durability, Engine, FailingEngine, Fault, MemoryEngine, Operation, RocksEngine, RocksProfile, Table,
};
use ringfence_storage::{ClaimedDir, GroupLog, LogDb, StateDb, StorageError};
use ringfence_types::{ClusterId, NodeId, ReplicaId, ShardId};
use tempfile::TempDir;

use crate::fixture::{LOG_TABLES, STATE_TABLES, done, ignore, records, seed_shard};

const R: ReplicaId = ReplicaId(7);

fn filled(engine: Arc<dyn Engine>) -> GroupLog {
    let db = LogDb::open_inline(engine);
    let log = db.group(R).unwrap();
    log.append(records(1, 0..20), ignore());
    log.save_vote("vote".into(), ignore());
    log.purge(at_4(), ignore());
    while db.step() {}
    log
}

fn at_4() -> ringfence_storage::LogPosition {
    crate::fixture::at(1, 4)
}

fn entry_key(index: u64) -> Vec<u8> {
    [&R.0.to_be_bytes()[..], &[4], &index.to_be_bytes()[..]].concat()
}

/// One flipped bit in any record, the vote included, must keep the group from opening.
#[test]
fn a_flipped_bit_in_any_stored_record_is_corrupt() {
    let memory = Arc::new(MemoryEngine::new(LOG_TABLES));
    filled(memory.clone());
    let mut stored = Vec::new();
    memory
        .scan(Table(0), &[0; 8], &[0xff; 9], &mut |key, value| {
            stored.push((key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(stored.len(), 18, "vote, purged, start and 15 entries");
    for (key, value) in &stored {
        for at in [0, 1, value.len() / 2, value.len() - 1] {
            let mut flipped = value.clone();
            flipped[at] ^= 0x04;
            put(&*memory, key, &flipped);
            let error = LogDb::open_inline(memory.clone()).group(R).err();
            let told = matches!(error, Some(StorageError::Corrupt { .. }));
            assert!(told, "byte {at} of {}: {error:?}", key.escape_ascii());
        }
        put(&*memory, key, value);
    }
    assert!(LogDb::open_inline(memory).group(R).is_ok());
}

fn put(engine: &dyn Engine, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(Table(0), key.to_vec(), value.to_vec());
    engine.write(batch, Durability::Synced).unwrap();
}

#[test]
fn a_missing_or_misplaced_entry_is_corrupt() {
    for missing in [5, 6, 12] {
        let memory = Arc::new(MemoryEngine::new(LOG_TABLES));
        filled(memory.clone());
        let mut batch = Batch::new();
        batch.delete(Table(0), entry_key(missing));
        memory.write(batch, Durability::Synced).unwrap();
        let error = LogDb::open_inline(memory).group(R).err();
        assert!(matches!(error, Some(StorageError::Corrupt { .. })), "{missing}: {error:?}");
    }
    let memory = Arc::new(MemoryEngine::new(LOG_TABLES));
    filled(memory.clone());
    let other = memory.get(Table(0), &entry_key(7)).unwrap().unwrap();
    put(&*memory, &entry_key(8), &other);
    let error = LogDb::open_inline(memory).group(R).err();
    assert!(matches!(error, Some(StorageError::Corrupt { .. })), "{error:?}");
}

/// The disk may also go bad while the node runs.
#[test]
fn a_bit_flipped_under_a_running_group_is_told_by_the_read() {
    let failing = Arc::new(FailingEngine::new(Arc::new(MemoryEngine::new(LOG_TABLES))));
    filled(failing.clone());
    let log = LogDb::open_inline(failing.clone()).group(R).unwrap();
    failing.inject(Fault::FlipBit(0));
    let error = log.read(5, 20, usize::MAX).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    assert_eq!(log.read(5, 20, usize::MAX).unwrap(), records(1, 5..20), "the disk itself was well");
}

#[test]
fn a_flipped_bit_in_a_replica_record_is_corrupt() {
    let failing = Arc::new(FailingEngine::new(Arc::new(MemoryEngine::new(STATE_TABLES))));
    seed_shard(&StateDb::open(failing.clone()).unwrap(), 1, ringfence_shard_router::ShardRange::ALL);
    failing.inject(Fault::FlipBit(0));
    let error = StateDb::open(failing.clone()).err();
    assert!(matches!(error, Some(StorageError::Corrupt { .. })), "{error:?}");
    assert!(StateDb::open(failing).unwrap().replica(ShardId(1)).unwrap().is_some());
}

/// The write-ahead log of a log DB that was killed with everything still in it.
fn killed_log_db() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let live = dir.path().join("live");
    let engine = Arc::new(RocksEngine::open(&live, LogDb::TABLES, RocksProfile::Log).unwrap());
    let db = LogDb::open(engine).unwrap();
    let log = db.group(R).unwrap();
    for index in 0..200 {
        let (callback, answer) = done();
        log.append(records(1, index..index + 1), callback);
        answer.recv().unwrap().unwrap();
    }
    // What a killed process leaves: the files as they are, without a clean close.
    let copy = dir.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(&live).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
    }
    drop((log, db));
    (dir, copy)
}

fn wal(path: &Path) -> PathBuf {
    let logs = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    logs.filter(|file| file.extension().is_some_and(|e| e == "log"))
        .max_by_key(|f| fs::metadata(f).unwrap().len())
        .unwrap()
}

fn reopen(path: &Path) -> Result<u64, StorageError> {
    let engine = Arc::new(RocksEngine::open(path, LogDb::TABLES, RocksProfile::Log)?);
    let log = LogDb::open_inline(engine).group(R)?;
    Ok(log.read(0, u64::MAX, usize::MAX)?.len() as u64)
}

#[test]
fn a_killed_log_db_has_every_acknowledged_entry() {
    let (_dir, path) = killed_log_db();
    assert_eq!(reopen(&path), Ok(200));
}

/// RocksDB's default would drop everything after the bad record and say nothing: acknowledged entries would be gone.
#[test]
fn a_flipped_byte_in_the_middle_of_the_write_ahead_log_refuses_to_open() {
    let (_dir, path) = killed_log_db();
    let wal = wal(&path);
    let mut bytes = fs::read(&wal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&wal, bytes).unwrap();
    let error = reopen(&path).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error:?}");
}

/// Where the records of a small write-ahead log begin.
fn records_of(wal: &[u8]) -> Vec<usize> {
    let mut begins = vec![0];
    while let Some(head) = wal.get(begins[begins.len() - 1]..).filter(|rest| rest.len() > 7) {
        begins.push(begins[begins.len() - 1] + 7 + usize::from(u16::from_le_bytes([head[4], head[5]])));
    }
    begins.pop();
    begins
}

/// RocksDB believes a record's head before it has checked it: left alone with these files it drops what is behind and says
/// nothing, or reads the same record for ever.
#[test]
fn a_flipped_bit_in_the_head_of_a_record_refuses_to_open() {
    let (_dir, path) = killed_log_db();
    let wal = wal(&path);
    let bytes = fs::read(&wal).unwrap();
    let begins = records_of(&bytes);
    assert!(begins.len() > 150 && bytes.len() < 32 << 10, "{} records in {} bytes", begins.len(), bytes.len());
    for record in [0, 1, begins.len() / 2, begins.len() - 2] {
        for (at, mask) in [(0, 1), (4, 0x20), (5, 0x40), (6, 4)] {
            let mut flipped = bytes.clone();
            flipped[begins[record] + at] ^= mask;
            fs::write(&wal, flipped).unwrap();
            let error = reopen(&path);
            assert!(matches!(error, Err(StorageError::Corrupt { .. })), "record {record}, byte {at}: {error:?}");
        }
    }
    fs::write(&wal, bytes).unwrap();
    assert_eq!(reopen(&path), Ok(200));
}

/// The MANIFEST says which tables there are. Without the end of it RocksDB would go back to older ones, and delete the rest.
#[test]
fn a_flipped_bit_in_the_manifest_refuses_to_open() {
    let (_dir, path) = killed_log_db();
    assert_eq!(reopen(&path), Ok(200)); // with a table
    let files = fs::read_dir(&path).unwrap().map(|file| file.unwrap().path());
    let is_manifest = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().starts_with("MANIFEST");
    let manifest = files.filter(is_manifest).max().unwrap();
    let bytes = fs::read(&manifest).unwrap();
    for begin in records_of(&bytes).into_iter().rev().skip(1) {
        for (at, mask) in [(0, 1), (4, 0xff), (6, 4)] {
            let mut flipped = bytes.clone();
            flipped[begin + at] ^= mask;
            fs::write(&manifest, flipped).unwrap();
            let error = reopen(&path);
            assert!(matches!(error, Err(StorageError::Corrupt { .. })), "byte {begin} + {at}: {error:?}");
        }
    }
    fs::write(&manifest, bytes).unwrap();
    assert_eq!(reopen(&path), Ok(200));
}

/// A short final write was never acknowledged in a real crash, so it may go; what is before it may not.
#[test]
fn a_torn_final_write_takes_only_itself() {
    let (_dir, path) = killed_log_db();
    let wal = wal(&path);
    let bytes = fs::read(&wal).unwrap();
    fs::write(&wal, &bytes[..bytes.len() - 3]).unwrap();
    assert_eq!(reopen(&path), Ok(199));
}

/// Damage that a read comes upon is as final as a failed write: the files hold every shard's state.
#[test]
fn a_state_db_that_meets_damage_takes_nothing_more() {
    let failing = Arc::new(FailingEngine::new(Arc::new(MemoryEngine::new(STATE_TABLES))));
    let db = StateDb::open(failing.clone()).unwrap();
    seed_shard(&db, 1, ShardRange::ALL);
    let told = Arc::new(Mutex::new(None));
    let tell = told.clone();
    db.on_failure(move |error| *tell.lock().unwrap() = Some(error));
    assert!(ShardState::load(&db.view(), ShardId(1)).unwrap().is_some());
    failing.inject(Fault::Error(Operation::Read, 0));
    assert!(ShardState::load(&db.view(), ShardId(1)).is_err());
    assert_eq!(*told.lock().unwrap(), None, "a read that failed is no damage");
    failing.inject(Fault::Damage(0));
    assert!(ShardState::load(&db.view(), ShardId(1)).is_err());
    assert!(matches!(*told.lock().unwrap(), Some(StorageError::Corrupt { .. })));
    let refused = db.commit(ShardId(1), Vec::new(), crate::fixture::at(1, 6), None);
    assert!(matches!(refused, Err(StorageError::Corrupt { .. })), "{refused:?}");
}

#[test]
fn a_log_db_that_meets_damage_takes_nothing_more() {
    let failing = Arc::new(FailingEngine::new(Arc::new(MemoryEngine::new(LOG_TABLES))));
    filled(failing.clone());
    let db = LogDb::open_inline(failing.clone());
    let (log, other) = (db.group(R).unwrap(), db.group(ReplicaId(8)).unwrap());
    failing.inject(Fault::FlipBit(0));
    assert!(matches!(log.read(5, 20, usize::MAX), Err(StorageError::Corrupt { .. })));
    assert!(matches!(db.failure(), Some(StorageError::Corrupt { .. })));
    let (callback, answer) = done();
    other.append(records(1, 0..1), callback);
    assert!(answer.recv().unwrap().is_err(), "another group's log is in the same files");
}

/// Databases are moved out of the way as often as a crash makes it necessary, and never over each other.
#[test]
fn databases_are_set_aside_once_and_new_ones_take_their_place() {
    let dir = TempDir::new().unwrap();
    let claim = || ClaimedDir::claim(dir.path(), ClusterId(1), NodeId(1)).unwrap();
    let open = |claimed: ClaimedDir| claimed.open().map_err(|(_, error)| error).unwrap();
    let first = open(claim());
    seed_shard(&first.storage().state, 1, ShardRange::ALL);
    fs::write(dir.path().join("known.json"), "{}").unwrap();
    let claimed = first.back_to_claimed(std::time::Duration::from_secs(10)).unwrap();
    assert!(claimed.has_databases());
    assert_eq!(claimed.set_asides().unwrap(), (0, 1));
    let aside = claimed.set_aside(1, "why", &["known.json", "staging"]).unwrap();
    assert!(!claimed.has_databases() && aside.join("state").is_dir() && aside.join("known.json").is_file());
    assert!(ClaimedDir::claim(dir.path(), ClusterId(1), NodeId(1)).is_err(), "nobody gets in between");
    let second = open(claimed);
    assert_eq!(second.storage().state.replicas().unwrap(), []);
    drop(second);
    // A crash came before it was recorded that this is done: the new ones stay.
    let claimed = claim();
    claimed.set_aside(1, "why", &["known.json"]).unwrap();
    assert!(claimed.has_databases());
    assert_eq!(claimed.set_asides().unwrap(), (1, 2));
    assert_eq!(fs::read_to_string(aside.join("reason")).unwrap(), "why\n");
}

/// A file that a database says is there and is not is damage, not a disk that cannot be read.
#[test]
fn a_missing_file_is_corrupt() {
    let dir = TempDir::new().unwrap();
    drop(RocksEngine::open(dir.path(), LogDb::TABLES, RocksProfile::Log).unwrap());
    let manifest = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let manifest = manifest.into_iter().find(|path| path.to_string_lossy().contains("MANIFEST")).unwrap();
    fs::remove_file(manifest).unwrap();
    let error = RocksEngine::open(dir.path(), LogDb::TABLES, RocksProfile::Log).err();
    assert!(matches!(error, Some(StorageError::Corrupt { .. })), "{error:?}");
}
