//! A replica's Raft log, as openraft wants it, over the storage crate's [`GroupLog`].
//!
//! What openraft relies on, and where it is kept:
//!
//! * An entry is readable as soon as `append` returns, and `io_completed` is called only after the sync: `GroupLog` keeps
//!   a tail in memory until its writer thread has synced it.
//! * A vote is durable when `save_vote` returns, and goes through the same ordered writer as the entries.
//! * `save_committed` is awaited inside Raft's core loop, so it costs no sync: it rides along with the next batch.
//! * `purge` physically removes only what the state DB has made durable ([`Durable`]). If it removed more, a power loss
//!   could roll the state back to before the log's first entry, and the replica could never start again.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{Stream, StreamExt, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use ringfence_planted::{Bug, planted};
use ringfence_storage::{GroupLog, LogPosition, StorageError};
use tokio::sync::oneshot;

use crate::flushed::Flushed;
use crate::raft::{LogId, RaftEntry, Types, Vote, decode_vote, encode_vote, from_record, log_id, position, to_record};

/// Most bytes of entries in one append request: below gRPC's limit, and small enough that a heartbeat behind it on the
/// same stream is not late.
const APPEND_BYTES_MAX: usize = 1 << 20;

/// Bytes read at a time when entries are applied.
const APPLY_CHUNK_BYTES: usize = 4 << 20;

/// How far a replica's state is durable: the index of the last entry whose effects survive a power loss.
#[derive(Clone, Default)]
pub(crate) struct Durable(Arc<AtomicU64>);

impl Durable {
    /// Everything up to this index is durable now.
    pub(crate) fn raise(&self, index: u64) {
        self.0.fetch_max(index, Ordering::Release);
    }

    fn index(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: GroupLog,
    durable: Durable,
    flushed: Flushed,
}

impl LogStore {
    pub(crate) fn new(log: GroupLog, durable: Durable) -> LogStore {
        let flushed = Flushed::before(log.state().last.map_or(0, |last| last.index + 1));
        LogStore { log, durable, flushed }
    }

    /// How far the log is on the disk.
    pub(crate) fn flushed(&self) -> Flushed {
        self.flushed.clone()
    }

    /// The vote that this replica has given or is about to give: whatever it tells a candidate, it is here before.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.log.state().vote.and_then(|bytes| decode_vote(&bytes).ok())
    }

    /// Entries from `from` up to but not including `end`: at least one if there is one, then as many as fit.
    fn read(&self, from: u64, end: u64, bytes_max: usize) -> io::Result<Vec<RaftEntry>> {
        if from >= end {
            return Ok(Vec::new());
        }
        let records = self.log.read(from, end, bytes_max).map_err(io_error)?;
        records.into_iter().map(|record| from_record(record).map_err(io::Error::from)).collect()
    }

    /// Runs one ordered write and waits until it is durable.
    async fn ordered(&self, start: impl FnOnce(&GroupLog, Done)) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        start(
            &self.log,
            Box::new(move |result| {
                let _ = done.send(result);
            }),
        );
        match wait.await {
            Ok(result) => result.map_err(io_error),
            Err(_) => Err(io::Error::other("the log writer has stopped")),
        }
    }
}

type Done = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

pub(crate) fn io_error(e: StorageError) -> io::Error {
    io::Error::other(e)
}

/// `[from, end)` of a range of indexes.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(i) => *i,
        Bound::Excluded(i) => i + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(i) => i + 1,
        Bound::Excluded(i) => *i,
        Bound::Unbounded => u64::MAX,
    };
    (from, end)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        let (mut from, end) = bounds(&range);
        let state = self.log.state();
        let end = end.min(state.last.map_or(0, |p| p.index + 1));
        from = from.max(state.purged.map_or(0, |p| p.index + 1));
        let mut entries = Vec::new();
        while from < end {
            let chunk = self.read(from, end, APPLY_CHUNK_BYTES)?;
            let Some(last) = chunk.last() else { break };
            from = last.log_id.index + 1;
            entries.extend(chunk);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<RaftEntry>, io::Error> {
        self.read(start, end, APPEND_BYTES_MAX)
    }

    // The default loads the whole range at once, which after a long absence is the whole log.
    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = Result<RaftEntry, io::Error>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, end) = bounds(&range);
        let store = self.clone();
        stream::unfold(Some((store, from)), move |state| async move {
            let (store, from) = state?;
            if from >= end {
                return None;
            }
            match store.read(from, end, APPLY_CHUNK_BYTES) {
                Ok(chunk) => {
                    let next = chunk.last().map(|entry| (store, entry.log_id.index + 1));
                    let items: Vec<_> = chunk.into_iter().map(Ok).collect();
                    if items.is_empty() { None } else { Some((stream::iter(items), next)) }
                }
                Err(e) => Some((stream::iter(vec![Err(e)]), None)),
            }
        })
        .flatten()
        .boxed()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.log.state().vote.map(|bytes| decode_vote(&bytes)).transpose()?)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.log.state();
        Ok(LogState { last_purged_log_id: state.purged.map(log_id), last_log_id: state.last.map(log_id) })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let bytes = encode_vote(vote);
        self.ordered(|log, done| log.save_vote(bytes, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.log.save_committed(committed.as_ref().map(position));
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.log.state().committed.map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records: Vec<_> = entries.into_iter().map(|entry| to_record(&entry)).collect();
        let (flushed, last) = (self.flushed.clone(), records.last().map(|record| record.position.index));
        if let Some(last) = last {
            flushed.asked(last);
        }
        let done = move |result: Result<(), StorageError>| {
            match (&result, last) {
                (Ok(()), Some(last)) => flushed.appended(last),
                (Ok(()), None) => {}
                (Err(_), _) => flushed.failed(),
            }
            callback.io_completed(result.map_err(io_error));
        };
        self.log.append(records, Box::new(done));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let last = last.as_ref().map(position);
        self.ordered(|log, done| log.truncate_after(last, done)).await?;
        // Nothing is appended before this returns.
        self.flushed.truncated(last.map_or(0, |last| last.index + 1));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let upto = position(&upto);
        let durable = self.durable.index();
        let purged = self.log.state().purged;
        let Some(target) = self.purgeable(upto, durable)? else { return Ok(()) };
        if purged.is_some_and(|p| p.index >= target.index) {
            return Ok(());
        }
        self.ordered(|log, done| log.purge(target, done)).await
    }
}

impl LogStore {
    /// The position up to which entries may really go: never beyond what the state DB has made durable.
    fn purgeable(&self, upto: LogPosition, durable: u64) -> io::Result<Option<LogPosition>> {
        if upto.index <= durable {
            return Ok(Some(upto));
        }
        let state = self.log.state();
        // Planted: a log that has lost what was applied goes on behind it.
        if planted(Bug::TornLogVotes) && state.last < Some(upto) {
            return Ok(Some(upto));
        }
        let first = state.purged.map_or(0, |p| p.index + 1);
        if durable < first || state.last.is_none_or(|last| durable > last.index) {
            return Ok(None);
        }
        Ok(self.read(durable, durable + 1, usize::MAX)?.first().map(|entry| position(&entry.log_id)))
    }
}
