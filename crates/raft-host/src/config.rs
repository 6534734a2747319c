use std::path::PathBuf;
use std::time::Duration;

use ringfence_types::NodeId;

/// How a node hosts its groups.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Which node this is.
    pub node: NodeId,
    /// When followers lose patience.
    pub timing: Timing,
    /// How much may wait.
    pub admission: Admission,
    /// Threads that apply entries, for all shards together. With 0 they are applied by whoever awaits them, so that a
    /// simulation can run a node in one thread.
    pub apply_threads: usize,
    /// When a log is cut.
    pub compaction: Compaction,
    /// Where snapshots are kept while they arrive; memory if `None`, which is meant for tests and simulation.
    pub staging_dir: Option<PathBuf>,
    /// Random bits, new for every start: they keep the answers to an earlier run's messages apart from this one's.
    pub seed: u64,
}

impl HostConfig {
    /// With defaults.
    pub fn new(node: NodeId, seed: u64) -> HostConfig {
        HostConfig {
            node,
            timing: Timing::default(),
            admission: Admission::default(),
            apply_threads: 2,
            compaction: Compaction::default(),
            staging_dir: None,
            seed,
        }
    }
}

/// When followers lose patience with a silent leader.
///
/// * `heartbeat < election_min < election_max`.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A leader with nothing to say says so this often.
    pub heartbeat: Duration,
    /// A follower waits at least this long, beyond the leader lease, before it stands for election.
    pub election_min: Duration,
    /// And at most this long. It is also the length of the leader lease, so failover takes this plus what is drawn
    /// between the two: 1.5 to 2 s with the defaults.
    pub election_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(600),
            election_max: Duration::from_millis(1000),
        }
    }
}

/// How much may wait for one shard before requests are refused with `Overloaded`.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// Requests.
    pub requests_max: usize,
    /// Bytes of requests, waiting or under way.
    pub bytes_max: usize,
}

impl Default for Admission {
    fn default() -> Self {
        Admission { requests_max: 16_384, bytes_max: 64 << 20 }
    }
}

/// When a replica cuts its log. What is cut is only ever applied and durable in the state DB.
#[derive(Clone, Copy, Debug)]
pub struct Compaction {
    /// After this many entries.
    pub entries: u64,
    /// Or after this many bytes of them, whichever comes first.
    pub bytes: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        // A follower that was away for less than this catches up from the log, otherwise by a snapshot.
        Compaction { entries: 100_000, bytes: 128 << 20 }
    }
}
