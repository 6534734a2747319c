//! Asking for a lease, and asking again.
//!
//! The answer to an acquire is remembered like that of any request with an id, but it is not told again word for word: a
//! remembered *queued* may have been granted since, and a remembered *granted* may be over. So whoever asks again is told how
//! things stand now: the same token with the time that is left, still queued, or that it is over.

use ringfence_types::limits::{LOCK_WAITERS_MAX, WAITER_SILENCE_MS_MAX};
use ringfence_types::{FencingToken, Holder, LockMode, Permits};

use super::held::HeldAs;
use super::record::{LockRecord, Tenure, Waiter};
use super::{Acquire, Keeper, Place, WaiterRef};
use crate::{Done, Refusal, Reply, Unreadable};

impl Keeper<'_, '_> {
    pub(super) fn acquire(&mut self, acquire: &Acquire) -> Result<Reply, Unreadable> {
        let place = Place::of(&acquire.name);
        let mut lock = self.lock(&place)?;
        if !is_next(&lock, acquire.mode) {
            self.end_due(&acquire.name, &place, &mut lock)?;
        }
        let waiter = Waiter {
            holder: acquire.holder.clone(),
            metadata: acquire.metadata.clone(),
            mode: acquire.mode,
            ttl: acquire.ttl,
            present_until_ms: self.present_until_ms(),
        };
        let reply = if is_next(&lock, acquire.mode) {
            Ok(self.grant(&place, &mut lock, &waiter, None))
        } else if let Some(of) = other_permits(&lock.held, acquire.mode) {
            Err(Refusal::PermitsDiffer { of, clock: self.state.clock })
        } else if !acquire.waits {
            Err(self.held(&place, &lock)?)
        } else if lock.waiting >= LOCK_WAITERS_MAX && self.forget_silent(&place, &mut lock)? == 0 {
            Err(Refusal::LockQueueFull { waiting: lock.waiting, clock: self.state.clock })
        } else {
            let ticket = self.next_revision();
            if lock.waiting == 0 {
                lock.first_ticket = ticket;
            }
            self.save_waiter(&place, ticket, &waiter);
            lock.waiting += 1;
            Ok(Done::Queued { ticket, waiting: lock.waiting, revision: ticket })
        };
        self.save(&place, &lock)?;
        Ok(reply)
    }

    /// What became of an acquire that was answered so before.
    pub(crate) fn again(&mut self, acquire: &Acquire, before: Reply) -> Result<Reply, Unreadable> {
        match before {
            Ok(Done::Granted { token, .. }) => {
                let tenure = self.tenure(&Place::of(&acquire.name), token)?;
                let over = Refusal::LeaseOver { clock: self.state.clock };
                Ok(tenure.map(|tenure| self.granted(token, &tenure)).ok_or(over))
            }
            Ok(Done::Queued { ticket, .. }) => {
                let (name, holder) = (acquire.name.clone(), acquire.holder.clone());
                self.wait(&WaiterRef { name, holder, ticket })
            }
            refused => Ok(refused),
        }
    }

    pub(super) fn wait(&mut self, waiter: &WaiterRef) -> Result<Reply, Unreadable> {
        let place = Place::of(&waiter.name);
        Ok(match self.standing(&place, waiter)? {
            Standing::Waits(mut waiting) => {
                waiting.present_until_ms = self.present_until_ms();
                self.save_waiter(&place, waiter.ticket, &waiting);
                let waiting = self.lock(&place)?.waiting;
                Ok(Done::Queued { ticket: waiter.ticket, waiting, revision: self.state.clock })
            }
            Standing::Holds(token, tenure) => Ok(self.granted(token, &tenure)),
            Standing::AnothersTicket(holder) => Err(Refusal::NotTheHolder { holder, clock: self.state.clock }),
            Standing::Over => Err(Refusal::LeaseOver { clock: self.state.clock }),
        })
    }

    pub(super) fn give_up(&mut self, waiter: &WaiterRef) -> Result<Reply, Unreadable> {
        let place = Place::of(&waiter.name);
        let mut lock = self.lock(&place)?;
        match self.standing(&place, waiter)? {
            Standing::Waits(_) => self.forget_waiter(&place, &mut lock, waiter.ticket)?,
            Standing::Holds(token, tenure) => self.end(&place, &mut lock, token, &tenure)?,
            Standing::AnothersTicket(holder) => {
                return Ok(Err(Refusal::NotTheHolder { holder, clock: self.state.clock }));
            }
            Standing::Over => return Ok(Ok(self.accepted())),
        }
        self.advance(&waiter.name, &place, &mut lock)?;
        self.save(&place, &lock)?;
        Ok(Ok(self.accepted()))
    }

    /// What became of a request that was queued.
    fn standing(&mut self, place: &Place, asked: &WaiterRef) -> Result<Standing, Unreadable> {
        if let Some(waiter) = self.waiter(place, asked.ticket)? {
            return Ok(match waiter.holder == asked.holder {
                true => Standing::Waits(waiter),
                false => Standing::AnothersTicket(waiter.holder),
            });
        }
        let lock = self.lock(place)?;
        let granted = self.tenures(place, &lock)?.into_iter().find(|(_, tenure)| tenure.ticket == asked.ticket);
        Ok(match granted {
            Some((token, tenure)) if tenure.holder == asked.holder => Standing::Holds(token, tenure),
            Some((_, tenure)) => Standing::AnothersTicket(tenure.holder),
            None => Standing::Over,
        })
    }

    fn present_until_ms(&self) -> u64 {
        self.state.lease_clock_ms.saturating_add(WAITER_SILENCE_MS_MAX)
    }

    /// Who is in the way: of several holders the first.
    fn held(&mut self, place: &Place, lock: &LockRecord) -> Result<Refusal, Unreadable> {
        let clock = self.state.clock;
        let first = self.tenures(place, lock)?.into_iter().next();
        Ok(match first {
            Some((token, tenure)) => Refusal::LockHeld {
                ttl_left_ms: tenure.ttl_left_ms(self.state.lease_clock_ms),
                holder: tenure.holder,
                token,
                waiting: lock.waiting,
                clock,
            },
            None => return Err(Unreadable::new("a lock that admits nobody is held by nobody")),
        })
    }
}

enum Standing {
    Waits(Waiter),
    Holds(FencingToken, Tenure),
    AnothersTicket(Holder),
    Over,
}

/// Whether a newcomer is admitted: nobody overtakes those who wait.
fn is_next(lock: &LockRecord, mode: LockMode) -> bool {
    lock.waiting == 0 && lock.held.admits(mode)
}

/// How many permits there are, if another number was asked for.
fn other_permits(held: &HeldAs, mode: LockMode) -> Option<Permits> {
    match (held, mode) {
        (HeldAs::Permits { of, .. }, LockMode::Permit { of: asked }) => (*of != asked).then_some(*of),
        _ => None,
    }
}
