//! A few servers that form a cluster.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use ringfence_client::{Client, ClientConfig};
use ringfence_proto::v1::cluster_service_client::ClusterServiceClient;
use ringfence_proto::v1::{DescribeRequest, DescribeResponse, Replica, StatusRequest, StatusResponse};
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::janitor::{self, Charge};
use crate::process::{Ended, Server, free_ports};
use crate::standstill;

/// How long a condition may take to come true before a test fails. Not a speed that anything depends on.
const PATIENCE: Duration = Duration::from_secs(120);

/// Servers by node id, 1 to n. A node that was killed keeps its directory and its port.
pub struct Cluster {
    dir: TempDir,
    addresses: BTreeMap<u64, String>,
    servers: BTreeMap<u64, Server>,
    extra: Vec<String>,
    environment: Vec<(OsString, OsString)>,
}

impl Cluster {
    /// Starts this many nodes and waits until every shard has a leader.
    pub async fn start(nodes: u64) -> Cluster {
        Cluster::start_with(nodes, &[]).await
    }

    /// With further arguments to `ringfence start`.
    pub async fn start_with(nodes: u64, extra: &[&str]) -> Cluster {
        Cluster::start_in(temporary_directory(), nodes, extra).await
    }

    /// In a directory where some nodes' data directories may lie already: as mount points of disks of their own, say.
    pub async fn start_in(dir: TempDir, nodes: u64, extra: &[&str]) -> Cluster {
        let mut cluster = Cluster::prepare(dir, nodes, extra);
        cluster.start_all().await;
        cluster
    }

    /// Three nodes that tell where they cut their logs: see [`cuts`].
    pub async fn start_telling_cuts(extra: &[&str]) -> Cluster {
        let mut cluster = Cluster::prepare(temporary_directory(), 3, extra);
        cluster
            .environment(vec![("RUST_LOG".into(), "info,openraft=error,ringfence_raft_host::compaction=debug".into())]);
        cluster.start_all().await;
        cluster
    }

    /// Starts every node of a cluster that was prepared, and waits until every shard has a leader.
    pub async fn start_all(&mut self) {
        let nodes: Vec<u64> = self.addresses.keys().copied().collect();
        nodes.into_iter().for_each(|node| self.start_node(node));
        self.led().await;
    }

    /// Without starting anything yet.
    pub fn prepare(dir: TempDir, nodes: u64, extra: &[&str]) -> Cluster {
        janitor::watch(Charge::Directory(dir.path()));
        standstill::watch();
        let addresses = (1..=nodes).zip(free_ports(nodes as usize));
        let addresses = addresses.map(|(node, port)| (node, format!("127.0.0.1:{port}"))).collect();
        let extra = extra.iter().map(|argument| (*argument).to_owned()).collect();
        Cluster { dir, addresses, servers: BTreeMap::new(), extra, environment: Vec::new() }
    }

    /// The arguments that a node is started with.
    pub fn arguments(&self, node: u64) -> Vec<String> {
        let members: Vec<String> = self.addresses.iter().map(|(node, address)| format!("{node}={address}")).collect();
        let mut arguments = vec![
            "start".to_owned(),
            format!("--node={node}"),
            format!("--data-dir={}", self.data_dir(node).display()),
            format!("--initial-cluster={}", members.join(",")),
        ];
        arguments.extend(self.extra.iter().cloned());
        arguments
    }

    /// Where a node keeps its data.
    pub fn data_dir(&self, node: u64) -> PathBuf {
        data_dir(self.dir.path(), node)
    }

    /// Environment variables for every node that is started from now on.
    pub fn environment(&mut self, variables: Vec<(OsString, OsString)>) {
        self.environment = variables;
    }

    /// Leaves data and logs where they are when this is dropped, and tells where.
    pub fn keep(&mut self) -> &Path {
        self.dir.disable_cleanup(true);
        janitor::forget(Charge::Directory(self.dir.path()));
        self.dir.path()
    }

    /// Where other files of the test may lie.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a node that is not running.
    pub fn start_node(&mut self, node: u64) {
        let log = self.path(&format!("node-{node}.log"));
        let server = Server::start_in(&self.environment, &self.arguments(node), &log);
        assert!(self.servers.insert(node, server).is_none(), "node {node} runs already");
    }

    /// Ends a node with no warning.
    pub fn kill(&mut self, node: u64) {
        self.take(node).kill();
    }

    /// Ends several nodes with no warning, at the same moment.
    pub fn kill_together(&mut self, nodes: &[u64]) {
        let mut servers: Vec<Server> = nodes.iter().map(|node| self.take(*node)).collect();
        Server::kill_together(&mut servers);
    }

    /// Takes a running node out of the cluster's hands.
    pub fn take(&mut self, node: u64) -> Server {
        self.servers.remove(&node).unwrap_or_else(|| panic!("node {node} is not running"))
    }

    /// A running node.
    pub fn server(&self, node: u64) -> &Server {
        &self.servers[&node]
    }

    /// Whether a node that was started and not killed still runs; else it has ended by itself.
    pub fn is_running(&mut self, node: u64) -> bool {
        self.servers.get_mut(&node).is_some_and(Server::is_running)
    }

    /// Waits until a node has ended by itself.
    pub async fn ended(&mut self, node: u64) -> Ended {
        eventually(&format!("node {node} has ended by itself"), async || (!self.is_running(node)).then_some(())).await;
        self.take(node).wait()
    }

    /// The nodes that run.
    pub fn running(&self) -> Vec<u64> {
        self.servers.keys().copied().collect()
    }

    /// `host:port` of a node.
    pub fn address(&self, node: u64) -> &str {
        &self.addresses[&node]
    }

    /// `host:port` of every node.
    pub fn endpoints(&self) -> Vec<String> {
        self.addresses.values().cloned().collect()
    }

    /// A gRPC channel to one node, with nothing of the SDK.
    pub fn channel(&self, node: u64) -> Channel {
        let uri = format!("http://{}", self.address(node));
        Endpoint::from_shared(uri)
            .expect("a port makes an address")
            .connect_timeout(Duration::from_secs(5))
            .connect_lazy()
    }

    /// The SDK, knowing all nodes, with patience for failovers.
    pub async fn client(&self) -> Client {
        let mut config = ClientConfig::new(self.endpoints());
        config.timeout = Duration::from_secs(60);
        Client::with_config(config).await.expect("a cluster that is led can be connected to")
    }

    /// What a node says of itself, if it says anything.
    pub async fn status(&self, node: u64) -> Option<StatusResponse> {
        let mut service = ClusterServiceClient::new(self.channel(node));
        let asked = service.status(StatusRequest { shard: None });
        Some(tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?.ok()?.into_inner())
    }

    /// What a node knows of the cluster, if it answers.
    pub async fn describe(&self, node: u64) -> Option<DescribeResponse> {
        let mut service = ClusterServiceClient::new(self.channel(node));
        let asked = service.describe(DescribeRequest {});
        Some(tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?.ok()?.into_inner())
    }

    /// The node whose replica says that it leads the shard, in the highest term.
    pub async fn leader(&self, shard: u64) -> u64 {
        eventually(&format!("shard {shard} has a leader"), async || {
            let mut leaders = Vec::new();
            for node in self.running() {
                for replica in self.status(node).await.map(|s| s.replicas).unwrap_or_default() {
                    if replica.shard.as_ref().is_some_and(|s| s.shard == shard) && replica.role == "leader" {
                        leaders.push((replica.term, node));
                    }
                }
            }
            leaders.into_iter().max().map(|(_, node)| node)
        })
        .await
    }

    /// The ids of the shards that hold data.
    pub async fn shards(&self) -> Vec<u64> {
        let node = self.running()[0];
        eventually("a node describes the cluster", async || {
            self.describe(node).await.map(|d| d.shards.iter().map(|s| s.shard).collect())
        })
        .await
    }

    /// Waits until every shard, and the meta group, has a leader.
    pub async fn led(&self) {
        let mut shards = self.shards().await;
        shards.push(0);
        for shard in shards {
            self.leader(shard).await;
        }
    }

    /// Waits until a node that was distrusted is back: it says so itself, and everybody has a voter of every shard, and of the
    /// meta group, on each of three nodes. On this one it is a replica that the cluster was not founded with.
    pub async fn replaced(&self, node: u64) {
        eventually(&format!("node {node} is filled anew"), async || {
            let status = self.status(node).await?;
            let running = status.replicas.iter().filter(|replica| replica.problem.is_empty()).count();
            let mut groups = 0;
            for running in self.running() {
                let described = self.describe(running).await?;
                groups = described.shards.len() + 1;
                let founded_with = 3 * groups as u64; // replica ids begin at 1
                for shard in described.shards.iter().chain(&described.meta) {
                    let voters = shard.replicas.iter().filter(|replica| replica.voter).count();
                    let is_fresh = |r: &Replica| r.node == node && r.voter && r.replica > founded_with;
                    if voters < 3 || !shard.replicas.iter().any(is_fresh) {
                        return None;
                    }
                }
            }
            (status.distrust.is_none() && running == groups).then_some(())
        })
        .await;
    }

    /// Up to where each of a node's replicas has applied its log, by shard.
    pub async fn applied(&self, node: u64) -> BTreeMap<u64, u64> {
        eventually(&format!("node {node} says what it has applied"), async || {
            let replicas = self.status(node).await?.replicas;
            replicas.iter().map(|replica| Some((replica.shard.as_ref()?.shard, replica.applied_index))).collect()
        })
        .await
    }

    /// Whether a node leads every shard, and the meta group.
    pub async fn leads_all(&self, node: u64) -> bool {
        let replicas = self.status(node).await.map(|status| status.replicas).unwrap_or_default();
        !replicas.is_empty() && replicas.iter().all(|replica| replica.role == "leader")
    }

    /// Makes a node lead every shard, the meta group too: whoever else leads hands over as it stops. Every node is running, and
    /// level, when this returns.
    pub async fn let_lead(&mut self, node: u64) {
        let mut groups = self.shards().await;
        groups.push(0);
        for _ in 0..20 {
            self.level_within(16).await;
            let mut others = Vec::new();
            for group in &groups {
                others.push(self.leader(*group).await);
            }
            others.retain(|leader| *leader != node);
            let Some(other) = others.first().copied() else { return };
            // With the third node down too there is nobody else to hand over to.
            let third = self.running().into_iter().find(|third| *third != node && *third != other);
            if let Some(third) = third {
                self.take(third).stop();
            }
            self.led().await;
            self.take(other).stop();
            self.start_node(other);
            if let Some(third) = third {
                self.start_node(third);
            }
            self.led().await;
        }
        panic!("node {node} did not come to lead everything");
    }

    /// Waits until all replicas of all running nodes have applied the same and none has a problem.
    pub async fn level(&self) {
        self.level_within(0).await;
    }

    /// Waits until no replica of a running node lags by more than this many entries, as far as can be seen while more are
    /// written, and none has a problem.
    pub async fn level_within(&self, entries: u64) {
        eventually("all replicas have caught up", async || {
            let mut applied: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            for node in self.running() {
                for replica in self.status(node).await?.replicas {
                    assert_eq!(replica.problem, "", "node {node} has a replica with a problem");
                    applied.entry(replica.shard.as_ref()?.shard).or_default().push(replica.applied_index);
                }
            }
            let spread = |indexes: &Vec<u64>| indexes.iter().max().zip(indexes.iter().min()).map_or(0, |(a, b)| a - b);
            applied.values().all(|indexes| spread(indexes) <= entries).then_some(())
        })
        .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.servers.clear(); // kills them, before their files go
        janitor::forget(Charge::Directory(self.dir.path())); // it goes with `dir`, or was kept
    }
}

/// A directory for a cluster.
pub fn temporary_directory() -> TempDir {
    let keep = std::env::var_os("RINGFENCE_TEST_KEEP").is_some();
    let mut builder = tempfile::Builder::new();
    builder.prefix("ringfence-test-").disable_cleanup(keep).tempdir().expect("a temporary directory")
}

/// Where a server says that it has cut the log of a shard: up to these entries. Only servers of
/// [`Cluster::start_telling_cuts`] say so.
pub fn cuts(log: &str, shard: u64) -> impl Iterator<Item = u64> {
    let cut = format!("cut the log shard=s{shard} upto=");
    log.lines().filter_map(move |line| line.split_once(&cut)?.1.trim().parse().ok())
}

/// Where a node keeps its data, in a cluster's directory.
pub fn data_dir(cluster: &Path, node: u64) -> PathBuf {
    cluster.join(format!("node-{node}"))
}

/// A value that cannot be compressed: its bytes stand in files as they are, and are the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Waits until a condition holds and returns what it gives.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "after {PATIENCE:?} it is still not true that {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits for something that is due, and gives what it gives.
pub async fn in_time<T>(what: &str, due: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, due).await;
    ended.unwrap_or_else(|_| panic!("after {PATIENCE:?} it is still not true that {what}"))
}
