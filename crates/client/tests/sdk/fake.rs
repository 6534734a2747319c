//! A cluster of one shard, all in one mutex. Its nodes speak real gRPC on loopback, remember request ids like the real one,
//! and go wrong exactly as a test tells them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ringfence_client::{Client, ClientConfig};
use ringfence_proto::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use ringfence_proto::v1::kv_server::{Kv, KvServer};
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::{Reason, metadata, v1};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::fake_locks::Locks;

/// What goes wrong with the next operation at a node.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is done, and the answer is lost.
    LoseAnswer,
    /// It is done, and the stream breaks instead of an answer.
    BreakAfter,
    /// The stream breaks, and it is not done.
    BreakBefore,
    /// It is done, and the answer is one to another question.
    AnswerAnother,
    /// It is not done; this is the answer.
    Answer(v1::Error),
}

pub(crate) fn answer(reason: Reason) -> Fault {
    Fault::Answer(v1::Error::new(reason, format!("{reason}, says the fake")))
}

/// One operation as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) node: u64,
    pub(crate) at: Instant,
    pub(crate) id: Option<v1::RequestId>,
    pub(crate) timeout_ms: u32,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) keys: BTreeMap<Bytes, v1::KeyValue>,
    pub(crate) clock: i64,
    /// Requests born at or below this are refused unless their outcome is remembered.
    pub(crate) floor: i64,
    pub(crate) leader: u64,
    pub(crate) arrivals: Vec<Arrival>,
    /// Session messages received, over all nodes.
    pub(crate) messages: usize,
    pub(crate) largest_message_calls: usize,
    pub(crate) descriptions: usize,
    pub(crate) locks: Locks,
    faults: BTreeMap<u64, VecDeque<Fault>>,
    outcomes: BTreeMap<(u64, u64, i64), v1::Result>,
    addresses: BTreeMap<u64, String>,
}

pub(crate) struct Cluster {
    pub(crate) state: Arc<Mutex<State>>,
    /// A runtime for each node, so that a node can die like a process does: at once, with all its connections.
    servers: Mutex<BTreeMap<u64, Runtime>>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (_, server) in std::mem::take(self.servers.get_mut().unwrap()) {
            server.shutdown_background();
        }
    }
}

pub(crate) const CLUSTER_ID: u64 = 77;

impl Cluster {
    /// Nodes `1..=nodes`, led by node 1.
    pub(crate) async fn start(nodes: u64) -> Cluster {
        let state = State { clock: 1000, leader: 1, ..State::default() };
        let cluster = Cluster { state: Arc::new(Mutex::new(state)), servers: Mutex::default() };
        for node in 1..=nodes {
            cluster.start_node(node, "127.0.0.1:0");
        }
        cluster
    }

    fn start_node(&self, node: u64, address: &str) {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        self.state.lock().unwrap().addresses.insert(node, address);
        let service = Node { node, state: Arc::clone(&self.state) };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let server = tonic::transport::Server::builder()
                .add_service(KvServer::new(service.clone()))
                .add_service(ClusterServiceServer::new(service));
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        self.servers.lock().unwrap().insert(node, runtime);
    }

    /// The node dies; what it knew stays in the cluster's state.
    pub(crate) async fn kill(&self, node: u64) {
        self.servers.lock().unwrap().remove(&node).unwrap().shutdown_background();
        let address = self.address(node);
        while TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// A killed node is back, at the same address.
    pub(crate) fn restart(&self, node: u64) {
        self.start_node(node, &self.address(node));
    }

    /// Adds a node that accepts connections and says nothing: a paused process.
    pub(crate) async fn add_paused_node(&self, node: u64) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        self.state.lock().unwrap().addresses.insert(node, address);
        listener
    }

    pub(crate) fn address(&self, node: u64) -> String {
        self.state.lock().unwrap().addresses[&node].clone()
    }

    /// A client that knows node 1 only.
    pub(crate) async fn client(&self) -> Client {
        Client::connect([self.address(1)]).await.unwrap()
    }

    pub(crate) async fn client_with(&self, change: impl FnOnce(&mut ClientConfig)) -> Client {
        let mut config = ClientConfig::new([self.address(1)]);
        change(&mut config);
        Client::with_config(config).await.unwrap()
    }

    pub(crate) fn fault(&self, node: u64, fault: Fault) {
        self.state.lock().unwrap().faults.entry(node).or_default().push_back(fault);
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.state.lock().unwrap().arrivals.clone()
    }

    pub(crate) fn value(&self, key: &str) -> Option<Bytes> {
        self.state.lock().unwrap().keys.get(key.as_bytes()).map(|kv| kv.value.clone())
    }
}

#[derive(Clone)]
struct Node {
    node: u64,
    state: Arc<Mutex<State>>,
}

/// What becomes of an operation on its way back.
enum Way {
    Answer(v1::Result),
    Lost,
    Broken,
}

impl Node {
    fn operate(&self, operation: v1::Operation, timeout_ms: u32) -> Way {
        let ask = operation.kind.expect("an operation");
        let header = header(&ask);
        let mut state = self.state.lock().unwrap();
        state.arrivals.push(Arrival { node: self.node, at: Instant::now(), id: header.id, timeout_ms });
        let fault = state.faults.get_mut(&self.node).and_then(VecDeque::pop_front);
        match fault {
            Some(Fault::Answer(error)) => Way::Answer(error.into_result()),
            Some(Fault::BreakBefore) => Way::Broken,
            Some(Fault::LoseAnswer) => {
                state.apply(header, ask);
                Way::Lost
            }
            Some(Fault::AnswerAnother) => {
                state.apply(header, ask);
                Way::Answer(v1::Result { kind: Some(Told::Scan(v1::ScanResponse::default())) })
            }
            Some(Fault::BreakAfter) => {
                state.apply(header, ask);
                Way::Broken
            }
            None => Way::Answer(state.apply(header, ask)),
        }
    }

    async fn unary(&self, ask: Ask) -> Result<Told, Status> {
        match self.operate(v1::Operation { kind: Some(ask) }, 0) {
            Way::Answer(v1::Result { kind: Some(Told::Error(error)) }) => Err(error.into()),
            Way::Answer(result) => Ok(result.kind.unwrap()),
            Way::Lost => std::future::pending().await,
            Way::Broken => Err(Status::unavailable("broken, says the fake")),
        }
    }
}

trait IntoResult {
    fn into_result(self) -> v1::Result;
}

impl IntoResult for v1::Error {
    fn into_result(self) -> v1::Result {
        v1::Result { kind: Some(Told::Error(self)) }
    }
}

fn header(ask: &Ask) -> v1::RequestHeader {
    let header = match ask {
        Ask::Get(get) => &get.header,
        Ask::Put(put) => &put.header,
        Ask::Delete(delete) => &delete.header,
        Ask::Cas(cas) => &cas.header,
        Ask::Add(add) => &add.header,
        Ask::Scan(scan) => &scan.header,
        Ask::Acquire(acquire) => &acquire.header,
        Ask::Wait(wait) => &wait.header,
        Ask::GiveUp(give_up) => &give_up.header,
        Ask::Renew(renew) => &renew.header,
        Ask::Release(release) => &release.header,
        Ask::Inspect(inspect) => &inspect.header,
        Ask::ListLeases(list) => &list.header,
    };
    (*header).expect("the SDK always sends a header")
}

impl State {
    fn apply(&mut self, header: v1::RequestHeader, ask: Ask) -> v1::Result {
        assert_eq!(header.cluster, CLUSTER_ID);
        assert!(header.seen <= self.clock, "a client cannot have seen the future");
        let Some(id) = header.id else {
            let is_harmless = matches!(ask, Ask::Get(_) | Ask::Scan(_) | Ask::Wait(_) | Ask::GiveUp(_) | Ask::Renew(_));
            assert!(is_harmless, "a mutation without an id");
            return self.execute(ask);
        };
        let id = (id.client, id.sequence, id.birth);
        if let Some(outcome) = self.outcomes.get(&id) {
            return outcome.clone();
        }
        if id.2 <= self.floor {
            let error = v1::Error::new(Reason::RequestTooOld, "too old").with(metadata::CLOCK, self.clock);
            return error.into_result();
        }
        let outcome = self.execute(ask);
        self.outcomes.insert(id, outcome.clone());
        outcome
    }

    fn execute(&mut self, ask: Ask) -> v1::Result {
        let told = match ask {
            Ask::Get(get) => {
                let kv = self.keys.get(&get.key).cloned();
                Told::Get(v1::GetResponse { header: self.header(), kv })
            }
            Ask::Put(put) => {
                let version = self.write(put.key, put.value);
                Told::Put(v1::PutResponse { header: self.header(), version })
            }
            Ask::Delete(delete) => {
                self.clock += 1;
                let existed = self.keys.remove(&delete.key).is_some();
                Told::Delete(v1::DeleteResponse { header: self.header(), existed })
            }
            Ask::Cas(cas) => return self.cas(cas),
            Ask::Add(add) => {
                let current = self.keys.get(&add.key).map_or("0".into(), |kv| String::from_utf8_lossy(&kv.value));
                let current: i64 = current.parse().unwrap();
                let value = current + add.delta;
                if value < add.min.unwrap_or(i64::MIN) || value > add.max.unwrap_or(i64::MAX) {
                    let error = v1::Error::new(Reason::OutOfBounds, "out of bounds");
                    return error.with(metadata::CURRENT, current).into_result();
                }
                let version = self.write(add.key, value.to_string().into());
                Told::Add(v1::AddResponse { header: self.header(), value, version })
            }
            Ask::Scan(scan) => {
                let prefix = match scan.what.unwrap() {
                    v1::scan_request::What::Prefix(prefix) => prefix,
                    v1::scan_request::What::Tag(tag) => [b"{", &tag[..], b"}"].concat().into(),
                };
                let all = self.keys.values().filter(|kv| kv.key.starts_with(&prefix) && kv.key > scan.cursor);
                let kvs: Vec<_> = all.take(scan.limit as usize).cloned().collect();
                let full = kvs.len() == scan.limit as usize;
                let next_cursor = if full { kvs.last().unwrap().key.clone() } else { Bytes::new() };
                Told::Scan(v1::ScanResponse { header: self.header(), kvs, next_cursor, filtered: false })
            }
            ask => {
                self.clock += 1;
                let header = self.header();
                self.locks.execute(ask, self.clock, header)
            }
        };
        v1::Result { kind: Some(told) }
    }

    /// Knows the two conditions that the tests need.
    fn cas(&mut self, cas: v1::CasRequest) -> v1::Result {
        use v1::condition::Kind;
        let (revision, version) = self.keys.get(&cas.key).map_or((0, 0), |kv| (kv.revision, kv.version));
        let holds = match cas.condition.unwrap().kind.unwrap() {
            Kind::Absent(_) => version == 0,
            Kind::RevisionIs(wanted) => revision == wanted,
            other => panic!("the fake does not know {other:?}"),
        };
        if !holds {
            let error = v1::Error::new(Reason::ConditionFailed, "no");
            return error.with(metadata::REVISION, revision).with(metadata::VERSION, version).into_result();
        }
        let response = match cas.then.unwrap() {
            v1::cas_request::Then::Put(value) => {
                let version = self.write(cas.key, value);
                v1::CasResponse { header: self.header(), version, existed: false }
            }
            v1::cas_request::Then::Delete(_) => {
                self.clock += 1;
                let existed = self.keys.remove(&cas.key).is_some();
                v1::CasResponse { header: self.header(), version: 0, existed }
            }
        };
        v1::Result { kind: Some(Told::Cas(response)) }
    }

    fn write(&mut self, key: Bytes, value: Bytes) -> u64 {
        self.clock += 1;
        let known = self.keys.get(&key);
        let version = known.map_or(0, |kv| kv.version) + 1;
        let create_revision = known.map_or(self.clock, |kv| kv.create_revision);
        let kv = v1::KeyValue { key: key.clone(), value, revision: self.clock, create_revision, version, ttl_ms: None };
        self.keys.insert(key, kv);
        version
    }

    fn header(&self) -> Option<v1::ResponseHeader> {
        Some(v1::ResponseHeader { revision: self.clock, shard: 1, node: self.leader })
    }
}

macro_rules! answer_of {
    ($self:ident, $request:ident, $kind:ident) => {
        match $self.unary(Ask::$kind($request.into_inner())).await? {
            Told::$kind(response) => Ok(Response::new(response)),
            other => panic!("{other:?}"),
        }
    };
}

#[tonic::async_trait]
impl Kv for Node {
    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        answer_of!(self, request, Get)
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        answer_of!(self, request, Put)
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        answer_of!(self, request, Delete)
    }

    async fn cas(&self, request: Request<v1::CasRequest>) -> Result<Response<v1::CasResponse>, Status> {
        answer_of!(self, request, Cas)
    }

    async fn add(&self, request: Request<v1::AddRequest>) -> Result<Response<v1::AddResponse>, Status> {
        answer_of!(self, request, Add)
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<v1::ScanResponse>, Status> {
        answer_of!(self, request, Scan)
    }

    async fn batch(&self, _: Request<v1::BatchRequest>) -> Result<Response<v1::BatchResponse>, Status> {
        Err(Status::unimplemented("the SDK does not use it"))
    }

    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let (outbound, stream) = mpsc::channel(16);
        let node = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                {
                    let mut state = node.state.lock().unwrap();
                    state.messages += 1;
                    state.largest_message_calls = state.largest_message_calls.max(message.calls.len());
                }
                let mut answers = Vec::new();
                let mut broken = false;
                for call in message.calls {
                    match node.operate(call.operation.unwrap(), call.timeout_ms) {
                        Way::Answer(result) => answers.push(v1::Answer { call: call.call, result: Some(result) }),
                        Way::Lost => {}
                        Way::Broken => broken = true,
                    }
                }
                let _ = outbound.send(Ok(v1::SessionResponse { answers })).await;
                if broken {
                    let _ = outbound.send(Err(Status::unavailable("broken, says the fake"))).await;
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

#[tonic::async_trait]
impl ClusterService for Node {
    async fn describe(&self, _: Request<v1::DescribeRequest>) -> Result<Response<v1::DescribeResponse>, Status> {
        let mut state = self.state.lock().unwrap();
        state.descriptions += 1;
        let nodes = state.addresses.iter();
        let replica = |node: &u64| v1::Replica { replica: *node, node: *node, voter: true };
        let shard = v1::Shard {
            shard: 1,
            first_position: 0,
            last_position: u64::MAX,
            range_epoch: 1,
            membership_epoch: 1,
            replicas: state.addresses.keys().map(replica).collect(),
            leader_node: state.leader,
        };
        Ok(Response::new(v1::DescribeResponse {
            cluster: CLUSTER_ID,
            node: self.node,
            nodes: nodes
                .map(|(n, a)| v1::Node { node: *n, address: a.clone(), labels: String::new(), incarnation: 0 })
                .collect(),
            shards: vec![shard],
            meta: None,
            revision: state.clock,
            version: "fake".to_owned(),
        }))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        if let Some(shard @ 2..) = request.into_inner().shard {
            return Err(v1::Error::new(Reason::UnknownShard, format!("no shard {shard}")).into());
        }
        let (cluster, version) = (CLUSTER_ID, "fake".to_owned());
        Ok(Response::new(v1::StatusResponse { cluster, node: self.node, version, ..Default::default() }))
    }

    async fn replace_node(
        &self,
        _: Request<v1::ReplaceNodeRequest>,
    ) -> Result<Response<v1::ReplaceNodeResponse>, Status> {
        Err(v1::Error::new(Reason::InvalidRequest, "there is nothing to replace").into())
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let v1::TransferLeaderRequest { shard, to_node, .. } = request.into_inner();
        if shard > 1 {
            return Err(v1::Error::new(Reason::UnknownShard, format!("no shard {shard}")).into());
        }
        let mut state = self.state.lock().unwrap();
        let from_node = state.leader;
        state.leader = to_node;
        Ok(Response::new(v1::TransferLeaderResponse { shard, from_node, leader_node: to_node }))
    }

    /// A node's hash is what its replica holds: here the node's own number.
    async fn replica_hash(
        &self,
        request: Request<v1::ReplicaHashRequest>,
    ) -> Result<Response<v1::ReplicaHashResponse>, Status> {
        let shard = request.into_inner().shard;
        let hash = u128::from(self.node).to_be_bytes().to_vec().into();
        let (node, version) = (self.node, "fake".to_owned());
        Ok(Response::new(v1::ReplicaHashResponse { node, shard, hash, version, ..Default::default() }))
    }
}

/// Waits for a condition; a test that waits in vain says for what.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
