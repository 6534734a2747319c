//! One group's log.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use ringfence_types::ReplicaId;

use super::db::Handle;
use super::layout::{self, LOG, Stored};
use super::load::Loaded;
use super::writer::{Job, Work};
use super::{Done, LogRecord, LogState};
use crate::{LogPosition, StorageError};

/// Durable entries stay in memory up to this many bytes per group, for followers that are a little behind and for
/// `apply`. What is further back is read from the disk.
const TAIL_BYTES_MAX: usize = 2 << 20;

/// What an entry weighs beside its payload.
const RECORD_BYTES: usize = 64;

/// The log of one group: a cheap handle.
///
/// Every change is visible to [`GroupLog::state`] and [`GroupLog::read`] when the call returns, and is durable when its
/// `done` is called. One task changes a group's log; any may read it.
#[derive(Clone)]
pub struct GroupLog {
    pub(super) group: Arc<Group>,
    pub(super) db: Arc<Handle>,
}

pub(super) struct Group {
    pub(super) replica: ReplicaId,
    inner: Mutex<Inner>,
}

/// * The tail is the end of the log, without a gap: from `tail_first()` to `state.last`.
/// * What is not in the tail is durable, and readable from the engine.
pub(super) struct Inner {
    state: LogState,
    /// The first index that belongs to the log.
    first: u64,
    tail: VecDeque<Held>,
    tail_bytes: usize,
    /// Jobs queued so far.
    queued: u64,
    /// Jobs up to here are written and synced.
    written: u64,
    /// Rises when entries go, so that a reader knows whether one may be missing.
    removals: u64,
    destroyed: bool,
}

struct Held {
    record: LogRecord,
    /// The job that writes it.
    sequence: u64,
}

impl GroupLog {
    /// Whose log this is.
    pub fn replica(&self) -> ReplicaId {
        self.group.replica
    }

    /// What is known without reading.
    pub fn state(&self) -> LogState {
        self.group.lock().state.clone()
    }

    /// Adds entries after the last one; a gap is refused. Readable when this returns, durable when `done` is called.
    ///
    /// Only an empty log that was never purged may begin anywhere: a replica that was seeded with state has no log yet.
    pub fn append(&self, records: Vec<LogRecord>, done: Done) {
        let bytes = records.iter().map(weight).sum();
        self.submit(bytes, Some(done), |inner| inner.append(records));
    }

    /// Saves the vote, in order with everything else of this group.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        self.submit(vote.len(), Some(done), |inner| {
            inner.state.vote = Some(vote.clone());
            Ok(Work::Vote(vote))
        });
    }

    /// Saves the committed position with the next batch that comes along. Nobody waits for it, and a crash may lose it.
    pub fn save_committed(&self, position: Option<LogPosition>) {
        self.submit(0, None, |inner| {
            inner.state.committed = position;
            Ok(Work::Committed(position))
        });
    }

    /// Removes everything after `last`; `None` removes everything. Refused below what was purged.
    pub fn truncate_after(&self, last: Option<LogPosition>, done: Done) {
        self.submit(0, Some(done), |inner| inner.truncate_after(last));
    }

    /// Removes everything up to and including `upto`. Beyond the last entry it empties the log and lets it continue
    /// after `upto`, as after an installed snapshot. The caller has made the state durable up to there.
    pub fn purge(&self, upto: LogPosition, done: Done) {
        self.submit(0, Some(done), |inner| inner.purge(upto));
    }

    /// The entries from `from` up to but not including `to`, as far as the log has them.
    ///
    /// Ends early once `bytes_max` of payload are exceeded, but is never empty if an entry of the range exists. Entries
    /// that were purged are missing at the beginning.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<LogRecord>, StorageError> {
        let read = self.read_unguarded(from, to, bytes_max);
        if let Err(error @ StorageError::Corrupt { .. }) = &read {
            self.db.writer.fail(error.clone()); // all groups' logs are in the same files
        }
        read
    }

    fn read_unguarded(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<LogRecord>, StorageError> {
        let mut found = Found { records: Vec::new(), bytes_left: bytes_max };
        let mut next = from;
        loop {
            let (disk_to, removals) = {
                let inner = self.group.lock();
                next = next.max(inner.first);
                let to = to.min(inner.end());
                if next >= to || found.full() {
                    return Ok(found.records);
                }
                if next >= inner.tail_first() {
                    inner.read_tail(next, to, &mut found);
                    return Ok(found.records);
                }
                (to.min(inner.tail_first()), inner.removals)
            };
            self.read_disk(next, disk_to, &mut found)?;
            let reached = found.records.last().map_or(next, |record| record.position.index + 1);
            if reached < disk_to && !found.full() {
                // Purged or truncated while we read? Then begin again, else it is gone.
                if self.group.lock().removals == removals {
                    let replica = self.group.replica;
                    return Err(StorageError::corrupt(format!("log of {replica}: entry {reached} is missing")));
                }
                found = Found { records: Vec::new(), bytes_left: bytes_max };
                next = from;
                continue;
            }
            next = reached;
        }
    }

    /// Reads without a gap from `from`, and stops where one is.
    fn read_disk(&self, from: u64, to: u64, found: &mut Found) -> Result<(), StorageError> {
        let replica = self.group.replica;
        let (first, end) = (layout::entry(replica, from), layout::entry(replica, to));
        let mut next = from;
        let mut outcome = Ok(());
        self.db.writer.engine.scan(LOG, &first, &end, &mut |key, value| {
            match layout::decode(key, value) {
                Ok(Stored::Entry(record)) if record.position.index == next => found.push(record),
                Ok(_) => return ControlFlow::Break(()),
                Err(error) => {
                    outcome = Err(error);
                    return ControlFlow::Break(());
                }
            }
            next += 1;
            if found.full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        outcome
    }

    /// Removes everything, the vote included.
    pub(super) fn destroy(&self, done: Done) {
        self.submit(0, Some(done), |inner| Ok(inner.destroy()));
    }

    fn submit(&self, bytes: usize, done: Option<Done>, change: impl FnOnce(&mut Inner) -> Result<Work, StorageError>) {
        let writer = &self.db.writer;
        writer.wait_for_room();
        // The queue has the order of the calls because the group stays locked until the job is in it.
        let refused = {
            let mut inner = self.group.lock();
            let accepted = if inner.destroyed { Err(StorageError::Stopped) } else { writer.check() };
            match accepted.and_then(|()| change(&mut inner)) {
                Err(error) => Some((done, error)),
                Ok(work) => {
                    inner.queued += 1;
                    let (group, sequence) = (self.group.clone(), inner.queued);
                    writer.push(Job { group, sequence, work, bytes, done }).err()
                }
            }
        };
        if let Some((Some(done), error)) = refused {
            done(Err(error));
        }
    }
}

impl Group {
    pub(super) fn new(replica: ReplicaId, loaded: Loaded) -> Group {
        Group { replica, inner: Mutex::new(Inner::new(loaded)) }
    }

    /// The writer has made the jobs up to this one durable.
    pub(super) fn written(&self, sequence: u64) {
        let mut inner = self.lock();
        inner.written = sequence;
        inner.trim();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics while it holds this lock")
    }
}

impl Inner {
    fn new(loaded: Loaded) -> Inner {
        Inner {
            state: loaded.state,
            first: loaded.first,
            tail: VecDeque::new(),
            tail_bytes: 0,
            queued: 0,
            written: 0,
            removals: 0,
            destroyed: false,
        }
    }

    /// One after the last index of the log.
    fn end(&self) -> u64 {
        self.state.last.map_or(self.first, |last| last.index + 1)
    }

    fn tail_first(&self) -> u64 {
        self.tail.front().map_or(self.end(), |held| held.record.position.index)
    }

    fn append(&mut self, records: Vec<LogRecord>) -> Result<Work, StorageError> {
        let begins = self.state.last.is_none();
        let first = match records.first() {
            Some(record) if begins => record.position.index,
            _ => self.end(),
        };
        if let Some((record, expected)) =
            records.iter().zip(first..).find(|(r, expected)| r.position.index != *expected)
        {
            return Err(StorageError::misuse(format!("append of {} where {expected} is next", record.position)));
        }
        let Some(last) = records.last() else { return Ok(Work::Append { start: None, records }) };
        let start = begins.then_some(first);
        self.first = start.unwrap_or(self.first);
        self.state.last = Some(last.position);
        let sequence = self.queued + 1;
        for record in &records {
            self.tail_bytes += weight(record);
            self.tail.push_back(Held { record: record.clone(), sequence });
        }
        Ok(Work::Append { start, records })
    }

    fn truncate_after(&mut self, last: Option<LogPosition>) -> Result<Work, StorageError> {
        if last < self.state.purged {
            let first = self.first;
            let after = last.map_or("the beginning".into(), |last| last.to_string());
            return Err(StorageError::misuse(format!("truncation after {after} of a log that begins at {first}")));
        }
        let from = last.map_or(self.first, |last| last.index + 1).min(self.end());
        while self.tail.back().is_some_and(|held| held.record.position.index >= from) {
            let held = self.tail.pop_back().expect("there is a last one");
            self.tail_bytes -= weight(&held.record);
        }
        self.removals += 1;
        self.state.last = last.min(self.state.last);
        Ok(Work::Truncate { from })
    }

    fn purge(&mut self, upto: LogPosition) -> Result<Work, StorageError> {
        // Purged that far already: written again, so that `done` comes in order.
        let upto = self.state.purged.map_or(upto, |purged| purged.max(upto));
        let first = self.first;
        while self.tail.front().is_some_and(|held| held.record.position.index <= upto.index) {
            self.drop_front();
        }
        self.removals += 1;
        self.first = upto.index + 1;
        self.state.purged = Some(upto);
        if self.state.last.is_none_or(|last| last.index <= upto.index) {
            self.state.last = Some(upto);
        }
        Ok(Work::Purge { first: first.min(upto.index), upto })
    }

    /// Nothing is readable any more, and nothing more is taken.
    fn destroy(&mut self) -> Work {
        *self = Inner { destroyed: true, queued: self.queued, ..Inner::new(Loaded::default()) };
        Work::Destroy
    }

    fn trim(&mut self) {
        while self.tail_bytes > TAIL_BYTES_MAX && self.tail.front().is_some_and(|held| held.sequence <= self.written) {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        let held = self.tail.pop_front().expect("there is a first one");
        self.tail_bytes -= weight(&held.record);
    }

    fn read_tail(&self, from: u64, to: u64, found: &mut Found) {
        let skip = (from - self.tail_first()) as usize;
        for held in self.tail.iter().skip(skip).take((to - from) as usize) {
            if found.full() {
                break;
            }
            found.push(held.record.clone());
        }
    }
}

/// What a read has gathered.
struct Found {
    records: Vec<LogRecord>,
    bytes_left: usize,
}

impl Found {
    /// Never before the first entry: a reader that asks for one gets one, however large.
    fn full(&self) -> bool {
        self.bytes_left == 0 && !self.records.is_empty()
    }

    fn push(&mut self, record: LogRecord) {
        self.bytes_left = self.bytes_left.saturating_sub(record.payload.len().max(1));
        self.records.push(record);
    }
}

fn weight(record: &LogRecord) -> usize {
    record.payload.len() + RECORD_BYTES
}
