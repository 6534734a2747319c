//! The queue, and what empties it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use ringfence_planted::{Bug, planted};

use super::group::Group;
use super::layout::{self, LOG};
use super::{Done, LogRecord};
use crate::engine::{Batch, Durability, Engine};
use crate::poison::Poison;
use crate::{LogPosition, StorageError};

/// When this much waits for the disk, whoever appends waits too. Far above what a healthy disk leaves waiting; it keeps
/// a stuck one from filling the memory.
const QUEUE_BYTES_MAX: usize = 128 << 20;

/// A batch ends after this many bytes: a larger one would not be faster, only longer in memory.
const BATCH_BYTES_SOFT_MAX: usize = 8 << 20;

/// What a job does to its group's records.
pub(super) enum Work {
    /// `start` is set when the log was empty and never purged: its first index.
    Append { start: Option<u64>, records: Vec<LogRecord> },
    /// Saves the vote.
    Vote(bytes::Bytes),
    /// Saves the committed position. The only work that needs no sync and wakes nobody.
    Committed(Option<LogPosition>),
    /// Removes this entry and all after it.
    Truncate { from: u64 },
    /// Removes the entries from `first` to `upto`.
    Purge { first: u64, upto: LogPosition },
    /// Removes everything.
    Destroy,
}

/// One thing to write.
pub(super) struct Job {
    pub(super) group: Arc<Group>,
    /// Counts the jobs of the group.
    pub(super) sequence: u64,
    pub(super) work: Work,
    pub(super) bytes: usize,
    pub(super) done: Option<Done>,
}

impl Job {
    fn finish(self, result: Result<(), StorageError>) {
        if let Some(done) = self.done {
            done(result);
        }
    }
}

/// What the handles and the writer share.
pub(super) struct Writer {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) poison: Poison,
    /// Whether a thread empties the queue, so that waiting for it makes sense.
    threaded: bool,
    queue: Mutex<Queue>,
    work_came: Condvar,
    room_came: Condvar,
    /// Held for a whole step, so that batches of two steppers cannot overtake each other.
    stepping: Mutex<()>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Jobs that somebody waits for.
    urgent: usize,
    /// Why nothing more is taken.
    closed: Option<StorageError>,
}

impl Writer {
    pub(super) fn new(engine: Arc<dyn Engine>, threaded: bool) -> Writer {
        Writer {
            engine,
            poison: Poison::default(),
            threaded,
            queue: Mutex::default(),
            work_came: Condvar::new(),
            room_came: Condvar::new(),
            stepping: Mutex::new(()),
        }
    }

    /// Why nothing more is taken, if so.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        self.lock().closed.clone().map_or(Ok(()), Err)
    }

    /// Waits until the queue is below its bound.
    pub(super) fn wait_for_room(&self) {
        if !self.threaded {
            return;
        }
        let full = |queue: &mut Queue| queue.bytes > QUEUE_BYTES_MAX && queue.closed.is_none();
        drop(self.room_came.wait_while(self.lock(), full).expect("no code panics while it holds this lock"));
    }

    /// Puts a job at the end, or gives back who waits for it, with the reason.
    pub(super) fn push(&self, job: Job) -> Result<(), (Option<Done>, StorageError)> {
        let mut queue = self.lock();
        if let Some(error) = &queue.closed {
            return Err((job.done, error.clone()));
        }
        queue.bytes += job.bytes;
        if matches!(job.work, Work::Committed(_)) {
            queue.replace_committed(job);
            return Ok(());
        }
        queue.urgent += 1;
        queue.jobs.push_back(job);
        drop(queue);
        self.work_came.notify_one();
        Ok(())
    }

    /// Writes one batch of what waits. False if nothing did.
    pub(super) fn step(&self) -> bool {
        let _in_order = self.stepping.lock().expect("a writer that panicked has poisoned the store");
        let jobs = self.take();
        if jobs.is_empty() {
            return false;
        }
        let mut batch = Batch::new();
        for job in &jobs {
            record(job, &mut batch);
        }
        let durability = if jobs.iter().any(needs_sync) { Durability::Synced } else { Durability::Buffered };
        match self.engine.write(batch, durability) {
            Ok(()) => {
                for job in jobs {
                    job.group.written(job.sequence);
                    job.finish(Ok(()));
                }
            }
            Err(error) => {
                self.fail(error.clone());
                for job in jobs.into_iter().chain(self.take_all()) {
                    job.finish(Err(error.clone()));
                }
            }
        }
        true
    }

    /// The writer's thread: until the queue is closed and empty.
    pub(super) fn run(&self) {
        let _guard = ClosedOnPanic(self);
        while self.wait_for_work() {
            self.step();
        }
    }

    /// Takes nothing more. What waits is still written. The first reason counts.
    pub(super) fn close(&self, reason: StorageError) {
        self.lock().closed.get_or_insert(reason);
        self.work_came.notify_all();
        self.room_came.notify_all();
    }

    /// Takes nothing more because of a failure, and tells it.
    pub(super) fn fail(&self, error: StorageError) {
        self.close(error.clone());
        self.poison.set(error);
    }

    fn wait_for_work(&self) -> bool {
        let idle = |queue: &mut Queue| queue.urgent == 0 && queue.closed.is_none();
        let queue = self.work_came.wait_while(self.lock(), idle).expect("no code panics while it holds this lock");
        !queue.jobs.is_empty()
    }

    fn take(&self) -> Vec<Job> {
        let mut queue = self.lock();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES_SOFT_MAX
            && let Some(job) = queue.jobs.pop_front()
        {
            bytes += job.bytes;
            queue.urgent -= usize::from(!matches!(job.work, Work::Committed(_)));
            taken.push(job);
        }
        queue.bytes -= bytes;
        drop(queue);
        self.room_came.notify_all();
        taken
    }

    fn take_all(&self) -> Vec<Job> {
        let mut queue = self.lock();
        (queue.bytes, queue.urgent) = (0, 0);
        queue.jobs.drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no code panics while it holds this lock")
    }
}

impl Queue {
    /// Of committed positions that follow each other without anything between only the last matters.
    fn replace_committed(&mut self, job: Job) {
        match self.jobs.back_mut() {
            Some(last) if matches!(last.work, Work::Committed(_)) && Arc::ptr_eq(&last.group, &job.group) => {
                *last = job
            }
            _ => self.jobs.push_back(job),
        }
    }
}

/// Whether a job is done only once it is synced.
fn needs_sync(job: &Job) -> bool {
    match job.work {
        Work::Committed(_) => false,
        // Planted: one in many is synced, and takes those before it along.
        Work::Append { .. } if planted(Bug::AckBeforeFsync) => job.sequence.is_multiple_of(64),
        _ => true,
    }
}

/// Adds a job's changes to the batch.
fn record(job: &Job, batch: &mut Batch) {
    let replica = job.group.replica;
    match &job.work {
        Work::Append { start, records } => {
            if let Some(start) = start {
                let key = layout::start(replica);
                let value = layout::start_value(&key, *start);
                batch.put(LOG, key, value);
            }
            for record in records {
                let key = layout::entry(replica, record.position.index);
                let value = layout::entry_value(&key, record);
                batch.put(LOG, key, value);
            }
        }
        // Planted: it is in memory, and stays there.
        Work::Vote(_) if planted(Bug::VoteNotPersisted) => {}
        Work::Vote(vote) => {
            let key = layout::vote(replica);
            let value = crate::seal::seal(&key, &[vote]);
            batch.put(LOG, key, value);
        }
        Work::Committed(None) => batch.delete(LOG, layout::committed(replica)),
        Work::Committed(Some(position)) => put_position(batch, layout::committed(replica), *position),
        Work::Truncate { from } => batch.delete_range(LOG, layout::entry(replica, *from), layout::end(replica)),
        Work::Purge { first, upto } => {
            batch.delete_range(LOG, layout::entry(replica, *first), layout::entry(replica, upto.index + 1));
            put_position(batch, layout::purged(replica), *upto);
        }
        Work::Destroy => batch.delete_range(LOG, layout::first(replica), layout::end(replica)),
    }
}

fn put_position(batch: &mut Batch, key: bytes::Bytes, position: LogPosition) {
    let value = layout::position_value(&key, position);
    batch.put(LOG, key, value);
}

/// A panic in the writer's thread (in a callback) must not leave everyone waiting.
struct ClosedOnPanic<'a>(&'a Writer);

impl Drop for ClosedOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = StorageError::Io { doing: "log writer".into(), reason: "its thread panicked".into() };
            self.0.close(error.clone());
            self.0.poison.set(error.clone());
            for job in self.0.take_all() {
                job.finish(Err(error.clone()));
            }
        }
    }
}
