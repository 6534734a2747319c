//! Whose turn it is.

use ringfence_types::{LockName, Revision};

use super::record::{LockRecord, Waiter};
use super::{Keeper, Place, Wake};
use crate::keys::{LockPart, StoredKey};
use crate::{Space, Unreadable, record};

impl Keeper<'_, '_> {
    /// Grants to those at the head of the queue whom the lock admits, in order, and passes over those who were not heard of
    /// for too long.
    pub(super) fn advance(&mut self, name: &LockName, place: &Place, lock: &mut LockRecord) -> Result<(), Unreadable> {
        while lock.waiting > 0 {
            let (ticket, waiter) = self.first_waiter(place, lock)?;
            lock.first_ticket = ticket; // those before it have given up
            let is_silent = waiter.is_silent(self.state.lease_clock_ms);
            if !is_silent && !lock.held.admits(waiter.mode) {
                return Ok(());
            }
            self.forget_waiter(place, lock, ticket)?;
            if !is_silent {
                self.grant(place, lock, &waiter, Some(ticket));
                self.wakes.push(Wake { name: name.clone(), ticket });
            }
        }
        Ok(())
    }

    /// Forgets all who were not heard of for too long, and says how many those were.
    pub(super) fn forget_silent(&mut self, place: &Place, lock: &mut LockRecord) -> Result<u32, Unreadable> {
        let (from, to) = place.waiters(lock);
        let before = lock.waiting;
        for (stored, waiter) in self.overlay.range(Space::Locks, &from, &to)? {
            let waiter: Waiter = record::decode_plain(&waiter, "waiter")?;
            if waiter.is_silent(self.state.lease_clock_ms) {
                self.forget_waiter(place, lock, ticket_of(&stored)?)?;
            }
        }
        Ok(before - lock.waiting)
    }

    fn first_waiter(&mut self, place: &Place, lock: &LockRecord) -> Result<(Revision, Waiter), Unreadable> {
        let (from, to) = place.waiters(lock);
        let Some((stored, waiter)) = self.overlay.first(Space::Locks, &from, &to)? else {
            return Err(Unreadable::new("a lock says that somebody waits for it, and nobody does"));
        };
        Ok((ticket_of(&stored)?, record::decode_plain(&waiter, "waiter")?))
    }
}

fn ticket_of(stored: &[u8]) -> Result<Revision, Unreadable> {
    match StoredKey::decode(Space::Locks, stored)? {
        StoredKey::Lock { part: LockPart::Waiter(ticket), .. } => Ok(ticket),
        other => Err(Unreadable::new(format!("not a waiter: {other:?}"))),
    }
}
