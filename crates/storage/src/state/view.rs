//! The state as the pure core sees it.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use ringfence_state_machine::{Space, Unreadable, View};

use super::db::Shared;
use crate::StorageError;
use crate::engine::{EngineSnapshot, Table, Visit};

pub(super) fn table(space: Space) -> Table {
    Table(space as u8)
}

impl Shared {
    /// A read that found damage is as final as a failed write: the tables of all shards are in the same files, so nobody
    /// knows what else is wrong there.
    pub(super) fn note_damage(&self, error: StorageError) -> StorageError {
        if matches!(error, StorageError::Corrupt { .. }) {
            self.poison.set(error.clone());
        }
        error
    }

    fn unreadable(&self, error: StorageError) -> Unreadable {
        Unreadable::new(self.note_damage(error).to_string())
    }
}

/// The state as it is whenever it is asked: what `apply` reads. Two reads may see different moments.
#[derive(Clone)]
pub struct StateView {
    pub(super) shared: Arc<Shared>,
}

impl View for StateView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, Unreadable> {
        self.shared.engine.get(table(space), key).map_err(|e| self.shared.unreadable(e))
    }

    fn get_many(&self, space: Space, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Unreadable> {
        self.shared.engine.get_many(table(space), keys).map_err(|e| self.shared.unreadable(e))
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Unreadable> {
        self.shared.engine.scan(table(space), from, to, visit).map_err(|e| self.shared.unreadable(e))
    }
}

/// The state at one moment, for reads that take several steps. Holds back the engine's clean-up while it lives.
#[derive(Clone)]
pub struct SnapshotView {
    pub(super) snapshot: Arc<dyn EngineSnapshot>,
    pub(super) shared: Arc<Shared>,
}

impl SnapshotView {
    /// Visits the records of a space, for those who want the store's own error.
    pub(super) fn visit(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), StorageError> {
        self.snapshot.scan(table(space), from, to, visit).map_err(|e| self.shared.note_damage(e))
    }
}

impl View for SnapshotView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, Unreadable> {
        self.snapshot.get(table(space), key).map_err(|e| self.shared.unreadable(e))
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Unreadable> {
        self.snapshot.scan(table(space), from, to, visit).map_err(|e| self.shared.unreadable(e))
    }
}
