use std::fmt;

use ringfence_types::{NodeId, ReplicaId, RingPosition, ShardId};
use serde::{Deserialize, Serialize};

/// A contiguous, never empty piece of the ring. Both ends belong to it, because `end + 1` of the last shard would not
/// fit 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardRange {
    /// First position that belongs to the range.
    pub first: RingPosition,
    /// Last position that belongs to the range.
    pub last: RingPosition,
}

impl ShardRange {
    /// The whole ring.
    pub const ALL: ShardRange = ShardRange { first: RingPosition::MIN, last: RingPosition::MAX };

    /// Whether `position` lies in the range.
    pub fn contains(&self, position: RingPosition) -> bool {
        self.first <= position && position <= self.last
    }

    /// Whether the two share a position.
    pub fn overlaps(&self, other: &ShardRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for ShardRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.first, self.last)
    }
}

/// How new a descriptor is. `range` rises with split and merge, `membership` with every change of replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// Rises when the range changes.
    pub range: u64,
    /// Rises when the replicas change.
    pub membership: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.range, self.membership)
    }
}

/// Whether a replica counts for majorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Votes and counts.
    Voter,
    /// Receives the log, does not count.
    Learner,
}

/// One copy of a shard, on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Replica {
    /// Fresh for every placement, never reused.
    pub id: ReplicaId,
    /// Where it is.
    pub node: NodeId,
    /// Whether it votes.
    pub role: Role,
}

/// What is true about a shard.
///
/// * No two replicas have the same id, and no two are on the same node.
/// * A newer epoch replaces an older one, never the other way round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardDescriptor {
    /// Which shard.
    pub shard: ShardId,
    /// What it owns. The meta group (shard 0) owns nothing of the ring; its range is [`ShardRange::ALL`] by convention
    /// and never looked up.
    pub range: ShardRange,
    /// How new this is.
    pub epoch: Epoch,
    /// Its copies, by replica id.
    pub replicas: Vec<Replica>,
}

impl ShardDescriptor {
    /// The replica on a node, if there is one.
    pub fn replica_on(&self, node: NodeId) -> Option<&Replica> {
        self.replicas.iter().find(|r| r.node == node)
    }

    /// Its voters.
    pub fn voters(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|r| r.role == Role::Voter)
    }
}
