//! A storm of transfers: leadership of one shard after the other is moved, by the operators' own call, faster than anybody gets used
//! to it. Each move is an ordinary one; what is under way must neither be lost nor be done twice.

use std::time::Duration;

use futures::future::BoxFuture;
use ringfence_proto::v1::TransferLeaderRequest;
use ringfence_proto::v1::cluster_service_client::ClusterServiceClient;
use ringfence_tests::Dice;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Bite, Nemesis, Struck};
use crate::cluster::Cluster;
use crate::trouble::Trouble;

/// How long one move may take. A storm doesn't wait for it.
const MOVED: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Default)]
pub(super) struct Transfer {
    next: Option<Instant>,
    /// Those under way, and those that have ended: whether leadership went from one to another.
    moves: JoinSet<bool>,
}

impl Nemesis for Transfer {
    fn name(&self) -> &'static str {
        "transfer-storm"
    }

    fn about(&self) -> &'static str {
        "the leadership of some shard is moved to some node, several times a second"
    }

    fn inflict<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        dice: &'a mut Dice,
    ) -> BoxFuture<'a, Result<Struck, Trouble>> {
        Box::pin(async move {
            self.next = Some(Instant::now());
            self.step(cluster, dice).await?;
            Ok(Struck { what: "leadership is moved all the time".into(), nodes: vec![] })
        })
    }

    fn step<'a>(&'a mut self, cluster: &'a mut Cluster, dice: &'a mut Dice) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(async move {
            let able = cluster.able();
            if self.next.is_none_or(|next| Instant::now() < next) || able.is_empty() {
                return Ok(());
            }
            self.next = Some(Instant::now() + Duration::from_millis(dice.within(100..300)));
            let shards: Vec<u64> = match cluster.describe(*dice.one_of(&able)).await {
                Some(described) => described.shards.iter().map(|shard| shard.shard).chain([0]).collect(),
                None => return Ok(()),
            };
            // Any node takes the request, and sends it on to the leader.
            let (through, to) = (*dice.one_of(&able), *dice.one_of(&able));
            let request = TransferLeaderRequest {
                shard: *dice.one_of(&shards),
                to_node: to.0,
                ..TransferLeaderRequest::default()
            };
            let mut service = ClusterServiceClient::new(cluster.channel(through));
            self.moves.spawn(async move {
                let mut request = tonic::Request::new(request);
                request.set_timeout(MOVED);
                let moved = service.transfer_leader(request).await.map(tonic::Response::into_inner);
                moved.is_ok_and(|moved| moved.leader_node == to.0 && ![0, to.0].contains(&moved.from_node))
            });
            Ok(())
        })
    }

    fn lift<'a>(&'a mut self, _cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>> {
        Box::pin(async move {
            self.next = None;
            let moves = std::mem::take(&mut self.moves).join_all().await;
            let moved = moves.iter().filter(|moved| **moved).count();
            let evidence = format!("{moved} of {} moves went from one node to another", moves.len());
            Ok(Bite { count: moved as u64, evidence })
        })
    }
}
