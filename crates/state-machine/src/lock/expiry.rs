//! The end of leases that were not renewed.
//!
//! The leader's expiry task keeps the deadlines of all leases in memory, from [`lease_times`](crate::lease_times) when it takes office and from
//! [`lease_of_write`] afterwards, and proposes [`LockCommand::Expire`](crate::LockCommand::Expire) for those that are due by
//! its lease clock. It may be late, or wrong after a change of leader: what is not due by the *entry's* lease clock stays.

use std::borrow::Cow;

use ringfence_types::{FencingToken, LeaseTtl, LockName};

use super::record::{LockRecord, Tenure};
use super::{Keeper, Place};
use crate::keys::{LockPart, StoredKey};
use crate::{Space, Unreadable, Write, record};

impl Keeper<'_, '_> {
    /// Ends a lease if it is due.
    pub(super) fn expire(&mut self, name: &LockName, place: &Place, token: FencingToken) -> Result<(), Unreadable> {
        let lease_clock_ms = self.state.lease_clock_ms;
        let Some(tenure) = self.tenure(place, token)?.filter(|tenure| tenure.deadline_ms <= lease_clock_ms) else {
            return Ok(());
        };
        let mut lock = self.lock(place)?;
        self.end(place, &mut lock, token, &tenure)?;
        self.advance(name, place, &mut lock)?;
        self.save(place, &lock)?;
        Ok(())
    }

    /// Ends all leases of a lock that are due, and moves its queue on.
    pub(super) fn end_due(&mut self, name: &LockName, place: &Place, lock: &mut LockRecord) -> Result<(), Unreadable> {
        for (token, tenure) in self.tenures(place, lock)? {
            if tenure.deadline_ms <= self.state.lease_clock_ms {
                self.end(place, lock, token, &tenure)?;
            }
        }
        self.advance(name, place, lock)
    }
}

/// When a lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// On the lease clock.
    pub deadline_ms: u64,
    /// As it was asked for last.
    pub ttl: LeaseTtl,
}

/// Of a write to [`Space::Locks`] that begins, changes or ends a lease: which, and its times, or `None` if it has ended.
/// `None` for all other writes.
pub fn lease_of_write(write: &Write) -> Option<(LockName, FencingToken, Option<LeaseTimes>)> {
    if write.space != Space::Locks {
        return None;
    }
    let (name, token) = lease_of_key(&write.key).ok()??;
    let times = match &write.value {
        None => None,
        Some(stored) => Some(record::decode_plain::<Tenure>(stored, "lease").ok()?.times()),
    };
    Some((name, token, times))
}

/// As it stands in a stored key.
pub(super) fn lock_name(stored: Cow<'_, [u8]>) -> Result<LockName, Unreadable> {
    LockName::new(stored.into_owned()).map_err(|e| Unreadable::new(format!("a lease of no lock: {e}")))
}

fn lease_of_key(stored: &[u8]) -> Result<Option<(LockName, FencingToken)>, Unreadable> {
    match StoredKey::decode(Space::Locks, stored)? {
        StoredKey::Lock { name, part: LockPart::Tenure(token), .. } => Ok(Some((lock_name(name)?, token))),
        _ => Ok(None),
    }
}
