//! Processes that end with no warning (SIGKILL), one or all at the same moment. What they wrote stays in the system's
//! cache: that takes a power loss.

use futures::future::BoxFuture;
use ringfence_tests::Dice;

use super::{Bite, Nemesis, Struck, victim};
use crate::cluster::Cluster;
use crate::proxy::NodeId;
use crate::trouble::Trouble;

/// See the module.
pub(super) struct Kill {
    all: bool,
    /// Whom it has killed, with the process ids that are gone.
    killed: Vec<(NodeId, u32)>,
}

impl Kill {
    /// One node at a time.
    pub(super) fn one() -> Kill {
        Kill { all: false, killed: Vec::new() }
    }

    /// All nodes at once.
    pub(super) fn all() -> Kill {
        Kill { all: true, killed: Vec::new() }
    }
}

impl Nemesis for Kill {
    fn name(&self) -> &'static str {
        if self.all { "kill-all" } else { "kill" }
    }

    fn about(&self) -> &'static str {
        match self.all {
            true => "all processes end at the same moment, with no warning (SIGKILL), and come back",
            false => "a process ends with no warning (SIGKILL), and comes back",
        }
    }

    fn inflict<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        dice: &'a mut Dice,
    ) -> BoxFuture<'a, Result<Struck, Trouble>> {
        Box::pin(async move {
            let nodes = if self.all { cluster.nodes() } else { vec![victim(cluster, dice).await] };
            self.killed = cluster.kill(&nodes);
            let what = if self.all { "all nodes killed".to_owned() } else { format!("{} killed", nodes[0]) };
            Ok(Struck { what, nodes })
        })
    }

    fn lift<'a>(&'a mut self, cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>> {
        Box::pin(async move {
            let killed = std::mem::take(&mut self.killed);
            for (node, _) in &killed {
                cluster.start_node(*node)?;
            }
            let pids: Vec<String> = killed.iter().map(|(_, pid)| pid.to_string()).collect();
            Ok(Bite { count: killed.len() as u64, evidence: format!("gone: process {}", pids.join(", ")) })
        })
    }
}
