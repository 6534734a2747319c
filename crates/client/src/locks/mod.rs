//! Locks, and what is made of them: read/write locks, semaphores, elections.
//!
//! ```no_run
//! # use std::time::Duration;
//! # async fn f(db: ringfence_client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let lease = db.lock("{invoice:7}lock").ttl(Duration::from_secs(10)).await?; // waits its turn
//! db.put("{invoice:7}state", "paid").fence(&lease).await?; // happens only while the lease is current
//! lease.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What a lease is worth
//!
//! A process can be stopped at any moment for longer than any ttl: by a garbage collector, by swapping, by its hypervisor. When it
//! goes on, it believes that it holds what another holds now. No lock service can prevent that. So a lease has a **fencing
//! token**, larger for each later grant, and what counts is that every write under the lock carries it:
//!
//! * a write to Ringfence takes it as a [`fence`](crate::Put::fence), and happens only if that very lease is current at that very
//!   moment. The lock and the key must lie on one shard: give them the same hash tag;
//! * anything else keeps the highest token that it has seen in a [`FenceGuard`](crate::FenceGuard) and refuses lower ones.
//!
//! [`Lease::lost`] and [`Lease::is_lost`] only save a holder useless work. They count on this process's monotonic clock from the
//! moment at which the acquire, or the renewal, that was confirmed was *sent*, so they fire before anyone else can be granted.
//!
//! # What goes on behind a lease
//!
//! One task per client renews its leases, every third of their ttls, many in a message. A lease that is dropped is released in the
//! background, as far as that is possible; only [`Lease::release`] tells whether it was.
//!
//! Waiting is done by the cluster: first come, first served, without polling. A future that is dropped gives its place up.

mod acquire;
mod election;
mod keeper;
mod lease;
mod look;
mod modes;
mod release;
mod tenure;

pub use acquire::{Acquire, AcquireError, Held};
pub use election::{Campaign, Election, Leader, Leadership, Observer};
pub(crate) use keeper::Keeper;
pub use lease::{Lease, RenewError};
pub use look::{InspectLock, LeaseInfo, Leases, LockInfo, LockReadError, WaiterInfo};
pub use modes::{RwLock, Semaphore};
pub use release::{ReleaseError, ReleaseLease};
