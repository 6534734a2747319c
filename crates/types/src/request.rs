use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ClientId, Revision};

/// Names one mutation for ever, so that a retry takes effect at most once (guarantee G8).
///
/// After RIFL (Lee et al., SOSP 2015), with a floor in place of client leases: a shard forgets outcomes whose `birth` lies
/// at or below its dedup *floor*, and refuses every request born there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// Who asks.
    pub client: ClientId,
    /// Which of its requests. Never used twice by one client.
    pub sequence: u64,
    /// The highest revision that the client had seen when it *first* sent this request. Unchanged on a retry.
    pub birth: Revision,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}@{}", self.client.0, self.sequence, self.birth)
    }
}
