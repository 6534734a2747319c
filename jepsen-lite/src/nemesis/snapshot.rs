//! A node that is away until the others have cut their logs: what it missed is nowhere as entries any more, so it must
//! be sent a snapshot, while everyone goes on.
//!
//! Entries are written by us, to keys of our own, since clients may be too slow. Logs are cut at the least length that
//! a server takes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use ringfence_proto::v1::PutRequest;
use ringfence_proto::v1::kv_client::KvClient;
use ringfence_tests::{Dice, cuts};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Bite, Nemesis, Struck, victim};
use crate::cluster::{Cluster, Demands};
use crate::proxy::{Fault, NodeId, Shape, Way};
use crate::trouble::Trouble;

/// The least that a server takes: logs are cut when they have twice as many entries.
const KEEP: &str = "--log-keep-entries=100";

/// How long the others have to cut their logs, and how long to wait while nothing moves.
const CUT: Duration = Duration::from_secs(40);
const STUCK: Duration = Duration::from_secs(5);

/// How long a node that came back may take to get a snapshot.
const INSTALLED: Duration = Duration::from_secs(30);

/// Who writes entries at the same time.
const WRITERS: u64 = 8;

/// How long one of them waits for an answer.
const WRITTEN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub(super) struct Snapshot {
    away: Option<Away>,
}

/// Who is away.
struct Away {
    node: NodeId,
    /// If it runs, and is apart from the others.
    apart: Option<Fault>,
    /// Where the log of each node ended when it began.
    since: BTreeMap<NodeId, u64>,
    /// The shards that it has a replica of.
    missed: BTreeMap<u64, Missed>,
}

/// What it misses of a shard.
#[derive(Default)]
struct Missed {
    /// An entry that it can't have.
    beyond: u64,
    /// Who has a replica, too.
    others: Vec<NodeId>,
}

impl Away {
    /// The shards whose log every other node that has it has cut behind what this node has.
    fn cut(&self, cluster: &Cluster) -> Vec<u64> {
        let said = |node: &NodeId| cluster.said_since(*node, self.since[node]);
        let said: BTreeMap<NodeId, String> = self.since.keys().map(|node| (*node, said(node))).collect();
        let is_cut = |(shard, Missed { beyond, others }): (&u64, &Missed)| {
            let cut = others.iter().all(|other| cuts(&said[other], *shard).any(|upto| upto > *beyond));
            cut.then_some(*shard)
        };
        self.missed.iter().filter_map(is_cut).collect()
    }

    /// The shards whose snapshot it says that it has installed.
    fn installed(&self, cluster: &Cluster) -> Vec<u64> {
        let said = cluster.said_since(self.node, self.since[&self.node]);
        let is_told =
            |shard: &u64| said.lines().any(|line| line.ends_with(&format!("installed a snapshot shard=s{shard}")));
        self.missed.keys().copied().filter(is_told).collect()
    }

    /// Writes until the others have cut the logs of all shards, or it is no use.
    async fn others_cut(&self, cluster: &mut Cluster) {
        let mut writers = writers(cluster, self.node);
        let begun = Instant::now();
        let (mut moved, mut last) = (begun, BTreeMap::new());
        while begun.elapsed() < CUT && moved.elapsed() < STUCK && self.cut(cluster).len() < self.missed.len() {
            sleep(Duration::from_millis(100)).await;
            let now = cluster.standing().await.applied;
            if now != last {
                (moved, last) = (Instant::now(), now);
            }
        }
        writers.shutdown().await;
    }
}

impl Nemesis for Snapshot {
    fn name(&self) -> &'static str {
        "forced-snapshot"
    }

    fn about(&self) -> &'static str {
        "a node is away until the others have cut their logs, so that it must be sent a snapshot"
    }

    fn demand(&mut self, _dir: &std::path::Path, _nodes: u64, demands: &mut Demands) -> Result<(), Trouble> {
        demands.argument(KEEP);
        let tells = "info,openraft=error,ringfence_raft_host::compaction=debug";
        demands.environment.push(("RUST_LOG".into(), tells.into()));
        Ok(())
    }

    fn inflict<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        dice: &'a mut Dice,
    ) -> BoxFuture<'a, Result<Struck, Trouble>> {
        Box::pin(async move {
            // If somebody else's victim is away already, a second one would leave no majority to go on.
            let able = cluster.able();
            let unable = cluster.nodes().into_iter().find(|node| !able.contains(node));
            let node = match unable {
                Some(node) => node,
                None => victim(cluster, dice).await,
            };
            let since = cluster.nodes().into_iter().map(|node| (node, cluster.said(node))).collect();
            let (apart, how) = match (unable, dice.percent(50)) {
                (Some(_), _) => (None, "is away"),
                (None, true) => (Some(cluster.net.apply(&Shape::Isolated(node), Way::Blackhole)), "is apart"),
                (None, false) => {
                    cluster.kill(&[node]);
                    (None, "killed")
                }
            };
            let missed = missed(cluster, node).await;
            let away = Away { node, apart, since, missed };
            away.others_cut(cluster).await;
            let cut = away.cut(cluster);
            self.away = Some(away);
            let what = format!("{node} {how} until the others have cut the logs of {} shards", cut.len());
            Ok(Struck { what, nodes: vec![node] })
        })
    }

    fn lift<'a>(&'a mut self, cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>> {
        Box::pin(async move {
            let Some(away) = self.away.take() else { return Ok(Bite { count: 0, evidence: "nobody was away".into() }) };
            if let Some(fault) = &away.apart {
                cluster.net.lift(fault);
            }
            cluster.resume(away.node); // it may be away because it stands still
            cluster.start_node(away.node)?;
            let cut = away.cut(cluster);
            let begun = Instant::now();
            let mut installed = away.installed(cluster);
            while installed.len() < cut.len()
                && begun.elapsed() < INSTALLED
                && cluster.able().len() * 2 > cluster.nodes().len()
            {
                sleep(Duration::from_millis(100)).await;
                installed = away.installed(cluster);
            }
            let evidence = format!(
                "the others have cut the logs of shards {cut:?}; {} says it installed snapshots of {installed:?}",
                away.node
            );
            Ok(Bite { count: installed.len() as u64, evidence })
        })
    }
}

/// What a node misses from now on, as those that are there say. Hardly anything is written to the meta group.
async fn missed(cluster: &mut Cluster, node: NodeId) -> BTreeMap<u64, Missed> {
    let mut missed: BTreeMap<u64, Missed> = BTreeMap::new();
    for other in cluster.able().into_iter().filter(|other| *other != node) {
        for replica in cluster.status(other).await.map(|status| status.replicas).unwrap_or_default() {
            let Some(shard) = replica.shard.filter(|shard| shard.shard != 0) else { continue };
            if shard.replicas.iter().any(|replica| replica.node == node.0) {
                let missed = missed.entry(shard.shard).or_default();
                missed.beyond = missed.beyond.max(replica.last_log_index);
                missed.others.push(other);
            }
        }
    }
    missed
}

/// They write until they are shut down, through the nodes that are not away, and not by the SDK: that would ask the one
/// that is.
fn writers(cluster: &mut Cluster, away: NodeId) -> JoinSet<()> {
    let through: Vec<NodeId> = cluster.able().into_iter().filter(|node| *node != away).collect();
    let mut writers = JoinSet::new();
    for (writer, node) in (0..WRITERS).zip(through.iter().cycle()) {
        let mut kv = KvClient::new(cluster.channel(*node));
        writers.spawn(async move {
            for n in 0_u64.. {
                let key = format!("nemesis/forced-snapshot/{writer}/{}", n % 16);
                let put = PutRequest { key: key.into(), value: n.to_string().into(), ..PutRequest::default() };
                let mut request = tonic::Request::new(put);
                request.set_timeout(WRITTEN);
                if kv.put(request).await.is_err() {
                    sleep(Duration::from_millis(50)).await;
                }
            }
        });
    }
    writers
}
