//! Locks, and the leases that are held of them.
//!
//! A *lock* is a name; a *lease* is one holder's tenure of it, until it is released or its deadline has passed on the lease
//! clock. What makes a lock safe is not that its holder believes to hold it, but the **fencing token**: the revision of the
//! grant, larger for every later grant of the same lock. A write that carries a [`Fence`](ringfence_types::Fence) happens
//! only if that very lease is in the table in the same step (see [`fence`]), so a holder that slept through its ttl can do
//! no harm, whatever its clock says.
//!
//! # Where things stand
//!
//! All records of a lock are neighbours in [`Space::Locks`](crate::Space::Locks):
//!
//! * the *lock* ([`record::LockRecord`]): how it is held, and how many wait. Gone when it is free and nobody waits: tokens come
//!   from the shard's clock, which never falls, so nothing need be remembered of a lock that nobody wants;
//! * one *tenure* ([`record::Tenure`]) per lease, under its token;
//! * one *waiter* ([`record::Waiter`]) per request that waits, under its ticket: the revision at which it came. Tickets are
//!   the order of the queue.
//!
//! # A worked example
//!
//! ```text
//! clock 10  acquire a           → granted, token 10
//! clock 11  acquire b, waiting  → queued, ticket 11
//! clock 12  acquire c, waiting  → queued, ticket 12
//!           release a@10        → b is granted, token 13; whoever waits for ticket 11 is woken, nobody else
//!           put x, fence @10    → refused: FENCED, the current token is 13
//! ```
//!
//! # Rules
//!
//! * Nobody overtakes: a request is granted at once only if nobody waits. A waiter that was not heard of for
//!   [`WAITER_SILENCE_MS_MAX`](ringfence_types::limits::WAITER_SILENCE_MS_MAX) is passed over when its turn comes.
//! * A lease is current until its end is *applied*: by release, by [`LockCommand::Expire`](crate::LockCommand::Expire) from
//!   the leader, or by whoever finds it past its deadline and wants the lock. None of these looks at anything but the
//!   entry's lease clock, which a new leader continues from the highest in its log. So no wall clock and no change of leader
//!   ends a lease early.
//! * A lease past its deadline is not renewed any more, even if nobody has noticed yet: its holder has stopped believing in it.
//! * An acquire that is sent again finds what became of it (see [`acquire`]): the same token while the lease lasts.

pub(crate) mod acquire;
mod command;
mod expiry;
pub(crate) mod fence;
mod handover;
mod held;
mod keeper;
mod lease;
mod place;
mod queue;
mod read;
mod record;

pub use command::{Acquire, LeaseRef, LockCommand, WaiterRef};
pub use expiry::{LeaseTimes, lease_of_write};
pub use handover::new_leader;
pub use held::HeldAs;
pub(crate) use keeper::Keeper;
pub use keeper::Wake;
pub(crate) use place::Place;
pub use read::{
    LeasePage, LeaseQuery, LeaseView, LockView, TicketView, WaiterView, inspect, lease_times, list_leases,
    look_up_ticket,
};
