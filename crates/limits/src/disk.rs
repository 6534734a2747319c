//! What the disk allows.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rocksdb::{DB, DBCompressionType, Options, WriteBatch, WriteOptions};
use tempfile::TempDir;

use crate::{Limit, Reached};

/// Entries in one synced batch: about what gathers at a leader while the last batch is synced.
const BATCH_ENTRIES: u64 = 64;
const SYNC_BYTES: usize = 4096;
/// A log file is allocated in advance and written from its beginning to its end, so a sync need not change its length.
const FILE_BYTES: u64 = 64 << 20;

/// One thread, one synced batch after the other. The options that matter are those of our log: no compression, no
/// recycling of write-ahead logs.
pub(crate) fn rocksdb(dir: &Path, duration: Duration, key_bytes: usize, value_bytes: usize) -> Result<Reached, String> {
    let dir = directory(dir)?;
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(32 << 20);
    options.set_max_background_jobs(2);
    options.set_recycle_log_file_num(0);
    let db = DB::open(&options, dir.path().join("db")).map_err(|error| format!("cannot open RocksDB: {error}"))?;
    let mut synced = WriteOptions::default();
    synced.set_sync(true);

    let value = vec![0x5a; value_bytes];
    let mut number = 0_u64;
    let mut batch = || {
        let mut batch = WriteBatch::default();
        for _ in 0..BATCH_ENTRIES {
            batch.put(format!("{number:0key_bytes$}"), &value);
            number += 1;
        }
        db.write_opt(batch, &synced).map_err(|error| format!("cannot write to RocksDB: {error}"))
    };
    let times = repeat(duration, &mut batch)?;
    Ok(reached(Limit::Rocksdb, BATCH_ENTRIES, times))
}

/// Writes 4 KiB and waits until they are on the disk, again and again.
pub(crate) fn fdatasync(dir: &Path, duration: Duration) -> Result<Reached, String> {
    let dir = directory(dir)?;
    let path = dir.path().join("file");
    let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let mut file = OpenOptions::new().create_new(true).write(true).open(&path).map_err(failed)?;
    let block = [0x5a; SYNC_BYTES];
    for _ in 0..FILE_BYTES / SYNC_BYTES as u64 {
        file.write_all(&block).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    let mut at = FILE_BYTES;
    let mut write = || {
        if at == FILE_BYTES {
            at = file.seek(SeekFrom::Start(0)).map_err(failed)?;
        }
        file.write_all(&block).map_err(failed)?;
        at += SYNC_BYTES as u64;
        file.sync_data().map_err(failed)
    };
    let times = repeat(duration, &mut write)?;
    Ok(reached(Limit::Fdatasync, 1, times))
}

/// How long each of them took.
fn repeat(duration: Duration, act: &mut dyn FnMut() -> Result<(), String>) -> Result<Vec<Duration>, String> {
    let mut times = Vec::new();
    let begun = Instant::now();
    let mut last = begun;
    while begun.elapsed() < duration {
        act()?;
        let now = Instant::now();
        times.push(now - last);
        last = now;
    }
    Ok(times)
}

fn reached(limit: Limit, operations_each: u64, mut times: Vec<Duration>) -> Reached {
    let total: Duration = times.iter().sum();
    let ops = (times.len() as u64 * operations_each) as f64 / total.as_secs_f64().max(f64::MIN_POSITIVE);
    times.sort_unstable();
    let us = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times.get(place.min(times.len().saturating_sub(1))).map_or(0.0, |time| time.as_nanos() as f64 / 1e3)
    };
    Reached {
        limit: limit.name(),
        clients: 1,
        ops: ops.round(),
        p50_us: us(0.5),
        p99_us: us(0.99),
        client_us_per_op: None,
        server_us_per_op: None,
    }
}

fn directory(parent: &Path) -> Result<TempDir, String> {
    let made = tempfile::Builder::new().prefix("ringfence-limits-").tempdir_in(parent);
    made.map_err(|error| format!("cannot make a directory in {}: {error}", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_and_percentiles_follow_from_the_times() {
        let times = (1..=100).rev().map(Duration::from_millis).collect(); // 5.05 s together
        let reached = reached(Limit::Rocksdb, 64, times);
        assert!((reached.ops - 6400.0 / 5.05).abs() <= 0.5, "{reached:?}");
        assert_eq!((reached.p50_us.round(), reached.p99_us.round()), (51_000.0, 100_000.0));
    }

    /// They write where they are told to, leave nothing, and say so when they can't.
    #[test]
    fn both_measure_in_the_directory_given_and_clean_up() {
        let dir = TempDir::new().unwrap();
        let short = Duration::from_millis(50);
        assert!(rocksdb(dir.path(), short, 64, 256).unwrap().ops > 0.0);
        assert!(fdatasync(dir.path(), short).unwrap().ops > 0.0);
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        assert!(fdatasync(&dir.path().join("missing"), short).unwrap_err().contains("missing"));
    }
}
