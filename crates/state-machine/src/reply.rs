//! What a request is answered. A refusal is an ordinary reply, the same on every replica.

use ringfence_shard_router::ShardDescriptor;
use ringfence_types::{FencingToken, Holder, LockName, Permits, ReplicaId, Revision, ShardId};
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
    /// The lease is the caller's.
    Granted {
        /// Of this lease.
        token: FencingToken,
        /// What to show to guards outside: the token, or that of the first who share the lock.
        generation: FencingToken,
        /// Which permit of a semaphore; 0 in other modes.
        permit: u32,
        /// Until it ends unless it is renewed.
        ttl_left_ms: u64,
        /// The shard clock afterwards.
        revision: Revision,
    },
    /// The lock is not free, and the request waits for it.
    Queued {
        /// To ask again with, and to give up with.
        ticket: Revision,
        /// How many wait, this one included.
        waiting: u32,
        /// The shard clock afterwards.
        revision: Revision,
    },
    /// The lease goes on.
    Renewed {
        /// Until it ends unless it is renewed again.
        ttl_left_ms: u64,
        /// Of a change of what is shown with it; else the shard clock.
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
            | Done::Allotted { revision, .. }
            | Done::Granted { revision, .. }
            | Done::Queued { revision, .. }
            | Done::Renewed { revision, .. } => *revision,
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
    /// The lease that was shown is not current: released, expired, or never granted. Nothing was changed.
    #[error(
        "the lease of {lock} with token {token} is not current; {}. Stop what it protected, and acquire the lock anew",
        .current.map_or("nobody holds the lock".into(), |current| format!("the current token is {current}"))
    )]
    Fenced {
        /// Which lock.
        lock: LockName,
        /// What was shown.
        token: FencingToken,
        /// The newest there is, if the lock is held.
        current: Option<FencingToken>,
        /// The shard clock when this was decided.
        clock: Revision,
    },
    /// A fence of another shard's lock. Never remembered.
    #[error(
        "the lock {lock} is not on {shard}, where the key is, so it cannot be checked in the same step. Give the key and the lock a common hash tag, as in `{{order:7}}:paid` and `{{order:7}}:lock`"
    )]
    FenceElsewhere {
        /// Which lock.
        lock: LockName,
        /// Where the key is.
        shard: ShardId,
    },
    /// The lease's deadline had passed before the renewal came, and it has ended.
    #[error("the lease expired {late_ms} ms before this. Stop what it protected, and acquire the lock anew")]
    LeaseExpired {
        /// By so much, on the lease clock.
        late_ms: u64,
        /// The shard clock when this was decided.
        clock: Revision,
    },
    /// This acquire was answered before, and what it was given has ended since.
    #[error("the lease or the waiting that this was about is over. Acquire the lock anew, with a new request")]
    LeaseOver {
        /// The shard clock when this was decided.
        clock: Revision,
    },
    /// The token is right, but the lease is somebody else's.
    #[error("the lease with this token belongs to {holder}")]
    NotTheHolder {
        /// Who has it.
        holder: Holder,
        /// The shard clock when this was decided.
        clock: Revision,
    },
    /// The lock is not free, and the request does not wait.
    #[error(
        "the lock is held by {holder} with token {token} for another {ttl_left_ms} ms unless it is renewed, and {waiting} wait for it"
    )]
    LockHeld {
        /// One of those who have it.
        holder: Holder,
        /// Its token.
        token: FencingToken,
        /// Until its lease ends unless it is renewed.
        ttl_left_ms: u64,
        /// How many wait.
        waiting: u32,
        /// The shard clock when this was decided.
        clock: Revision,
    },
    /// Too many wait for the lock already.
    #[error(
        "{waiting} wait for the lock already, and no more may. Try again later, or spread the work over more locks"
    )]
    LockQueueFull {
        /// How many wait.
        waiting: u32,
        /// The shard clock when this was decided.
        clock: Revision,
    },
    /// The semaphore is in use with another number of permits.
    #[error("this semaphore has {of} permits as long as anybody holds one. Ask for one of {of}")]
    PermitsDiffer {
        /// How many it has.
        of: Permits,
        /// The shard clock when this was decided.
        clock: Revision,
    },
}
