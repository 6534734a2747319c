use ringfence_types::{FencingToken, Holder, LeaseTtl, LockMode, LockName, Metadata, Revision};
use serde::{Deserialize, Serialize};

/// What is asked of a lock.
///
/// New variants go to the end: the position of a variant is its number in the log format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockCommand {
    /// Asks for a lease. Needs a request id, so that one lost answer does not cost a lock its ttl.
    Acquire(Acquire),
    /// Prolongs a lease, and changes what is shown with it. Harmless to repeat, so without an id.
    Renew {
        /// Which lease.
        lease: LeaseRef,
        /// From now on. `None`: leaves the deadline alone.
        ttl: Option<LeaseTtl>,
        /// From now on. `None`: as before.
        metadata: Option<Metadata>,
    },
    /// Ends a lease.
    Release(LeaseRef),
    /// Says that a waiter is still there, and asks what became of it.
    Wait(WaiterRef),
    /// Ends the waiting; a lease that was granted meanwhile is given back. Harmless to repeat.
    GiveUp(WaiterRef),
    /// Ends leases whose deadlines the lease clock has reached, and no others. Proposed by the leader's expiry task.
    Expire(Vec<(LockName, FencingToken)>),
}

/// Asks for a lease of a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    /// Which lock.
    pub name: LockName,
    /// Who asks.
    pub holder: Holder,
    /// Beside whom.
    pub mode: LockMode,
    /// Counts from the grant, however long that is waited for.
    pub ttl: LeaseTtl,
    /// Shown with the lease.
    pub metadata: Metadata,
    /// Whether to queue if the lock is not free.
    pub waits: bool,
}

/// Names a lease. Both must be right: the token says which, the holder that one is not somebody else's by mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRef {
    /// Of which lock.
    pub name: LockName,
    /// Who was granted it.
    pub holder: Holder,
    /// As it was granted.
    pub token: FencingToken,
}

/// Names a request that waits, or waited until it was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiterRef {
    /// For which lock.
    pub name: LockName,
    /// Who asked.
    pub holder: Holder,
    /// As it was given when the request was queued.
    pub ticket: Revision,
}

impl LockCommand {
    /// The one lock that it is about. `None` for an expiry.
    pub fn name(&self) -> Option<&LockName> {
        match self {
            LockCommand::Acquire(acquire) => Some(&acquire.name),
            LockCommand::Renew { lease, .. } | LockCommand::Release(lease) => Some(&lease.name),
            LockCommand::Wait(waiter) | LockCommand::GiveUp(waiter) => Some(&waiter.name),
            LockCommand::Expire(_) => None,
        }
    }
}
