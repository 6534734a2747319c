//! Request ids for mutations whose clients gave none.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use ringfence_types::{ClientId, RequestId, Revision};

/// Names mutations on behalf of their clients, and keeps the highest revision that passed through this node: a good birth.
pub(crate) struct Mint {
    client: ClientId,
    sequence: AtomicU64,
    seen: AtomicI64,
}

impl Mint {
    /// A new client, for the life of the process.
    pub(crate) fn new() -> Mint {
        let client = ClientId(rand::random_range(1..=u64::MAX));
        Mint { client, sequence: AtomicU64::new(0), seen: AtomicI64::new(0) }
    }

    /// An id that was never used.
    pub(crate) fn id(&self, at_least: Revision) -> RequestId {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        RequestId { client: self.client, sequence, birth: self.seen().max(at_least) }
    }

    /// The highest revision that passed through this node.
    pub(crate) fn seen(&self) -> Revision {
        Revision(self.seen.load(Ordering::Relaxed))
    }

    /// A revision passed through this node.
    pub(crate) fn saw(&self, revision: Revision) {
        self.seen.fetch_max(revision.0, Ordering::Relaxed);
    }
}
