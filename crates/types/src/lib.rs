//! Words that every part of Ringfence agrees on: keys and their ring positions, ids, revisions, limits.
//!
//! Nothing here does I/O, knows a protocol, or depends on another crate of the workspace. Input from outside becomes
//! one of these types once, at the edge, and cannot be wrong afterwards ([`Key`], [`Value`], [`HashTag`], [`LeaseTtl`]).

mod ids;
mod key;
pub mod limits;
mod lock;
mod request;
mod revision;
mod value;

pub use ids::{ClientId, ClusterId, NodeId, ReplicaId, ShardId};
pub use key::{HashTag, Key, KeyError, RingPosition, TagError, routing_part};
pub use lock::{
    Fence, FencingToken, Holder, HolderError, LeaseTtl, LeaseTtlError, LockMode, LockName, Metadata, MetadataError,
    Permits, PermitsError,
};
pub use request::RequestId;
pub use revision::Revision;
pub use value::{Value, ValueError};
