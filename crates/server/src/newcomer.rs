//! Before a node founds its replicas in an empty directory: has it lived before?
//!
//! A node that lost its directory and is started again looks like a founder that starts for the first time. Founding its
//! replicas anew, it would have forgotten the votes it gave and the entries it acknowledged, under the ids of the replicas
//! that promised them, and could help to elect a leader without what was acknowledged (guarantee G3). So it asks the other
//! founders first. Whoever lived has been registered with its *incarnation*, and the others remember. It comes back then as
//! any node does whose disk cannot be trusted: see [`rejoin`](crate::rejoin).
//!
//! A first start must not have to wait for anyone, so if none of the others can be asked the node founds its replicas all the same.
//! Then whoever it speaks to looks again, and takes nothing from it ([`incarnation`](crate::incarnation)). What is left open is
//! that none had heard of the first life yet, which is so for some seconds after the founding.

use std::time::Duration;

use futures::future::join_all;
use ringfence_types::NodeId;

use crate::config::Config;
use crate::life;
use crate::node::StartError;
use crate::peers;

/// How long to wait for the others. At the founding of a cluster they are not up yet, so it delays every first start.
const ASK_MAX: Duration = Duration::from_secs(1);

/// What the others remember of a node that comes with an empty directory.
pub(crate) struct LivedBefore {
    /// For people.
    pub reason: String,
    /// Those that it has had, as they know.
    pub incarnations: Vec<u64>,
}

/// Asks the others, if this is a first start.
pub(crate) async fn check(config: &Config) -> Result<Option<LivedBefore>, StartError> {
    if life::read(&config.data_dir)?.is_some() {
        return Ok(None);
    }
    let cluster = config.founding.cluster();
    let others = config.founding.founders.iter().filter(|founder| founder.node != config.node);
    let asked = join_all(others.map(|founder| async {
        let address = config.dial.get(&founder.node).unwrap_or(&founder.address);
        let described = peers::describe(address, ASK_MAX).await?;
        let own = described.nodes.iter().find(|node| NodeId(node.node) == config.node && node.incarnation != 0)?;
        (described.cluster == cluster.0).then_some((founder.node, own.incarnation))
    }))
    .await;
    let remembered: Vec<(NodeId, u64)> = asked.into_iter().flatten().collect();
    let Some((witness, _)) = remembered.first() else { return Ok(None) };
    let reason = format!(
        "{} was empty, but node {} has served before with another data directory, as node {} remembers",
        config.data_dir.display(),
        config.node.0,
        witness.0
    );
    Ok(Some(LivedBefore { reason, incarnations: remembered.into_iter().map(|(_, incarnation)| incarnation).collect() }))
}
