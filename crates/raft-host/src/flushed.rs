//! How far a replica's log is on its disk, for `apply`, which must not be ahead of it.
//!
//! Raft lets a replica apply an entry as soon as a majority has it. That may be the others: its own write may still wait in
//! the queue, behind a slow sync. If the process or the power ended in that moment, the state would hold an entry that the
//! log lacks, and the next start could only take this for a disk that lost what was acknowledged: the replica would be
//! distrusted though nothing was wrong. So an entry is applied once this replica's own log has it for good.
//!
//! The price is that a leader whose own disk hangs decides nothing, though the others could go on. So it is also known how
//! long the disk has kept it waiting ([`Flushed::wait`]), and whoever looks hands leadership over.

use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Flushed(watch::Sender<Reached>);

/// * `end ≤ asked`, but for a moment.
#[derive(Clone, Copy)]
struct Reached {
    /// Every entry before this index is on the disk.
    end: u64,
    /// Every entry before this index is there, or on its way.
    asked: u64,
    /// When the disk has last finished something, or was first asked after it had.
    since: Instant,
    /// The log takes nothing more, and the process is about to stop.
    failed: bool,
}

impl Flushed {
    /// Every entry before `end` is on the disk.
    pub(crate) fn before(end: u64) -> Flushed {
        Flushed(watch::Sender::new(Reached { end, asked: end, since: Instant::now(), failed: false }))
    }

    /// Everything up to this entry is on its way.
    pub(crate) fn asked(&self, last: u64) {
        self.0.send_if_modified(|reached| {
            if reached.asked <= reached.end {
                reached.since = Instant::now();
            }
            reached.asked = reached.asked.max(last + 1);
            false // nobody waits for that
        });
    }

    /// Everything up to this entry is on the disk now. Called in the order of the writes.
    pub(crate) fn appended(&self, last: u64) {
        self.0.send_if_modified(|reached| {
            reached.since = Instant::now();
            let news = reached.end <= last;
            reached.end = reached.end.max(last + 1);
            news
        });
    }

    /// Everything from this index on is gone; others may come in its place. Called in the order of the writes.
    pub(crate) fn truncated(&self, from: u64) {
        self.0.send_if_modified(|reached| {
            reached.end = reached.end.min(from);
            reached.asked = reached.asked.min(from);
            false // nobody waits for less
        });
    }

    /// A write failed.
    pub(crate) fn failed(&self) {
        self.0.send_modify(|reached| reached.failed = true);
    }

    /// How long the disk has finished nothing though it was asked to.
    pub(crate) fn wait(&self) -> Duration {
        let reached = *self.0.borrow();
        if reached.asked > reached.end { reached.since.elapsed() } else { Duration::ZERO }
    }

    /// Returns when the entry at `index` is on the disk.
    pub(crate) async fn reach(&self, index: u64) -> io::Result<()> {
        let mut reached = self.0.subscribe();
        let reached = reached.wait_for(|reached| index < reached.end || reached.failed).await;
        match reached.as_deref() {
            Ok(Reached { failed: false, .. }) => Ok(()),
            _ => Err(io::Error::other("the log failed before it had the entry")),
        }
    }
}
