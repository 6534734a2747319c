//! The locks of a shard as simple as can be said: a list of leases and a queue per name. Beside [`super::model`].

use std::collections::BTreeMap;

use ringfence_types::{Fence, FencingToken, Holder, LockMode, LockName, Metadata, Revision};

use crate::*;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lease {
    pub(super) token: Revision,
    pub(super) holder: Holder,
    pub(super) metadata: Metadata,
    pub(super) mode: LockMode,
    pub(super) permit: u32,
    pub(super) generation: Revision,
    ticket: Revision,
    pub(super) deadline_ms: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Waiting {
    pub(super) ticket: Revision,
    pub(super) request: Acquire,
    heard_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lock {
    pub(super) leases: Vec<Lease>,
    pub(super) queue: Vec<Waiting>,
}

/// The time, and where revisions come from.
pub(super) struct Clocks<'c> {
    pub(super) clock: &'c mut Revision,
    pub(super) now_ms: u64,
    pub(super) lease_clock_ms: u64,
}

impl Clocks<'_> {
    fn take(&mut self) -> Revision {
        *self.clock = Revision((self.clock.0 + 1).max((self.now_ms as i64) << 18));
        *self.clock
    }
}

#[derive(Default)]
pub(super) struct Locks {
    pub(super) by_name: BTreeMap<LockName, Lock>,
}

impl Lock {
    fn lets_in(&self, mode: LockMode) -> bool {
        match mode {
            LockMode::Exclusive => self.leases.is_empty(),
            LockMode::Shared => self.leases.iter().all(|lease| lease.mode == LockMode::Shared),
            LockMode::Permit { of } => {
                self.leases.iter().all(|lease| lease.mode == mode) && (self.leases.len() < of.count() as usize)
            }
        }
    }

    fn let_in(&mut self, request: &Acquire, ticket: Option<Revision>, clocks: &mut Clocks<'_>) -> Reply {
        let token = clocks.take();
        let permit = match request.mode {
            LockMode::Permit { .. } => (0..).find(|n| self.leases.iter().all(|lease| lease.permit != *n)).unwrap(),
            _ => 0,
        };
        let generation = match request.mode {
            LockMode::Shared => self.leases.first().map_or(token, |first| first.generation),
            _ => token,
        };
        let lease = Lease {
            token,
            holder: request.holder.clone(),
            metadata: request.metadata.clone(),
            mode: request.mode,
            permit,
            generation,
            ticket: ticket.unwrap_or(token),
            deadline_ms: clocks.lease_clock_ms + request.ttl.as_ms(),
        };
        let reply = granted(&lease, clocks);
        self.leases.push(lease);
        reply
    }

    fn call_next(&mut self, clocks: &mut Clocks<'_>) {
        while let Some(first) = self.queue.first().cloned() {
            let was_heard = clocks.lease_clock_ms <= first.heard_ms + 15_000;
            if was_heard && !self.lets_in(first.request.mode) {
                return;
            }
            self.queue.remove(0);
            if was_heard {
                self.let_in(&first.request, Some(first.ticket), clocks).expect("it is let in");
            }
        }
    }
}

fn granted(lease: &Lease, clocks: &Clocks<'_>) -> Reply {
    Ok(Done::Granted {
        token: FencingToken(lease.token),
        generation: FencingToken(lease.generation),
        permit: lease.permit,
        ttl_left_ms: lease.deadline_ms.saturating_sub(clocks.lease_clock_ms),
        revision: *clocks.clock,
    })
}

impl Locks {
    pub(super) fn run(&mut self, command: &LockCommand, mut clocks: Clocks<'_>) -> Reply {
        let Some(name) = command.name() else {
            let LockCommand::Expire(leases) = command else { unreachable!("all others have a name") };
            for (name, token) in leases {
                if let Some(lock) = self.by_name.get_mut(name) {
                    let before = lock.leases.len();
                    lock.leases.retain(|l| l.token != token.0 || l.deadline_ms > clocks.lease_clock_ms);
                    if lock.leases.len() < before {
                        lock.call_next(&mut clocks);
                    }
                }
            }
            return Ok(Done::Accepted { revision: *clocks.clock });
        };
        let lock = self.by_name.entry(name.clone()).or_default();
        match command {
            LockCommand::Acquire(request) => {
                if !lock.queue.is_empty() || !lock.lets_in(request.mode) {
                    lock.leases.retain(|lease| lease.deadline_ms > clocks.lease_clock_ms);
                    lock.call_next(&mut clocks);
                }
                if lock.queue.is_empty() && lock.lets_in(request.mode) {
                    return lock.let_in(request, None, &mut clocks);
                }
                let clock = *clocks.clock;
                let held = lock.leases.first().expect("who is not let in meets somebody").clone();
                match (held.mode, request.mode) {
                    (LockMode::Permit { of }, LockMode::Permit { of: asked }) if of != asked => {
                        return Err(Refusal::PermitsDiffer { of, clock });
                    }
                    _ => {}
                }
                let waiting = lock.queue.len() as u32;
                if !request.waits {
                    let ttl_left_ms = held.deadline_ms - clocks.lease_clock_ms;
                    let (holder, token) = (held.holder, FencingToken(held.token));
                    return Err(Refusal::LockHeld { holder, token, ttl_left_ms, waiting, clock });
                }
                let ticket = clocks.take();
                lock.queue.push(Waiting { ticket, request: request.clone(), heard_ms: clocks.lease_clock_ms });
                Ok(Done::Queued { ticket, waiting: waiting + 1, revision: ticket })
            }
            LockCommand::Wait(waiter) => self.standing(name, waiter.ticket, &waiter.holder, clocks),
            LockCommand::GiveUp(WaiterRef { holder, ticket, .. }) => {
                let waits = lock.queue.iter().find(|waiting| waiting.ticket == *ticket).map(|w| &w.request.holder);
                let holds = lock.leases.iter().find(|lease| lease.ticket == *ticket).map(|lease| &lease.holder);
                match waits.or(holds) {
                    Some(whose) if whose != holder => {
                        return Err(Refusal::NotTheHolder { holder: whose.clone(), clock: *clocks.clock });
                    }
                    Some(_) => {
                        lock.queue.retain(|waiting| waiting.ticket != *ticket);
                        lock.leases.retain(|lease| lease.ticket != *ticket);
                        lock.call_next(&mut clocks);
                    }
                    None => {}
                }
                Ok(Done::Accepted { revision: *clocks.clock })
            }
            LockCommand::Renew { lease, .. } | LockCommand::Release(lease) => {
                let clock = *clocks.clock;
                let current = lock.leases.iter().map(|lease| FencingToken(lease.token)).max();
                let Some(at) = lock.leases.iter().position(|known| known.token == lease.token.0) else {
                    return Err(Refusal::Fenced { lock: name.clone(), token: lease.token, current, clock });
                };
                let mine = &mut lock.leases[at];
                if mine.holder != lease.holder {
                    return Err(Refusal::NotTheHolder { holder: mine.holder.clone(), clock });
                }
                let LockCommand::Renew { ttl, metadata, .. } = command else {
                    lock.leases.remove(at);
                    lock.call_next(&mut clocks);
                    return Ok(Done::Accepted { revision: *clocks.clock });
                };
                if clocks.lease_clock_ms >= mine.deadline_ms {
                    let late_ms = clocks.lease_clock_ms - mine.deadline_ms;
                    lock.leases.remove(at);
                    lock.call_next(&mut clocks);
                    return Err(Refusal::LeaseExpired { late_ms, clock: *clocks.clock });
                }
                if let Some(ttl) = ttl {
                    mine.deadline_ms = clocks.lease_clock_ms + ttl.as_ms();
                }
                let mut revision = clock;
                if metadata.as_ref().is_some_and(|metadata| *metadata != mine.metadata) {
                    mine.metadata = metadata.clone().unwrap();
                    revision = clocks.take();
                }
                Ok(Done::Renewed { ttl_left_ms: mine.deadline_ms - clocks.lease_clock_ms, revision })
            }
            LockCommand::Expire(_) => unreachable!("has no name"),
        }
    }

    /// What a renewal that was answered before is told.
    pub(super) fn left(&self, lease: &LeaseRef, clocks: Clocks<'_>) -> Reply {
        let clock = *clocks.clock;
        let leases = self.by_name.get(&lease.name).map(|lock| lock.leases.as_slice()).unwrap_or_default();
        let Some(known) = leases.iter().find(|known| known.token == lease.token.0) else {
            let current = leases.iter().map(|lease| FencingToken(lease.token)).max();
            return Err(Refusal::Fenced { lock: lease.name.clone(), token: lease.token, current, clock });
        };
        if known.holder != lease.holder {
            return Err(Refusal::NotTheHolder { holder: known.holder.clone(), clock });
        }
        let ttl_left_ms = known.deadline_ms.saturating_sub(clocks.lease_clock_ms);
        Ok(Done::Renewed { ttl_left_ms, revision: clock })
    }

    /// What an acquire that was answered before is told.
    pub(super) fn again(&mut self, acquire: &Acquire, before: Reply, clocks: Clocks<'_>) -> Reply {
        match before {
            Ok(Done::Granted { token, .. }) => {
                let lock = self.by_name.get(&acquire.name);
                let lease = lock.and_then(|lock| lock.leases.iter().find(|lease| lease.token == token.0));
                lease.map_or(Err(Refusal::LeaseOver { clock: *clocks.clock }), |lease| granted(lease, &clocks))
            }
            Ok(Done::Queued { ticket, .. }) => self.standing(&acquire.name, ticket, &acquire.holder, clocks),
            refused => refused,
        }
    }

    fn standing(&mut self, name: &LockName, ticket: Revision, holder: &Holder, clocks: Clocks<'_>) -> Reply {
        let lock = self.by_name.entry(name.clone()).or_default();
        let (waiting, clock) = (lock.queue.len() as u32, *clocks.clock);
        let waits = lock.queue.iter_mut().find(|waiter| waiter.ticket == ticket);
        let holds = lock.leases.iter().find(|lease| lease.ticket == ticket);
        match (waits, holds) {
            (Some(waiter), _) if waiter.request.holder == *holder => {
                waiter.heard_ms = clocks.lease_clock_ms;
                Ok(Done::Queued { ticket, waiting, revision: clock })
            }
            (Some(waiter), _) => Err(Refusal::NotTheHolder { holder: waiter.request.holder.clone(), clock }),
            (None, Some(lease)) if lease.holder == *holder => granted(lease, &clocks),
            (None, Some(lease)) => Err(Refusal::NotTheHolder { holder: lease.holder.clone(), clock }),
            (None, None) => Err(Refusal::LeaseOver { clock }),
        }
    }

    /// The first fence that does not hold.
    pub(super) fn broken(&self, fences: &[Fence], clock: Revision) -> Option<Refusal> {
        let tokens = |lock: &LockName| -> Vec<Revision> {
            self.by_name.get(lock).map_or(Vec::new(), |lock| lock.leases.iter().map(|lease| lease.token).collect())
        };
        let broken = fences.iter().find(|fence| !tokens(&fence.lock).contains(&fence.token.0))?;
        let current = tokens(&broken.lock).into_iter().max().map(FencingToken);
        Some(Refusal::Fenced { lock: broken.lock.clone(), token: broken.token, current, clock })
    }
}
