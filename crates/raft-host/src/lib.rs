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
//! # What it costs
//!
//! Measured with `cargo xtask bench` and `perf record` (three nodes and their clients on two cores, 64-byte keys, 256-byte values, all
//! keys in memory). The figures move with the machine; what stands in which relation moves less.
//!
//! **A put** costs CPU twice: per entry and per request in it. Of all three nodes together an entry takes about 1.4 ms, however many
//! requests share it, and each request about 60 µs. With 64 clients on three shards an entry holds a dozen requests, with 256 about
//! fifty; that is why throughput doubles.
//!
//! | where | 64 clients | 256 clients | what it is |
//! |---|---|---|---|
//! | apply threads | 42 % | 54 % | per request: three inserts into memtables (current, history, outcome) take half of it, two lookups a tenth, the WAL of the state DB (copy, checksum, one `write` per entry) a fifth, deciding and encoding the rest |
//! | async workers | 38 % | 29 % | per entry, mostly: some twenty tasks and wake-ups between session, proposer, Raft core, replication, transport, follower and back; gRPC framing; `epoll` and `futex` |
//! | log writer | 14 % | 9 % | per sync: encoding, the WAL of the log DB, `fdatasync` (0.1 to 0.2 ms of waiting, of which the virtual disk's doorbell is a third of the CPU) |
//! | compaction, flush | 2 % | 4 % | was 48 % before log, history and outcomes were merged lazily (`storage`) |
//!
//! So with few clients it is the entries that cost: at 64 clients and a dozen requests in each, two thirds of a put's CPU. The same
//! clients on one shard fill entries of thirty, and get a third more through. But one shard has one leader, and on three machines
//! three leaders are worth more than that, so clusters begin with three shards all the same.
//!
//! These are the figures of a young cluster. After some minutes at full load memtables are full and outcomes fill tables of a
//! million records, and the rate is 15 to 20 % lower.
//!
//! **A get** costs 10 µs of server CPU with 256 clients through the batching stream and 55 µs through unary calls, where gRPC itself is the
//! wall: one confirmation of leadership serves all reads that wait ([`Shard::read_barrier`]), and costs two small messages per
//! follower.
//!
//! **One client alone** waits for wake-ups: a put passes some twenty-five hand-overs between tasks and threads of three processes and two
//! syncs, of which the syncs are a quarter.
//!
//! Tried without gain on two cores: one entry under way instead of two, one async worker instead of two, another allocator, huge
//! pages for memtables, smaller memtables (3 and 8 MiB instead of 32). What is left is fewer inserts per put, a state DB
//! without a WAL of its own (the log has everything), and fewer hand-overs.
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
mod hand_over;
mod holds;
mod host;
mod inbound;
mod lease_book;
mod lease_clock;
mod lease_expiry;
mod lock_room;
mod locks;
mod log_store;
mod machine;
mod majority;
mod membership;
mod moments;
mod network;
mod proposer;
mod raft;
mod reader;
mod replica;
mod replica_hash;
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
pub use lock_room::Seat;
pub use membership::{TakeError, Taking};
pub use proposer::{ProposeError, Proposed};
pub use reader::ReadError;
pub use replica_hash::{HashError, Hashed};
pub use shard::{ReplicaRole, Shard, ShardStatus, TransferError};
pub use transport::{Transport, Undeliverable};
pub use trust::examine;
