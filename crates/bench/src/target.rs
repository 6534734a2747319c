//! What a peer must be able to do to be measured.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The ttl of every lock, of every peer: so long that nothing is renewed and nothing expires while a row is measured.
pub const LOCK_TTL: Duration = Duration::from_secs(60);

/// One client's way to a peer. Each client has its own, so none waits for another's lock.
///
/// Revisions are the peer's own numbers; 0 is that of an absent key.
pub trait Target: Send + 'static {
    /// Reads a key, linearizably. `None`: it is absent.
    fn get(&mut self, key: &Bytes) -> impl Future<Output = Result<Option<Found>, OpError>> + Send;

    /// Sets a key, and tells the revision that it has then.
    fn put(&mut self, key: &Bytes, value: &Bytes) -> impl Future<Output = Result<i64, OpError>> + Send;

    /// Sets a key if its revision is `expected`.
    fn cas(&mut self, key: &Bytes, expected: i64, value: &Bytes) -> impl Future<Output = Result<Cas, OpError>> + Send;

    /// Removes a key.
    fn delete(&mut self, key: &Bytes) -> impl Future<Output = Result<(), OpError>> + Send;

    /// Acquires a lock, exclusively and for [`LOCK_TTL`]; waits while another client has it. A client holds one at most.
    fn acquire(&mut self, _name: &Bytes) -> impl Future<Output = Result<(), OpError>> + Send {
        async { Err(OpError::new("NO_LOCKS", "this peer has no locks")) }
    }

    /// Releases the lock that it holds.
    fn release(&mut self) -> impl Future<Output = Result<(), OpError>> + Send {
        async { Err(OpError::new("NO_LOCKS", "this peer has no locks")) }
    }
}

/// A peer: makes the clients' ways to it.
pub trait Peer {
    /// A client's way.
    type Target: Target;

    /// The way of client number `client` of `clients`, counted from 0.
    fn target(&self, client: usize, clients: usize) -> Self::Target;

    /// What kind of way that is.
    fn path(&self) -> Path;
}

/// How operations travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// Through the SDK: routed to the leader, many operations to a message of one shared stream.
    Sdk,
    /// Plain gRPC, one call for each operation, to the nodes in turn, as any language does without an SDK.
    Unary,
}

impl Path {
    /// As rows have it.
    pub fn name(self) -> &'static str {
        match self {
            Path::Sdk => "sdk",
            Path::Unary => "unary",
        }
    }
}

/// What a get found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Of the last write.
    pub revision: i64,
    /// How long the value is.
    pub value_bytes: usize,
}

/// How a compare-and-set ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cas {
    /// It is set, and has this revision now.
    Done(i64),
    /// Somebody else was first; this is the revision it has now.
    Conflict(i64),
}

/// An operation that got no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpError {
    /// Errors are counted by this.
    pub kind: &'static str,
    /// For people; of each kind the first is shown.
    pub message: String,
}

impl OpError {
    /// An error of this kind.
    pub fn new(kind: &'static str, message: impl ToString) -> OpError {
        OpError { kind, message: message.to_string() }
    }

    /// The kind of an error that only gRPC has a word for.
    pub fn kind_of(code: tonic::Code) -> &'static str {
        use tonic::Code;
        match code {
            Code::Ok => "OK",
            Code::Cancelled => "CANCELLED",
            Code::Unknown => "UNKNOWN",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::AlreadyExists => "ALREADY_EXISTS",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Aborted => "ABORTED",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::DataLoss => "DATA_LOSS",
            Code::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}
