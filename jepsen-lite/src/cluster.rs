//! The cluster under test: a real `ringfence start` process for each node, with a data directory of its own, every link
//! through a proxy, and whatever else the nemeses of a run asked for before it began.
//!
//! Two ways lead to a node. Clients and other nodes come through the [`Net`], where faults lie. The harness's own eyes
//! ([`Cluster::status`]) go straight to it: what we see must not depend on what we break.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringfence_proto::v1::cluster_service_client::ClusterServiceClient;
use ringfence_proto::v1::{DescribeRequest, DescribeResponse, StatusRequest, StatusResponse};
use ringfence_tests::{Disk, Server, free_ports};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::proxy::{Net, NodeId, Peer};
use crate::trouble::Trouble;

/// How long a cluster that nobody disturbs may take to be well. Not a speed that anything depends on.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How long the harness's own questions to a node may take.
const LOOK: Duration = Duration::from_secs(2);

/// What a run needs that must be there before its nodes start. Demands of several nemeses add up.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// Each node's data lies on a small ext4 of its own, in an image of so many bytes.
    pub disk_bytes: Option<u64>,
    /// Libraries that every node is started with (`LD_PRELOAD`).
    pub preload: Vec<PathBuf>,
    /// Other environment variables of every node.
    pub environment: Vec<(OsString, OsString)>,
    /// Environment variables of one node.
    pub environment_of: BTreeMap<NodeId, Vec<(OsString, OsString)>>,
    /// Further arguments to `ringfence start`.
    pub arguments: Vec<String>,
}

impl Demands {
    /// Disks with room for at least so much.
    pub fn disk(&mut self, bytes: u64) {
        self.disk_bytes = self.disk_bytes.max(Some(bytes));
    }

    /// Several nemeses may want the same argument, and the server takes each once.
    pub fn argument(&mut self, argument: &str) {
        if !self.arguments.iter().any(|known| known == argument) {
            self.arguments.push(argument.to_owned());
        }
    }

    /// A library that every node is started with.
    pub fn preload(&mut self, library: &Path) {
        if !self.preload.iter().any(|known| known == library) {
            self.preload.push(library.to_owned());
        }
    }

    /// An environment variable of one node.
    pub fn variable_of(&mut self, node: NodeId, name: &str, value: impl Into<OsString>) {
        self.environment_of.entry(node).or_default().push((name.into(), value.into()));
    }
}

/// The nodes, and everything around them that a nemesis may touch.
///
/// * A node that was killed keeps its directory and its ports.
/// * Every child process is ended and every disk unmounted when this is dropped.
pub struct Cluster {
    /// All links.
    pub net: Net,
    /// Logs, images and data, by node.
    dir: PathBuf,
    program: PathBuf,
    listen: BTreeMap<NodeId, SocketAddr>,
    demands: Demands,
    // Before the disks: what is in use can't be unmounted.
    servers: BTreeMap<NodeId, Server>,
    paused: BTreeSet<NodeId>,
    disks: BTreeMap<NodeId, Disk>,
    ruined: Option<NodeId>,
}

/// Who leads what, and what is wrong, as the nodes say themselves.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The leader of each shard in the highest term that anyone knows; shard 0 is the meta group.
    pub leaders: BTreeMap<u64, Option<NodeId>>,
    /// The term of that leader.
    pub terms: BTreeMap<u64, u64>,
    /// Nodes that did not answer.
    pub silent: BTreeSet<NodeId>,
    /// What nodes and replicas complain of.
    pub problems: Vec<String>,
    /// Applied positions: shard, node → index.
    pub applied: BTreeMap<u64, BTreeMap<NodeId, u64>>,
}

impl Cluster {
    /// Prepares ports, proxies and disks, starts all nodes, and waits until every shard is led.
    pub async fn start(
        dir: &Path,
        program: &Path,
        nodes: u64,
        seed: u64,
        demands: Demands,
    ) -> Result<Cluster, Trouble> {
        let ids = (1..=nodes).map(NodeId);
        let listen: BTreeMap<NodeId, SocketAddr> =
            ids.zip(free_ports(nodes as usize)).map(|(id, port)| (id, (Ipv4Addr::LOCALHOST, port).into())).collect();
        let net = Net::start(&listen, seed).await.map_err(|e| Trouble::harness("the proxies cannot listen", e))?;
        let mut disks = BTreeMap::new();
        if let Some(bytes) = demands.disk_bytes {
            for node in listen.keys() {
                let disk = Disk::create(&dir.join(format!("disk-{}.img", node.0)), &data_dir(dir, *node), bytes)?;
                disks.insert(*node, disk);
            }
        }
        let mut cluster = Cluster {
            net,
            dir: dir.to_owned(),
            program: program.to_owned(),
            listen,
            demands,
            servers: BTreeMap::new(),
            paused: BTreeSet::new(),
            disks,
            ruined: None,
        };
        for node in cluster.nodes() {
            cluster.start_node(node)?;
        }
        cluster.well().await?;
        Ok(cluster)
    }

    /// All nodes, whether they run or not.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.listen.keys().copied().collect()
    }

    /// The nodes whose processes were started and not ended by us, paused ones too.
    pub fn running(&self) -> Vec<NodeId> {
        self.servers.keys().copied().collect()
    }

    /// The nodes that run and do not stand still.
    pub fn able(&mut self) -> Vec<NodeId> {
        let ended = self.ended_by_themselves();
        self.running().into_iter().filter(|node| !self.paused.contains(node) && !ended.contains(node)).collect()
    }

    /// Where clients find the nodes: through the proxies.
    pub fn endpoints(&self) -> BTreeMap<NodeId, String> {
        self.nodes().into_iter().map(|node| (node, self.net.address(Peer::Clients, node).to_string())).collect()
    }

    /// Where a node keeps its data.
    pub fn data_dir(&self, node: NodeId) -> PathBuf {
        data_dir(&self.dir, node)
    }

    /// What a node has said so far, in all its lives.
    pub fn log_file(&self, node: NodeId) -> PathBuf {
        log_file(&self.dir, node)
    }

    /// How much it has said so far: for [`Cluster::said_since`].
    pub fn said(&self, node: NodeId) -> u64 {
        std::fs::metadata(self.log_file(node)).map_or(0, |log| log.len())
    }

    /// What it has said since then.
    pub fn said_since(&self, node: NodeId, since: u64) -> String {
        let log = std::fs::read(self.log_file(node)).unwrap_or_default();
        String::from_utf8_lossy(log.get(since as usize..).unwrap_or_default()).into_owned()
    }

    /// A place for the files of a nemesis.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The disk of a node. Only where disks were demanded.
    pub fn disk(&mut self, node: NodeId) -> &mut Disk {
        self.disks.get_mut(&node).expect("the nemesis demanded disks")
    }

    /// Whether the disk of a node takes writes.
    pub fn has_power(&self, node: NodeId) -> bool {
        self.disks.get(&node).is_none_or(Disk::is_powered)
    }

    /// Claims a node's data for destruction. Only one node's at a time, until all are [`Cluster::well`] again: with two
    /// of three copies gone, nobody could be asked what was acknowledged, and no product could help that.
    pub fn may_ruin(&mut self, node: NodeId) -> bool {
        let may = self.ruined.is_none();
        self.ruined.get_or_insert(node);
        may
    }

    /// Gives such a claim back: nothing was destroyed.
    pub fn spare(&mut self) {
        self.ruined = None;
    }

    /// Several of them at once.
    pub fn disks(&mut self, nodes: &[NodeId]) -> Vec<&mut Disk> {
        self.disks.iter_mut().filter(|(node, _)| nodes.contains(node)).map(|(_, disk)| disk).collect()
    }

    /// The process of a node that runs.
    pub fn server(&self, node: NodeId) -> Option<&Server> {
        self.servers.get(&node)
    }

    /// Starts a node unless it runs. One whose disk has no power is left to whoever gives it power again.
    pub fn start_node(&mut self, node: NodeId) -> Result<(), Trouble> {
        if self.servers.contains_key(&node) || !self.has_power(node) {
            return Ok(());
        }
        let mut environment = self.demands.environment.clone();
        environment.extend(self.demands.environment_of.get(&node).into_iter().flatten().cloned());
        if !self.demands.preload.is_empty() {
            let libraries: Vec<String> = self.demands.preload.iter().map(|path| path.display().to_string()).collect();
            environment.push(("LD_PRELOAD".into(), libraries.join(":").into()));
        }
        let server =
            Server::start_program(&self.program, &environment, &self.arguments(node), &log_file(&self.dir, node));
        self.servers.insert(node, server);
        Ok(())
    }

    /// Ends these nodes at the same moment, with no warning. Those that do not run are left alone. Gives who was ended.
    pub fn kill(&mut self, nodes: &[NodeId]) -> Vec<(NodeId, u32)> {
        let mut taken: Vec<(NodeId, Server)> = Vec::new();
        for node in nodes {
            self.paused.remove(node);
            taken.extend(self.servers.remove(node).map(|server| (*node, server)));
        }
        Server::kill_together(taken.iter_mut().map(|(_, server)| server));
        taken.iter().map(|(node, server)| (*node, server.pid())).collect()
    }

    /// Asks a node to stop, as an operator does, and waits until it has. `false`: it did not run.
    pub async fn stop_node(&mut self, node: NodeId) -> Result<bool, Trouble> {
        let Some(server) = self.servers.remove(&node) else { return Ok(false) };
        if self.paused.remove(&node) {
            server.pause(false);
        }
        let stopped = tokio::task::spawn_blocking(move || server.stop());
        let ended = tokio::time::timeout(PATIENCE, stopped).await;
        match ended {
            Err(_) => Err(Trouble::violation("a node stops when it is asked to", format!("{node} goes on and on"))),
            Ok(ended) => match ended.expect("waiting for a child does not panic").success {
                true => Ok(true),
                false => Err(Trouble::violation(
                    "a node that is asked to stop ends well",
                    format!("{node} ended with an error; see {}", self.log_file(node).display()),
                )),
            },
        }
    }

    /// Whether a process was stopped in mid-step.
    pub fn is_paused(&self, node: NodeId) -> bool {
        self.paused.contains(&node)
    }

    /// Stops a process in mid-step; returns when no thread of it runs. `false`: it does not run, or stands still
    /// already.
    pub fn pause(&mut self, node: NodeId) -> bool {
        match self.servers.get(&node) {
            Some(server) if self.paused.insert(node) => {
                server.freeze(false);
                true
            }
            _ => false,
        }
    }

    /// Lets it go on.
    pub fn resume(&mut self, node: NodeId) {
        if self.paused.remove(&node)
            && let Some(server) = self.servers.get(&node)
        {
            server.pause(false);
        }
    }

    /// Whether a node that we did not end has ended by itself.
    pub fn ended_by_themselves(&mut self) -> Vec<NodeId> {
        self.servers.iter_mut().filter_map(|(node, server)| (!server.is_running()).then_some(*node)).collect()
    }

    /// Takes a node that has ended by itself out of the list, so that it can be started again.
    pub fn bury(&mut self, node: NodeId) {
        self.paused.remove(&node);
        self.servers.remove(&node);
    }

    /// A gRPC channel straight to a node.
    pub fn channel(&self, node: NodeId) -> Channel {
        let uri = format!("http://{}", self.listen[&node]);
        Endpoint::from_shared(uri).expect("a port makes an address").connect_timeout(LOOK).connect_lazy()
    }

    /// `host:port` straight to every node, for the harness's own eyes.
    pub fn direct_endpoints(&self) -> BTreeMap<NodeId, String> {
        self.listen.iter().map(|(node, address)| (*node, address.to_string())).collect()
    }

    /// What a node says of itself, if it does.
    pub async fn status(&self, node: NodeId) -> Option<StatusResponse> {
        status_at(self.channel(node)).await
    }

    /// What a node knows of the cluster, if it answers.
    pub async fn describe(&self, node: NodeId) -> Option<DescribeResponse> {
        let mut service = ClusterServiceClient::new(self.channel(node));
        Some(tokio::time::timeout(LOOK, service.describe(DescribeRequest {})).await.ok()?.ok()?.into_inner())
    }

    /// What all nodes say now. Never takes longer than the question to one.
    pub async fn standing(&self) -> Standing {
        let asked = self.nodes().into_iter().map(|node| async move { (node, self.status(node).await) });
        Standing::of(futures::future::join_all(asked).await)
    }

    /// The node that leads a shard, or any node while nobody does.
    pub async fn leader(&self, shard: u64) -> NodeId {
        let standing = self.standing().await;
        standing.leaders.get(&shard).copied().flatten().unwrap_or(NodeId(1))
    }

    /// Waits until every node answers and complains of nothing, and every shard is led. If that takes too long with all
    /// faults taken away, it is a violation: the cluster must recover.
    pub async fn well(&mut self) -> Result<Standing, Trouble> {
        self.nothing_left_broken()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(node) = self.ended_by_themselves().first() {
                let log = std::fs::read_to_string(self.log_file(*node)).unwrap_or_default();
                return Err(Trouble::violation(
                    "a node goes on",
                    format!("{node} ended by itself. The end of its log:\n{}", tail(&log, 12)),
                ));
            }
            let standing = self.standing().await;
            let Some(trouble) = standing.trouble() else {
                self.ruined = None;
                return Ok(standing);
            };
            if Instant::now() >= deadline {
                return Err(Trouble::violation(
                    "the cluster recovers when the faults are gone",
                    format!("{PATIENCE:?} after everything was healed {trouble}"),
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What the harness itself has not mended is not the cluster's fault.
    fn nothing_left_broken(&self) -> Result<(), Trouble> {
        for node in self.nodes() {
            let what = match () {
                () if !self.has_power(node) => "its disk has no power",
                () if !self.servers.contains_key(&node) => "it was not started again",
                () if self.paused.contains(&node) => "it stands still",
                () => continue,
            };
            return Err(Trouble::Harness(format!("a nemesis has left {node} broken: {what}")));
        }
        Ok(())
    }

    fn arguments(&self, node: NodeId) -> Vec<String> {
        let others = self.nodes().into_iter().filter(|other| *other != node);
        let dial: Vec<String> = others.map(|other| format!("{}={}", other.0, self.net.address(node, other))).collect();
        // Everybody is known by the address where clients find it: through its proxy.
        let members: Vec<String> =
            self.endpoints().into_iter().map(|(node, address)| format!("{}={address}", node.0)).collect();
        let mut arguments = vec![
            "start".to_owned(),
            format!("--node={}", node.0),
            format!("--data-dir={}", self.data_dir(node).display()),
            format!("--listen={}", self.listen[&node]),
            format!("--advertise={}", self.net.address(Peer::Clients, node)),
            format!("--initial-cluster={}", members.join(",")),
            format!("--dial={}", dial.join(",")),
        ];
        arguments.extend(self.demands.arguments.iter().cloned());
        arguments
    }
}

impl Standing {
    fn of(answers: Vec<(NodeId, Option<StatusResponse>)>) -> Standing {
        let mut standing = Standing::default();
        for (node, status) in answers {
            let Some(status) = status else {
                standing.silent.insert(node);
                continue;
            };
            if let Some(distrust) = &status.distrust {
                standing.problems.push(format!("{node} is distrusted: {}", distrust.reason));
            }
            if status.disk.is_some_and(|disk| disk.full) {
                standing.problems.push(format!("the disk of {node} is full"));
            }
            for replica in status.replicas {
                let Some(shard) = replica.shard.as_ref().map(|shard| shard.shard) else { continue };
                let leader = standing.leaders.entry(shard).or_default();
                let term = standing.terms.entry(shard).or_default();
                if replica.role == "leader" && replica.term >= *term {
                    (*leader, *term) = (Some(node), replica.term);
                }
                if !replica.problem.is_empty() {
                    standing.problems.push(format!("{node}, shard {shard}: {}", replica.problem));
                }
                standing.applied.entry(shard).or_default().insert(node, replica.applied_index);
            }
        }
        standing
    }

    /// What is not well, in words.
    pub fn trouble(&self) -> Option<String> {
        if let Some(node) = self.silent.first() {
            return Some(format!("{node} does not answer"));
        }
        if let Some(problem) = self.problems.first() {
            return Some(problem.clone());
        }
        if self.leaders.len() < 2 {
            return Some("no node has a replica of a shard".to_owned());
        }
        let leaderless = self.leaders.iter().find(|(_, leader)| leader.is_none());
        leaderless.map(|(shard, _)| format!("shard {shard} has no leader"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let running = self.running();
        self.kill(&running);
    }
}

/// What a node says of itself, if it does in time.
pub async fn status_at(channel: Channel) -> Option<StatusResponse> {
    let mut service = ClusterServiceClient::new(channel);
    let asked = service.status(StatusRequest { shard: None });
    Some(tokio::time::timeout(LOOK, asked).await.ok()?.ok()?.into_inner())
}

/// Where a node's log lies, in a run's directory.
pub fn log_file(dir: &Path, node: NodeId) -> PathBuf {
    dir.join(format!("node-{}.log", node.0))
}

/// Where a node keeps its data, in a run's directory.
pub fn data_dir(dir: &Path, node: NodeId) -> PathBuf {
    dir.join(format!("node-{}", node.0))
}

/// The last lines of a log.
fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
