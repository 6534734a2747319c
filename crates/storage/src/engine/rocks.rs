//! The engine on disk.

mod record_file;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use ringfence_planted::{Bug, planted};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompactionStyle,
    DBCompressionType, DBRawIteratorWithThreadMode, DBRecoveryMode, ErrorKind, LogLevel, Options, Range, ReadOptions,
    SnapshotWithThreadMode, UniversalCompactOptions, WriteBatch, WriteOptions,
};

use super::{Batch, Change, Durability, Engine, EngineSnapshot, Estimate, Table, Visit};
use crate::StorageError;

/// Shared by every database of the process, so that a development cluster of three nodes does not take six caches.
const BLOCK_CACHE_BYTES: usize = 64 << 20;

/// What a database is for, which decides how it treats its write-ahead log after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RocksProfile {
    /// Acknowledged on sync. RocksDB's default recovery drops everything after a bad record without a word, and
    /// acknowledged entries with it. Here only a short final write may go, which was never acknowledged; anything else
    /// refuses to open. Logs are never recycled (old bytes could pass for new ones) and are tracked in the manifest, so
    /// that a missing one is noticed. Entries are read soon or never: not compressed.
    Log,
    /// Not synced per write. Recovery to the last consistent moment is right here, since the log has the rest: a log is
    /// purged only up to what this database has made durable, and falling below that is noticed by the host.
    State,
}

/// RocksDB, one column family per table.
pub struct RocksEngine {
    open: Arc<Open>,
}

struct Open {
    db: DB,
    tables: &'static [&'static str],
    /// Dropped after `db`: see [`RocksEngine::alive`].
    alive: Arc<()>,
}

impl RocksEngine {
    /// Opens or creates the database at `path` with these tables.
    pub fn open(
        path: &Path,
        tables: &'static [&'static str],
        profile: RocksProfile,
    ) -> Result<RocksEngine, StorageError> {
        check_record_files(path, profile)?;
        let families = tables.iter().map(|name| ColumnFamilyDescriptor::new(*name, table_options(profile, name)));
        let db = DB::open_cf_descriptors(&database_options(profile), path, families).map_err(|error| {
            if error.as_ref().contains("lock") && error.kind() == ErrorKind::IOError {
                return StorageError::InUse { path: path.to_owned() };
            }
            if error.as_ref().contains("No such file") {
                // The directory was found or made; what it says should be in it is gone.
                return StorageError::corrupt(format!(
                    "open {}: a file is missing: {}",
                    path.display(),
                    error.as_ref()
                ));
            }
            failed(&format!("open {}", path.display()), &error)
        })?;
        Ok(RocksEngine { open: Arc::new(Open { db, tables, alive: Arc::new(()) }) })
    }

    /// Is gone once the database is really closed: after the last handle *and* the last snapshot, wherever they were.
    pub(crate) fn alive(&self) -> Weak<()> {
        Arc::downgrade(&self.open.alive)
    }
}

/// Finds damage that RocksDB would overlook.
///
/// The state DB may lose the end of its write-ahead log in a power loss, in any pieces, and goes back to before that. So
/// damage there is no more than the end, if only RocksDB takes notice of it.
fn check_record_files(path: &Path, profile: RocksProfile) -> Result<(), StorageError> {
    for file in record_files(path)? {
        let failed = |error: std::io::Error| StorageError::io(format!("read {}", file.display()), &error);
        let Some(damage) = record_file::check(&file).map_err(failed)? else { continue };
        let is_log = file.extension().is_some_and(|extension| extension == "log");
        // Planted: so may the log DB.
        let may_lose_its_end = profile == RocksProfile::State || planted(Bug::TornLogVotes);
        if may_lose_its_end && is_log {
            tracing::warn!(
                "{} ends at byte {} ({}): the state goes back to there, and the log has the rest",
                file.display(),
                damage.offset,
                damage.what
            );
            record_file::make_plain(&file, &damage).map_err(failed)?;
        } else {
            let found = format!("{} has {} at byte {}", file.display(), damage.what, damage.offset);
            return Err(StorageError::corrupt(found));
        }
    }
    Ok(())
}

/// The write-ahead logs and the MANIFEST that counts. None if there is no database yet.
fn record_files(path: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let failed = |error: std::io::Error| StorageError::io(format!("list {}", path.display()), &error);
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let current = std::fs::read_to_string(path.join("CURRENT")).unwrap_or_default(); // RocksDB says what is wrong with it
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(failed)?.path();
        let is_log = file.extension().is_some_and(|extension| extension == "log");
        let is_manifest = file.file_name().is_some_and(|name| name == current.trim_end());
        if is_log || is_manifest {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn block_cache() -> &'static Cache {
    static CACHE: OnceLock<Cache> = OnceLock::new();
    CACHE.get_or_init(|| Cache::new_lru_cache(BLOCK_CACHE_BYTES))
}

fn database_options(profile: RocksProfile) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_max_open_files(-1); // range tombstones of closed files would be read again and again
    options.set_max_background_jobs(2);
    options.set_recycle_log_file_num(0);
    // A table that is rarely written must not hold back the logs of all the others.
    options.set_max_total_wal_size(256 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_stats_dump_period_sec(0);
    // All tables together: so much may be lost from memory and read again from the log at a start.
    options.set_db_write_buffer_size(128 << 20);
    match profile {
        // Planted: what RocksDB does if nobody says otherwise.
        RocksProfile::Log if planted(Bug::TornLogVotes) => {
            options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        }
        RocksProfile::Log => {
            options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
            options.set_track_and_verify_wals_in_manifest(true);
        }
        RocksProfile::State => options.set_wal_recovery_mode(DBRecoveryMode::PointInTime),
    }
    options
}

/// How a table is kept.
///
/// Compaction was half of all CPU that a put cost before this was measured, nearly all of it in records that are written
/// once, never read and gone after some minutes: log entries, replaced versions, outcomes. Rewriting those level by level
/// is for nothing, so they are merged lazily (universal compaction: a record is rewritten about twice instead of ten
/// times, for up to twice the space), and not compressed. The current versions are what is read and what stays: levelled,
/// compressed once they have settled.
fn table_options(profile: RocksProfile, name: &str) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(block_cache());
    blocks.set_cache_index_and_filter_blocks(true);
    // In pieces: the filter of a table of a million outcomes is larger than a part of the cache, and would be read and
    // checked as a whole for nearly every request. That had halved the rate after two minutes.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_pin_top_level_index_and_filter(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    let is_passing = profile == RocksProfile::Log || PASSING.contains(&name);
    if is_passing {
        let mut universal = UniversalCompactOptions::default();
        universal.set_min_merge_width(4);
        options.set_compaction_style(DBCompactionStyle::Universal);
        options.set_universal_compaction_options(&universal);
        options.set_level_zero_file_num_compaction_trigger(8);
        options.set_compression_type(DBCompressionType::None);
    } else {
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_compression_per_level(&[DBCompressionType::None, DBCompressionType::None, DBCompressionType::Lz4]);
    }
    match profile {
        RocksProfile::Log => options.set_write_buffer_size(64 << 20),
        RocksProfile::State => {
            blocks.set_bloom_filter(10.0, false);
            options.set_write_buffer_size(32 << 20);
            // Nearly every request asks for an outcome that is not there.
            options.set_memtable_whole_key_filtering(true);
            options.set_memtable_prefix_bloom_ratio(0.05);
        }
    }
    options.set_max_write_buffer_number(3);
    options.set_block_based_table_factory(&blocks);
    options
}

/// Tables of the state DB whose records are written once and collected some minutes later.
const PASSING: [&str; 2] = ["history", "dedup"];

fn failed(doing: &str, error: &rocksdb::Error) -> StorageError {
    let reason = error.as_ref().to_owned();
    if reason.contains("No space left") || reason.contains("NoSpace") || reason.contains("SpaceLimit") {
        return StorageError::DiskFull { doing: doing.into() };
    }
    match error.kind() {
        ErrorKind::Corruption => StorageError::corrupt(format!("{doing}: {reason}")),
        _ => StorageError::Io { doing: doing.into(), reason },
    }
}

impl Open {
    fn family(&self, table: Table) -> &ColumnFamily {
        let name = self.tables[usize::from(table.0)];
        self.db.cf_handle(name).expect("every table was opened or created with the database")
    }

    fn rocks_batch(&self, batch: Batch) -> WriteBatch {
        let mut rocks = WriteBatch::default();
        for change in batch.changes {
            match change {
                Change::Put(table, key, value) => rocks.put_cf(self.family(table), key, value),
                Change::Delete(table, key) => rocks.delete_cf(self.family(table), key),
                Change::DeleteRange(table, from, to) => rocks.delete_range_cf(self.family(table), from, to),
            }
        }
        rocks
    }
}

fn bounds(from: &[u8], to: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(from);
    options.set_iterate_upper_bound(to);
    options
}

fn visit_all(
    mut records: DBRawIteratorWithThreadMode<'_, DB>,
    from: &[u8],
    visit: &mut Visit<'_>,
) -> Result<(), StorageError> {
    records.seek(from);
    while let Some((key, value)) = records.item() {
        if visit(key, value).is_break() {
            return Ok(());
        }
        records.next();
    }
    records.status().map_err(|error| failed("scan", &error)) // the end of the range, or trouble
}

impl Engine for RocksEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let found = self.open.db.get_pinned_cf(self.open.family(table), key);
        Ok(found.map_err(|error| failed("get", &error))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StorageError> {
        let found = self.open.db.batched_multi_get_cf(self.open.family(table), keys, false);
        found
            .into_iter()
            .map(|one| Ok(one.map_err(|error| failed("get", &error))?.map(|value| Bytes::copy_from_slice(&value))))
            .collect()
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError> {
        if from >= to {
            return Ok(());
        }
        visit_all(self.open.db.raw_iterator_cf_opt(self.open.family(table), bounds(from, to)), from, visit)
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        self.open.db.write_opt(self.open.rocks_batch(batch), &options).map_err(|error| failed("write", &error))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.open.db.flush_wal(true).map_err(|error| failed("sync", &error))
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, StorageError> {
        Ok(Box::new(RocksSnapshot::new(self.open.clone(), |open| SnapshotWithThreadMode::new(&open.db))))
    }

    fn estimate(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Estimate, StorageError> {
        if from >= to {
            return Ok(Estimate::default());
        }
        let family = self.open.family(table);
        let property = |name: &str| {
            let value = self.open.db.property_int_value_cf(family, name);
            Ok(value.map_err(|error| failed("estimate", &error))?.unwrap_or(0))
        };
        let bytes = self.open.db.get_approximate_sizes_cf(family, &[Range::new(from, to)])[0];
        let (keys_all, bytes_all) = (property("rocksdb.estimate-num-keys")?, property("rocksdb.live-sst-files-size")?);
        let keys = u128::from(keys_all) * u128::from(bytes) / u128::from(bytes_all.max(1));
        Ok(Estimate { keys: keys as u64, bytes })
    }
}

type Borrowed<'a> = SnapshotWithThreadMode<'a, DB>;

self_cell::self_cell!(
    /// A RocksDB snapshot borrows its database; this one keeps the database alive instead.
    struct RocksSnapshot {
        owner: Arc<Open>,
        #[not_covariant]
        dependent: Borrowed,
    }
);

impl EngineSnapshot for RocksSnapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.with_dependent(|open, snapshot| {
            let found = snapshot.get_pinned_cf(open.family(table), key);
            Ok(found.map_err(|error| failed("get", &error))?.map(|value| Bytes::copy_from_slice(&value)))
        })
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError> {
        if from >= to {
            return Ok(());
        }
        self.with_dependent(|open, snapshot| {
            visit_all(snapshot.raw_iterator_cf_opt(open.family(table), bounds(from, to)), from, visit)
        })
    }
}
