//! An ordered store of byte tables: what both databases of a node stand on.
//!
//! Two real implementations, [`RocksEngine`] on disk and [`MemoryEngine`] for tests and simulation, and a twin that
//! fails on order, [`FailingEngine`]. All three pass one suite, `tests/conformance.rs`, so what a test proves with the
//! memory engine holds for the disk as far as the suite goes.
//!
//! What an engine promises:
//!
//! * A batch happens entirely or not at all, also across a crash.
//! * Batches survive in the order in which they were written: if one is there after a crash, so is every earlier one.
//! * After a synced write, or [`Engine::sync`], every batch written before it is durable.
//! * A read sees every batch whose write has returned. A snapshot sees exactly one moment.

mod failing;
mod memory;
mod rocks;

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::StorageError;

pub use failing::{FailingEngine, Fault, Operation};
pub use memory::MemoryEngine;
pub use rocks::{RocksEngine, RocksProfile};

/// One ordered table of an engine: an index into the list of names given when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub u8);

/// Called for every record of a scan, in order of the keys.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Whether a write waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Returns when the operating system has it: survives the death of the process, not of the machine.
    Buffered,
    /// Returns when the disk has it, and everything before it.
    Synced,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets a record.
    Put(Table, Bytes, Bytes),
    /// Removes a record, if it is there.
    Delete(Table, Bytes),
    /// Removes every record from the first key up to but not including the second.
    DeleteRange(Table, Bytes, Bytes),
}

/// Changes that happen together, in order: a later one overrides an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub(crate) changes: Vec<Change>,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Sets a record.
    pub fn put(&mut self, table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push(Change::Put(table, key.into(), value.into()));
    }

    /// Removes a record, if it is there.
    pub fn delete(&mut self, table: Table, key: impl Into<Bytes>) {
        self.changes.push(Change::Delete(table, key.into()));
    }

    /// Removes every record from `from` up to but not including `to`.
    pub fn delete_range(&mut self, table: Table, from: impl Into<Bytes>, to: impl Into<Bytes>) {
        let (from, to) = (from.into(), to.into());
        if from < to {
            self.changes.push(Change::DeleteRange(table, from, to));
        }
    }

    /// Whether it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.changes
            .iter()
            .map(|change| match change {
                Change::Put(_, key, value) => key.len() + value.len(),
                Change::Delete(_, key) => key.len(),
                Change::DeleteRange(_, from, to) => from.len() + to.len(),
            })
            .sum()
    }
}

/// How much lies in a range. A guess: compressed bytes of what has reached the sorted files, not counting what is
/// still in memory tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Records.
    pub keys: u64,
    /// Bytes.
    pub bytes: u64,
}

/// An ordered store of byte tables. See the module for what it promises.
///
/// `Arc<dyn Engine>` rather than a type parameter, which would travel through every signature up to the server.
pub trait Engine: Send + Sync + 'static {
    /// The record at a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// Many at once; answers in the order of the keys.
    fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StorageError> {
        keys.iter().map(|key| self.get(table, key)).collect()
    }

    /// Visits the records from `from` up to but not including `to`, in order, until the visitor breaks.
    fn scan(&self, table: Table, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError>;

    /// Makes the changes, all or none.
    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StorageError>;

    /// Every earlier write is durable when this returns.
    fn sync(&self) -> Result<(), StorageError>;

    /// The store as it is now, whatever is written afterwards. Holds back the engine's clean-up while it lives.
    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, StorageError>;

    /// Roughly how much lies from `from` up to `to`.
    fn estimate(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Estimate, StorageError>;
}

/// A store at one moment.
pub trait EngineSnapshot: Send + Sync {
    /// The record at a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// Visits the records from `from` up to but not including `to`, in order, until the visitor breaks.
    fn scan(&self, table: Table, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError>;
}
