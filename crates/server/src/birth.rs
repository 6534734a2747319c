//! How a node comes into the world, and how it is found again.
//!
//! Every founder of a cluster is given the same [`Founding`], computes the same first shards from it, and seeds its own
//! replicas of them: nobody has to be told anything, and the groups elect leaders as if they had always been there. This
//! happens once in the life of a data directory. `founding.json` in it says how, so that a later start needs nothing but
//! the directory, and can tell a typo in the configuration from another cluster:
//!
//! | the configuration now | |
//! |---|---|
//! | another cluster name, or other founders | refused: it is another cluster's |
//! | other addresses of the same founders | taken: they have moved |
//! | other shards, replication or limits | ignored, and said so: they count only at the founding |

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use ringfence_shard_router::{ShardDescriptor, plan};
use ringfence_state_machine::NodeInfo;
use ringfence_storage::{DataDir, StorageError};
use ringfence_types::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Founding};
use crate::node::StartError;

/// In the data directory.
const FILE: &str = "founding.json";
const FORMAT_VERSION: u32 = 1;

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    format: u32,
    cluster: ClusterId,
    founding: Founding,
    /// All replicas are there. False only if the node crashed while it was being born.
    born: bool,
    /// See [`NodeInfo::incarnation`].
    incarnation: u64,
}

/// An open directory of a node that is in the world.
pub(crate) struct Born {
    /// The directory, locked.
    pub dir: DataDir,
    /// Which cluster.
    pub cluster: ClusterId,
    /// As the cluster was founded.
    pub founders: Vec<NodeInfo>,
    /// The meta group, as it was founded.
    pub meta: ShardDescriptor,
    /// The shards, as they were founded.
    pub shards: Vec<ShardDescriptor>,
    /// See [`NodeInfo::incarnation`].
    pub incarnation: u64,
}

/// Opens the data directory; at the first start, seeds the replicas. Blocks on the disk.
pub(crate) fn open_or_found(config: &Config) -> Result<Born, StartError> {
    let path = &config.data_dir;
    let recorded = match DataDir::peek(path)? {
        Some(_) => read(path)?,
        None => None,
    };
    if let Some(recorded) = &recorded {
        check_same_cluster(path, &recorded.founding, &config.founding)?;
    }
    let cluster = recorded.as_ref().map_or_else(|| config.founding.cluster(), |recorded| recorded.cluster);
    let dir = DataDir::open(path, cluster, config.node)?;

    let mut record = match recorded {
        Some(recorded) => recorded,
        None => {
            let founding = config.founding.clone();
            let incarnation = rand::random_range(1..=u64::MAX);
            let record = Record { format: FORMAT_VERSION, cluster, founding, born: false, incarnation };
            write(path, &record)?;
            record
        }
    };
    let founding = &record.founding;
    let nodes: Vec<NodeId> = founding.founders.iter().map(|founder| founder.node).collect();
    let (meta, shards) =
        plan::initial(&nodes, founding.shards, founding.replication).map_err(crate::ConfigError::Plan)?;
    let founders = founders(founding);
    if !record.born {
        // No replica has voted or acknowledged anything before this is recorded, so after a crash it is done again.
        ringfence_raft_host::bootstrap(&dir.storage(), config.node, &meta, &shards, &founders, founding.limits)?;
        record.born = true;
        write(path, &record)?;
        tracing::info!(
            shards = shards.len(),
            replication = record.founding.replication,
            "founded the cluster's first shards here"
        );
    }
    Ok(Born { dir, cluster, founders, meta, shards, incarnation: record.incarnation })
}

/// The founders, as the registry knows them from birth.
pub(crate) fn founders(founding: &Founding) -> Vec<NodeInfo> {
    let info = |founder: &crate::config::Founder| NodeInfo {
        node: founder.node,
        address: founder.address.clone(),
        labels: String::new(),
        incarnation: 0,
    };
    founding.founders.iter().map(info).collect()
}

fn check_same_cluster(path: &Path, recorded: &Founding, configured: &Founding) -> Result<(), StorageError> {
    let foreign = |what| Err(StorageError::Foreign { path: path.to_owned(), what });
    if recorded.cluster_name != configured.cluster_name {
        return foreign(format!(
            "this directory belongs to cluster {:?}, the configuration is for {:?}. Give the node its own directory, or \
             correct cluster_name",
            recorded.cluster_name, configured.cluster_name
        ));
    }
    let ids = |founding: &Founding| founding.founders.iter().map(|founder| founder.node.0).collect::<Vec<_>>();
    if ids(recorded) != ids(configured) {
        return foreign(format!(
            "this directory belongs to a cluster that was founded by nodes {:?}, the configuration has {:?}. Give the node \
             its own directory, or correct initial_cluster",
            ids(recorded),
            ids(configured)
        ));
    }
    if (recorded.shards, recorded.replication, recorded.limits)
        != (configured.shards, configured.replication, configured.limits)
    {
        tracing::warn!(
            "shards, replication or value_bytes_max differ from those that this cluster was founded with; they count only \
             at the founding and are ignored now"
        );
    }
    Ok(())
}

fn read(dir: &Path) -> Result<Option<Record>, StartError> {
    let path = dir.join(FILE);
    let unreadable = |reason: String| StartError::Founding { path: path.clone(), reason };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    // The format comes first: a newer one may look different in everything else.
    let Format { format } = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    if format > FORMAT_VERSION {
        return Err(StorageError::UnknownVersion {
            what: path.display().to_string(),
            found: format,
            known: FORMAT_VERSION,
        }
        .into());
    }
    serde_json::from_slice(&text).map(Some).map_err(|error| unreadable(error.to_string()))
}

/// Entirely or not at all, and durable.
fn write(dir: &Path, record: &Record) -> Result<(), StartError> {
    let (new, path) = (dir.join("founding.json.new"), dir.join(FILE));
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(record)?)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error: std::io::Error| StartError::Founding { path: path.clone(), reason: error.to_string() })
}
