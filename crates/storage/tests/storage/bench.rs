//! How near the log writer comes to what the disk and RocksDB allow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringfence_storage::engine::{Batch, Durability, Engine, RocksEngine, RocksProfile, Table};
use ringfence_storage::{LogDb, LogRecord};
use ringfence_types::ReplicaId;
use tempfile::TempDir;

use crate::fixture::at;

const SECONDS: u64 = 5;
const WRITERS: u64 = 64;
const PAYLOAD_BYTES: usize = 256;

/// Run with `cargo test --release -p ringfence-storage -- --ignored --nocapture log_writer`.
#[test]
#[ignore = "a measurement, not a check"]
fn log_writer_against_plain_rocksdb() {
    let plain = plain_batches_per_second();
    println!("RocksDB alone: {plain:.0} synced batches of {WRITERS} records a second");
    for groups in [1, 8, 64] {
        let (appends, batches) = appends_per_second(groups);
        println!(
            "log writer, {WRITERS} writers in {groups} groups: {appends:.0} synced appends a second, about {batches:.0} rounds"
        );
    }
}

fn plain_batches_per_second() -> f64 {
    let dir = TempDir::new_in(".").unwrap();
    let engine = RocksEngine::open(dir.path(), LogDb::TABLES, RocksProfile::Log).unwrap();
    let (begin, mut batches) = (Instant::now(), 0u64);
    while begin.elapsed() < Duration::from_secs(SECONDS) {
        let mut batch = Batch::new();
        for i in 0..WRITERS {
            let key = [i.to_be_bytes(), batches.to_be_bytes()].concat();
            batch.put(Table(0), key, vec![7; PAYLOAD_BYTES]);
        }
        engine.write(batch, Durability::Synced).unwrap();
        batches += 1;
    }
    batches as f64 / begin.elapsed().as_secs_f64()
}

/// Each writer appends one record, waits until it is durable, and appends the next.
fn appends_per_second(groups: u64) -> (f64, f64) {
    let dir = TempDir::new_in(".").unwrap();
    let db = LogDb::open(Arc::new(RocksEngine::open(dir.path(), LogDb::TABLES, RocksProfile::Log).unwrap())).unwrap();
    let appends = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for group in 0..groups {
            let log = db.group(ReplicaId(group)).unwrap();
            let appends = appends.clone();
            scope.spawn(move || {
                // One thread per group keeps its share of the writers under way.
                let (done, finished) = std::sync::mpsc::channel();
                let mut index = 0;
                let append = |index: u64| {
                    let done = done.clone();
                    let record = LogRecord { position: at(1, index), payload: vec![7; PAYLOAD_BYTES].into() };
                    log.append(vec![record], Box::new(move |result| done.send(result).unwrap()));
                };
                for _ in 0..WRITERS / groups {
                    append(index);
                    index += 1;
                }
                while begin.elapsed() < Duration::from_secs(SECONDS) {
                    finished.recv().unwrap().unwrap();
                    appends.fetch_add(1, Ordering::Relaxed);
                    append(index);
                    index += 1;
                }
                for _ in 0..WRITERS / groups {
                    finished.recv().unwrap().unwrap();
                }
            });
        }
    });
    let rate = appends.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64();
    (rate, rate / WRITERS as f64)
}
