//! Newtypes that keep ids apart. A `ShardId` where a `NodeId` belongs does not compile.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// One server process and its data directory. Positive; 0 means "none".
    NodeId,
    "n"
);
id!(
    /// One interval of the ring and the Raft group that owns it. [`ShardId::META`] is the meta group.
    ShardId,
    "s"
);
id!(
    /// One node's copy of a shard. Fresh every time a copy is placed and never reused: Raft promises made by an earlier
    /// copy (votes, acknowledged entries) must never be taken for promises of a later one.
    ReplicaId,
    "r"
);
id!(
    /// One SDK instance: 64 random bits chosen when it starts. Half of a [`crate::RequestId`].
    ClientId,
    "c"
);
id!(
    /// Which cluster a node belongs to, so that a node of one never talks to a node of another by mistake.
    ClusterId,
    "k"
);

impl ShardId {
    /// The meta group: nodes, shard map, id counters. Never on the data path.
    pub const META: ShardId = ShardId(0);
}
