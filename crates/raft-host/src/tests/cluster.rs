//! A few nodes in one process, with a network whose links can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use ringfence_shard_router::{Epoch, Replica, Role, ShardDescriptor, ShardRange};
use ringfence_state_machine::{Action, Command, Condition, Done, Limits, Mutation, Reply, Request, View, get};
use ringfence_storage::NodeStorage;
use ringfence_types::{ClientId, Key, NodeId, ReplicaId, RequestId, Revision, ShardId, Value};

use crate::{
    Compaction, Host, HostConfig, Lane, ProposeError, Shard, SystemClock, Timing, Transport, Undeliverable, bootstrap,
};

/// The only shard that holds data here.
pub(super) const SHARD: ShardId = ShardId(1);

/// How long a condition may take to come true before a test fails. Not a speed that anything depends on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Delivers between hosts; each link has a queue of its own, so order is kept as on a stream.
#[derive(Default)]
pub(super) struct Network {
    hosts: Mutex<BTreeMap<NodeId, Host>>,
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
    links: Mutex<BTreeMap<(NodeId, NodeId), tokio::sync::mpsc::UnboundedSender<Bytes>>>,
}

impl Network {
    /// The replicas of [`SHARD`] on the nodes that run.
    pub(super) fn shards(&self) -> Vec<Shard> {
        self.hosts.lock().unwrap().values().filter_map(|host| host.shard(SHARD)).collect()
    }

    fn send(self: &Arc<Self>, from: NodeId, to: NodeId, envelope: Bytes) -> Result<(), Undeliverable> {
        if self.cut.lock().unwrap().contains(&(from, to)) || !self.hosts.lock().unwrap().contains_key(&to) {
            return Err(Undeliverable { to, reason: "the link is cut".into() });
        }
        let mut links = self.links.lock().unwrap();
        let link = links.entry((from, to)).or_insert_with(|| {
            let (link, mut inbox) = tokio::sync::mpsc::unbounded_channel();
            let network = self.clone();
            tokio::spawn(async move {
                while let Some(envelope) = inbox.recv().await {
                    let host = network.hosts.lock().unwrap().get(&to).cloned();
                    if let Some(host) = host {
                        host.receive(from, envelope);
                    }
                }
            });
            link
        });
        let _ = link.send(envelope);
        Ok(())
    }
}

struct NodeTransport {
    network: Arc<Network>,
    node: NodeId,
}

impl Transport for NodeTransport {
    fn send(&self, to: NodeId, envelope: Bytes) -> Result<(), Undeliverable> {
        self.network.send(self.node, to, envelope)
    }
}

/// Three nodes, the meta group and one shard on all of them.
pub(super) struct Cluster {
    network: Arc<Network>,
    storage: BTreeMap<NodeId, NodeStorage>,
    hosts: BTreeMap<NodeId, Host>,
    compaction: Compaction,
    sequence: u64,
}

fn descriptor(shard: ShardId) -> ShardDescriptor {
    let replica = |n: u64| Replica { id: ReplicaId(shard.0 * 10 + n), node: NodeId(n), role: Role::Voter };
    ShardDescriptor {
        shard,
        range: ShardRange::ALL,
        epoch: Epoch { range: 1, membership: 1 },
        replicas: (1..=3).map(replica).collect(),
    }
}

impl Cluster {
    pub(super) async fn start(compaction: Compaction) -> Cluster {
        let storage = (1..=3).map(|n| (NodeId(n), NodeStorage::memory().unwrap()));
        Cluster::start_on(storage.collect(), compaction).await
    }

    pub(super) async fn start_on(storage: BTreeMap<NodeId, NodeStorage>, compaction: Compaction) -> Cluster {
        let mut cluster = Cluster { network: Arc::default(), storage, hosts: BTreeMap::new(), compaction, sequence: 0 };
        for n in 1..=3 {
            let limits = Limits { value_bytes_max: 1 << 20 };
            let (meta, shard) = (descriptor(ShardId::META), descriptor(SHARD));
            bootstrap(&cluster.storage[&NodeId(n)], NodeId(n), &meta, &[shard], &[], limits).unwrap();
            cluster.start_node(NodeId(n)).await;
        }
        cluster
    }

    pub(super) async fn start_node(&mut self, node: NodeId) {
        let mut config = HostConfig::new(node, rand::random());
        config.compaction = self.compaction;
        config.timing = Timing {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(400),
        };
        let transport = Arc::new(NodeTransport { network: self.network.clone(), node });
        let storage = self.storage[&node].clone();
        let host = Host::start(config, storage, transport, Arc::new(SystemClock::default())).await.unwrap();
        self.network.hosts.lock().unwrap().insert(node, host.clone());
        self.hosts.insert(node, host);
    }

    pub(super) async fn stop_node(&mut self, node: NodeId) {
        self.network.hosts.lock().unwrap().remove(&node);
        self.hosts.remove(&node).unwrap().stop().await;
    }

    /// Stops a node, and everything that it had on its disk is gone.
    pub(super) async fn lose_node(&mut self, node: NodeId) {
        self.stop_node(node).await;
        self.storage.insert(node, NodeStorage::memory().unwrap());
    }

    /// Begins to host a fresh replica of the shard.
    pub(super) async fn host_fresh(&self, node: NodeId, replica: ReplicaId) {
        self.hosts[&node].host_fresh(SHARD, replica).await.unwrap();
    }

    /// The shard at a node, which may have no replica of it.
    pub(super) fn shard_if_hosted(&self, node: NodeId) -> Option<Shard> {
        self.hosts[&node].shard(SHARD)
    }

    /// What a stopped node finds when it is started the next time.
    pub(super) fn put_storage(&mut self, node: NodeId, storage: NodeStorage) {
        assert!(!self.hosts.contains_key(&node), "{node} runs on the storage that it has");
        self.storage.insert(node, storage);
    }

    /// For those who want to ask the nodes while this is borrowed.
    pub(super) fn network(&self) -> Arc<Network> {
        self.network.clone()
    }

    /// Cuts a node off, or joins it again.
    pub(super) fn isolate(&self, node: NodeId, cut: bool) {
        let mut links = self.network.cut.lock().unwrap();
        for other in (1..=3).map(NodeId).filter(|other| *other != node) {
            for link in [(node, other), (other, node)] {
                if cut {
                    links.insert(link)
                } else {
                    links.remove(&link)
                };
            }
        }
    }

    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.hosts.keys().copied().collect()
    }

    pub(super) fn shard(&self, node: NodeId) -> Shard {
        self.hosts[&node].shard(SHARD).unwrap()
    }

    pub(super) fn request(&mut self, key: &str, action: Action) -> Request {
        let key = Key::new(key.to_owned()).unwrap();
        self.request_of(Command::Mutate(Mutation { key, condition: Condition::None, action }))
    }

    /// With an id of its own.
    pub(super) fn request_of(&mut self, command: Command) -> Request {
        self.sequence += 1;
        let id = RequestId { client: ClientId(7), sequence: self.sequence, birth: Revision(1) };
        Request { id: Some(id), seen: Revision::ZERO, command }
    }

    /// Sends a request to whoever leads until it is answered, with the same id every time.
    pub(super) async fn decide(&self, request: &Request) -> Reply {
        eventually("a request is answered", async || {
            for node in self.nodes() {
                let shard = self.shard(node);
                match tokio::time::timeout(Duration::from_secs(2), shard.propose(request.clone(), Lane(1))).await {
                    Ok(Ok(reply)) => return Some(reply),
                    Ok(Err(ProposeError::TooLarge { .. })) => panic!("no test request is that large"),
                    Ok(Err(_)) | Err(_) => {}
                }
            }
            None
        })
        .await
    }

    pub(super) async fn put(&mut self, key: &str, value: &str) -> Revision {
        let request = self.request(key, Action::Put { value: Value::new(value.to_owned()).unwrap(), ttl_ms: None });
        match self.decide(&request).await {
            Ok(Done::Put { revision, .. }) => revision,
            other => panic!("a put without a condition is never refused: {other:?}"),
        }
    }

    /// A linearizable read, from whoever leads.
    pub(super) async fn get(&self, key: &str) -> Option<Bytes> {
        eventually("a read is answered", async || {
            for node in self.nodes() {
                let shard = self.shard(node);
                if let Ok(Ok(view)) = tokio::time::timeout(Duration::from_secs(2), shard.read_barrier()).await {
                    return Some(read(&view, key));
                }
            }
            None
        })
        .await
    }

    pub(super) async fn leader(&self) -> NodeId {
        eventually("the shard has a leader", async || {
            self.nodes().into_iter().find(|node| self.shard(*node).is_leader())
        })
        .await
    }
}

/// What a view holds at a key.
pub(super) fn read(view: &dyn View, key: &str) -> Option<Bytes> {
    let key = Key::new(key.to_owned()).unwrap();
    let answer = get(view, SHARD, &key, None).unwrap().unwrap();
    answer.value.map(|versioned| versioned.value.bytes().clone())
}

/// Waits until a condition holds and returns what it gives.
pub(super) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "after {PATIENCE:?} it is still not true that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Cluster {
    /// Up to where a node's log of the shard was purged.
    pub(super) fn purged(&self, node: NodeId) -> u64 {
        let replica = self.shard(node).slot.replica().unwrap();
        let metrics = replica.raft.metrics();
        metrics.borrow_watched().purged.map_or(0, |id| id.index)
    }
}
