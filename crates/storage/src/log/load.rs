//! Opening one group's log: every record is read, checked, and must stand in an unbroken row.

use std::ops::ControlFlow;

use ringfence_types::ReplicaId;

use super::LogState;
use super::layout::{self, LOG, Stored};
use crate::StorageError;
use crate::engine::Engine;

/// What a group's log holds.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) state: LogState,
    /// The first index that belongs to the log, whether an entry is there yet or not.
    pub(super) first: u64,
}

/// Reads the whole log of one group.
///
/// The cost is one pass over what has not been purged, at the start of a node. It buys that a replica never votes on a
/// log with a hole or a flipped bit in it.
pub(super) fn load(engine: &dyn Engine, replica: ReplicaId) -> Result<Loaded, StorageError> {
    let mut loaded = Loaded::default();
    let mut outcome = Ok(());
    engine.scan(LOG, &layout::first(replica), &layout::end(replica), &mut |key, value| {
        outcome = layout::decode(key, value).and_then(|stored| loaded.take(replica, stored));
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome?;
    loaded.state.last = loaded.state.last.or(loaded.state.purged);
    Ok(loaded)
}

impl Loaded {
    /// Takes the next record in the order of the keys: what says where the log begins comes before its entries.
    fn take(&mut self, replica: ReplicaId, stored: Stored) -> Result<(), StorageError> {
        match stored {
            Stored::Vote(vote) => self.state.vote = Some(vote),
            Stored::Committed(position) => self.state.committed = Some(position),
            Stored::Purged(position) => {
                self.state.purged = Some(position);
                self.first = position.index + 1;
            }
            Stored::Start(index) => self.first = self.first.max(index),
            Stored::Entry(record) => {
                let expected = self.state.last.map_or(self.first, |last| last.index + 1);
                if record.position.index != expected {
                    return Err(StorageError::corrupt(format!(
                        "log of {replica}: entry {expected} is missing, the next one there is {}",
                        record.position
                    )));
                }
                self.state.last = Some(record.position);
            }
        }
        Ok(())
    }
}
