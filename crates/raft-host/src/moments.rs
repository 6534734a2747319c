//! Views of a replica's state at exactly one position of its log.
//!
//! Replicas can be compared only where both have applied the same entries, and under load no two stand still at the same place. So
//! whoever compares them names an entry that none of them has applied yet, and each replica's apply thread takes a view in
//! passing, between that entry and the next one. A view costs it some microseconds, and nothing where nobody waits for one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ringfence_storage::{SnapshotView, StateDb};
use tokio::sync::oneshot;

/// No entry has this index.
const NEVER: u64 = u64::MAX;

/// Who waits for which entry. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Moments {
    inner: Arc<Inner>,
}

struct Inner {
    /// The lowest index that somebody waits for, or [`NEVER`].
    next: AtomicU64,
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    index: u64,
    view: oneshot::Sender<SnapshotView>,
}

impl Default for Moments {
    fn default() -> Moments {
        Moments { inner: Arc::new(Inner { next: AtomicU64::new(NEVER), waiting: Mutex::default() }) }
    }
}

impl Moments {
    /// Will give a view in which the entry of this index is the last applied; an error if the replica passes it without, or
    /// stops. Only what is applied after this call counts: look afterwards whether it has been applied already.
    pub(crate) fn wait_for(&self, index: u64) -> oneshot::Receiver<SnapshotView> {
        let (view, wait) = oneshot::channel();
        let mut waiting = self.inner.waiting.lock().expect("never poisoned");
        waiting.retain(|waiting| !waiting.view.is_closed());
        waiting.push(Waiting { index, view });
        self.note_next(&waiting);
        wait
    }

    /// The replica has just applied this entry, and nothing after it. On the thread that applies.
    pub(crate) fn reached(&self, index: u64, state: &StateDb) {
        // In one order with the store: whoever has not seen this entry applied is seen here.
        if index < self.inner.next.load(Ordering::SeqCst) {
            return; // nearly always
        }
        let mut waiting = self.inner.waiting.lock().expect("never poisoned");
        let (due, later) = waiting.drain(..).partition::<Vec<_>, _>(|waiting| waiting.index <= index);
        *waiting = later;
        self.note_next(&waiting);
        drop(waiting);
        for Waiting { index: wanted, view } in due {
            // One that cannot be had is as good as passed: whoever waits looks where the replica stands.
            if wanted == index
                && !view.is_closed()
                && let Ok(taken) = state.snapshot_view()
            {
                let _ = view.send(taken);
            }
        }
    }

    fn note_next(&self, waiting: &[Waiting]) {
        let next = waiting.iter().map(|waiting| waiting.index).min().unwrap_or(NEVER);
        self.inner.next.store(next, Ordering::SeqCst);
    }
}
