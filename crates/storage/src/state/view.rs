//! The state as the pure core sees it.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use ringfence_state_machine::{Space, Unreadable, View};

use crate::StorageError;
use crate::engine::{Engine, EngineSnapshot, Table};

pub(super) fn table(space: Space) -> Table {
    Table(space as u8)
}

fn unreadable(error: StorageError) -> Unreadable {
    Unreadable::new(error.to_string())
}

/// The state as it is whenever it is asked: what `apply` reads. Two reads may see different moments.
#[derive(Clone)]
pub struct StateView {
    pub(super) engine: Arc<dyn Engine>,
}

impl View for StateView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, Unreadable> {
        self.engine.get(table(space), key).map_err(unreadable)
    }

    fn get_many(&self, space: Space, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Unreadable> {
        self.engine.get_many(table(space), keys).map_err(unreadable)
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Unreadable> {
        self.engine.scan(table(space), from, to, visit).map_err(unreadable)
    }
}

/// The state at one moment, for reads that take several steps. Holds back the engine's clean-up while it lives.
#[derive(Clone)]
pub struct SnapshotView {
    pub(super) snapshot: Arc<dyn EngineSnapshot>,
}

impl View for SnapshotView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, Unreadable> {
        self.snapshot.get(table(space), key).map_err(unreadable)
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Unreadable> {
        self.snapshot.scan(table(space), from, to, visit).map_err(unreadable)
    }
}
