//! An engine that fails on order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Batch, Durability, Engine, EngineSnapshot, Estimate, Table, Visit};
use crate::StorageError;

/// What a fault is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`Engine::get`], [`Engine::get_many`] and [`Engine::scan`], snapshots included.
    Read,
    /// [`Engine::write`].
    Write,
    /// [`Engine::sync`], and the sync of a synced write.
    Sync,
}

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The nth operation of this kind from now on (0 = the next) fails and does nothing.
    Error(Operation, u64),
    /// The nth write from now on is made but answered with an error: nobody knows what the disk has.
    ErrorAfterWrite(u64),
    /// Writes fail once this many more bytes have been written.
    DiskFullAfter(u64),
    /// In the nth read from now on that finds a record, one bit of the first value found is flipped.
    FlipBit(u64),
    /// The engine itself finds damage in the nth read from now on.
    Damage(u64),
}

/// Wraps another engine and injects [`Fault`]s. Without any it is indistinguishable from the other.
pub struct FailingEngine {
    inner: Arc<dyn Engine>,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    state: Mutex<PlanState>,
}

#[derive(Default)]
struct PlanState {
    fail_in: BTreeMap<Operation, u64>,
    fail_after_write_in: Option<u64>,
    bytes_left: Option<u64>,
    flip_in: Option<u64>,
    damage_in: Option<u64>,
}

impl FailingEngine {
    /// Without faults yet.
    pub fn new(inner: Arc<dyn Engine>) -> FailingEngine {
        FailingEngine { inner, plan: Arc::default() }
    }

    /// Adds a fault to the plan. One of each kind at a time; the newer replaces the older.
    pub fn inject(&self, fault: Fault) {
        let mut plan = self.plan.state.lock().expect("no code panics while it holds this lock");
        match fault {
            Fault::Error(operation, n) => drop(plan.fail_in.insert(operation, n)),
            Fault::ErrorAfterWrite(n) => plan.fail_after_write_in = Some(n),
            Fault::DiskFullAfter(bytes) => plan.bytes_left = Some(bytes),
            Fault::FlipBit(n) => plan.flip_in = Some(n),
            Fault::Damage(n) => plan.damage_in = Some(n),
        }
    }
}

/// Counts down; true when the moment has come, once.
fn due(countdown: &mut Option<u64>) -> bool {
    match countdown {
        None => false,
        Some(0) => {
            *countdown = None;
            true
        }
        Some(n) => {
            *n -= 1;
            false
        }
    }
}

fn injected(doing: &str) -> StorageError {
    StorageError::Io { doing: doing.into(), reason: "injected fault".into() }
}

impl Plan {
    fn before(&self, operation: Operation) -> Result<(), StorageError> {
        let mut state = self.state.lock().expect("no code panics while it holds this lock");
        if operation == Operation::Read && due(&mut state.damage_in) {
            return Err(StorageError::corrupt("injected damage"));
        }
        let mut countdown = state.fail_in.remove(&operation);
        let failed = due(&mut countdown);
        if let Some(n) = countdown {
            state.fail_in.insert(operation, n);
        }
        if failed { Err(injected(&format!("{operation:?}"))) } else { Ok(()) }
    }

    fn take_space(&self, bytes: u64) -> Result<(), StorageError> {
        let mut state = self.state.lock().expect("no code panics while it holds this lock");
        match &mut state.bytes_left {
            None => Ok(()),
            Some(left) if bytes <= *left => {
                *left -= bytes;
                Ok(())
            }
            Some(_) => Err(StorageError::DiskFull { doing: "injected fault".into() }),
        }
    }

    /// The value as the disk returns it.
    fn returned(&self, value: &[u8]) -> Option<Bytes> {
        let mut state = self.state.lock().expect("no code panics while it holds this lock");
        if !due(&mut state.flip_in) || value.is_empty() {
            return None;
        }
        let mut flipped = value.to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        Some(flipped.into())
    }

    fn scan(
        &self,
        visit: &mut Visit<'_>,
        scan: impl FnOnce(&mut Visit<'_>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.before(Operation::Read)?;
        let mut first = true;
        scan(&mut |key, value| {
            let flipped = if std::mem::take(&mut first) { self.returned(value) } else { None };
            visit(key, flipped.as_deref().unwrap_or(value))
        })
    }

    fn got(&self, value: Option<Bytes>) -> Option<Bytes> {
        value.map(|value| self.returned(&value).unwrap_or(value))
    }
}

impl Engine for FailingEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.plan.before(Operation::Read)?;
        Ok(self.plan.got(self.inner.get(table, key)?))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError> {
        self.plan.scan(visit, |visit| self.inner.scan(table, from, to, visit))
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        self.plan.before(Operation::Write)?;
        self.plan.take_space(batch.bytes() as u64)?;
        if durability == Durability::Synced
            && let Err(error) = self.plan.before(Operation::Sync)
        {
            // The write reached the operating system; only the sync failed.
            self.inner.write(batch, Durability::Buffered)?;
            return Err(error);
        }
        self.inner.write(batch, durability)?;
        let failed = {
            let mut state = self.plan.state.lock().expect("no code panics while it holds this lock");
            due(&mut state.fail_after_write_in)
        };
        if failed { Err(injected("Write")) } else { Ok(()) }
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.plan.before(Operation::Sync)?;
        self.inner.sync()
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, StorageError> {
        Ok(Box::new(FailingSnapshot { inner: self.inner.snapshot()?, plan: self.plan.clone() }))
    }

    fn estimate(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Estimate, StorageError> {
        self.inner.estimate(table, from, to)
    }
}

struct FailingSnapshot {
    inner: Box<dyn EngineSnapshot>,
    plan: Arc<Plan>,
}

impl EngineSnapshot for FailingSnapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.plan.before(Operation::Read)?;
        Ok(self.plan.got(self.inner.get(table, key)?))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError> {
        self.plan.scan(visit, |visit| self.inner.scan(table, from, to, visit))
    }
}
