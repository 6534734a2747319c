//! A replica's state, as openraft wants it: applies entries through the pure core, builds and installs snapshots.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use ringfence_state_machine::{Applied, Entry, ShardState, apply, membership_changed, new_leader};
use ringfence_storage::StateDb;
use ringfence_types::{ReplicaId, ShardId};

use crate::apply_pool::ApplyThread;
use crate::descriptor_cell::DescriptorCell;
use crate::flushed::Flushed;
use crate::locks::{LockChanges, Locks};
use crate::log_store::{Durable, io_error};
use crate::moments::Moments;
use crate::raft::{
    LogId, Replies, Snapshot, SnapshotMeta, StoredMembership, Types, Unreadable, decode_membership, encode_membership,
    log_id, position, replicas_of,
};
use crate::snapshot::SnapshotSource;

/// Most entries handed to the apply thread at once. Bounds how long one shard keeps the thread.
const APPLY_ENTRIES_MAX: usize = 64;

/// See the module. Cheap to clone; openraft owns one and the snapshot builder another.
#[derive(Clone)]
pub(crate) struct Machine {
    shard: ShardId,
    replica: ReplicaId,
    state: StateDb,
    thread: ApplyThread,
    durable: Durable,
    flushed: Flushed,
    applied_bytes: AppliedBytes,
    descriptor: DescriptorCell,
    locks: Locks,
    moments: Moments,
}

/// How many bytes of entries were applied since this replica started. Tells when the log is worth purging.
#[derive(Clone, Default)]
pub(crate) struct AppliedBytes(Arc<AtomicU64>);

impl AppliedBytes {
    pub(crate) fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Machine {
    #[expect(clippy::too_many_arguments, reason = "each is another part of the replica, named at the one call")]
    pub(crate) fn new(
        shard: ShardId,
        replica: ReplicaId,
        state: StateDb,
        thread: ApplyThread,
        durable: Durable,
        flushed: Flushed,
        applied_bytes: AppliedBytes,
        descriptor: DescriptorCell,
        locks: Locks,
        moments: Moments,
    ) -> Machine {
        Machine { shard, replica, state, thread, durable, flushed, applied_bytes, descriptor, locks, moments }
    }

    /// The descriptor in the state is another one now.
    fn reload_descriptor(&self) -> io::Result<()> {
        if let Some(state) = ShardState::load(&self.state.view(), self.shard).map_err(io::Error::other)? {
            self.descriptor.set(state.descriptor);
        }
        Ok(())
    }

    fn stored(&self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let record = self
            .state
            .replica(self.shard)
            .map_err(io_error)?
            .ok_or_else(|| io::Error::other(format!("the state DB has no record of {}", self.shard)))?;
        let membership = match record.membership.is_empty() {
            true => StoredMembership::default(), // nothing was applied yet
            false => decode_membership(&record.membership)?,
        };
        Ok((record.applied.map(log_id), membership))
    }

    /// Applies some entries, in order, and answers whoever waits for them. Runs on the apply thread.
    fn apply_now(&self, entries: Vec<EntryResponder<Types>>) -> io::Result<()> {
        for (entry, responder) in entries {
            let at = position(&entry.log_id);
            let replies = match entry.payload {
                EntryPayload::Blank => {
                    let writes = new_leader(&self.state.view(), self.shard).map_err(io::Error::other)?;
                    let changes = LockChanges::of(&writes, Vec::new());
                    self.state.commit(self.shard, writes, at, None).map_err(io_error)?;
                    self.locks.follow(changes);
                    Vec::new()
                }
                EntryPayload::Membership(membership) => {
                    let replicas = replicas_of(&membership);
                    let writes =
                        membership_changed(&self.state.view(), self.shard, replicas).map_err(io::Error::other)?;
                    let stored = StoredMembership::new(Some(entry.log_id), membership);
                    let bytes = encode_membership(&stored);
                    self.state.commit(self.shard, writes, at, Some(bytes)).map_err(io_error)?;
                    self.reload_descriptor()?;
                    Vec::new()
                }
                EntryPayload::Normal(proposal) => {
                    self.applied_bytes.0.fetch_add(proposal.bytes.len() as u64, Ordering::Relaxed);
                    let parsed = match proposal.parsed {
                        Some(parsed) => parsed,
                        None => Arc::new(
                            Entry::decode(&proposal.bytes)
                                .map_err(|e| Unreadable { what: "log entry", reason: e.to_string() })?,
                        ),
                    };
                    let Applied { writes, replies, wakes } =
                        apply(&self.state.view(), self.shard, &parsed).map_err(io::Error::other)?;
                    let changes = LockChanges::of(&writes, wakes);
                    self.state.commit(self.shard, writes, at, None).map_err(io_error)?;
                    self.locks.follow(changes);
                    replies
                }
            };
            self.moments.reached(at.index, &self.state);
            if let Some(responder) = responder {
                responder.send(Replies(replies));
            }
        }
        Ok(())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotSource;
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.stored()
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(APPLY_ENTRIES_MAX);
        while let Some(chunk) = chunks.next().await {
            let entries = chunk.into_iter().collect::<Result<Vec<_>, _>>()?;
            if let Some((last, _)) = entries.last() {
                self.flushed.reach(last.log_id.index).await?;
            }
            let machine = self.clone();
            match self.thread.run(move || machine.apply_now(entries)).await {
                Some(result) => result?,
                None => return Err(io::Error::other(format!("applying to {} panicked", self.shard))),
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotSource) -> Result<(), io::Error> {
        let machine = self.clone();
        self.thread
            .run(move || {
                snapshot.install(&machine.state, machine.replica)?;
                machine.locks.reload(&machine.state.view(), machine.shard).map_err(io::Error::other)?;
                machine.reload_descriptor()
            })
            .await
            .unwrap_or_else(|| Err(io::Error::other("installing a snapshot panicked")))?;
        // Installing syncs, so the log before it may go.
        self.durable.raise(meta.last_log_id.as_ref().map_or(0, |id| id.index));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let (applied, _) = self.stored()?;
        if applied.is_none() { Ok(None) } else { Ok(Some(self.build_snapshot().await?)) }
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = SnapshotSource;

    /// Costs nothing: the data is read when the snapshot is sent. What is sent then may be newer than what is promised
    /// here, which is harmless, as everything applied is committed.
    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (last_log_id, last_membership) = self.stored()?;
        Ok(Snapshot {
            meta: SnapshotMeta { last_log_id, last_membership },
            snapshot: SnapshotSource::Own(self.state.clone(), self.shard),
        })
    }
}
