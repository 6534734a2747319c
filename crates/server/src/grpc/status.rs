//! What every error of the parts below looks like on the wire: reason, message, facts.
//!
//! This is the only file that maps errors to reasons. The codes, and what a reason means for a caller, stand in
//! [`ringfence_proto::Reason`]'s table.

use std::time::Duration;

use ringfence_proto::v1::Error;
use ringfence_proto::{InvalidRequestId, Reason, metadata};
use ringfence_raft_host::{HashError, ProposeError, ReadError, TakeError, TransferError};
use ringfence_state_machine::{ReadRefusal, Refusal, Unreadable};
use ringfence_types::{ClusterId, KeyError, NodeId, ShardId, TagError, ValueError};

use crate::cursor::CursorError;

/// The key is not one.
pub(crate) fn key(error: KeyError) -> Error {
    let reason = match error {
        KeyError::Empty => Reason::KeyEmpty,
        KeyError::TooLarge { .. } => Reason::KeyTooLarge,
    };
    Error::new(reason, error.to_string())
}

/// The value is not one.
pub(crate) fn value(error: ValueError) -> Error {
    let ValueError::TooLarge { .. } = error;
    Error::new(Reason::ValueTooLarge, error.to_string())
}

/// The hash tag is not one.
pub(crate) fn tag(error: TagError) -> Error {
    Error::new(Reason::InvalidTag, error.to_string())
}

/// The request id is not one.
pub(crate) fn request_id(error: InvalidRequestId) -> Error {
    Error::new(Reason::InvalidRequest, error.to_string())
}

/// The cursor is not one of ours, or belongs to another scan.
pub(crate) fn cursor(error: CursorError) -> Error {
    Error::new(Reason::InvalidRequest, error.to_string())
}

/// Anything else that is wrong with a request itself.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(Reason::InvalidRequest, message)
}

/// The condition is missing, or of a kind that this version does not know.
pub(crate) fn no_condition() -> Error {
    Error::new(
        Reason::InvalidCondition,
        "the condition is missing or of a kind that this version does not know; set exactly one of absent, exists, \
         revision_is, version_is, value_is",
    )
}

/// The time to live is out of its bounds.
pub(crate) fn ttl(ttl_ms: i64, most_ms: u64) -> Error {
    let message = format!(
        "the time to live is {ttl_ms} ms; it must be from 1 to {most_ms}. Leave it out for a key that lives until it is \
         deleted"
    );
    Error::new(Reason::InvalidTtl, message)
}

/// A lease's ttl is out of its bounds.
pub(crate) fn lease_ttl(message: String) -> Error {
    Error::new(Reason::InvalidTtl, message)
}

/// The lock was not granted for as long as the caller would wait.
pub(crate) fn waited_in_vain(waiting: u32) -> Error {
    let message = "the lock was not granted in the time that the request would wait, and its place in the queue is given up. \
                   Ask again, or wait longer";
    Error::new(Reason::LockHeld, message).with(metadata::WAITING, waiting)
}

/// The caller wants another cluster than the one this node belongs to.
pub(crate) fn wrong_cluster(wanted: u64, here: ClusterId) -> Error {
    let message = format!(
        "this node belongs to cluster {:016x}, the caller wants {wanted:016x}. Check the address: it leads to another \
         cluster",
        here.0
    );
    Error::new(Reason::WrongCluster, message)
}

/// There is no such shard.
pub(crate) fn unknown_shard(shard: ShardId) -> Error {
    let message =
        format!("there is no shard {} that this node knows of. ClusterService.Describe lists the shards", shard.0);
    Error::new(Reason::UnknownShard, message).with(metadata::SHARD, shard.0)
}

/// The shard is elsewhere, and what was asked for is about the replica of this node.
pub(crate) fn no_replica_here(shard: ShardId, here: NodeId) -> Error {
    let message = format!("node {} has no replica of shard {}. ClusterService.Describe tells who has", here.0, shard.0);
    Error::new(Reason::UnknownShard, message).with(metadata::SHARD, shard.0)
}

/// A message for another node came here.
pub(crate) fn not_this_node(wanted: NodeId, here: NodeId) -> Error {
    let message = format!(
        "this is node {}, the caller wants node {}. Two nodes share an address, or one has moved: check `advertise`",
        here.0, wanted.0
    );
    Error::new(Reason::UnknownNode, message)
}

/// A node that is not in the cluster wants to talk.
pub(crate) fn unknown_node(node: NodeId) -> Error {
    let message = format!("node {} is not known in this cluster. Check its initial cluster and its id", node.0);
    Error::new(Reason::UnknownNode, message)
}

/// The leader is someone else, and the call was not to be forwarded.
pub(crate) fn not_leader(shard: ShardId, leader: Option<(NodeId, Option<String>)>) -> Error {
    match leader {
        Some((node, address)) => {
            let message = format!("node {} leads shard {}; ask it", node.0, shard.0);
            let error = Error::new(Reason::NotLeader, message);
            let error = error.with(metadata::SHARD, shard.0).with(metadata::LEADER_NODE, node.0);
            match address {
                Some(address) => error.with(metadata::LEADER_ADDRESS, address),
                None => error,
            }
        }
        None => {
            let message =
                format!("shard {} has no leader that this node knows of; ask again, or ask another node", shard.0);
            Error::new(Reason::NotLeader, message).with(metadata::SHARD, shard.0)
        }
    }
}

/// Nobody leads, for as long as the caller was willing to wait.
pub(crate) fn no_leader(shard: ShardId) -> Error {
    let message = format!(
        "shard {} has no leader now, so nothing was tried. An election takes a second or two; if it lasts, look for \
         nodes that are down: a majority of the shard's replicas is needed",
        shard.0
    );
    Error::new(Reason::NoQuorum, message).with(metadata::SHARD, shard.0)
}

/// This node led, and is cut off from the others.
pub(crate) fn lost_majority(shard: ShardId) -> Error {
    let message = format!(
        "this node led shard {} and hears nothing from a majority of its replicas, so nothing was tried. Ask another node",
        shard.0
    );
    Error::new(Reason::NoQuorum, message).with(metadata::SHARD, shard.0)
}

/// The leader could not be reached, and the call was not sent.
pub(crate) fn unreachable(shard: ShardId, leader: NodeId) -> Error {
    let message = format!(
        "node {}, the leader of shard {}, cannot be reached from here. Nothing was sent; ask again",
        leader.0, shard.0
    );
    Error::new(Reason::NoQuorum, message).with(metadata::SHARD, shard.0).with(metadata::LEADER_NODE, leader.0)
}

/// The answer to a mutation that was sent or proposed is lost or late.
pub(crate) fn outcome_unknown(shard: ShardId) -> Error {
    let message = format!(
        "shard {} did not answer in time, so the change may have been made or not. Ask again with the same request id: \
         it takes effect at most once",
        shard.0
    );
    Error::new(Reason::OutcomeUnknown, message).with(metadata::SHARD, shard.0)
}

/// A read did not end in time.
pub(crate) fn read_too_late(shard: ShardId) -> Error {
    let message =
        format!("shard {} did not confirm the read before the deadline. Ask again, or give it more time", shard.0);
    Error::new(Reason::DeadlineExceeded, message).with(metadata::SHARD, shard.0)
}

/// The deadline had passed before anything was tried.
pub(crate) fn too_late() -> Error {
    Error::new(Reason::DeadlineExceeded, "the deadline passed before the request was begun. Give it more time")
}

/// A budget or queue of this node is full.
pub(crate) fn overloaded(what: &str, retry_after: Duration) -> Error {
    let message = format!("{what}; nothing was tried. Wait, longer each time, and send less at once");
    Error::new(Reason::Overloaded, message).retry_after(retry_after)
}

/// The disk of the shard's leader has no room for more.
pub(crate) fn disk_full(node: NodeId, left: &str, reserve: &str) -> Error {
    let message = format!(
        "the disk of node {} has {left} left, less than what is kept in reserve ({reserve}), so nothing was written. Free some \
         space there or enlarge the volume; writes go on by themselves then",
        node.0
    );
    Error::new(Reason::DiskFull, message)
}

/// The node takes no new calls.
pub(crate) fn shutting_down() -> Error {
    Error::new(Reason::ShuttingDown, "this node is stopping; ask another one")
}

/// A replica could not read its own state. Nothing that the caller did, and no answer.
pub(crate) fn unreadable(shard: ShardId, error: &Unreadable) -> Error {
    tracing::error!(shard = shard.0, "{error}");
    let message = format!(
        "the leader of shard {} cannot read its own state; its log says more. Ask again: another node takes over, if one can",
        shard.0
    );
    Error::new(Reason::NoQuorum, message).with(metadata::SHARD, shard.0)
}

/// A fault of ours.
pub(crate) fn internal(what: &str) -> Error {
    tracing::error!("{what}");
    Error::new(Reason::Internal, format!("{what}. This is a fault of the server; its log says more"))
}

/// An ordinary refusal by the state machine. `WrongShard` is among them: a gateway looks up the shard anew instead of
/// passing it on.
pub(crate) fn refusal(shard: ShardId, refusal: &Refusal) -> Error {
    let message = refusal.to_string();
    let error = |reason| Error::new(reason, message).with(metadata::SHARD, shard.0);
    match refusal {
        Refusal::ConditionFailed { revision, version, clock } => error(Reason::ConditionFailed)
            .with(metadata::REVISION, revision)
            .with(metadata::VERSION, version)
            .with(metadata::CLOCK, clock),
        Refusal::OutOfBounds { current, clock } => {
            error(Reason::OutOfBounds).with(metadata::CURRENT, current).with(metadata::CLOCK, clock)
        }
        Refusal::NotAnInteger { clock } => error(Reason::NotAnInteger).with(metadata::CLOCK, clock),
        Refusal::ValueTooLarge { .. } => error(Reason::ValueTooLarge),
        Refusal::RequestTooOld { floor, clock, .. } => {
            error(Reason::RequestTooOld).with(metadata::FLOOR, floor).with(metadata::CLOCK, clock)
        }
        Refusal::WrongShard { .. } => error(Reason::WrongShard),
        Refusal::ClockOutOfRange { .. } => error(Reason::Internal),
        Refusal::Fenced { current, clock, .. } => {
            let error = error(Reason::Fenced).with(metadata::CLOCK, clock);
            match current {
                Some(current) => error.with(metadata::TOKEN, current),
                None => error,
            }
        }
        Refusal::FenceElsewhere { .. } => error(Reason::FenceElsewhere),
        Refusal::LeaseExpired { clock, .. } => error(Reason::LeaseExpired).with(metadata::CLOCK, clock),
        Refusal::LeaseOver { clock } => error(Reason::LeaseOver).with(metadata::CLOCK, clock),
        Refusal::NotTheHolder { clock, .. } => error(Reason::NotTheHolder).with(metadata::CLOCK, clock),
        Refusal::LockHeld { token, ttl_left_ms, waiting, clock, .. } => error(Reason::LockHeld)
            .with(metadata::TOKEN, token)
            .with(metadata::TTL_LEFT_MS, ttl_left_ms)
            .with(metadata::WAITING, waiting)
            .with(metadata::CLOCK, clock),
        Refusal::LockQueueFull { waiting, clock } => {
            error(Reason::LockQueueFull).with(metadata::WAITING, waiting).with(metadata::CLOCK, clock)
        }
        Refusal::PermitsDiffer { of, clock } => {
            error(Reason::PermitsDiffer).with(metadata::PERMITS, of).with(metadata::CLOCK, clock)
        }
        Refusal::WrongGroup | Refusal::Contradiction { .. } => error(Reason::InvalidRequest),
    }
}

/// A read that this shard does not answer.
pub(crate) fn read_refusal(shard: ShardId, refusal: &ReadRefusal) -> Error {
    let message = refusal.to_string();
    let error = |reason| Error::new(reason, message).with(metadata::SHARD, shard.0);
    match refusal {
        ReadRefusal::WrongShard { .. } => error(Reason::WrongShard),
        ReadRefusal::HistoryGone { floor } => error(Reason::HistoryGone).with(metadata::FLOOR, floor),
        ReadRefusal::Ahead { clock } => error(Reason::InvalidRequest).with(metadata::CLOCK, clock),
    }
}

/// A proposal that got no reply, except `NotLeader`, which depends on who the leader is: see [`not_leader`].
pub(crate) fn propose(shard: ShardId, error: &ProposeError) -> Error {
    match error {
        ProposeError::NotLeader { .. } => not_leader(shard, None),
        ProposeError::Overloaded { retry_after } => overloaded("too many requests wait for the shard", *retry_after),
        ProposeError::TooLarge { .. } => invalid(error.to_string()),
        ProposeError::Unknown => outcome_unknown(shard),
        ProposeError::Stopped { problem } => {
            tracing::error!(shard = shard.0, "a proposal met a stopped replica: {problem}");
            outcome_unknown(shard)
        }
    }
}

/// A read that was not confirmed, except `NotLeader`, as above.
pub(crate) fn read(shard: ShardId, error: &ReadError) -> Error {
    match error {
        ReadError::NotLeader { .. } => not_leader(shard, None),
        ReadError::NoQuorum => Error::new(Reason::NoQuorum, error.to_string()).with(metadata::SHARD, shard.0),
        ReadError::Overloaded { retry_after } => overloaded("too many reads wait for the shard", *retry_after),
        ReadError::Stopped { problem } => {
            tracing::error!(shard = shard.0, "a read met a stopped replica: {problem}");
            Error::new(Reason::NoQuorum, error.to_string()).with(metadata::SHARD, shard.0)
        }
    }
}

/// A fresh replica that was not taken, except `NotLeader`, as above.
pub(crate) fn take(shard: ShardId, error: &TakeError) -> Error {
    let message = error.to_string();
    let error = match error {
        TakeError::NotLeader { .. } => return not_leader(shard, None),
        TakeError::Busy => Error::new(Reason::Overloaded, message).retry_after(Duration::from_millis(100)),
        TakeError::Outlived { .. } | TakeError::OnlyVoter(_) => Error::new(Reason::InvalidRequest, message),
        TakeError::Stopped(_) => Error::new(Reason::NoQuorum, message),
    };
    error.with(metadata::SHARD, shard.0)
}

/// Leadership that was not handed over, except `NotLeader`, as above.
pub(crate) fn transfer(shard: ShardId, error: &TransferError) -> Error {
    let message = format!("shard {}: {error}", shard.0);
    let error = match error {
        TransferError::NotLeader => return not_leader(shard, None),
        TransferError::NoReplica(_) | TransferError::OnlyVoter => Error::new(Reason::InvalidRequest, message),
        TransferError::Behind { .. } | TransferError::Silent(_) => Error::new(Reason::ReplicaBehind, message),
        TransferError::Another(_) | TransferError::TimedOut => Error::new(Reason::OutcomeUnknown, message),
        TransferError::Stopped(_) => Error::new(Reason::NoQuorum, message),
    };
    error.with(metadata::SHARD, shard.0)
}

/// A replica that has no hash.
pub(crate) fn hash(shard: ShardId, error: &HashError) -> Error {
    match error {
        HashError::Storage(error) => internal(&format!("shard {}: {error}", shard.0)),
        HashError::Stopped(_) | HashError::Empty => {
            Error::new(Reason::ReplicaBehind, format!("shard {}: {error}", shard.0)).with(metadata::SHARD, shard.0)
        }
    }
}
