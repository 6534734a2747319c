//! Which shard owns a key, and where its replicas are. Pure: no clock, disk, network or randomness.
//!
//! A [`ShardDescriptor`] is the truth about one shard and is replicated in that shard's own log. A [`ShardMap`] is an
//! index of descriptors that tiles the ring; newer epochs win. A [`RouteCache`] is what a client or gateway keeps: a map
//! that may be stale, with a leader hint per shard. [`plan`] decides where replicas go.

mod cache;
mod descriptor;
mod map;
pub mod plan;

pub use cache::{Route, RouteCache};
pub use descriptor::{Epoch, Replica, Role, ShardDescriptor, ShardRange};
pub use map::{MapError, ShardMap};
