//! What a node keeps on disk: the logs and votes of all its Raft groups, and the state they lead to.
//!
//! Two databases per node, because they want opposite things of the disk. The **log DB** ([`LogDb`]) acknowledges: one
//! writer thread gathers what all groups append, writes it as one batch and syncs once. The **state DB** ([`StateDb`])
//! follows: what a log entry did goes there in one batch together with the position applied, unsynced, since the log can
//! repeat it. Only before a log is purged is the state made durable.
//!
//! > **Invariant:** this crate does not know the Raft library. Votes and memberships are opaque bytes; a position of a
//! > log is a [`LogPosition`].
//!
//! > **Invariant:** what is read back is checked, never guessed. A record whose checksum, version or place is wrong is
//! > [`StorageError::Corrupt`], and the replica is replaced by a fresh one.
//!
//! Both stand on an [`engine::Engine`], with a twin in memory that models power loss and one that fails on order.

mod data_dir;
pub mod engine;
mod error;
mod log;
mod poison;
mod position;
mod seal;
mod state;

pub use data_dir::{ClaimedDir, DataDir, Identity, NodeStorage};
pub use error::StorageError;
pub use log::{Done, GroupLog, LogDb, LogRecord, LogState};
pub use position::LogPosition;
pub use state::{Collection, Install, ReplicaHash, ReplicaRecord, ShardExport, SnapshotView, StateDb, StateView};
