//! Removes what no read can reach any more.
//!
//! The floors are replicated state; what lies below them is each replica's own to remove, when it likes. We delete in
//! small batches from a background thread rather than in a compaction filter: floors are per shard, so a filter would
//! have to look up the owner of every key inside RocksDB's threads, and would collect nothing from ranges that are not
//! being compacted. Deletes are the same in all engines, so the tests test what runs.

use std::ops::ControlFlow;

use bytes::Bytes;
use ringfence_state_machine::{ShardState, Space, collectable, keys};
use ringfence_types::ShardId;

use super::StateDb;
use super::view::table;
use crate::StorageError;
use crate::engine::{Batch, Durability};

/// Records looked at per step. Short enough that a step delays a commit by no more than a commit would.
const STEP_RECORDS: usize = 4096;

impl StateDb {
    /// Removes what lies below the shard's floors, and says how many records that were. Takes as long as a scan of the
    /// shard's history and outcomes: not on an async worker.
    pub fn collect(&self, shard: ShardId) -> Result<u64, StorageError> {
        let view = self.snapshot_view()?;
        let state = ShardState::load(&view, shard)
            .map_err(|unreadable| StorageError::corrupt(format!("state of {shard}: {}", unreadable.reason)))?;
        let Some(state) = state else { return Ok(0) };
        let mut removed = 0;
        for (space, mut from, to) in keys::pieces(shard, &state.descriptor.range) {
            if !matches!(space, Space::History | Space::Dedup) {
                continue;
            }
            loop {
                let (mut batch, mut looked_at, mut next) = (Batch::new(), 0, None);
                view.visit(space, &from, &to, &mut |key, record| {
                    if looked_at == STEP_RECORDS {
                        next = Some(key.to_vec());
                        return ControlFlow::Break(());
                    }
                    looked_at += 1;
                    if collectable(space, key, record, state.history_floor, state.dedup_floor) {
                        batch.delete(table(space), Bytes::copy_from_slice(key));
                    }
                    ControlFlow::Continue(())
                })?;
                removed += batch.len() as u64;
                if !batch.is_empty() {
                    self.write(batch, Durability::Buffered)?;
                }
                let Some(next) = next else { break };
                from = next;
            }
        }
        Ok(removed)
    }
}
