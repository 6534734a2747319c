//! One node of a Ringfence cluster: takes requests over gRPC, finds the shard's leader, and hosts replicas itself.
//!
//! ```text
//!   grpc/kv ─┐                          ┌─ leads the shard: propose, or confirm and read ─▶ raft-host
//!   session ─┴─▶ gateway ─▶ call, route ─┤
//!                                       └─ another node leads: forward ─▶ its grpc/node ─▶ its gateway
//! ```
//!
//! Tests start a node as production does: with a [`Config`], a listener, and a signal to stop.
//!
//! > **Invariant:** this crate decides nothing about data. It checks, finds, carries, and tells the outcome as it is:
//! > done, certainly not done, or unknown.
//!
//! > **Invariant:** a mutation without a request id of its client's own is never sent twice.

mod address_book;
mod admission;
mod answer;
mod backoff;
mod batch;
mod birth;
mod bundle;
mod call;
mod caller;
pub mod config;
mod cursor;
mod deadline;
pub mod dev;
mod forward;
mod gateway;
mod grpc;
mod hand_over;
mod incarnation;
mod incoming;
mod known;
mod life;
mod lock_look;
mod lock_wait;
mod meta;
mod mint;
mod newcomer;
mod node;
mod outbox;
mod peers;
pub mod program;
mod rejoin;
mod replica_hash;
mod room;
mod scan;
mod session;
mod take;
mod tasks;
mod transport;

pub use config::{Config, ConfigError, OnDistrust, RawConfig};
pub use node::{Node, RunError, StartError, bind, run};

/// Of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
