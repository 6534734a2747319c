//! What the cluster looks like: for tools and tests, not needed to read and write.

use std::time::Duration;

use ringfence_proto::v1;
use ringfence_shard_router::ShardDescriptor;
use ringfence_types::{ClusterId, NodeId, ReplicaId, Revision, ShardId};
use tokio::time::Instant;

use crate::Reason;
use crate::client::{Client, Shared};
use crate::config::parse_endpoint;
use crate::errors::{Outcome, Rejected, Unavailable};
use crate::routing::Place;

mod agreement;
mod replica_hash;
mod transfer;

pub use agreement::{Agreement, ShardAgreement};
pub use replica_hash::{HashedAt, ReplicaHash, ReplicaHashError, StateHash};
pub use transfer::{TransferLeaderError, Transferred};

/// How long one node may take before the next one is asked.
const NODE_ATTEMPT: Duration = Duration::from_secs(2);

/// The cluster, as one node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Which cluster.
    pub cluster: ClusterId,
    /// The node that answered.
    pub node: NodeId,
    /// Every registered node.
    pub nodes: Vec<NodeInfo>,
    /// Every shard but the meta group, in ring order.
    pub shards: Vec<ShardInfo>,
    /// The meta group, if the node knows it.
    pub meta: Option<ShardInfo>,
    /// About the newest revision.
    pub revision: Revision,
    /// Of the server's program.
    pub version: String,
}

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Which node.
    pub node: NodeId,
    /// `host:port`.
    pub address: String,
    /// Zone labels, as in `zone=a,rack=3`.
    pub labels: String,
}

/// A shard, and who leads it as far as the answering node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardInfo {
    /// What it owns, and where its replicas are.
    pub descriptor: ShardDescriptor,
    /// Who leads.
    pub leader: Option<NodeId>,
}

/// What one node says of its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// Which node answered.
    pub node: NodeId,
    /// Of the server's program.
    pub version: String,
    /// Its replicas.
    pub replicas: Vec<ReplicaStatus>,
    /// Set while it does not trust what it had on its disk, or has not been filled again.
    pub distrust: Option<Distrust>,
    /// Where it keeps its data, if it says so.
    pub disk: Option<DiskStatus>,
}

/// A node that does not trust what it had on its disk. Its old data is set aside; the others go on without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrust {
    /// What was found.
    pub reason: String,
    /// It waits for [`Client::replace_node`].
    pub waiting: bool,
    /// Replicas that the others have filled anew.
    pub replicas_filled: u32,
    /// All that it is to have, as far as it knows.
    pub replicas: u32,
    /// What stands in the way, if anything does.
    pub obstacles: Vec<String>,
}

/// How much room a node has for its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskStatus {
    /// Bytes that are left.
    pub available_bytes: u64,
    /// What the node keeps in reserve.
    pub reserve_bytes: u64,
    /// Less than that is left: where this node leads, writes are refused.
    pub full: bool,
}

/// A shard as one replica sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The shard, and whom this replica believes to lead.
    pub shard: ShardInfo,
    /// Which replica.
    pub replica: ReplicaId,
    /// `leader`, `follower`, `candidate`, `learner` or `stopped`.
    pub role: String,
    /// Why it stopped or is distrusted, if so.
    pub problem: Option<String>,
    /// Raft term.
    pub term: u64,
    /// Last entry in its log.
    pub last_log_index: u64,
    /// Last entry that it knows to be committed.
    pub committed_index: u64,
    /// Last entry that it has applied.
    pub applied_index: u64,
    /// Its clock.
    pub revision: Revision,
    /// As its store estimates.
    pub keys_estimate: u64,
    /// As its store estimates.
    pub bytes_estimate: u64,
}

/// Why a node was not told that it may be replaced. Asking again does no harm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    /// No node of this number is registered.
    #[error("{node} is not a node of this cluster; `describe` lists them")]
    UnknownNode {
        /// As it was asked for.
        node: NodeId,
    },
    /// It cannot be reached now. Only the node itself can be asked.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// It refuses: it trusts its disk, for instance.
    #[error(transparent)]
    Rejected(Rejected),
}

/// Why a node does not tell its status. Asking changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// No node of this number is registered.
    #[error("{node} is not a node of this cluster; `describe` lists them")]
    UnknownNode {
        /// As it was asked for.
        node: NodeId,
    },
    /// The node has no replica of this shard.
    #[error("{shard}: {message}")]
    UnknownShard {
        /// As it was asked for.
        shard: ShardId,
        /// What the node says.
        message: String,
    },
    /// It cannot be reached now.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// It refuses.
    #[error(transparent)]
    Rejected(Rejected),
}

impl StatusError {
    /// Always refused: asking changes nothing.
    pub fn outcome(&self) -> Outcome {
        Outcome::Refused
    }
}

impl Client {
    /// The cluster as the first node that answers knows it. Freshens this client's routes, too.
    pub async fn describe(&self) -> Result<ClusterInfo, Unavailable> {
        let shared = &self.shared;
        let deadline = Instant::now() + shared.config.timeout;
        let mut attempts = 0;
        let mut last = "no node is known".to_owned();
        for address in shared.routing.candidates(Place::Everywhere) {
            let within = deadline.saturating_duration_since(Instant::now()).min(NODE_ATTEMPT);
            if within.is_zero() {
                break;
            }
            attempts += 1;
            let answer = match shared.pool.link(&address) {
                Ok(link) => link.describe(within).await.map_err(|error| error.message),
                Err(why) => Err(why),
            };
            match answer {
                Ok(described) if described.cluster == shared.cluster.0 => {
                    shared.routing.learn(&described);
                    return Ok(ClusterInfo::from(&described));
                }
                Ok(_) => last = format!("{address} belongs to another cluster now"),
                Err(why) => last = format!("{address}: {why}"),
            }
        }
        Err(Unavailable { attempts, reason: None, last })
    }

    /// What a node says of its replicas.
    pub async fn status(&self, node: NodeId) -> Result<NodeStatus, StatusError> {
        let address = self.shared.routing.address(node).ok_or(StatusError::UnknownNode { node })?;
        self.shared.status(&address, None).await
    }

    /// What a node says of its replica of one shard.
    pub async fn status_of(&self, node: NodeId, shard: ShardId) -> Result<NodeStatus, StatusError> {
        let address = self.shared.routing.address(node).ok_or(StatusError::UnknownNode { node })?;
        self.shared.status(&address, Some(shard)).await
    }

    /// Lets a node that does not trust its disk get fresh replicas, which the others fill. It remembers that, also over a
    /// restart. See [`NodeStatus::distrust`] for how far it is.
    pub async fn replace_node(&self, node: NodeId) -> Result<(), ReplaceError> {
        let address = self.shared.routing.address(node).ok_or(ReplaceError::UnknownNode { node })?;
        let unavailable = |last| ReplaceError::Unavailable(Unavailable { attempts: 1, reason: None, last });
        let link = self.shared.pool.link(&address).map_err(unavailable)?;
        match link.replace(node.0, self.shared.config.timeout).await {
            Ok(()) => Ok(()),
            Err(error) if error.reason().is_some_and(|r| r.advice() == ringfence_proto::Advice::Never) => {
                Err(ReplaceError::Rejected(error.into()))
            }
            Err(error) => Err(unavailable(format!("{address}: {}", error.message))),
        }
    }

    /// What the node at an endpoint says of its replicas, registered or not.
    pub async fn status_at(&self, endpoint: &str) -> Result<NodeStatus, StatusError> {
        let address = parse_endpoint(endpoint)
            .map_err(|error| StatusError::Rejected(Rejected { reason: None, message: error.to_string() }))?;
        self.shared.status(&address, None).await
    }
}

impl Shared {
    async fn status(&self, address: &str, shard: Option<ShardId>) -> Result<NodeStatus, StatusError> {
        let unavailable = |last| StatusError::Unavailable(Unavailable { attempts: 1, reason: None, last });
        let link = self.pool.link(address).map_err(unavailable)?;
        let within = self.config.timeout.min(NODE_ATTEMPT);
        match link.status(shard.map(|shard| shard.0), within).await {
            Ok(status) => Ok(NodeStatus::from(&status)),
            Err(error) => Err(match (error.reason(), shard) {
                (Some(Reason::UnknownShard), Some(shard)) => {
                    StatusError::UnknownShard { shard, message: error.message }
                }
                (Some(reason), _) if reason.advice() == ringfence_proto::Advice::Never => {
                    StatusError::Rejected(error.into())
                }
                _ => unavailable(format!("{address}: {}", error.message)),
            }),
        }
    }
}

impl From<&v1::DescribeResponse> for ClusterInfo {
    /// A shard that breaks a descriptor's invariants is left out: we would not route by it either.
    fn from(described: &v1::DescribeResponse) -> ClusterInfo {
        let node = |node: &v1::Node| NodeInfo {
            node: NodeId(node.node),
            address: node.address.clone(),
            labels: node.labels.clone(),
        };
        ClusterInfo {
            cluster: ClusterId(described.cluster),
            node: NodeId(described.node),
            nodes: described.nodes.iter().map(node).collect(),
            shards: described.shards.iter().filter_map(shard_info).collect(),
            meta: described.meta.as_ref().and_then(shard_info),
            revision: Revision(described.revision),
            version: described.version.clone(),
        }
    }
}

impl From<&v1::StatusResponse> for NodeStatus {
    fn from(status: &v1::StatusResponse) -> NodeStatus {
        NodeStatus {
            cluster: ClusterId(status.cluster),
            node: NodeId(status.node),
            version: status.version.clone(),
            replicas: status.replicas.iter().filter_map(replica_status).collect(),
            distrust: status.distrust.as_ref().map(|distrust| Distrust {
                reason: distrust.reason.clone(),
                waiting: distrust.waiting,
                replicas_filled: distrust.replicas_filled,
                replicas: distrust.replicas,
                obstacles: distrust.obstacles.clone(),
            }),
            disk: status.disk.map(|disk| DiskStatus {
                available_bytes: disk.available_bytes,
                reserve_bytes: disk.reserve_bytes,
                full: disk.full,
            }),
        }
    }
}

fn shard_info(shard: &v1::Shard) -> Option<ShardInfo> {
    let descriptor = ShardDescriptor::try_from(shard).ok()?;
    Some(ShardInfo { descriptor, leader: shard.leader() })
}

fn replica_status(status: &v1::ReplicaStatus) -> Option<ReplicaStatus> {
    Some(ReplicaStatus {
        shard: shard_info(status.shard.as_ref()?)?,
        replica: ReplicaId(status.replica),
        role: status.role.clone(),
        problem: (!status.problem.is_empty()).then(|| status.problem.clone()),
        term: status.term,
        last_log_index: status.last_log_index,
        committed_index: status.committed_index,
        applied_index: status.applied_index,
        revision: Revision(status.revision),
        keys_estimate: status.keys_estimate,
        bytes_estimate: status.bytes_estimate,
    })
}
