//! Tells what this node's replicas hold, each as one number: for whoever compares replicas.

use std::sync::Arc;
use std::time::Duration;

use ringfence_proto::v1;
use ringfence_raft_host::Hashed;
use ringfence_types::ShardId;
use tokio::sync::Semaphore;

use crate::VERSION;
use crate::gateway::Gateway;
use crate::grpc::status;

/// Replicas that are read at the same time, or whose entry is waited for. Each keeps a thread busy, and the store from cleaning
/// up.
const AT_ONCE_MAX: usize = 8;

/// When there may be room for another.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How long an entry is waited for.
const WITHIN_MAX: Duration = Duration::from_secs(30);

/// The room for it.
pub(crate) struct Hashing {
    permits: Arc<Semaphore>,
}

impl Default for Hashing {
    fn default() -> Hashing {
        Hashing { permits: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }
}

impl Hashing {
    /// Of this node's own replica, whoever leads.
    pub(crate) async fn answer(
        &self,
        gateway: &Gateway,
        request: v1::ReplicaHashRequest,
    ) -> Result<v1::ReplicaHashResponse, v1::Error> {
        if request.cluster != 0 && request.cluster != gateway.cluster.0 {
            return Err(status::wrong_cluster(request.cluster, gateway.cluster));
        }
        let id = ShardId(request.shard);
        if gateway.known.shard(id).is_none() {
            return Err(status::unknown_shard(id));
        }
        let Some(shard) = gateway.host.shard(id) else { return Err(status::no_replica_here(id, gateway.node)) };
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            return Err(status::overloaded("this node hashes other replicas already", RETRY_AFTER));
        };
        let within = Duration::from_millis(request.within_ms.into()).min(WITHIN_MAX);
        let mut response = v1::ReplicaHashResponse {
            node: gateway.node.0,
            shard: id.0,
            replica: shard.replica_id().0,
            version: VERSION.to_owned(),
            ..Default::default()
        };
        match shard.replica_hash(request.at_index, within, permit).await {
            Ok(Hashed::Elsewhere(stands)) => {
                (response.applied_index, response.applied_term) = (stands.index, stands.term);
            }
            Ok(Hashed::At(found)) => {
                (response.applied_index, response.applied_term) = (found.applied.index, found.applied.term);
                response.replica = found.replica.0;
                response.revision = found.clock.0;
                response.hash = found.digest.hash.to_be_bytes().to_vec().into();
                (response.keys, response.records) = (found.digest.keys, found.digest.records);
                response.bytes = found.digest.bytes;
            }
            Err(error) => return Err(status::hash(id, &error)),
        }
        Ok(response)
    }
}
