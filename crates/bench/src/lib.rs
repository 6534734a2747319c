//! The load generator: what `ringctl bench` and `bench-etcd` have in common, so that a difference between their figures is a
//! difference between the peers.
//!
//! # What is measured
//!
//! A [`Plan`] names a [`Workload`], how many clients, and how long. Each client is a *closed loop*: it asks, waits for the
//! answer, asks again. So *n* clients have at most *n* operations under way, and a slow peer is asked less often; the
//! figures are to be read together: operations a second *at* a latency.
//!
//! * **Latency** is measured around each call, by the clock, from before it is made until its result is there.
//! * **ops/s** counts the operations that ended well inside the measured time. What was under way at its end is waited for
//!   and is in the latencies, not in the rate, so that a peer that hangs at the end can't hide it.
//! * **An operation that got an error** is no operation: it is counted by its kind, apart, and its client pauses for 10 ms so
//!   that a peer that refuses at once is not asked a million times a second. A row with errors says so.
//! * **CPU** is that of this process, and of the server processes whose numbers the plan names, over the measured time alone.
//!   Where clients and servers share cores, the clients' share decides how much is left for the servers.
//!
//! # Compare-and-set
//!
//! What a cas that was refused counts for decides the figure, so it is the same for every peer:
//!
//! * `cas-many`: each client owns its share of the keys and knows the revision of each. Every cas must succeed; one that is
//!   refused is an error (`CONFLICT`).
//! * `cas-hot`: all clients set one key. An operation is one *successful* cas, from the first attempt until it succeeded:
//!   a refusal tells the revision that the key has now, and the next attempt is made with that, at once. Attempts that
//!   were refused are `conflicts`, apart. So the rate is how often the key really changed, and the latency what a service
//!   waits until its change is in.
//!
//! # Locks
//!
//! One operation is a *pair*: acquire, then release; its latency is that of both, and the p50 of each half is told apart.
//! Every lock has a ttl of a minute, so nothing is renewed or expires within a row.
//!
//! * `lock`: each client owns its share of the names and draws from them, so nobody ever waits for anybody.
//! * `lock-hot`: all clients want one lock, and wait for it at the server. An operation is one hand-over, from asking until the
//!   lock is given back; so the rate is how often the lock changed hands, and the latency what a service waits for its turn.
//!
//! A released lock leaves nothing behind: there is nothing to remove after these.
//!
//! [`hold_leases`] measures something else: what many leases that are only held, and renewed, cost the servers.
//!
//! # What it deliberately leaves out
//!
//! No open loop (a fixed rate of arrivals), no skewed choice of keys: keys are drawn evenly. It knows no server but by its
//! wire: a peer is anything that implements [`Target`].

mod client;
mod cpu;
mod keys;
mod leases;
mod plan;
mod random;
mod recorder;
mod row;
mod run;
mod sdk;
mod target;
mod unary;
mod workload;

pub use client::Stop;
pub use keys::{KEYS_PREFIX, Keys, KeysError};
pub use leases::{LEASES_COLUMNS, LeasesError, LeasesPlan, LeasesRow, hold_leases};
pub use plan::{CLIENTS_MAX, Plan};
pub use row::{COLUMNS, Row};
pub use run::{Bench, BenchError, Phase, Progress, Watcher};
pub use sdk::{Sdk, SdkClient};
pub use target::{Cas, Found, LOCK_TTL, OpError, Path, Peer, Target};
pub use unary::{Unary, UnaryClient, channels_for};
pub use workload::Workload;
