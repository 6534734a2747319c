//! An engine in memory that models what a crash takes away.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::{Batch, Change, Durability, Engine, EngineSnapshot, Estimate, Table, Visit};
use crate::StorageError;

/// Beyond this many unsynced batches the oldest count as written back, as an operating system does after a while. It
/// bounds the memory of a store that is rarely synced.
const UNSYNCED_BATCHES_MAX: usize = 4096;

type Records = BTreeMap<Bytes, Bytes>;

/// Tables in memory.
///
/// * Everything written is readable at once; what has not been synced is lost by [`MemoryEngine::power_loss`].
/// * After a power loss every call on the old engine fails, like the calls of a dead process, and the new engine that
///   was returned holds what the disk would.
pub struct MemoryEngine {
    inner: Mutex<Inner>,
}

struct Inner {
    /// Shared with snapshots; a write copies a table only while a snapshot of it lives.
    tables: Vec<Arc<Records>>,
    /// For each unsynced batch, oldest first, what it replaced: undone newest first, they lead back to the disk.
    unsynced: Vec<Vec<Undo>>,
    dead: bool,
}

struct Undo {
    table: Table,
    key: Bytes,
    before: Option<Bytes>,
}

impl MemoryEngine {
    /// With this many empty tables.
    pub fn new(tables: usize) -> MemoryEngine {
        let tables = (0..tables).map(|_| Arc::default()).collect();
        MemoryEngine { inner: Mutex::new(Inner { tables, unsynced: Vec::new(), dead: false }) }
    }

    /// The machine loses power: only synced batches survive, and of the unsynced ones the first `kept`, which happened
    /// to have reached the disk. Whole batches, because an engine's own checksum drops a torn one.
    pub fn power_loss(&self, kept: usize) -> MemoryEngine {
        let mut inner = self.lock();
        inner.dead = true;
        let mut tables = std::mem::take(&mut inner.tables);
        let undone = inner.unsynced.len().saturating_sub(kept);
        for batch in inner.unsynced.drain(..).rev().take(undone) {
            for undo in batch.into_iter().rev() {
                let records = Arc::make_mut(&mut tables[usize::from(undo.table.0)]);
                match undo.before {
                    Some(value) => records.insert(undo.key, value),
                    None => records.remove(&undo.key),
                };
            }
        }
        MemoryEngine { inner: Mutex::new(Inner { tables, unsynced: Vec::new(), dead: false }) }
    }

    /// How many batches a power loss could take.
    pub fn unsynced_batches(&self) -> usize {
        self.lock().unsynced.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics while it holds this lock")
    }

    fn alive(&self) -> Result<MutexGuard<'_, Inner>, StorageError> {
        let inner = self.lock();
        match inner.dead {
            true => Err(StorageError::Io { doing: "memory engine".into(), reason: "the power is off".into() }),
            false => Ok(inner),
        }
    }

    fn tables(&self) -> Result<Moment, StorageError> {
        Ok(Moment { tables: self.alive()?.tables.clone() })
    }
}

impl Inner {
    fn apply(&mut self, change: Change, undo: &mut Vec<Undo>) {
        match change {
            Change::Put(table, key, value) => {
                let before = self.records(table).insert(key.clone(), value);
                undo.push(Undo { table, key, before });
            }
            Change::Delete(table, key) => {
                let before = self.records(table).remove(&key);
                undo.push(Undo { table, key, before });
            }
            Change::DeleteRange(table, from, to) => {
                let records = self.records(table);
                let keys: Vec<Bytes> = records.range(from..to).map(|(key, _)| key.clone()).collect();
                for key in keys {
                    let before = records.remove(&key);
                    undo.push(Undo { table, key, before });
                }
            }
        }
    }

    fn records(&mut self, table: Table) -> &mut Records {
        Arc::make_mut(&mut self.tables[usize::from(table.0)])
    }
}

impl Engine for MemoryEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.alive()?.tables[usize::from(table.0)].get(key).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError> {
        // Not under the lock: the visitor may read or write.
        self.tables()?.scan(table, from, to, visit)
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        let mut inner = self.alive()?;
        let mut undo = Vec::new();
        for change in batch.changes {
            inner.apply(change, &mut undo);
        }
        match durability {
            Durability::Synced => inner.unsynced.clear(),
            Durability::Buffered => inner.unsynced.push(undo),
        }
        if inner.unsynced.len() > UNSYNCED_BATCHES_MAX {
            inner.unsynced.drain(..UNSYNCED_BATCHES_MAX / 2);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.alive()?.unsynced.clear();
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, StorageError> {
        Ok(Box::new(self.tables()?))
    }

    fn estimate(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Estimate, StorageError> {
        let mut estimate = Estimate::default();
        self.scan(table, from, to, &mut |key, value| {
            estimate.keys += 1;
            estimate.bytes += (key.len() + value.len()) as u64;
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(estimate)
    }
}

struct Moment {
    tables: Vec<Arc<Records>>,
}

impl EngineSnapshot for Moment {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.tables[usize::from(table.0)].get(key).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError> {
        if from >= to {
            return Ok(());
        }
        for (key, value) in self.tables[usize::from(table.0)].range::<[u8], _>((Included(from), Excluded(to))) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}
