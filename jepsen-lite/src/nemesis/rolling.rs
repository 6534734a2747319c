//! A rolling restart, as operators do it: one node after the other is asked to stop (SIGTERM), stops, is started, and
//! the next one waits until it is well.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use ringfence_tests::Dice;
use tokio::time::sleep;

use super::{Bite, Nemesis, Struck, shuffled};
use crate::cluster::Cluster;
use crate::proxy::NodeId;
use crate::trouble::Trouble;

/// How long to wait for a node to be well before the next one is stopped all the same: something else may be broken.
const WELL: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Default)]
pub(super) struct Rolling {
    /// Whose turn comes yet, the next one last.
    left: Vec<NodeId>,
    restarted: Vec<String>,
}

impl Rolling {
    /// The next one.
    async fn next(&mut self, cluster: &mut Cluster) -> Result<(), Trouble> {
        let Some(node) = self.left.pop() else { return Ok(()) };
        let before = cluster.server(node).map(|server| server.pid());
        let begun = Instant::now();
        if !cluster.able().contains(&node) || !cluster.stop_node(node).await? {
            return Ok(()); // somebody else has ended it, or stopped it in mid-step
        }
        let stopped = begun.elapsed();
        cluster.start_node(node)?;
        let after = cluster.server(node).map(|server| server.pid());
        if let (Some(before), Some(after)) = (before, after) {
            let s = stopped.as_secs_f64();
            self.restarted.push(format!("{node} took {s:.1} s to stop and is process {after} after {before}"));
        }
        let begun = Instant::now();
        while begun.elapsed() < WELL && cluster.standing().await.trouble().is_some() {
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Nemesis for Rolling {
    fn name(&self) -> &'static str {
        "rolling-restart"
    }

    fn about(&self) -> &'static str {
        "every node is asked to stop, stops, and is started again, one after the other"
    }

    fn inflict<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        dice: &'a mut Dice,
    ) -> BoxFuture<'a, Result<Struck, Trouble>> {
        Box::pin(async move {
            let nodes = shuffled(&cluster.nodes(), dice);
            self.left = nodes.iter().rev().copied().collect();
            self.restarted.clear();
            Ok(Struck { what: format!("{} restarted in turn", super::list(&nodes)), nodes })
        })
    }

    fn step<'a>(&'a mut self, cluster: &'a mut Cluster, _dice: &'a mut Dice) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(async move { self.next(cluster).await })
    }

    fn lift<'a>(&'a mut self, cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>> {
        Box::pin(async move {
            while !self.left.is_empty() {
                self.next(cluster).await?;
            }
            let restarted = std::mem::take(&mut self.restarted);
            Ok(Bite { count: restarted.len() as u64, evidence: restarted.join("; ") })
        })
    }
}
