//! What a request is answered. A refusal is an ordinary reply, the same on every replica.

use ringfence_shard_router::ShardDescriptor;
use ringfence_types::{ReplicaId, Revision};
use serde::{Deserialize, Serialize};

/// The answer to one request of an entry.
pub type Reply = Result<Done, Refusal>;

/// What happened.
///
/// Compact on purpose: it is kept as the dedup outcome, and told again word for word to whoever retries. New variants go to
/// the end: the position of a variant is its number in the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// The key now holds the value.
    Put {
        /// Revision of the write.
        revision: Revision,
        /// 1 = created by this write.
        version: u64,
    },
    /// The key is absent now.
    Deleted {
        /// Revision of the removal; the shard clock if there was nothing to remove.
        revision: Revision,
        /// Whether there was something to remove.
        existed: bool,
    },
    /// The sum.
    Added {
        /// Revision of the write.
        revision: Revision,
        /// 1 = created by this write.
        version: u64,
        /// The integer after the addition.
        value: i64,
    },
    /// A command without a result of its own took effect (expiry, collection, limits, registration).
    Accepted {
        /// The shard clock afterwards.
        revision: Revision,
    },
    /// A fresh replica id.
    Allotted {
        /// Nobody's before.
        replica: ReplicaId,
        /// The shard clock afterwards.
        revision: Revision,
    },
}

impl Done {
    /// The revision that the client has seen once it has this answer.
    pub fn revision(&self) -> Revision {
        match self {
            Done::Put { revision, .. }
            | Done::Deleted { revision, .. }
            | Done::Added { revision, .. }
            | Done::Accepted { revision }
            | Done::Allotted { revision, .. } => *revision,
        }
    }
}

/// Why nothing happened: certain, and the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The condition did not hold.
    #[error(
        "the condition does not hold: the key is at revision {revision}, version {version} (0 = absent). Read it and decide again"
    )]
    ConditionFailed {
        /// Of the key's last write; [`Revision::ZERO`] if it is absent.
        revision: Revision,
        /// 0 if it is absent.
        version: u64,
        /// The shard clock when this was decided.
        clock: Revision,
    },
    /// The sum would leave its bounds, or 64 bits.
    #[error("the sum would leave its bounds: the key holds {current}. Nothing was changed")]
    OutOfBounds {
        /// What the key holds (0 if absent).
        current: i64,
        /// The shard clock when this was decided.
        clock: Revision,
    },
    /// `Add` on a value that is not an integer in decimal text.
    #[error("the key holds a value that is not a decimal integer, so nothing can be added to it. Put an integer first")]
    NotAnInteger {
        /// The shard clock when this was decided.
        clock: Revision,
    },
    /// The value is longer than the shard's replicated limit.
    #[error("the value has {bytes} bytes; this cluster's limit is {bytes_max}")]
    ValueTooLarge {
        /// Its length.
        bytes: u32,
        /// The limit.
        bytes_max: u32,
    },
    /// The request was born at or below the dedup floor and its outcome is not known any more. Certain for a caller who
    /// never sent it before; for one who did, unknown. Also for a request that claims to be born far ahead of the shard
    /// clock, whose outcome could never be forgotten again: that one was certainly never run.
    #[error(
        "the request was born at revision {birth}, and only those born above {floor} and up to {clock} are taken. If it was never sent before, send it again with a fresh id born at {clock}"
    )]
    RequestTooOld {
        /// The request's.
        birth: Revision,
        /// The shard's.
        floor: Revision,
        /// The shard clock: a good new birth.
        clock: Revision,
    },
    /// A key of the request is not in this shard's range. Never remembered.
    #[error("shard {} does not own the key; it owns {}", .descriptor.shard, .descriptor.range)]
    WrongShard {
        /// What is true of this shard.
        descriptor: ShardDescriptor,
    },
    /// The entry's wall clock is beyond what a revision can hold. The leader's clock is broken.
    #[error("the leader's clock shows {now_ms} ms, beyond the year 2527. Set the node's clock")]
    ClockOutOfRange {
        /// What it showed.
        now_ms: u64,
    },
    /// A client's command was sent to the meta group, or a meta command to a shard.
    #[error("this group does not take such commands")]
    WrongGroup,
    /// The descriptor or the node is older than, or contradicts, what the meta group knows.
    #[error("the meta group knows better: {reason}")]
    Contradiction {
        /// What it knows.
        reason: String,
    },
}
