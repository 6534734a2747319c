//! The SDK of Ringfence, a sharded key-value store for data where being wrong costs money.
//!
//! ```no_run
//! use ringfence_client::{Client, Condition};
//!
//! # async fn first_session() -> Result<(), Box<dyn std::error::Error>> {
//! let db = Client::connect(["127.0.0.1:7401"]).await?;
//!
//! db.put("greeting", "hello").await?;
//! let greeting = db.get("greeting").await?.expect("just written");
//! assert_eq!(greeting.value, "hello");
//!
//! // Change it only if nobody else did meanwhile.
//! db.cas("greeting", Condition::RevisionIs(greeting.revision), "good morning").await?;
//!
//! // Take one from stock. The bound is checked where the write happens, so it can never oversell.
//! let left = db.add("{shoe:42}:stock", -1).min(0).await?;
//! println!("{} left", left.value);
//! # Ok(())
//! # }
//! ```
//!
//! # What a call does
//!
//! The client hashes the key, looks up the shard in its cached map and sends to the node it believes to lead. Being wrong
//! costs a detour, never correctness: any node takes any request and forwards it. Concurrent calls to one node share a
//! stream ([`ClientConfig::unary`] says how to do without), and those that wait together travel in one message.
//!
//! Every call ends by its deadline (10 s unless told otherwise), in one of three ways:
//!
//! * **ok**;
//! * **refused**: it certainly did nothing, and the error says whether to change the request or to try later;
//! * **unknown**: a mutation was sent, its answer was lost, and asking again got no answer before the deadline.
//!
//! Failures that a retry helps are retried inside the deadline, with growing random waits. A mutation carries one request
//! id through all its sendings, so however often it is sent it takes effect at most once, and a lost answer is found out by
//! sending again. *Unknown* is what is left when that, too, got no answer. Every error has an `outcome()` that tells
//! the two apart.
//!
//! # What it deliberately leaves out
//!
//! It decides nothing: conditions and bounds are checked by the shard. It reads no clock but the monotonic one, and caches
//! no values. A [`Client`] cancels nothing that it has sent: a dropped future means "not interested", not "undo".

mod call;
mod client;
mod cluster;
mod config;
mod errors;
pub mod fence_guard;
mod gate;
pub mod locks;
mod ops;
mod pool;
mod request_ids;
mod retry;
mod routing;
mod session;

pub use client::Client;
pub use cluster::{
    Agreement, ClusterInfo, DiskStatus, Distrust, HashedAt, NodeInfo, NodeStatus, ReplaceError, ReplicaHash,
    ReplicaHashError, ReplicaStatus, ShardAgreement, ShardInfo, StateHash, StatusError, TransferLeaderError,
    Transferred,
};
pub use config::{ClientConfig, ConnectError};
pub use errors::{Outcome, OutcomeUnknown, Rejected, Unavailable};
pub use fence_guard::{FenceGuard, FenceGuardError};
pub use locks::{
    Acquire, AcquireError, Campaign, Election, Held, InspectLock, Leader, Leadership, Lease, LeaseInfo, Leases,
    LockInfo, LockReadError, Observer, ReleaseError, ReleaseLease, RenewError, RwLock, Semaphore, WaiterInfo,
};
pub use ops::{
    Add, AddError, Added, Batch, BatchAnswer, BatchError, Cas, CasError, Condition, Delete, DeleteError, Deleted, Get,
    GetError, KeyValue, Page, Put, PutError, Scan, ScanError, TtlError, Written,
};
pub use ringfence_proto::Reason;
pub use ringfence_shard_router::{Epoch, Replica, Role, ShardDescriptor, ShardRange};
pub use ringfence_types::limits;
pub use ringfence_types::{
    ClusterId, Fence, FencingToken, HashTag, Holder, HolderError, Key, KeyError, LeaseTtlError, LockMode, LockName,
    Metadata, MetadataError, NodeId, Permits, PermitsError, ReplicaId, RequestId, Revision, RingPosition, ShardId,
    TagError, ValueError,
};
