//! Hosts all Raft groups of a node.
//!
//! # From a request to its reply
//!
//! ```text
//!  propose ─► proposer: gathers requests into an entry ─► Raft core ─┬─► log_store ─► one log writer for all groups
//!                                                                   └─► network: a session per follower
//!                                                                          └─► one stream per pair of nodes
//!  reply  ◄─ machine: apply on the shard's thread  ◄── committed: a majority has synced ◄──┘
//!
//!  read_barrier ─► reader: one confirmation of leadership for all reads waiting ─► the state DB
//! ```
//!
//! # What is whose
//!
//! The pure core (`state-machine`) decides what an entry does. Raft (the openraft library, which no other crate names)
//! decides which entries there are. This crate makes the one into the other: it gathers, stamps clocks, moves bytes, and
//! keeps every promise that openraft wants kept. Those stand on the modules that keep them: `log_store` on durability,
//! `network` and `inbound` on order and loss, `trust` on what is found after a restart, `membership` on replicas that come
//! and go, `compaction` on what may be purged.
//!
//! The network, both clocks, the random seed and the storage come from outside ([`Transport`], [`Clock`],
//! [`HostConfig::seed`], `NodeStorage`), so that a test can hold them in its hand.
//!
//! > **Invariant:** nothing is acknowledged before a majority of the shard's voters has synced it.
//!
//! > **Invariant:** a replica whose log lost something that it acknowledged never votes.

mod apply_pool;
mod bootstrap;
mod calls;
mod clock;
mod compaction;
mod config;
mod confirm;
mod descriptor_cell;
mod expiry;
mod fair_queue;
mod flushed;
mod holds;
mod host;
mod inbound;
mod lease_clock;
mod log_store;
mod machine;
mod membership;
mod network;
mod proposer;
mod raft;
mod reader;
mod replica;
mod shard;
mod snapshot;
mod transport;
mod trust;
mod wall_time;
mod wire;

#[cfg(test)]
mod tests;

pub use bootstrap::bootstrap;
pub use clock::{Clock, SystemClock};
pub use config::{Admission, Compaction, HostConfig, Timing};
pub use fair_queue::Lane;
pub use host::{Host, HostError, Problem};
pub use membership::{TakeError, Taking};
pub use proposer::{ProposeError, Proposed};
pub use reader::ReadError;
pub use shard::{ReplicaRole, Shard, ShardStatus, TransferError};
pub use transport::{Transport, Undeliverable};
pub use trust::examine;
