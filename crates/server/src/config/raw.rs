//! What a person may write: the same words as a flag, as an environment variable and as a line of the file.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ConfigError;

/// One source of configuration, or several laid over each other. Nothing is checked yet; see [`super::Config`].
///
/// Flags and environment come from clap (a flag hides its variable), the file from TOML with the same names in
/// `snake_case`. A list is comma-separated in a flag or variable and a TOML array in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// This node's id: a positive number, unique in the cluster, and the same for the life of its data directory.
    #[arg(long, env = "RINGFENCE_NODE", value_name = "ID")]
    pub node: Option<u64>,
    /// Where this node keeps its logs and data. Belongs to one node of one cluster for ever.
    #[arg(long, env = "RINGFENCE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address to listen on for clients and other nodes [default: the node's own address in the initial cluster]
    #[arg(long, env = "RINGFENCE_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Address under which clients and other nodes reach this node [default: its address in the initial cluster]
    #[arg(long, env = "RINGFENCE_ADVERTISE", value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Zone labels of this node, as in `zone=a,rack=3`.
    #[arg(long, env = "RINGFENCE_LABELS", value_name = "LABELS")]
    pub labels: Option<String>,
    /// Name of the cluster. Nodes of clusters with different names never talk to each other [default: ringfence]
    #[arg(long, env = "RINGFENCE_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// The nodes that found the cluster, the same list on each of them: `1=host:port,2=host:port,3=host:port`.
    #[arg(long, env = "RINGFENCE_INITIAL_CLUSTER", value_name = "ID=HOST:PORT,…", value_delimiter = ',')]
    pub initial_cluster: Option<Vec<String>>,
    /// Where this node connects to reach others, whatever they advertise: through a proxy, a tunnel or NAT.
    #[arg(long, env = "RINGFENCE_DIAL", value_name = "ID=HOST:PORT,…", value_delimiter = ',')]
    pub dial: Option<Vec<String>>,
    /// Shards that the cluster is founded with [default: 3]
    #[arg(long, env = "RINGFENCE_SHARDS", value_name = "N")]
    pub shards: Option<u32>,
    /// Replicas of each shard [default: 3, or the number of nodes if that is less]
    #[arg(long, env = "RINGFENCE_REPLICATION", value_name = "N")]
    pub replication: Option<usize>,
    /// How often a leader tells its followers that it is there, in milliseconds [default: see the config reference]
    #[arg(long, env = "RINGFENCE_HEARTBEAT_MS", value_name = "MS")]
    pub heartbeat_ms: Option<u64>,
    /// A follower that hears nothing for between this and `election-max-ms` calls an election.
    #[arg(long, env = "RINGFENCE_ELECTION_MIN_MS", value_name = "MS")]
    pub election_min_ms: Option<u64>,
    /// See `election-min-ms`.
    #[arg(long, env = "RINGFENCE_ELECTION_MAX_MS", value_name = "MS")]
    pub election_max_ms: Option<u64>,
    /// Longest value that the cluster accepts, in bytes; counts when the cluster is founded [default and most: 1048576]
    #[arg(long, env = "RINGFENCE_VALUE_BYTES_MAX", value_name = "BYTES")]
    pub value_bytes_max: Option<u32>,
    /// Requests under way on this node may hold so many bytes; more get OVERLOADED [default: 268435456]
    #[arg(long, env = "RINGFENCE_INFLIGHT_BYTES_MAX", value_name = "BYTES")]
    pub inflight_bytes_max: Option<u32>,
    /// So many bytes of the disk are kept in reserve: with less left, writes get DISK_FULL; with less than twice as much,
    /// nodes with more room are asked to lead [default: 1073741824, or a twentieth of the disk if that is less]
    #[arg(long, env = "RINGFENCE_DISK_RESERVE_BYTES", value_name = "BYTES")]
    pub disk_reserve_bytes: Option<u64>,
    /// Log entries of each shard that are kept for nodes that were away. One that missed more is sent the shard's data instead
    /// [default: 100000]
    #[arg(long, env = "RINGFENCE_LOG_KEEP_ENTRIES", value_name = "N")]
    pub log_keep_entries: Option<u64>,
    /// How long replaced versions are kept for reads at a revision, in seconds [default: 600]
    #[arg(long, env = "RINGFENCE_HISTORY_WINDOW_S", value_name = "S")]
    pub history_window_s: Option<u64>,
    /// How long outcomes of requests are kept for retries, in seconds [default: 600]
    #[arg(long, env = "RINGFENCE_DEDUP_WINDOW_S", value_name = "S")]
    pub dedup_window_s: Option<u64>,
    /// What to do when this node's disk cannot be trusted any more, because it is damaged or its directory is empty though
    /// the node has served before. In either case the old data is set aside, never deleted, and the other nodes go on.
    /// `replace`: get fresh replicas that the other nodes fill. `wait`: first wait for `ringctl node replace ID`
    /// [default: replace]
    #[arg(long, env = "RINGFENCE_ON_DISTRUST", value_name = "WHAT", hide_possible_values = true)]
    pub on_distrust: Option<OnDistrust>,
}

/// What a node does by itself when it cannot trust its disk any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDistrust {
    /// It gets fresh replicas, which the other nodes fill.
    #[default]
    Replace,
    /// It waits for an operator to say so.
    Wait,
}

impl RawConfig {
    /// Reads a TOML file.
    pub fn from_file(path: &Path) -> Result<RawConfig, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
        RawConfig::from_toml(&text).map_err(|(line, reason)| ConfigError::Malformed {
            path: path.to_owned(),
            line,
            reason,
        })
    }

    /// Reads TOML; an error names its line.
    pub(crate) fn from_toml(text: &str) -> Result<RawConfig, (usize, String)> {
        toml::from_str(text).map_err(|error| {
            let begin = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text.as_bytes()[..begin].iter().filter(|byte| **byte == b'\n').count();
            (line, error.message().replace('\n', " "))
        })
    }

    /// What is said here counts, and where nothing is said, what `below` says.
    pub fn over(self, below: RawConfig) -> RawConfig {
        RawConfig {
            node: self.node.or(below.node),
            data_dir: self.data_dir.or(below.data_dir),
            listen: self.listen.or(below.listen),
            advertise: self.advertise.or(below.advertise),
            labels: self.labels.or(below.labels),
            cluster_name: self.cluster_name.or(below.cluster_name),
            initial_cluster: self.initial_cluster.or(below.initial_cluster),
            dial: self.dial.or(below.dial),
            shards: self.shards.or(below.shards),
            replication: self.replication.or(below.replication),
            heartbeat_ms: self.heartbeat_ms.or(below.heartbeat_ms),
            election_min_ms: self.election_min_ms.or(below.election_min_ms),
            election_max_ms: self.election_max_ms.or(below.election_max_ms),
            value_bytes_max: self.value_bytes_max.or(below.value_bytes_max),
            inflight_bytes_max: self.inflight_bytes_max.or(below.inflight_bytes_max),
            disk_reserve_bytes: self.disk_reserve_bytes.or(below.disk_reserve_bytes),
            log_keep_entries: self.log_keep_entries.or(below.log_keep_entries),
            history_window_s: self.history_window_s.or(below.history_window_s),
            dedup_window_s: self.dedup_window_s.or(below.dedup_window_s),
            on_distrust: self.on_distrust.or(below.on_distrust),
        }
    }
}
