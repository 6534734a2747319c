//! Starts nodes like production does, on ports that nobody else has, and hides the waiting.

use std::future::Future;
use std::time::Duration;

use ringfence_proto::v1;
use ringfence_proto::v1::cluster_service_client::ClusterServiceClient;
use ringfence_proto::v1::kv_client::KvClient;
use ringfence_server::{Config, Node, RawConfig};
use ringfence_types::limits::GRPC_MESSAGE_BYTES_MAX;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

/// No condition takes longer than this on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster on loopback. Node ids begin at 1.
pub(crate) struct Cluster {
    pub(crate) dir: TempDir,
    pub(crate) addresses: Vec<String>,
    nodes: Vec<Option<Node>>,
}

impl Cluster {
    /// Starts nodes with default settings, and waits until all shards are led.
    pub(crate) async fn start(nodes: usize) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let mut listeners = Vec::new();
        for _ in 0..nodes {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
        let mut cluster = Cluster { dir, addresses, nodes: Vec::new() };
        let configs: Vec<Config> = (1..=nodes).map(|id| cluster.config(id)).collect();
        let starting = configs.into_iter().zip(listeners).map(|(config, listener)| Node::start(config, listener));
        for node in futures::future::join_all(starting).await {
            cluster.nodes.push(Some(node.unwrap()));
        }
        cluster.until_led().await;
        cluster
    }

    /// As a person would write it.
    pub(crate) fn raw_config(&self, id: usize) -> RawConfig {
        let members = self.addresses.iter().enumerate().map(|(i, address)| format!("{}={address}", i + 1));
        RawConfig {
            node: Some(id as u64),
            data_dir: Some(self.dir.path().join(format!("node-{id}"))),
            initial_cluster: Some(members.collect()),
            heartbeat_ms: Some(100),
            election_min_ms: Some(300),
            election_max_ms: Some(600),
            ..RawConfig::default()
        }
    }

    pub(crate) fn config(&self, id: usize) -> Config {
        Config::from_raw(self.raw_config(id)).unwrap()
    }

    /// Ends a node without a goodbye.
    pub(crate) async fn kill(&mut self, id: usize) {
        self.nodes[id - 1].take().expect("it runs").abort().await;
    }

    /// Ends a node politely.
    pub(crate) async fn stop(&mut self, id: usize) {
        self.nodes[id - 1].take().expect("it runs").stop().await;
    }

    /// Starts a node again, on its old port and disk.
    pub(crate) async fn restart(&mut self, id: usize) {
        let config = self.config(id);
        let listener = ringfence_server::bind(&config).await.unwrap();
        self.nodes[id - 1] = Some(Node::start(config, listener).await.unwrap());
    }

    /// The node that leads a shard, if all running nodes that have a replica agree on a running one.
    pub(crate) fn leader(&self, shard: u64) -> Option<usize> {
        let shard = ringfence_types::ShardId(shard);
        let replicas = self.nodes.iter().flatten().filter_map(|node| node.host().shard(shard));
        let mut leaders = replicas.map(|replica| replica.leader());
        let leader = leaders.next()??;
        let agreed = leaders.all(|other| other == Some(leader));
        let runs = self.nodes[leader.0 as usize - 1].is_some();
        (agreed && runs).then_some(leader.0 as usize)
    }

    /// Waits until every shard is led by a running node that all running nodes know.
    pub(crate) async fn until_led(&self) {
        until("all shards are led", async || (0..=3).all(|shard| self.leader(shard).is_some())).await;
    }

    pub(crate) async fn kv(&self, id: usize) -> KvClient<Channel> {
        KvClient::new(connect(&self.addresses[id - 1]).await)
            .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(usize::MAX)
    }

    pub(crate) async fn cluster(&self, id: usize) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(connect(&self.addresses[id - 1]).await)
    }

    pub(crate) async fn describe(&self, id: usize) -> v1::DescribeResponse {
        self.cluster(id).await.describe(v1::DescribeRequest {}).await.unwrap().into_inner()
    }
}

pub(crate) async fn connect(address: &str) -> Channel {
    let address = format!("http://{address}");
    Channel::from_shared(address).unwrap().connect().await.unwrap()
}

/// Waits for a condition.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// The reason of an error, and that it is ours.
pub(crate) fn reason(status: &tonic::Status) -> String {
    let error = v1::Error::from(status);
    assert!(error.reason().is_some(), "an error without a reason: {status:?}");
    error.reason
}

pub(crate) fn put(key: impl Into<bytes::Bytes>, value: impl Into<bytes::Bytes>) -> v1::PutRequest {
    v1::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

pub(crate) fn get(key: impl Into<bytes::Bytes>) -> v1::GetRequest {
    v1::GetRequest { key: key.into(), ..Default::default() }
}

pub(crate) fn add(key: impl Into<bytes::Bytes>, delta: i64) -> v1::AddRequest {
    v1::AddRequest { key: key.into(), delta, ..Default::default() }
}

pub(crate) fn op(kind: v1::operation::Kind) -> v1::Operation {
    v1::Operation { kind: Some(kind) }
}
