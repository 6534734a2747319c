//! Who asks, as far as this node can tell: for routing, and so that nobody takes more than a fair share.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use ringfence_raft_host::Lane;

use crate::call::Call;

/// Where a call comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client. Its call may be forwarded and tried again.
    Client,
    /// Another gateway, which believes that this node leads.
    Peer,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// Where its calls come from.
    pub origin: Origin,
    lane: Lane,
}

impl Caller {
    /// Whoever opened a stream of calls.
    pub(crate) fn of_stream(origin: Origin) -> Caller {
        static STREAMS: AtomicU64 = AtomicU64::new(1); // 0 is the node itself
        Caller { origin, lane: Lane(STREAMS.fetch_add(1, Ordering::Relaxed)) }
    }

    /// Whoever holds a connection and makes single calls over it.
    pub(crate) fn of_connection(remote: Option<SocketAddr>) -> Caller {
        Caller { origin: Origin::Client, lane: lane_of(&remote) }
    }

    /// Whose share a call counts against. A gateway forwards for many clients, and theirs are what counts.
    pub(crate) fn lane(&self, call: &Call) -> Lane {
        match (self.origin, call.id) {
            (Origin::Peer, Some(id)) => lane_of(&id.client),
            _ => self.lane,
        }
    }

    /// The same for a batch, whose calls count together.
    pub(crate) fn lane_of_batch(&self) -> Lane {
        self.lane
    }
}

/// Two callers may meet in one lane by chance; then they share a share.
fn lane_of(caller: &impl Hash) -> Lane {
    let mut hasher = DefaultHasher::new();
    caller.hash(&mut hasher);
    Lane(hasher.finish())
}
