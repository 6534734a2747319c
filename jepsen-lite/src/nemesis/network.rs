//! What the proxies do to the links: who does not hear whom, and how badly.

use futures::future::BoxFuture;
use ringfence_tests::Dice;

use super::{Bite, Nemesis, Struck, victim};
use crate::cluster::Cluster;
use crate::proxy::{Fault, Shape, Way};
use crate::trouble::Trouble;

/// See the module.
pub(super) struct Network {
    name: &'static str,
    about: &'static str,
    fault: Option<Fault>,
}

impl Network {
    /// A node, most often one that leads, hears no other node and is heard by none. Clients still reach it.
    pub(super) fn isolated_leader() -> Network {
        Network {
            name: "isolated-leader",
            about: "a node is apart from all others, but not from the clients",
            fault: None,
        }
    }
}

impl Nemesis for Network {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn inflict<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        dice: &'a mut Dice,
    ) -> BoxFuture<'a, Result<Struck, Trouble>> {
        Box::pin(async move {
            let node = victim(cluster, dice).await;
            let fault = cluster.net.apply(&Shape::Isolated(node), Way::Blackhole);
            let what = fault.description.clone();
            self.fault = Some(fault);
            Ok(Struck { what, nodes: vec![node] })
        })
    }

    fn lift<'a>(&'a mut self, cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>> {
        Box::pin(async move {
            let Some(fault) = self.fault.take() else { return Ok(Bite { count: 0, evidence: "no fault".into() }) };
            let count = cluster.net.bites(&fault);
            cluster.net.lift(&fault);
            Ok(Bite { count, evidence: format!("{count} bytes and connections met it") })
        })
    }
}
