//! Looking at locks.

use std::ops::ControlFlow;

use bytes::Bytes;
use ringfence_shard_router::ShardRange;
use ringfence_types::{FencingToken, Holder, LeaseTtl, LockMode, LockName, Metadata, Revision, RingPosition, ShardId};

use super::expiry::lock_name;
use super::record::{LockRecord, Tenure, Waiter};
use super::{HeldAs, LeaseTimes, Place, WaiterRef};
use crate::keys::{self, LockPart, StoredKey};
use crate::read::admit;
use crate::{ReadAnswer, ReadRefusal, ShardState, Space, Unreadable, View, record};

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// Of which lock.
    pub name: LockName,
    /// Which of its leases.
    pub token: FencingToken,
    /// Who has it.
    pub holder: Holder,
    /// What it shows.
    pub metadata: Metadata,
    /// Beside whom.
    pub mode: LockMode,
    /// Which permit of a semaphore; 0 in other modes.
    pub permit: u32,
    /// What the holder shows to guards outside.
    pub generation: FencingToken,
    /// By which the holder waited for it; the token's revision if it did not.
    pub ticket: Revision,
    /// As it was asked for last.
    pub ttl: LeaseTtl,
    /// Until it ends unless it is renewed; 0 if it is due and only waits for its end to be applied.
    pub ttl_left_ms: u64,
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterView {
    /// Its place in the queue: the lowest is next.
    pub ticket: Revision,
    /// Who asks.
    pub holder: Holder,
    /// Beside whom.
    pub mode: LockMode,
    /// Whether it was not heard of for so long that it will be passed over.
    pub is_silent: bool,
}

/// A lock: free if there are no leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockView {
    /// How it is held.
    pub held: HeldAs,
    /// By token.
    pub leases: Vec<LeaseView>,
    /// In the order of the queue.
    pub waiters: Vec<WaiterView>,
}

/// Looks at one lock.
pub fn inspect(
    view: &dyn View,
    shard: ShardId,
    name: &LockName,
) -> Result<Result<ReadAnswer<LockView>, ReadRefusal>, Unreadable> {
    let state = ShardState::load_existing(view, shard)?;
    let place = Place::of(name);
    if let Err(refusal) = admit(&state, place.position, None) {
        return Ok(Err(refusal));
    }
    let lock = LockRecord::read(view.get(Space::Locks, &place.lock())?)?;
    let (mut leases, mut waiters) = (Vec::new(), Vec::new());
    let tenures = (lock.held != HeldAs::Free).then(|| place.tenures(&lock));
    let waiting = (lock.waiting > 0).then(|| place.waiters(&lock));
    for (from, to) in tenures.into_iter().chain(waiting) {
        each(view, &from, &to, &mut |key, value| {
            match key {
                StoredKey::Lock { part: LockPart::Tenure(token), .. } => {
                    leases.push(lease(&state, name.clone(), token, value)?);
                }
                StoredKey::Lock { part: LockPart::Waiter(ticket), .. } => {
                    let waiter: Waiter = record::decode_plain(value, "waiter")?;
                    let is_silent = waiter.is_silent(state.lease_clock_ms);
                    let Waiter { holder, mode, .. } = waiter;
                    waiters.push(WaiterView { ticket, holder, mode, is_silent });
                }
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(Ok(ReadAnswer { clock: state.clock, value: LockView { held: lock.held, leases, waiters } }))
}

/// How a request that was queued stands, in what a replica has applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketView {
    /// It waits.
    Waits {
        /// How many do.
        waiting: u32,
        /// It is passed over when the lease clock is beyond this.
        present_until_ms: u64,
        /// As it was applied last.
        lease_clock_ms: u64,
        /// The shard's.
        clock: Revision,
    },
    /// It was granted.
    Holds {
        /// The lease.
        lease: LeaseView,
        /// On the lease clock.
        deadline_ms: u64,
        /// The shard's.
        clock: Revision,
    },
    /// Neither: it is over, or this replica has not applied it yet, or it is not this holder's. Ask the shard.
    Unknown,
}

/// Looks whether a ticket's turn has come. Give a view of one moment.
pub fn look_up_ticket(view: &dyn View, shard: ShardId, asked: &WaiterRef) -> Result<TicketView, Unreadable> {
    let state = ShardState::load_existing(view, shard)?;
    let place = Place::of(&asked.name);
    if let Some(stored) = view.get(Space::Locks, &place.waiter(asked.ticket))? {
        let waiter: Waiter = record::decode_plain(&stored, "waiter")?;
        if waiter.holder != asked.holder {
            return Ok(TicketView::Unknown);
        }
        return Ok(TicketView::Waits {
            waiting: LockRecord::read(view.get(Space::Locks, &place.lock())?)?.waiting,
            present_until_ms: waiter.present_until_ms,
            lease_clock_ms: state.lease_clock_ms,
            clock: state.clock,
        });
    }
    let lock = LockRecord::read(view.get(Space::Locks, &place.lock())?)?;
    let mut found = TicketView::Unknown;
    if lock.held == HeldAs::Free {
        return Ok(found);
    }
    let (from, to) = place.tenures(&lock);
    each(view, &from, &to, &mut |key, value| {
        let StoredKey::Lock { part: LockPart::Tenure(token), .. } = key else { return Ok(ControlFlow::Continue(())) };
        let tenure: Tenure = record::decode_plain(value, "lease")?;
        if tenure.ticket != asked.ticket || tenure.holder != asked.holder {
            return Ok(ControlFlow::Continue(()));
        }
        let lease = lease(&state, asked.name.clone(), token, value)?;
        found = TicketView::Holds { lease, deadline_ms: tenure.deadline_ms, clock: state.clock };
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// Which leases to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseQuery {
    /// Only those of locks whose names begin so.
    pub prefix: Bytes,
    /// Begin after this one: where the page before ended.
    pub after: Option<(LockName, FencingToken)>,
    /// Without `after`: begin here instead of at the beginning of the shard.
    pub from: Option<RingPosition>,
    /// Leases in a page at the most.
    pub limit: usize,
    /// A page ends after looking at this many records, even if few passed the filter.
    pub examined_max: usize,
}

/// Some leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasePage {
    /// In ring order, then by name and token.
    pub leases: Vec<LeaseView>,
    /// Where to go on. `None`: everything up to the end of `range` was looked at.
    pub resume: Option<(LockName, FencingToken)>,
    /// What the shard owned.
    pub range: ShardRange,
}

/// Lists leases, a page at a time.
pub fn list_leases(
    view: &dyn View,
    shard: ShardId,
    query: &LeaseQuery,
) -> Result<Result<ReadAnswer<LeasePage>, ReadRefusal>, Unreadable> {
    let state = ShardState::load_existing(view, shard)?;
    let range = state.descriptor.range;
    let begin = query.after.as_ref().map(|(name, _)| name.position()).or(query.from).unwrap_or(range.first);
    if let Err(refusal) = admit(&state, begin, None) {
        return Ok(Err(refusal));
    }
    let (mut from, to) = keys::space_range(Space::Locks, &ShardRange { first: begin, ..range });
    if let Some((name, token)) = &query.after {
        from = Place::of(name).tenure(*token).to_vec();
        from.push(0); // behind it
    }
    let (mut leases, mut resume, mut examined) = (Vec::new(), None, 0);
    each(view, &from, &to, &mut |key, value| {
        examined += 1;
        let StoredKey::Lock { name, part: LockPart::Tenure(token), .. } = key else {
            return Ok(ControlFlow::Continue(()));
        };
        let matches = name.starts_with(&query.prefix);
        let name = lock_name(name)?;
        let place = (name.clone(), token);
        if matches {
            leases.push(lease(&state, name, token, value)?);
        }
        if leases.len() >= query.limit.max(1) || examined >= query.examined_max {
            resume = Some(place);
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Ok(ReadAnswer { clock: state.clock, value: LeasePage { leases, resume, range } }))
}

/// Visits every lease of a piece of the ring with its times, in ring order: what the leader's expiry task begins with.
pub fn lease_times(
    view: &dyn View,
    range: &ShardRange,
    visit: &mut dyn FnMut(LockName, FencingToken, LeaseTimes),
) -> Result<(), Unreadable> {
    let (from, to) = keys::space_range(Space::Locks, range);
    each(view, &from, &to, &mut |key, value| {
        if let StoredKey::Lock { name, part: LockPart::Tenure(token), .. } = key {
            visit(lock_name(name)?, token, record::decode_plain::<Tenure>(value, "lease")?.times());
        }
        Ok(ControlFlow::Continue(()))
    })
}

fn lease(state: &ShardState, name: LockName, token: FencingToken, value: &[u8]) -> Result<LeaseView, Unreadable> {
    let tenure: Tenure = record::decode_plain(value, "lease")?;
    let ttl_left_ms = tenure.ttl_left_ms(state.lease_clock_ms);
    let Tenure { holder, metadata, mode, permit, generation, ticket, ttl, .. } = tenure;
    Ok(LeaseView { name, token, holder, metadata, mode, permit, generation, ticket, ttl, ttl_left_ms })
}

type Look<'l> = dyn FnMut(StoredKey<'_>, &[u8]) -> Result<ControlFlow<()>, Unreadable> + 'l;

/// Visits the records of locks in a range, until there is trouble or the visitor breaks.
fn each(view: &dyn View, from: &[u8], to: &[u8], look: &mut Look<'_>) -> Result<(), Unreadable> {
    let mut outcome = Ok(());
    view.scan(Space::Locks, from, to, &mut |stored, value| {
        let looked = StoredKey::decode(Space::Locks, stored).and_then(|key| look(key, value));
        looked.unwrap_or_else(|error| {
            outcome = Err(error);
            ControlFlow::Break(())
        })
    })?;
    outcome
}
