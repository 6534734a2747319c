//! Reads one shard as it is at one moment.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;
use ringfence_planted::{Bug, planted};
use ringfence_shard_router::ShardRange;
use ringfence_state_machine::{ShardState, Space, View, keys};
use ringfence_types::ShardId;

use super::replica::{self, REPLICAS, ReplicaRecord};
use super::view::SnapshotView;
use super::{StateDb, chunk};
use crate::StorageError;

/// One shard at one moment, read chunk by chunk. It holds a snapshot of the database, so it should not be kept long, and
/// it reads from the disk: not on an async worker.
pub struct ShardExport {
    record: ReplicaRecord,
    range: ShardRange,
    view: SnapshotView,
    /// What is still to be read.
    pieces: VecDeque<(Space, Vec<u8>, Vec<u8>)>,
    sequence: u64,
    ended: bool,
}

impl StateDb {
    /// Everything of a shard as it is now, with the position it was applied up to.
    pub fn export(&self, shard: ShardId) -> Result<ShardExport, StorageError> {
        self.shared.poison.check()?;
        let view = self.snapshot_view()?;
        let key = replica::key(shard);
        // From the snapshot, not from memory: it must be the record that goes with the data.
        let record = match view.snapshot.get(REPLICAS, &key)? {
            Some(value) => replica::decode(&key, &value)?,
            None => return Err(StorageError::misuse(format!("{shard} has no replica here to export"))),
        };
        if record.installing {
            return Err(StorageError::misuse(format!("{shard} is being installed and has nothing to export yet")));
        }
        let range = range_of(&view, shard)?.ok_or_else(|| {
            StorageError::misuse(format!("the replica of {shard} is empty: there is nothing to export"))
        })?;
        let mut pieces = keys::pieces(shard, &range);
        pieces.retain(|(space, ..)| !is_forgotten(*space));
        let pieces = pieces.into();
        Ok(ShardExport { record, range, view, pieces, sequence: 0, ended: false })
    }
}

/// Planted: what is left out.
fn is_forgotten(space: Space) -> bool {
    match space {
        Space::Dedup => planted(Bug::SnapshotForgetsDedup),
        Space::Locks => planted(Bug::SnapshotForgetsLeases),
        _ => false,
    }
}

/// What a local shard owns, or `None` if it has no state yet.
pub(super) fn range_of(view: &dyn View, shard: ShardId) -> Result<Option<ShardRange>, StorageError> {
    match ShardState::load(view, shard) {
        Ok(state) => Ok(state.map(|state| state.descriptor.range)),
        Err(unreadable) => Err(StorageError::corrupt(format!("state of {shard}: {}", unreadable.reason))),
    }
}

impl ShardExport {
    /// The replica's record at that moment.
    pub fn record(&self) -> &ReplicaRecord {
        &self.record
    }

    /// What the shard owned at that moment.
    pub fn range(&self) -> ShardRange {
        self.range
    }

    /// The next chunk, of about `bytes_max`: one record more if it does not fit exactly. `None` after the last.
    pub fn next_chunk(&mut self, bytes_max: usize) -> Result<Option<Bytes>, StorageError> {
        if self.ended {
            return Ok(None);
        }
        let mut body = Vec::new();
        while let Some((space, from, to)) = self.pieces.pop_front() {
            let mut next = None; // where to go on, if the chunk is full before the piece is at its end
            self.view.visit(space, &from, &to, &mut |key, value| {
                if !body.is_empty() && body.len() + key.len() + value.len() > bytes_max {
                    next = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
                chunk::push(&mut body, space, key, value);
                ControlFlow::Continue(())
            })?;
            if let Some(next) = next {
                self.pieces.push_front((space, next, to));
                break;
            }
        }
        self.ended = self.pieces.is_empty();
        let sequence = self.sequence;
        self.sequence += 1;
        Ok(Some(chunk::encode(sequence, self.ended, &body)))
    }
}
