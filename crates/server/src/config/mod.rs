//! Configuration: raw words become a ready, checked [`Config`] once, and nothing later has to doubt it.
//!
//! Flags hide environment variables, which hide the file. So a file can hold what all nodes share, and the one thing
//! that differs can be a variable:
//!
//! ```toml
//! # node.toml, the same on every machine; RINGFENCE_NODE says which one this is
//! data_dir = "/var/lib/ringfence"
//! initial_cluster = ["1=10.0.0.1:7401", "2=10.0.0.2:7401", "3=10.0.0.3:7401"]
//! ```

mod error;
mod raw;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ringfence_raft_host::{Compaction, Timing};
use ringfence_shard_router::plan;
use ringfence_state_machine::Limits;
use ringfence_types::limits::VALUE_BYTES_MAX;
use ringfence_types::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

pub use error::{ConfigError, Needed};
pub use raw::{OnDistrust, RawConfig};

/// What `cluster_name` is unless someone says otherwise.
pub const CLUSTER_NAME_DEFAULT: &str = "ringfence";

/// Requests under way on one node hold at most this many bytes: a quarter of a small machine's 1 GiB.
pub const INFLIGHT_BYTES_MAX_DEFAULT: u32 = 256 << 20;

/// Less would refuse requests of the largest size that the limits permit.
const INFLIGHT_BYTES_MAX_MIN: u32 = 32 << 20;

/// Fewer would send a follower that was a moment late the data of the whole shard.
const LOG_KEEP_ENTRIES_MIN: u64 = 100;

/// A node, ready to start.
///
/// * `node` is one of `founders`.
/// * The founders have distinct positive ids and distinct addresses, and the first shards can be placed on them.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Its directory. Created when it does not exist.
    pub data_dir: PathBuf,
    /// `host:port` to listen on.
    pub listen: String,
    /// `host:port` under which others reach it.
    pub advertise: String,
    /// Where to connect to reach these nodes, whatever they advertise.
    pub dial: BTreeMap<NodeId, String>,
    /// Zone labels, or empty.
    pub labels: String,
    /// Who founds the cluster, and how.
    pub founding: Founding,
    /// Heartbeats and elections.
    pub timing: Timing,
    /// Bytes of requests under way at the most.
    pub inflight_bytes_max: u32,
    /// Bytes of the disk that are kept in reserve; `None` for what suits the disk.
    pub disk_reserve_bytes: Option<u64>,
    /// When logs are cut.
    pub compaction: Compaction,
    /// How long replaced versions are kept.
    pub history_window: Duration,
    /// How long outcomes are kept for retries.
    pub dedup_window: Duration,
    /// What to do when the disk cannot be trusted any more.
    pub on_distrust: OnDistrust,
}

/// Everything that the first state of a cluster is computed from. All founders must be given the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// Name of the cluster.
    pub cluster_name: String,
    /// The nodes it begins with, by id.
    pub founders: Vec<Founder>,
    /// Shards it begins with.
    pub shards: u32,
    /// Replicas of each.
    pub replication: usize,
    /// Limits it begins with.
    pub limits: Limits,
}

/// A node that a cluster begins with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Founder {
    /// Its id.
    pub node: NodeId,
    /// `host:port`.
    pub address: String,
}

impl Founding {
    /// Tells clusters apart: a hash of the name and the founders. Two clusters whose nodes could reach each other by
    /// mistake differ in one of them.
    pub fn cluster(&self) -> ClusterId {
        let mut text = format!("{:?}", self.cluster_name);
        for founder in &self.founders {
            text += &format!(" {}={:?}", founder.node.0, founder.address);
        }
        ClusterId(xxh3_64(text.as_bytes()).max(1)) // 0 means "no cluster named" on the wire
    }
}

impl Config {
    /// Checks every word and fills in the defaults.
    pub fn from_raw(raw: RawConfig) -> Result<Config, ConfigError> {
        let node = match raw.node.ok_or(ConfigError::Missing(&error::NODE_ID))? {
            0 => return Err(ConfigError::NodeZero),
            id => NodeId(id),
        };
        let data_dir = raw.data_dir.ok_or(ConfigError::Missing(&error::DATA_DIR))?;
        let members = raw.initial_cluster.ok_or(ConfigError::Missing(&error::INITIAL_CLUSTER))?;
        let founders = founders(&members)?;
        let own = founders.iter().find(|founder| founder.node == node);
        let own = own.ok_or_else(|| ConfigError::NotAMember { node, members: members.join(",") })?.address.clone();

        let advertise = raw.advertise.unwrap_or(own);
        check_address("advertise", &advertise)?;
        let listen = raw.listen.unwrap_or_else(|| advertise.clone());
        check_listen(&listen)?;

        let nodes: Vec<NodeId> = founders.iter().map(|founder| founder.node).collect();
        let replication = raw.replication.unwrap_or(nodes.len().min(3));
        let shards = raw.shards.unwrap_or(3);
        plan::initial(&nodes, shards, replication)?;

        let cluster_name = raw.cluster_name.unwrap_or_else(|| CLUSTER_NAME_DEFAULT.to_owned());
        if cluster_name.is_empty() {
            return Err(invalid("cluster_name", cluster_name, "give the cluster a name"));
        }
        let value_bytes_max = raw.value_bytes_max.unwrap_or(VALUE_BYTES_MAX as u32);
        if value_bytes_max as usize > VALUE_BYTES_MAX {
            return Err(invalid("value_bytes_max", value_bytes_max, "the most is 1048576 (1 MiB)"));
        }
        let inflight_bytes_max = raw.inflight_bytes_max.unwrap_or(INFLIGHT_BYTES_MAX_DEFAULT);
        if inflight_bytes_max < INFLIGHT_BYTES_MAX_MIN {
            return Err(invalid("inflight_bytes_max", inflight_bytes_max, "the least is 33554432 (32 MiB)"));
        }
        Ok(Config {
            node,
            data_dir,
            listen,
            advertise,
            labels: raw.labels.unwrap_or_default(),
            dial: dial(raw.dial.as_deref().unwrap_or_default(), &founders)?,
            founding: Founding { cluster_name, founders, shards, replication, limits: Limits { value_bytes_max } },
            timing: timing(raw.heartbeat_ms, raw.election_min_ms, raw.election_max_ms)?,
            inflight_bytes_max,
            disk_reserve_bytes: raw.disk_reserve_bytes,
            compaction: compaction(raw.log_keep_entries)?,
            history_window: window("history_window_s", raw.history_window_s)?,
            dedup_window: window("dedup_window_s", raw.dedup_window_s)?,
            on_distrust: raw.on_distrust.unwrap_or_default(),
        })
    }
}

/// `ID=HOST:PORT`.
fn member(setting: &'static str, member: &str) -> Result<Founder, ConfigError> {
    let bad = || invalid(setting, member.to_owned(), "write each node as ID=HOST:PORT, as in 1=10.0.0.1:7401");
    let (id, address) = member.trim().split_once('=').ok_or_else(bad)?;
    let node = NodeId(id.parse().map_err(|_| bad())?);
    check_address(setting, address)?;
    Ok(Founder { node, address: address.to_owned() })
}

fn dial(members: &[String], founders: &[Founder]) -> Result<BTreeMap<NodeId, String>, ConfigError> {
    let mut dial = BTreeMap::new();
    for text in members {
        let Founder { node, address } = member("dial", text)?;
        let is_known = founders.iter().any(|founder| founder.node == node);
        if !is_known || dial.insert(node, address).is_some() {
            return Err(invalid("dial", text.clone(), "name each node of the initial cluster at most once"));
        }
    }
    Ok(dial)
}

fn founders(members: &[String]) -> Result<Vec<Founder>, ConfigError> {
    let mut founders = members.iter().map(|text| member("initial_cluster", text)).collect::<Result<Vec<_>, _>>()?;
    founders.sort();
    for (place, founder) in founders.iter().enumerate() {
        if founders[..place].iter().any(|other| other.address == founder.address) {
            return Err(ConfigError::AddressTwice { address: founder.address.clone() });
        }
    }
    Ok(founders) // ids given twice, and id 0, are refused by the plan
}

fn check_listen(address: &str) -> Result<(), ConfigError> {
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(()), // port 0: any free one
        _ => Err(invalid("listen", address, "write HOST:PORT, as in 127.0.0.1:7401")),
    }
}

fn check_address(setting: &'static str, address: &str) -> Result<(), ConfigError> {
    let reason = "write HOST:PORT with a port that others can connect to, as in 10.0.0.1:7401";
    let parts = address.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains([' ', '/', '=', ',']));
    match parts.map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(port)) if port > 0 => Ok(()),
        _ => Err(invalid(setting, address, reason)),
    }
}

fn timing(heartbeat: Option<u64>, min: Option<u64>, max: Option<u64>) -> Result<Timing, ConfigError> {
    let default = Timing::default();
    let ms = |given: Option<u64>, default: Duration| given.map_or(default, Duration::from_millis);
    let timing = Timing {
        heartbeat: ms(heartbeat, default.heartbeat),
        election_min: ms(min, default.election_min),
        election_max: ms(max, default.election_max),
    };
    if timing.heartbeat.is_zero() || timing.heartbeat * 2 > timing.election_min {
        let reason = "it must be positive and at most half of election_min_ms, or one lost heartbeat ends a term";
        return Err(invalid("heartbeat_ms", timing.heartbeat.as_millis(), reason));
    }
    if timing.election_min >= timing.election_max {
        let reason = "it must be less than election_max_ms, or nodes call elections at the same moment";
        return Err(invalid("election_min_ms", timing.election_min.as_millis(), reason));
    }
    Ok(timing)
}

fn compaction(log_keep_entries: Option<u64>) -> Result<Compaction, ConfigError> {
    let default = Compaction::default();
    match log_keep_entries.unwrap_or(default.entries) {
        entries @ LOG_KEEP_ENTRIES_MIN.. => Ok(Compaction { entries, ..default }),
        entries => {
            Err(invalid("log_keep_entries", entries, "the least is 100, or followers a moment late need all data"))
        }
    }
}

fn window(setting: &'static str, seconds: Option<u64>) -> Result<Duration, ConfigError> {
    match seconds.unwrap_or(600) {
        seconds @ 60..=604_800 => Ok(Duration::from_secs(seconds)),
        seconds => Err(invalid(setting, seconds, "it must be from 60 (longer than any retry) to 604800 (a week)")),
    }
}

fn invalid(setting: &'static str, value: impl ToString, reason: &'static str) -> ConfigError {
    ConfigError::Invalid { setting, value: value.to_string(), reason }
}

#[cfg(test)]
mod tests;
