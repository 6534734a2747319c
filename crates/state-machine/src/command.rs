//! What a shard's log carries: entries, each a batch of requests that the leader gathered.

use bytes::Bytes;
use ringfence_shard_router::ShardDescriptor;
use ringfence_types::{Fence, Key, NodeId, RequestId, Revision, RingPosition, Value};
use serde::{Deserialize, Serialize};

use crate::LockCommand;

/// One log entry: the requests gathered while the entry before it was under way, with the leader's clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The leader's wall clock in milliseconds since 1970, or 0 when the leader does not trust its clock. Only makes
    /// revisions readable; decides nothing. [`Revision::NOW_MS_END`] or more is refused by `apply`.
    pub now_ms: u64,
    /// The shard's lease clock in milliseconds: the highest in the leader's log plus what its own *monotonic* clock has
    /// run since it took office. `apply` never lets it fall. Key ttls are measured on it.
    pub lease_clock_ms: u64,
    /// In order; later requests see what earlier ones did.
    pub requests: Vec<Request>,
}

/// One request of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its name for exactly-once retries of a mutation, an acquire, a release, or a renewal that sets metadata. `None` only for
    /// requests that nobody sends twice, and for all other commands: those are harmless to repeat, and their outcomes are not
    /// remembered.
    pub id: Option<RequestId>,
    /// The highest revision its client has seen; the shard clock rises to it first, so cause comes before effect. But no
    /// further than 10 s ahead of the leader's wall clock: a made-up revision must not use up everyone's.
    pub seen: Revision,
    /// What to do.
    pub command: Command,
}

/// What a request asks for.
///
/// New variants go to the end: the position of a variant is its number in the log format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A change asked for by a client.
    Mutate(Mutation),
    /// Removes keys whose deadline the lease clock has reached. A key that was written again meanwhile, is not due by the
    /// entry's lease clock, or is not this shard's, is left alone. Proposed by the leader's expiry task.
    ExpireKeys(Vec<Key>),
    /// Raises the floors. What lies below is forgotten: reads below `history` and requests born at or below `dedup` are
    /// refused from here on. A floor never falls. The history floor never passes the shard clock, and the dedup floor
    /// stays below it.
    Collect {
        /// Snapshot reads below this revision are refused.
        history: Revision,
        /// Requests born at or below this revision are refused.
        dedup: Revision,
    },
    /// Raises the shard clock to this revision, bounded like every other rise, and does nothing else.
    Advance(Revision),
    /// Changes the shard's replicated limits.
    SetLimits(Limits),
    /// A command of the meta group.
    Meta(MetaCommand),
    /// Something about locks.
    Lock(LockCommand),
    /// A change that happens only while all these leases are current. The locks must be this shard's, like the key.
    Fenced {
        /// At most [`ringfence_types::limits::FENCES_MAX`].
        fences: Vec<Fence>,
        /// What then.
        mutation: Mutation,
    },
}

/// A change of one key, with the condition under which it happens. On the wire `Cas` is a `Put` or `Delete` with a condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutation {
    /// Which key.
    pub key: Key,
    /// When.
    pub condition: Condition,
    /// What.
    pub action: Action,
}

impl Mutation {
    /// The ring position of the first mutated key: where the request's outcome is remembered.
    pub fn home(&self) -> RingPosition {
        self.key.position()
    }
}

/// What happens to the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Sets the value. Without a ttl the key lives until it is deleted, also if it had a ttl before.
    Put {
        /// The new value.
        value: Value,
        /// Time to live in milliseconds of the lease clock.
        ttl_ms: Option<u64>,
    },
    /// Removes the key. Of an absent key: succeeds, with `existed: false`.
    Delete,
    /// Adds to an integer that is kept as decimal text. An absent key counts as 0. The ttl stays as it is.
    Add {
        /// What to add; may be negative.
        delta: i64,
        /// The result must not be lower, else nothing happens.
        min: i64,
        /// The result must not be higher, else nothing happens.
        max: i64,
    },
}

/// What must hold for a mutation to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Always.
    #[default]
    None,
    /// The key is absent.
    Absent,
    /// The key exists.
    Exists,
    /// The key's last write has this revision. An absent key has none.
    RevisionIs(Revision),
    /// The key was written this often since it was created. An absent key has version 0.
    VersionIs(u64),
    /// The key exists and holds exactly this.
    ValueIs(Bytes),
}

/// Limits that `apply` consults, replicated so that all replicas decide alike. Changed by [`Command::SetLimits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest value, in bytes; at most [`ringfence_types::limits::VALUE_BYTES_MAX`].
    pub value_bytes_max: u32,
}

/// What the meta group is asked to do.
///
/// New variants go to the end, as above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaCommand {
    /// Records a node, or its new address. Sent by every node when it starts.
    RegisterNode(NodeInfo),
    /// Reports a shard's descriptor, as its own log has it. An older epoch than the known one changes nothing.
    ReportShard(ShardDescriptor),
    /// Records a node that comes back with a new data directory, because the one that it is registered with cannot be
    /// trusted or is lost. Its replicas there are given up; see [`NodeInfo::incarnation`].
    ReviveNode {
        /// The node, with its new incarnation.
        info: NodeInfo,
        /// The incarnations that it gives up. One of them must be the registered one, or it is not the same node.
        forgotten: Vec<u64>,
    },
    /// Hands out a replica id that was never used and never will be. One that nobody uses then is no loss.
    AllotReplica,
}

/// A node, as the registry knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Which node.
    pub node: NodeId,
    /// `host:port` where its gRPC port is reached by other nodes and by clients.
    pub address: String,
    /// Zone labels, empty if none: `zone=a,rack=3`.
    pub labels: String,
    /// Random bits that the node chose when it made its data directory; 0 while nobody knows them, as at a cluster's birth.
    /// A node that comes with others has lost its directory, and with it the votes it gave and the entries it
    /// acknowledged.
    pub incarnation: u64,
}
