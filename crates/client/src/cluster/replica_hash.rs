//! What one replica of a shard holds, as one number.

use std::fmt;
use std::time::Duration;

use ringfence_proto::{Advice, Reason, v1};
use ringfence_types::{NodeId, ReplicaId, Revision, ShardId};

use crate::client::{Client, Shared};
use crate::errors::{Outcome, Rejected, Unavailable};
use crate::retry::Failure;

/// Reading a large replica takes a while. A node that is gone is noticed earlier, by its connection; and whoever does not want
/// to wait drops the call, and the node stops reading.
const READ_MAX: Duration = Duration::from_secs(600);

/// A hash over everything that is replicated of a shard: XXH3-128. Shown as 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash(pub u128);

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a replica holds, behind one entry of its shard's log.
///
/// Replicas of one shard that have applied the same entries have the same hash, however each came by its state, as long as their
/// nodes run the same release. `cluster.proto` says what is hashed, and what is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaHash {
    /// The node that answered.
    pub node: NodeId,
    /// Of which shard.
    pub shard: ShardId,
    /// Which replica.
    pub replica: ReplicaId,
    /// The last entry applied.
    pub applied_index: u64,
    /// The term in which that came into the log.
    pub applied_term: u64,
    /// The shard's clock there.
    pub revision: Revision,
    /// Of its state.
    pub hash: StateHash,
    /// Keys that exist.
    pub keys: u64,
    /// Records hashed.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Of the node's program.
    pub version: String,
}

/// A replica that was asked for its hash behind one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashedAt {
    /// It stood there.
    There(ReplicaHash),
    /// It had passed the entry, or did not get there in time.
    Elsewhere {
        /// The last entry applied.
        applied_index: u64,
        /// The term in which that came into the log.
        applied_term: u64,
    },
}

/// Why a replica's hash is not known. Asking changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaHashError {
    /// No node of this number is registered.
    #[error("{node} is not a node of this cluster; `describe` lists them")]
    UnknownNode {
        /// As it was asked for.
        node: NodeId,
    },
    /// There is no such shard, or the node has no replica of it.
    #[error("{message}")]
    UnknownShard {
        /// As it was asked for.
        shard: ShardId,
        /// What the node says.
        message: String,
    },
    /// The node does not answer now, or its replica has stopped or is empty.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// It refuses.
    #[error(transparent)]
    Rejected(Rejected),
}

impl ReplicaHashError {
    /// Always refused: asking changes nothing.
    pub fn outcome(&self) -> Outcome {
        Outcome::Refused
    }
}

impl Client {
    /// What a node's replica of a shard, or of the meta group, holds now.
    pub async fn replica_hash(&self, node: NodeId, shard: ShardId) -> Result<ReplicaHash, ReplicaHashError> {
        match self.shared.hash(node, shard, None).await? {
            HashedAt::There(hash) => Ok(hash),
            HashedAt::Elsewhere { .. } => Err(ReplicaHashError::Rejected(Rejected {
                reason: None,
                message: format!("{node} answered without a hash where one was asked for"),
            })),
        }
    }

    /// What it held, or will hold `within` this time, exactly behind one entry of the shard's log. So replicas can be compared while
    /// they take writes: name an entry that none of them has applied yet.
    pub async fn replica_hash_at(
        &self,
        node: NodeId,
        shard: ShardId,
        index: u64,
        within: Duration,
    ) -> Result<HashedAt, ReplicaHashError> {
        self.shared.hash(node, shard, Some((index, within))).await
    }
}

impl Shared {
    pub(super) async fn hash(
        &self,
        node: NodeId,
        shard: ShardId,
        at: Option<(u64, Duration)>,
    ) -> Result<HashedAt, ReplicaHashError> {
        let address = self.routing.address(node).ok_or(ReplicaHashError::UnknownNode { node })?;
        let unavailable = |reason, what: String| {
            let last = format!("{node} at {address}: {what}");
            ReplicaHashError::Unavailable(Unavailable { attempts: 1, reason, last })
        };
        let link = self.pool.link(&address).map_err(|why| unavailable(None, why))?;
        let request = v1::ReplicaHashRequest {
            cluster: self.cluster.0,
            shard: shard.0,
            at_index: at.map(|(index, _)| index),
            within_ms: at.map_or(0, |(_, within)| u32::try_from(within.as_millis()).unwrap_or(u32::MAX)),
        };
        let response = match link.replica_hash(request, READ_MAX).await {
            Ok(response) => response,
            Err(Failure::Answered(error)) => {
                return Err(match error.reason() {
                    Some(Reason::UnknownShard) => ReplicaHashError::UnknownShard { shard, message: error.message },
                    Some(reason) if reason.advice() != Advice::Never => unavailable(Some(reason), error.message),
                    Some(_) => ReplicaHashError::Rejected(error.into()),
                    // No node of ours says nothing of the reason: the connection ended in the middle of it.
                    None => unavailable(None, error.message),
                });
            }
            Err(Failure::NotSent(why) | Failure::Broken(why)) => return Err(unavailable(None, why)),
            Err(Failure::Silent) => return Err(unavailable(None, "no answer".to_owned())),
        };
        if (response.node, response.shard) != (node.0, shard.0) {
            return Err(unavailable(None, format!("n{} answers there", response.node)));
        }
        let (applied_index, applied_term) = (response.applied_index, response.applied_term);
        if response.hash.is_empty() {
            return Ok(HashedAt::Elsewhere { applied_index, applied_term });
        }
        let Ok(hash) = <[u8; 16]>::try_from(&response.hash[..]) else {
            return Err(unavailable(None, format!("its hash has {} bytes; update the SDK", response.hash.len())));
        };
        Ok(HashedAt::There(ReplicaHash {
            node,
            shard,
            replica: ReplicaId(response.replica),
            applied_index,
            applied_term,
            revision: Revision(response.revision),
            hash: StateHash(u128::from_be_bytes(hash)),
            keys: response.keys,
            records: response.records,
            bytes: response.bytes,
            version: response.version,
        }))
    }
}
