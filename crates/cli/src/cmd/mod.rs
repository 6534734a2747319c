//! One file for each command: its flags, what it asks, how it prints the answer.

pub mod bench;
pub mod cas;
pub mod cluster_status;
pub mod cluster_verify;
pub mod completions;
pub mod del;
pub mod elect;
pub mod export;
pub mod get;
pub mod import;
pub mod incr;
pub mod lease_inspect;
pub mod lease_list;
pub mod lease_release;
pub mod lock;
pub mod node_replace;
pub mod put;
pub mod scan;
pub mod shard_list;
pub mod shard_transfer_leader;
