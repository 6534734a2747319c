//! Words that every part of Ringfence agrees on: keys and their ring positions, ids, revisions, limits.
//!
//! Nothing here does I/O, knows a protocol, or depends on another crate of the workspace. Input from outside becomes
//! one of these types once, at the edge, and cannot be wrong afterwards ([`Key`], [`Value`], [`HashTag`]).

mod ids;
mod key;
pub mod limits;
mod request;
mod revision;
mod value;

pub use ids::{ClientId, ClusterId, NodeId, ReplicaId, ShardId};
pub use key::{HashTag, Key, KeyError, RingPosition, TagError, routing_part};
pub use request::RequestId;
pub use revision::Revision;
pub use value::{Value, ValueError};
