//! A node that comes back with an empty disk. It has promised things that it knows nothing of any more; so it must not
//! take part under its old replicas, and the others fill it again.
//!
//! It is wiped only while the others remember it and can be asked: a node that comes with an empty directory and
//! reaches nobody is taken for new, until somebody tells it better: that is one of the scenarios.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use futures::future::BoxFuture;
use ringfence_tests::Dice;
use tokio::time::{Instant, sleep};

use super::{Bite, Nemesis, Struck, victim};
use crate::cluster::Cluster;
use crate::proxy::{NodeId, Weather};
use crate::trouble::Trouble;

/// How long a node may take to start, and to ask the others whether it has lived before.
const NOTICED: Duration = Duration::from_secs(60);

/// How long the others have to fill it before the fault is called over. What is left they do afterwards.
const FILLED: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Default)]
pub(super) struct Wiped {
    struck: Option<Lost>,
}

/// What a node was before.
struct Lost {
    node: NodeId,
    files: u64,
    incarnation: u64,
    /// The newest replica that it had.
    replica: u64,
}

impl Nemesis for Wiped {
    fn name(&self) -> &'static str {
        "wiped-node"
    }

    fn about(&self) -> &'static str {
        "a node is killed, all of its data is removed, and it is started: the others must fill it again"
    }

    fn inflict<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        dice: &'a mut Dice,
    ) -> BoxFuture<'a, Result<Struck, Trouble>> {
        Box::pin(async move {
            let node = victim(cluster, dice).await;
            let nobody = |why: String| Ok(Struck { what: format!("{node} is not wiped: {why}"), nodes: vec![] });
            let (replica, incarnation) = match known(cluster, node).await {
                Ok(known) => known,
                Err(why) => return nobody(why),
            };
            if !cluster.has_power(node) || !cluster.may_ruin(node) {
                return nobody("another node's data is being destroyed".into());
            }
            cluster.kill(&[node]);
            let (dir, since) = (cluster.data_dir(node), cluster.said(node));
            let wiped = wipe(&dir).map_err(|error| Trouble::harness(format!("cannot empty {}", dir.display()), error));
            cluster.start_node(node)?;
            self.struck = Some(Lost { node, files: wiped?, incarnation, replica });
            asked_the_others(cluster, node, since).await?;
            Ok(Struck { what: format!("{node} wiped"), nodes: vec![node] })
        })
    }

    fn lift<'a>(&'a mut self, cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>> {
        Box::pin(async move {
            let Some(lost) = self.struck.take() else {
                return Ok(Bite { count: 0, evidence: "nobody was wiped".into() });
            };
            let Lost { node, files, incarnation, replica } = lost;
            let begun = Instant::now();
            let mut evidence = format!("{files} files of {node} removed");
            while begun.elapsed() < FILLED && can_be_filled(cluster, node) {
                if let Some((newest, now)) = filled(cluster, &lost).await {
                    evidence += &format!(
                        "; incarnation {incarnation:x} became {now:x}, its newest replica {replica} became {newest}"
                    );
                    return Ok(Bite { count: files, evidence });
                }
                sleep(Duration::from_millis(100)).await;
            }
            Ok(Bite { count: files, evidence: evidence + "; not filled again yet" })
        })
    }
}

/// The newest replica of a node and its incarnation, if all the others remember it and can be asked by it.
async fn known(cluster: &mut Cluster, node: NodeId) -> Result<(u64, u64), String> {
    let able = cluster.able();
    let mut incarnation = 0;
    for other in cluster.nodes().into_iter().filter(|other| *other != node) {
        if !able.contains(&other) || cluster.net.link(node, other).weather() != Weather::CLEAR {
            return Err(format!("it could not ask {other}"));
        }
        incarnation = match cluster.describe(other).await {
            Some(described) => described.nodes.iter().find(|known| known.node == node.0).map_or(0, |n| n.incarnation),
            None => 0,
        };
        if incarnation == 0 {
            return Err(format!("{other} does not know it yet"));
        }
    }
    let status = cluster.status(node).await.ok_or("it does not answer")?;
    let newest = status.replicas.iter().map(|replica| replica.replica).max();
    Ok((newest.ok_or("it has no replica")?, incarnation))
}

/// Waits until the node has found out that it has lived before. A node that founds its replicas once more could vote,
/// and forget what it promised.
async fn asked_the_others(cluster: &mut Cluster, node: NodeId, since: u64) -> Result<(), Trouble> {
    let begun = Instant::now();
    while begun.elapsed() < NOTICED {
        let said = cluster.said_since(node, since);
        if said.contains("coming back with fresh replicas") {
            return Ok(());
        }
        if said.contains("founded the cluster's first shards here") && !said.contains("is not trusted any more") {
            return Err(Trouble::violation(
                "a node that lost its data does not take part as if it had never promised anything",
                format!("{node} was wiped, its peers were there to be asked, and it founded its replicas anew"),
            ));
        }
        sleep(Duration::from_millis(30)).await;
    }
    Ok(())
}

/// It takes a majority without it, which other faults may have taken away.
fn can_be_filled(cluster: &mut Cluster, node: NodeId) -> bool {
    let (able, nodes) = (cluster.able(), cluster.nodes().len());
    able.contains(&node) && (able.len() - 1) * 2 > nodes
}

/// The newest replica and the incarnation that it has now, once it is filled and somebody knows the new one.
async fn filled(cluster: &Cluster, lost: &Lost) -> Option<(u64, u64)> {
    let status = cluster.status(lost.node).await.filter(|status| status.distrust.is_none())?;
    let replicas = || status.replicas.iter().map(|replica| replica.replica);
    let newest = replicas().max().filter(|_| replicas().all(|replica| replica > lost.replica))?;
    for node in cluster.nodes() {
        let known = cluster.describe(node).await.map(|described| described.nodes).unwrap_or_default();
        let incarnation = known.iter().find(|known| known.node == lost.node.0).map_or(0, |known| known.incarnation);
        if ![0, lost.incarnation].contains(&incarnation) {
            return Some((newest, incarnation));
        }
    }
    None
}

/// Removes everything in a directory, for good; gives how many files that were. The directory may be a mount point.
fn wipe(dir: &Path) -> std::io::Result<u64> {
    let files = empty(dir)?;
    File::open(dir)?.sync_all()?; // a power loss must not bring them back
    Ok(files)
}

fn empty(dir: &Path) -> std::io::Result<u64> {
    let mut files = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files += empty(&entry.path())?;
            fs::remove_dir(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
            files += 1;
        }
    }
    Ok(files)
}
