//! A few servers that form a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ringfence_client::{Client, ClientConfig};
use ringfence_proto::v1::cluster_service_client::ClusterServiceClient;
use ringfence_proto::v1::{DescribeRequest, DescribeResponse, StatusRequest, StatusResponse};
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::process::{Server, free_ports};

/// How long a condition may take to come true before a test fails. Not a speed that anything depends on.
const PATIENCE: Duration = Duration::from_secs(120);

/// Servers by node id, 1 to n. A node that was killed keeps its directory and its port.
pub struct Cluster {
    dir: TempDir,
    addresses: BTreeMap<u64, String>,
    servers: BTreeMap<u64, Server>,
    extra: Vec<String>,
}

impl Cluster {
    /// Starts this many nodes and waits until every shard has a leader.
    pub async fn start(nodes: u64) -> Cluster {
        Cluster::start_with(nodes, &[]).await
    }

    /// With further arguments to `ringfence start`.
    pub async fn start_with(nodes: u64, extra: &[&str]) -> Cluster {
        let dir = tempfile::Builder::new().prefix("ringfence-test-").tempdir().expect("a temporary directory");
        let addresses = (1..=nodes).zip(free_ports(nodes as usize));
        let addresses = addresses.map(|(node, port)| (node, format!("127.0.0.1:{port}"))).collect();
        let extra = extra.iter().map(|argument| (*argument).to_owned()).collect();
        let mut cluster = Cluster { dir, addresses, servers: BTreeMap::new(), extra };
        for node in 1..=nodes {
            cluster.start_node(node);
        }
        cluster.led().await;
        cluster
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
        self.dir.path().join(format!("node-{node}"))
    }

    /// Where other files of the test may lie.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a node that is not running.
    pub fn start_node(&mut self, node: u64) {
        let server = Server::start(&self.arguments(node), &self.path(&format!("node-{node}.log")));
        assert!(self.servers.insert(node, server).is_none(), "node {node} runs already");
    }

    /// Ends a node with no warning.
    pub fn kill(&mut self, node: u64) {
        self.take(node).kill();
    }

    /// Takes a running node out of the cluster's hands.
    pub fn take(&mut self, node: u64) -> Server {
        self.servers.remove(&node).unwrap_or_else(|| panic!("node {node} is not running"))
    }

    /// A running node.
    pub fn server(&self, node: u64) -> &Server {
        &self.servers[&node]
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
    /// meta group, on each of three nodes.
    pub async fn replaced(&self, node: u64) {
        eventually(&format!("node {node} is filled anew"), async || {
            let status = self.status(node).await?;
            let running = status.replicas.iter().filter(|replica| replica.problem.is_empty()).count();
            let mut groups = 0;
            for running in self.running() {
                let described = self.describe(running).await?;
                groups = described.shards.len() + 1;
                for shard in described.shards.iter().chain(&described.meta) {
                    let voters: Vec<u64> = shard.replicas.iter().filter(|r| r.voter).map(|r| r.node).collect();
                    if voters.len() < 3 || !voters.contains(&node) {
                        return None;
                    }
                }
            }
            (status.distrust.is_none() && running == groups).then_some(())
        })
        .await;
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
