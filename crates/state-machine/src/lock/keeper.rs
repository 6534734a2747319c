//! Changes the locks of a shard while an entry is applied.

use ringfence_planted::{Bug, planted};
use ringfence_types::{FencingToken, LockName, Revision};

use super::record::{LockRecord, Tenure, Waiter};
use super::{HeldAs, LockCommand, Place};
use crate::keys::{LockPart, StoredKey};
use crate::mvcc::next_revision;
use crate::overlay::Overlay;
use crate::{Done, Reply, ShardState, Space, Unreadable, record};

/// A request that waited was granted: whoever waits for this ticket should look. One per grant, and nobody else is woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// Which lock.
    pub name: LockName,
    /// Whose turn it is.
    pub ticket: Revision,
}

/// What the lock commands of an entry work on.
pub(crate) struct Keeper<'k, 'v> {
    pub(crate) overlay: &'k mut Overlay<'v>,
    pub(crate) state: &'k mut ShardState,
    /// The leader's wall clock, as the first revision of its millisecond.
    pub(crate) now: Revision,
    pub(crate) wakes: &'k mut Vec<Wake>,
}

impl Keeper<'_, '_> {
    /// Carries out a command whose locks are this shard's.
    pub(crate) fn run(&mut self, command: &LockCommand) -> Result<Reply, Unreadable> {
        match command {
            LockCommand::Acquire(acquire) => self.acquire(acquire),
            LockCommand::Renew { lease, ttl, metadata } => self.renew(lease, *ttl, metadata.as_ref()),
            LockCommand::Release(lease) => self.release(lease),
            LockCommand::Wait(waiter) => self.wait(waiter),
            LockCommand::GiveUp(waiter) => self.give_up(waiter),
            LockCommand::Expire(leases) => {
                for (name, token) in leases {
                    let place = Place::of(name);
                    if self.state.descriptor.range.contains(place.position) {
                        self.expire(name, &place, *token)?;
                    }
                }
                Ok(Ok(self.accepted()))
            }
        }
    }

    pub(super) fn accepted(&self) -> Done {
        Done::Accepted { revision: self.state.clock }
    }

    pub(super) fn next_revision(&mut self) -> Revision {
        next_revision(self.state, self.now)
    }

    pub(super) fn lock(&mut self, place: &Place) -> Result<LockRecord, Unreadable> {
        LockRecord::read(self.overlay.get(Space::Locks, &place.lock())?)
    }

    /// Keeps a lock that is held or waited for, and forgets any other.
    pub(super) fn save(&mut self, place: &Place, lock: &LockRecord) -> Result<(), Unreadable> {
        // Planted: its tokens are counted there.
        let is_kept = lock.is_wanted() || planted(Bug::TokenReused);
        let (stored, after) = (place.lock(), is_kept.then(|| record::encode_plain(lock)));
        if self.overlay.get(Space::Locks, &stored)? != after {
            self.overlay.put(Space::Locks, stored, after); // a refusal costs no write
        }
        Ok(())
    }

    pub(super) fn tenure(&mut self, place: &Place, token: FencingToken) -> Result<Option<Tenure>, Unreadable> {
        let stored = self.overlay.get(Space::Locks, &place.tenure(token))?;
        stored.map(|stored| record::decode_plain(&stored, "lease")).transpose()
    }

    pub(super) fn save_tenure(&mut self, place: &Place, token: FencingToken, tenure: &Tenure) {
        self.overlay.put(Space::Locks, place.tenure(token), Some(record::encode_plain(tenure)));
    }

    /// All leases of a lock, by token.
    pub(super) fn tenures(
        &mut self,
        place: &Place,
        lock: &LockRecord,
    ) -> Result<Vec<(FencingToken, Tenure)>, Unreadable> {
        let mut tenures = Vec::new();
        if lock.held == HeldAs::Free {
            return Ok(tenures);
        }
        let (from, to) = place.tenures(lock);
        for (stored, tenure) in self.overlay.range(Space::Locks, &from, &to)? {
            match StoredKey::decode(Space::Locks, &stored)? {
                StoredKey::Lock { part: LockPart::Tenure(token), .. } => {
                    tenures.push((token, record::decode_plain(&tenure, "lease")?));
                }
                other => return Err(Unreadable::new(format!("not a lease: {other:?}"))),
            }
        }
        Ok(tenures)
    }

    pub(super) fn waiter(&mut self, place: &Place, ticket: Revision) -> Result<Option<Waiter>, Unreadable> {
        let stored = self.overlay.get(Space::Locks, &place.waiter(ticket))?;
        stored.map(|stored| record::decode_plain(&stored, "waiter")).transpose()
    }

    pub(super) fn save_waiter(&mut self, place: &Place, ticket: Revision, waiter: &Waiter) {
        self.overlay.put(Space::Locks, place.waiter(ticket), Some(record::encode_plain(waiter)));
    }

    /// Takes a request out of the queue.
    pub(super) fn forget_waiter(
        &mut self,
        place: &Place,
        lock: &mut LockRecord,
        ticket: Revision,
    ) -> Result<(), Unreadable> {
        let left = lock.waiting.checked_sub(1);
        lock.waiting = left.ok_or_else(|| Unreadable::new("somebody waits for a lock that says that nobody does"))?;
        if ticket == lock.first_ticket {
            lock.first_ticket = Revision(ticket.0 + 1);
        }
        self.overlay.put(Space::Locks, place.waiter(ticket), None);
        Ok(())
    }

    /// Gives a lease to whom `lock` admits.
    pub(super) fn grant(
        &mut self,
        place: &Place,
        lock: &mut LockRecord,
        waiter: &Waiter,
        ticket: Option<Revision>,
    ) -> Done {
        let token = match (self.next_revision(), &lock.held) {
            // Planted: counted by lock.
            (_, HeldAs::Free) if planted(Bug::TokenReused) => FencingToken(Revision(lock.first_token.0.0 + 1)),
            (revision, _) => FencingToken(revision),
        };
        if lock.held == HeldAs::Free {
            lock.first_token = token;
        }
        let (permit, generation) = lock.held.enter(waiter.mode, token);
        let tenure = Tenure {
            holder: waiter.holder.clone(),
            metadata: waiter.metadata.clone(),
            mode: waiter.mode,
            permit,
            generation,
            ticket: ticket.unwrap_or(token.0),
            ttl: waiter.ttl,
            deadline_ms: self.state.lease_clock_ms.saturating_add(waiter.ttl.as_ms()),
        };
        self.save_tenure(place, token, &tenure);
        self.granted(token, &tenure)
    }

    pub(super) fn granted(&self, token: FencingToken, tenure: &Tenure) -> Done {
        Done::Granted {
            token,
            generation: tenure.generation,
            permit: tenure.permit,
            ttl_left_ms: tenure.ttl_left_ms(self.state.lease_clock_ms),
            revision: self.state.clock,
        }
    }

    /// Takes a lease away. The queue is not moved on yet.
    pub(super) fn end(
        &mut self,
        place: &Place,
        lock: &mut LockRecord,
        token: FencingToken,
        tenure: &Tenure,
    ) -> Result<(), Unreadable> {
        lock.held.leave(tenure.permit)?;
        if token == lock.first_token {
            lock.first_token = FencingToken(Revision(token.0.0 + 1));
        }
        self.overlay.put(Space::Locks, place.tenure(token), None);
        Ok(())
    }
}
