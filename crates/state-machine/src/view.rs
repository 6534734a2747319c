//! What the core needs of a store, and what it gives back.

use std::ops::ControlFlow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An ordered collection of stored keys. Each is a column family of the state DB. The layouts stand in `keys.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Space {
    /// The current version of every key.
    Current = 0,
    /// Versions that were replaced or deleted, until the history floor has passed them.
    History = 1,
    /// Outcomes of requests, until the dedup floor has passed them.
    Dedup = 2,
    /// Deadlines of keys with a ttl.
    Deadlines = 3,
    /// Per-shard records: descriptor, clocks, floors, limits; and the meta group's tables. Not keyed by position.
    Shard = 4,
    /// Locks, leases, and who waits.
    Locks = 5,
}

impl Space {
    /// Every space, in order.
    pub const ALL: [Space; 6] =
        [Space::Current, Space::History, Space::Dedup, Space::Deadlines, Space::Shard, Space::Locks];

    /// The spaces whose keys begin with a ring position, so that a range of the ring is one contiguous piece of each.
    pub const BY_POSITION: [Space; 5] = [Space::Current, Space::History, Space::Dedup, Space::Deadlines, Space::Locks];
}

/// Read access to a replica's state, at one moment.
pub trait View {
    /// The record at a stored key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, Unreadable>;

    /// Many at once; answers in the order of the keys. Stores that can fetch together override it.
    fn get_many(&self, space: Space, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Unreadable> {
        keys.iter().map(|key| self.get(space, key)).collect()
    }

    /// Visits the records from `from` up to but not including `to`, in order, until the visitor breaks.
    #[allow(clippy::type_complexity)] // said once, and plainer than a name for it
    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Unreadable>;
}

/// This replica cannot read its own state. Never a reply: the replica stops and is replaced by a fresh one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica cannot read its own state: {reason}")]
pub struct Unreadable {
    /// What was found instead.
    pub reason: String,
}

impl Unreadable {
    /// With a reason.
    pub fn new(reason: impl Into<String>) -> Unreadable {
        Unreadable { reason: reason.into() }
    }
}

/// One change of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub space: Space,
    /// The stored key.
    pub key: Bytes,
    /// The new record, or `None` to remove it.
    pub value: Option<Bytes>,
}
