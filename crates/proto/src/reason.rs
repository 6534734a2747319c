use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tonic::Code;

/// Why a request got no result: the closed set of `ErrorInfo.reason`.
///
/// A new reason gets a variant, a line in [`Reason::ALL`] and a row in the table below; nothing else maps errors to codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The key has no bytes.
    KeyEmpty,
    /// The key is longer than 4096 bytes.
    KeyTooLarge,
    /// The value is longer than the shard's limit.
    ValueTooLarge,
    /// The hash tag of a scan is empty, too long, or contains `}`.
    InvalidTag,
    /// The condition is missing or of an unknown kind.
    InvalidCondition,
    /// The time to live is not positive, or longer than ten years.
    InvalidTtl,
    /// Anything else that is wrong with the request itself.
    InvalidRequest,
    /// `Add` on a value that is not an integer in decimal text.
    NotAnInteger,
    /// The sum would leave its bounds.
    OutOfBounds,
    /// The condition did not hold.
    ConditionFailed,
    /// The lease that was shown is not current.
    Fenced,
    /// A fence of a lock that is not on the shard of the key.
    FenceElsewhere,
    /// The lease's deadline had passed before the renewal came.
    LeaseExpired,
    /// What an acquire that is sent again was given has ended since.
    LeaseOver,
    /// The lease is somebody else's.
    NotTheHolder,
    /// The lock is not free, and the request does not wait.
    LockHeld,
    /// Too many wait for the lock.
    LockQueueFull,
    /// The semaphore is in use with another number of permits.
    PermitsDiffer,
    /// The asked node does not lead the shard, and was told not to forward, or knows no leader.
    NotLeader,
    /// The shard that was asked does not own the key any more.
    WrongShard,
    /// The node belongs to another cluster than the caller wants.
    WrongCluster,
    /// There is no such shard.
    UnknownShard,
    /// There is no such node.
    UnknownNode,
    /// A read at a revision whose history is not kept any more.
    HistoryGone,
    /// The request's birth lies at or below the shard's dedup floor.
    RequestTooOld,
    /// A queue or a memory budget is full.
    Overloaded,
    /// The one replica that this is about has not caught up, is not heard of, or has stopped.
    ReplicaBehind,
    /// No majority of the shard's replicas is in touch with the node that was asked, so nothing was tried. Another node may
    /// be on the side where one is.
    NoQuorum,
    /// The change was proposed, and nobody can say whether it was committed.
    OutcomeUnknown,
    /// The caller's deadline passed first.
    DeadlineExceeded,
    /// The node is stopping and takes no new requests.
    ShuttingDown,
    /// The node's disk is too full to accept writes.
    DiskFull,
    /// A fault of the server. It is in its log.
    Internal,
}

/// What the sending that got an error did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Final and recorded: the request, whichever of its sendings arrived, did nothing and never will.
    Decided,
    /// *This* sending certainly did nothing. An earlier one with the same request id may have.
    Refused,
    /// It may have happened, or may still happen. Send again with the *same* id to learn it.
    Unknown,
}

/// What to do with the same request next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The same request would get the same answer: change it, or give up.
    Never,
    /// Ask another node, at once: the one that the metadata names, or the one that a fresh shard map gives.
    Elsewhere,
    /// The same request may work later: wait, and longer each time.
    Later,
}

struct Row {
    name: &'static str,
    code: Code,
    outcome: Outcome,
    advice: Advice,
}

const fn row(name: &'static str, code: Code, outcome: Outcome, advice: Advice) -> Row {
    Row { name, code, outcome, advice }
}

/// The table. `UNAVAILABLE` is what stock gRPC retry policies send again blindly, so no reason with an unknown outcome
/// has that code: a client without request ids would do its change twice.
const fn row_of(reason: Reason) -> Row {
    use Advice::{Elsewhere, Later, Never};
    use Outcome::{Decided, Refused, Unknown};
    match reason {
        Reason::KeyEmpty => row("KEY_EMPTY", Code::InvalidArgument, Refused, Never),
        Reason::KeyTooLarge => row("KEY_TOO_LARGE", Code::InvalidArgument, Refused, Never),
        Reason::ValueTooLarge => row("VALUE_TOO_LARGE", Code::InvalidArgument, Decided, Never),
        Reason::InvalidTag => row("INVALID_TAG", Code::InvalidArgument, Refused, Never),
        Reason::InvalidCondition => row("INVALID_CONDITION", Code::InvalidArgument, Refused, Never),
        Reason::InvalidTtl => row("INVALID_TTL", Code::InvalidArgument, Refused, Never),
        Reason::InvalidRequest => row("INVALID_REQUEST", Code::InvalidArgument, Refused, Never),
        Reason::NotAnInteger => row("NOT_AN_INTEGER", Code::FailedPrecondition, Decided, Never),
        Reason::OutOfBounds => row("OUT_OF_BOUNDS", Code::FailedPrecondition, Decided, Never),
        Reason::ConditionFailed => row("CONDITION_FAILED", Code::FailedPrecondition, Decided, Never),
        Reason::Fenced => row("FENCED", Code::FailedPrecondition, Decided, Never),
        Reason::FenceElsewhere => row("FENCE_ELSEWHERE", Code::FailedPrecondition, Refused, Never),
        Reason::LeaseExpired => row("LEASE_EXPIRED", Code::FailedPrecondition, Decided, Never),
        Reason::LeaseOver => row("LEASE_OVER", Code::FailedPrecondition, Decided, Never),
        Reason::NotTheHolder => row("NOT_THE_HOLDER", Code::FailedPrecondition, Decided, Never),
        Reason::LockHeld => row("LOCK_HELD", Code::FailedPrecondition, Decided, Never),
        Reason::LockQueueFull => row("LOCK_QUEUE_FULL", Code::ResourceExhausted, Decided, Never),
        Reason::PermitsDiffer => row("PERMITS_DIFFER", Code::FailedPrecondition, Decided, Never),
        Reason::NotLeader => row("NOT_LEADER", Code::Unavailable, Refused, Elsewhere),
        Reason::WrongShard => row("WRONG_SHARD", Code::Unavailable, Refused, Elsewhere),
        Reason::WrongCluster => row("WRONG_CLUSTER", Code::FailedPrecondition, Refused, Never),
        Reason::UnknownShard => row("UNKNOWN_SHARD", Code::NotFound, Refused, Never),
        Reason::UnknownNode => row("UNKNOWN_NODE", Code::NotFound, Refused, Never),
        Reason::HistoryGone => row("HISTORY_GONE", Code::OutOfRange, Refused, Never),
        // Certain for a caller who never sent the id before. One who did cannot learn any more what became of it.
        Reason::RequestTooOld => row("REQUEST_TOO_OLD", Code::FailedPrecondition, Refused, Never),
        Reason::Overloaded => row("OVERLOADED", Code::ResourceExhausted, Refused, Later),
        Reason::ReplicaBehind => row("REPLICA_BEHIND", Code::FailedPrecondition, Refused, Later),
        Reason::NoQuorum => row("NO_QUORUM", Code::Unavailable, Refused, Elsewhere),
        Reason::OutcomeUnknown => row("OUTCOME_UNKNOWN", Code::Unknown, Unknown, Later),
        Reason::DeadlineExceeded => row("DEADLINE_EXCEEDED", Code::DeadlineExceeded, Unknown, Later),
        Reason::ShuttingDown => row("SHUTTING_DOWN", Code::Unavailable, Refused, Elsewhere),
        Reason::DiskFull => row("DISK_FULL", Code::ResourceExhausted, Refused, Never),
        Reason::Internal => row("INTERNAL", Code::Internal, Unknown, Never),
    }
}

impl Reason {
    /// Every reason, in the order of the enum.
    pub const ALL: [Reason; 33] = [
        Reason::KeyEmpty,
        Reason::KeyTooLarge,
        Reason::ValueTooLarge,
        Reason::InvalidTag,
        Reason::InvalidCondition,
        Reason::InvalidTtl,
        Reason::InvalidRequest,
        Reason::NotAnInteger,
        Reason::OutOfBounds,
        Reason::ConditionFailed,
        Reason::Fenced,
        Reason::FenceElsewhere,
        Reason::LeaseExpired,
        Reason::LeaseOver,
        Reason::NotTheHolder,
        Reason::LockHeld,
        Reason::LockQueueFull,
        Reason::PermitsDiffer,
        Reason::NotLeader,
        Reason::WrongShard,
        Reason::WrongCluster,
        Reason::UnknownShard,
        Reason::UnknownNode,
        Reason::HistoryGone,
        Reason::RequestTooOld,
        Reason::Overloaded,
        Reason::ReplicaBehind,
        Reason::NoQuorum,
        Reason::OutcomeUnknown,
        Reason::DeadlineExceeded,
        Reason::ShuttingDown,
        Reason::DiskFull,
        Reason::Internal,
    ];

    /// As it stands on the wire, in UPPER_SNAKE.
    pub const fn name(self) -> &'static str {
        row_of(self).name
    }

    /// The gRPC code that goes with it.
    pub const fn code(self) -> Code {
        row_of(self).code
    }

    /// What the sending that got it did.
    pub const fn outcome(self) -> Outcome {
        row_of(self).outcome
    }

    /// What to do next.
    pub const fn advice(self) -> Advice {
        row_of(self).advice
    }

    /// What `RetryInfo` says unless the server knows better; `None` where trying again does not help.
    pub const fn retry_after(self) -> Option<Duration> {
        match self.advice() {
            Advice::Never => None,
            Advice::Elsewhere => Some(Duration::from_millis(10)),
            Advice::Later => Some(Duration::from_millis(100)),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not a reason that this version knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a reason that this version knows; the other side is probably newer")]
pub struct UnknownReason(pub String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(name: &str) -> Result<Reason, UnknownReason> {
        let found = Reason::ALL.into_iter().find(|reason| reason.name() == name);
        found.ok_or_else(|| UnknownReason(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A reason missing from `ALL` could be sent but not understood.
    #[test]
    fn all_lists_every_reason_once_and_names_lead_back() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert_eq!(reason.name().parse(), Ok(reason));
        }
        assert_eq!(Reason::ALL.len(), Reason::Internal as usize + 1, "Internal is the last variant");
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert_eq!("NO_SUCH".parse::<Reason>(), Err(UnknownReason("NO_SUCH".into())));
    }

    /// Stock gRPC clients retry UNAVAILABLE blindly: harmless only while it means that nothing happened.
    #[test]
    fn unavailable_always_means_that_nothing_happened_and_a_retry_helps() {
        for reason in Reason::ALL.into_iter().filter(|reason| reason.code() == Code::Unavailable) {
            assert_eq!(reason.outcome(), Outcome::Refused, "{reason}");
            assert_ne!(reason.advice(), Advice::Never, "{reason}");
        }
    }
}
