//! The stored records of locks. Postcard behind a format byte: see [`crate::record`].

use bytes::Bytes;
use ringfence_types::{FencingToken, Holder, LeaseTtl, LockMode, Metadata, Revision};
use serde::{Deserialize, Serialize};

use super::{HeldAs, LeaseTimes};
use crate::{Unreadable, record};

/// A lock that is held or waited for. Absent otherwise.
///
/// * `held` has as many holders as the lock has tenures, and `waiting` is the number of its waiters.
/// * While somebody waits, the first in the queue is not admitted by `held`, or was not heard of for too long.
/// * No tenure stands before `first_token`, and no waiter before `first_ticket`. A store keeps what was deleted for a while, and a
///   walk from the very beginning would step over all who ever had the lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LockRecord {
    pub(crate) held: HeldAs,
    pub(crate) waiting: u32,
    pub(crate) first_token: FencingToken,
    pub(crate) first_ticket: Revision,
}

/// A lease, from its grant to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tenure {
    pub(crate) holder: Holder,
    pub(crate) metadata: Metadata,
    pub(crate) mode: LockMode,
    /// 0 if the mode has no permits.
    pub(crate) permit: u32,
    /// What the holder shows outside: its token, or that of the first who share the lock.
    pub(crate) generation: FencingToken,
    /// By which it was waited for; the token's revision if it was not.
    pub(crate) ticket: Revision,
    pub(crate) ttl: LeaseTtl,
    /// On the lease clock.
    pub(crate) deadline_ms: u64,
}

impl LockRecord {
    /// Of a lock that has no record: free, and nobody waits.
    pub(crate) fn read(stored: Option<Bytes>) -> Result<LockRecord, Unreadable> {
        stored.map_or(Ok(LockRecord::default()), |stored| record::decode_plain(&stored, "lock"))
    }

    /// Whether it is held or waited for.
    pub(crate) fn is_wanted(&self) -> bool {
        self.held != HeldAs::Free || self.waiting > 0
    }
}

impl Waiter {
    /// Whether it was not heard of for too long.
    pub(crate) fn is_silent(&self, lease_clock_ms: u64) -> bool {
        self.present_until_ms < lease_clock_ms
    }
}

impl Tenure {
    /// 0 if it is due.
    pub(crate) fn ttl_left_ms(&self, lease_clock_ms: u64) -> u64 {
        self.deadline_ms.saturating_sub(lease_clock_ms)
    }

    pub(crate) fn times(&self) -> LeaseTimes {
        LeaseTimes { deadline_ms: self.deadline_ms, ttl: self.ttl }
    }
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiter {
    pub(crate) holder: Holder,
    pub(crate) metadata: Metadata,
    pub(crate) mode: LockMode,
    pub(crate) ttl: LeaseTtl,
    /// It is passed over once the lease clock is beyond this.
    pub(crate) present_until_ms: u64,
}
