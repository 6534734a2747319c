//! Before a node founds its replicas in an empty directory: has it lived before?
//!
//! A node that lost its directory and is started again looks like a founder that starts for the first time. Founding its
//! replicas anew, it would have forgotten the votes it gave and the entries it acknowledged, under the ids of the replicas
//! that promised them, and could help to elect a leader without what was acknowledged (guarantee G3). So it asks the other
//! founders first. Whoever lived has been registered with its *incarnation*, and the others remember.
//!
//! What this leaves open: if none of the others can be asked, or none had heard of the first life yet, the node is taken
//! for new. A first start must not have to wait for anyone.

use std::time::Duration;

use futures::future::join_all;
use ringfence_proto::v1;
use ringfence_storage::DataDir;
use ringfence_types::NodeId;

use crate::config::Config;
use crate::node::StartError;
use crate::peers;

/// How long to wait for the others. At the founding of a cluster they are not up yet, so it delays every first start.
const ASK_MAX: Duration = Duration::from_secs(1);

/// Refuses a node whose directory is empty although it has lived before.
pub(crate) async fn check(config: &Config) -> Result<(), StartError> {
    if DataDir::peek(&config.data_dir)?.is_some() {
        return Ok(());
    }
    let cluster = config.founding.cluster();
    let others = config.founding.founders.iter().filter(|founder| founder.node != config.node);
    let asked = join_all(others.map(|founder| async {
        let described = peers::describe(&founder.address, ASK_MAX).await?;
        let remembers = |node: &v1::Node| NodeId(node.node) == config.node && node.incarnation != 0;
        (described.cluster == cluster.0 && described.nodes.iter().any(remembers)).then_some(founder.node)
    }))
    .await;
    match asked.into_iter().flatten().next() {
        None => Ok(()),
        Some(witness) => Err(StartError::LivedBefore { node: config.node, witness, data_dir: config.data_dir.clone() }),
    }
}
