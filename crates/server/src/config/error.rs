use std::path::PathBuf;

use ringfence_shard_router::plan::PlanError;
use ringfence_types::NodeId;

/// Why a configuration is not one. Each says which word to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config file {}: {reason}. Check the path and its permissions", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The file is not TOML, or has a field that does not exist or has the wrong type.
    #[error("{} line {line}: {reason}. `ringfence start --help` lists the settings", .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A setting without a default.
    #[error("{setting} is missing; give {flag}, {variable}, or the line `{example}` in the config file", setting = .0.name, flag = .0.flag, variable = .0.variable, example = .0.example)]
    Missing(&'static Needed),
    /// Node ids are positive.
    #[error("node id 0 is no node; number the nodes from 1")]
    NodeZero,
    /// A setting that cannot be.
    #[error("{setting} is {value:?}: {reason}")]
    Invalid {
        /// Which.
        setting: &'static str,
        /// As it was given.
        value: String,
        /// What it must be.
        reason: &'static str,
    },
    /// The node's own id does not stand in its initial cluster.
    #[error("node {node} is not in the initial cluster, which has {members}. Start it with one of these ids, or correct --initial-cluster (the same list on every node)", node = .node.0)]
    NotAMember {
        /// The node's id.
        node: NodeId,
        /// The list, as given.
        members: String,
    },
    /// Two members share an address.
    #[error("{address} is given for two nodes of the initial cluster; each node needs an address of its own")]
    AddressTwice {
        /// Which.
        address: String,
    },
    /// The initial shards cannot be placed on the initial nodes.
    #[error("{0}")]
    Plan(#[from] PlanError),
}

/// A setting without a default, and the ways to give it.
#[derive(Debug, PartialEq, Eq)]
pub struct Needed {
    name: &'static str,
    flag: &'static str,
    variable: &'static str,
    example: &'static str,
}

pub(super) const NODE_ID: Needed =
    Needed { name: "the node id", flag: "--node", variable: "RINGFENCE_NODE", example: "node = 1" };
pub(super) const DATA_DIR: Needed = Needed {
    name: "the data directory",
    flag: "--data-dir",
    variable: "RINGFENCE_DATA_DIR",
    example: "data_dir = \"/var/lib/ringfence\"",
};
pub(super) const INITIAL_CLUSTER: Needed = Needed {
    name: "the initial cluster",
    flag: "--initial-cluster",
    variable: "RINGFENCE_INITIAL_CLUSTER",
    example: "initial_cluster = [\"1=10.0.0.1:7401\", \"2=10.0.0.2:7401\", \"3=10.0.0.3:7401\"]",
};
