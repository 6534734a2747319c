//! Removes what no read can reach any more.
//!
//! The floors are replicated state; what lies below them is each replica's own to remove, when it likes. We delete in
//! small batches from a background thread rather than in a compaction filter: floors are per shard, so a filter would
//! have to look up the owner of every key inside RocksDB's threads, and would collect nothing from ranges that are not
//! being compacted. Deletes are the same in all engines, so the tests test what runs.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;
use ringfence_state_machine::{ShardState, Space, collectable, keys};
use ringfence_types::{Revision, ShardId};

use super::StateDb;
use super::view::table;
use crate::StorageError;
use crate::engine::{Batch, Durability};

/// Records looked at per step. Short enough that a step delays a commit by no more than a commit would.
const STEP_RECORDS: usize = 4096;

/// A walk through a shard's history and outcomes, step by step, so that whoever does it can rest in between: with much
/// history it is a lot of work, and none of it is urgent.
pub struct Collection {
    state: StateDb,
    history_floor: Revision,
    dedup_floor: Revision,
    /// What is still to be looked at.
    pieces: VecDeque<(Space, Vec<u8>, Vec<u8>)>,
    removed: u64,
}

impl StateDb {
    /// Begins to remove what lies below the shard's floors as they are now.
    pub fn collection(&self, shard: ShardId) -> Result<Collection, StorageError> {
        let state = ShardState::load(&self.view(), shard)
            .map_err(|unreadable| StorageError::corrupt(format!("state of {shard}: {}", unreadable.reason)))?;
        let (history_floor, dedup_floor, pieces) = match state {
            Some(state) => {
                let pieces = keys::pieces(shard, &state.descriptor.range).into_iter();
                let walked = pieces.filter(|(space, ..)| matches!(space, Space::History | Space::Dedup));
                (state.history_floor, state.dedup_floor, walked.collect())
            }
            None => (Revision::ZERO, Revision::ZERO, VecDeque::new()),
        };
        Ok(Collection { state: self.clone(), history_floor, dedup_floor, pieces, removed: 0 })
    }

    /// Removes what lies below the shard's floors, and says how many records that were. Takes as long as a scan of the
    /// shard's history and outcomes: not on an async worker.
    pub fn collect(&self, shard: ShardId) -> Result<u64, StorageError> {
        let mut collection = self.collection(shard)?;
        while collection.step()? {}
        Ok(collection.removed)
    }
}

impl Collection {
    /// Looks at some thousand records, and removes which may go. False when there are no more. No snapshot is held from one
    /// step to the next: floors only rise, and what comes meanwhile lies above them.
    pub fn step(&mut self) -> Result<bool, StorageError> {
        let Some((space, from, to)) = self.pieces.front_mut() else { return Ok(false) };
        let (mut batch, mut looked_at, mut next) = (Batch::new(), 0, None);
        self.state.snapshot_view()?.visit(*space, from, to, &mut |key, record| {
            if looked_at == STEP_RECORDS {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            looked_at += 1;
            if collectable(*space, key, record, self.history_floor, self.dedup_floor) {
                batch.delete(table(*space), Bytes::copy_from_slice(key));
            }
            ControlFlow::Continue(())
        })?;
        match next {
            Some(next) => *from = next,
            None => _ = self.pieces.pop_front(),
        }
        self.removed += batch.len() as u64;
        if !batch.is_empty() {
            self.state.write(batch, Durability::Buffered)?;
        }
        Ok(!self.pieces.is_empty())
    }
}
