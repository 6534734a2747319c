use std::time::Duration;

use crate::workload::Workload;

/// As many clients as a row can have.
pub const CLIENTS_MAX: usize = 512;

/// One row to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the clients do.
    pub workload: Workload,
    /// How many, from 1 to [`CLIENTS_MAX`].
    pub clients: usize,
    /// How long they do it before it counts: connections, caches and the peer's batching settle.
    pub warm_up: Duration,
    /// How long it counts.
    pub duration: Duration,
    /// Server processes on this machine whose CPU time is measured too.
    pub server_pids: Vec<u32>,
}
