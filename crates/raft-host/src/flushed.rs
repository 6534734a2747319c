//! How far a replica's log is on its disk, for `apply`, which must not be ahead of it.
//!
//! Raft lets a replica apply an entry as soon as a majority has it. That may be the others: its own write may still wait in
//! the queue, behind a slow sync. If the process or the power ended in that moment, the state would hold an entry that the
//! log lacks, and the next start could only take this for a disk that lost what was acknowledged: the replica would be
//! distrusted though nothing was wrong. So an entry is applied once this replica's own log has it for good.

use std::io;

use tokio::sync::watch;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Flushed(watch::Sender<Reached>);

#[derive(Clone, Copy)]
enum Reached {
    /// Every entry before this index.
    Before(u64),
    /// The log takes nothing more, and the process is about to stop.
    Failed,
}

impl Flushed {
    /// Every entry before `end` is on the disk.
    pub(crate) fn before(end: u64) -> Flushed {
        Flushed(watch::Sender::new(Reached::Before(end)))
    }

    /// Everything up to this entry is on the disk now. Called in the order of the writes.
    pub(crate) fn appended(&self, last: u64) {
        self.0.send_if_modified(|reached| match reached {
            Reached::Before(end) if *end <= last => {
                *end = last + 1;
                true
            }
            _ => false,
        });
    }

    /// Everything from this index on is gone; others may come in its place. Called in the order of the writes.
    pub(crate) fn truncated(&self, from: u64) {
        self.0.send_if_modified(|reached| {
            if let Reached::Before(end) = reached {
                *end = from.min(*end);
            }
            false // nobody waits for less
        });
    }

    /// A write failed.
    pub(crate) fn failed(&self) {
        self.0.send_replace(Reached::Failed);
    }

    /// Returns when the entry at `index` is on the disk.
    pub(crate) async fn reach(&self, index: u64) -> io::Result<()> {
        let mut reached = self.0.subscribe();
        let reached = reached.wait_for(|reached| match reached {
            Reached::Before(end) => index < *end,
            Reached::Failed => true,
        });
        match reached.await.as_deref() {
            Ok(Reached::Before(_)) => Ok(()),
            _ => Err(io::Error::other("the log failed before it had the entry")),
        }
    }
}
