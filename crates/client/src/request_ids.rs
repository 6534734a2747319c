use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use ringfence_types::{ClientId, Holder, RequestId, Revision};

/// Where a client's request ids come from, and the highest revision that it has seen.
///
/// * No two ids are equal: the client is 64 random bits, the sequence only rises.
/// * A birth is the highest revision seen when the id was made. The id is made just before the first sending.
#[derive(Debug)]
pub(crate) struct RequestIds {
    client: ClientId,
    sequence: AtomicU64,
    seen: AtomicI64,
}

impl RequestIds {
    pub(crate) fn new(random: u64, seen: Revision) -> RequestIds {
        // 0 means "no client" on the wire.
        RequestIds { client: ClientId(random.max(1)), sequence: AtomicU64::new(1), seen: AtomicI64::new(seen.0) }
    }

    pub(crate) fn mint(&self) -> RequestId {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        RequestId { client: self.client, sequence, birth: self.seen() }
    }

    /// A name for this client as a holder of locks, if it gives itself none.
    pub(crate) fn holder(&self) -> Holder {
        Holder::new(format!("client-{:016x}", self.client.0)).expect("it is neither empty nor long")
    }

    pub(crate) fn seen(&self) -> Revision {
        Revision(self.seen.load(Ordering::Acquire))
    }

    pub(crate) fn saw(&self, revision: Revision) {
        self.seen.fetch_max(revision.0, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_births_follow_what_was_seen() {
        let ids = RequestIds::new(0, Revision(5));
        let first = ids.mint();
        ids.saw(Revision(9));
        ids.saw(Revision(7));
        let second = ids.mint();
        assert_ne!(first.client, ClientId(0));
        assert_eq!((first.birth, second.birth), (Revision(5), Revision(9)));
        assert!(second.sequence > first.sequence);
    }
}
