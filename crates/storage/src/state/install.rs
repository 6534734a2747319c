//! Puts a shard's state, exported elsewhere, in the place of the local one.
//!
//! A shard is too large for one batch, so a crash in the middle must be thought of. If it left the replica empty, its log
//! would say "purged up to 900" and its state "applied nothing", and Raft would rightly refuse to start. So:
//!
//! 1. The chunks are checked and *staged* in a table of their own. The old state is untouched; a crash loses the staged
//!    chunks and nothing else.
//! 2. Once the last chunk is there, one synced batch clears the old state and marks the replica `installing`.
//! 3. The staged chunks are written to their places, and a last synced batch takes the mark and the staged chunks away.
//!
//! A crash after step 2 is mended by doing step 3 again when the database is opened. So nobody outside ever meets a half
//! state: it is the old one or the new one.

use std::ops::ControlFlow;

use bytes::Bytes;
use ringfence_shard_router::ShardRange;
use ringfence_state_machine::{Space, keys};
use ringfence_types::ShardId;

use super::db::batch_of;
use super::export::range_of;
use super::replica::{self, REPLICAS, ReplicaRecord, STAGED};
use super::view::table;
use super::{StateDb, chunk};
use crate::StorageError;
use crate::engine::{Batch, Durability};

/// A state that is arriving. Dropped before [`Install::finish`], it has changed nothing.
pub struct Install {
    db: StateDb,
    record: ReplicaRecord,
    pieces: Vec<(Space, Vec<u8>, Vec<u8>)>,
    expected: u64,
    complete: bool,
}

impl StateDb {
    /// Begins to replace what is here of a shard, or to make it. `record` is how the replica's will be, `range` what the
    /// arriving state owns. Refused if another local shard owns a part of that, or while another install of it runs.
    pub fn begin_install(
        &self,
        shard: ShardId,
        record: ReplicaRecord,
        range: ShardRange,
    ) -> Result<Install, StorageError> {
        if record.shard != shard {
            return Err(StorageError::misuse(format!("a record of {} for the installation of {shard}", record.shard)));
        }
        self.refuse_overlap(shard, &range)?;
        if !self.shared.installs.lock().expect("no code panics while it holds this lock").insert(shard) {
            return Err(StorageError::misuse(format!("an installation of {shard} is under way already")));
        }
        let pieces = keys::pieces(shard, &range);
        let install = Install { db: self.clone(), record, pieces, expected: 0, complete: false };
        install.db.write(install.unstage(), Durability::Buffered)?; // what an earlier one may have left
        Ok(install)
    }

    fn refuse_overlap(&self, shard: ShardId, range: &ShardRange) -> Result<(), StorageError> {
        if shard == ShardId::META {
            return Ok(());
        }
        for other in self.replicas()? {
            if other.shard == shard || other.shard == ShardId::META {
                continue;
            }
            if let Some(owned) = range_of(&self.view(), other.shard)?.filter(|owned| owned.overlaps(range)) {
                return Err(StorageError::misuse(format!(
                    "{shard} would own {range}, but {} owns {owned} here. Wait until that replica has split or gone",
                    other.shard
                )));
            }
        }
        Ok(())
    }

    /// Step 3 for whatever a crash interrupted, and away with chunks that were never complete.
    pub(super) fn mend(&self) -> Result<(), StorageError> {
        let interrupted: Vec<ReplicaRecord> = self.records().values().filter(|r| r.installing).cloned().collect();
        for record in interrupted {
            tracing::info!(shard = %record.shard, "finishing the installation of a snapshot that a stop interrupted");
            self.put_in_place(record)?;
        }
        let mut left = false;
        self.shared.engine.scan(STAGED, &[], &[0xff; 17], &mut |_, _| {
            left = true;
            ControlFlow::Break(())
        })?;
        if left {
            let mut batch = Batch::new();
            batch.delete_range(STAGED, Bytes::new(), vec![0xff; 17]);
            self.write(batch, Durability::Buffered)?;
        }
        Ok(())
    }

    /// Writes the staged chunks to their places. Doing it again does the same.
    fn put_in_place(&self, mut record: ReplicaRecord) -> Result<(), StorageError> {
        let mut last = false;
        for sequence in 0.. {
            let Some(staged) = self.shared.engine.get(STAGED, &staged_key(record.shard, sequence))? else { break };
            let chunk = chunk::decode(&staged)?;
            last = chunk.last;
            self.write(batch_of(chunk.records), Durability::Buffered)?;
        }
        if !last {
            return Err(StorageError::corrupt(format!("staged chunks of {}: the last one is missing", record.shard)));
        }
        record.installing = false;
        let mut batch = Batch::new();
        let (from, to) = staged_range(record.shard);
        batch.delete_range(STAGED, from, to);
        self.write_record(&mut batch, record, Durability::Synced)
    }
}

fn staged_key(shard: ShardId, sequence: u64) -> Bytes {
    [shard.0.to_be_bytes(), sequence.to_be_bytes()].concat().into()
}

fn staged_range(shard: ShardId) -> (Bytes, Bytes) {
    let mut end = staged_key(shard, u64::MAX).to_vec();
    end.push(0xff);
    (staged_key(shard, 0), end.into())
}

impl Install {
    /// Checks and stages the next chunk.
    pub fn chunk(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        let chunk = chunk::decode(&bytes)?;
        if self.complete || chunk.sequence != self.expected {
            let (found, expected) = (chunk.sequence, self.expected);
            return Err(StorageError::misuse(format!("chunk {found} of a snapshot came where {expected} is next")));
        }
        let inside = |space: Space, key: &[u8]| {
            self.pieces.iter().any(|(piece, from, to)| *piece == space && from.as_slice() <= key && key < to.as_slice())
        };
        if let Some(stray) = chunk.records.iter().find(|write| !inside(write.space, &write.key)) {
            let key = stray.key.escape_ascii();
            return Err(StorageError::corrupt(format!(
                "a snapshot of {} holds the foreign key {key}",
                self.record.shard
            )));
        }
        let mut batch = Batch::new();
        batch.put(STAGED, staged_key(self.record.shard, chunk.sequence), bytes);
        self.db.write(batch, Durability::Buffered)?;
        self.expected += 1;
        self.complete = chunk.last;
        Ok(())
    }

    /// Replaces the old state by the new. Durable on return. Refused, with the old state untouched, if the last chunk has
    /// not come. Meanwhile nobody may read the shard or commit to it.
    pub fn finish(self) -> Result<(), StorageError> {
        let shard = self.record.shard;
        if !self.complete {
            return Err(StorageError::misuse(format!(
                "the snapshot of {shard} is not complete after {} chunks",
                self.expected
            )));
        }
        let mut batch = Batch::new();
        // Before a split that it has not applied yet the old state may own more than the new one.
        let old = range_of(&self.db.view(), shard)?.map(|range| keys::pieces(shard, &range)).unwrap_or_default();
        for (space, from, to) in old.into_iter().chain(self.pieces.iter().cloned()) {
            batch.delete_range(table(space), from, to);
        }
        let marked = ReplicaRecord { installing: true, ..self.record.clone() };
        self.db.write_record(&mut batch, marked.clone(), Durability::Synced)?;
        tracing::info!(%shard, "the old state is gone, the snapshot takes its place");
        self.db.put_in_place(marked)
    }

    fn unstage(&self) -> Batch {
        let mut batch = Batch::new();
        let (from, to) = staged_range(self.record.shard);
        batch.delete_range(STAGED, from, to);
        batch
    }
}

impl Drop for Install {
    fn drop(&mut self) {
        self.db.shared.installs.lock().expect("no code panics while it holds this lock").remove(&self.record.shard);
    }
}

impl StateDb {
    /// Removes a replica's record and state. Durable on return. Nobody may read the shard or commit to it any more.
    pub fn destroy(&self, shard: ShardId) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        if let Some(range) = range_of(&self.view(), shard)? {
            for (space, from, to) in keys::pieces(shard, &range) {
                batch.delete_range(table(space), from, to);
            }
        }
        batch.delete(REPLICAS, replica::key(shard));
        self.write(batch, Durability::Synced)?;
        self.records().remove(&shard);
        Ok(())
    }
}
