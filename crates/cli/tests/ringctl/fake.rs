//! A node without Raft, disk or locks: one sorted map behind the real wire, and keys that ask for trouble.
//!
//! | key begins | what happens to a mutation |
//! |---|---|
//! | `lost:` | done, but the answer is always OUTCOME_UNKNOWN |
//! | `busy:` | the first sending of each request is OVERLOADED |
//! | `large:` | VALUE_TOO_LARGE |

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use ringfence_proto::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use ringfence_proto::v1::kv_server::{Kv, KvServer};
use ringfence_proto::v1::{self, condition, operation, result, scan_request};
use ringfence_proto::{Reason, metadata};
use tokio::runtime::Runtime;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// A running fake. It stops when it is dropped.
pub(crate) struct FakeNode {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    node: Node,
    _runtime: Runtime,
}

#[derive(Clone, Default)]
struct Node(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    address: String,
    keys: BTreeMap<Vec<u8>, v1::KeyValue>,
    clock: i64,
    seen_busy: BTreeSet<(u64, u64)>,
    outcomes: BTreeMap<(u64, u64), result::Kind>,
    scan_page_items: usize,
    refuses_puts: bool,
    distrust: Option<v1::Distrust>,
}

impl FakeNode {
    /// Starts on a free port of loopback.
    pub(crate) fn start() -> FakeNode {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let node = Node::default();
        {
            let mut state = node.state();
            state.address = address.to_string();
            state.clock = 7_000_000_000_000_000_000; // more than a JSON number can hold
            state.scan_page_items = 2; // so that every scan worth testing has pages
        }
        let server = tonic::transport::Server::builder()
            .add_service(KvServer::new(node.clone()))
            .add_service(ClusterServiceServer::new(node.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(server);
        FakeNode { address, node, _runtime: runtime }
    }

    /// What it holds.
    pub(crate) fn contents(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.node.state().keys.values().map(|kv| (kv.key.clone().into(), kv.value.clone().into())).collect()
    }

    /// Says from now on that it does not trust its disk, and waits for an operator.
    pub(crate) fn waits(&self, reason: &str) {
        self.node.state().distrust = Some(v1::Distrust {
            reason: reason.into(),
            waiting: true,
            replicas_filled: 0,
            replicas: 3,
            obstacles: Vec::new(),
        });
    }

    /// Sets a key behind the wire.
    pub(crate) fn set(&self, key: &[u8], value: &[u8]) {
        self.node.state().put(key.to_vec().into(), value.to_vec().into(), None);
    }

    /// From now on every put is refused.
    pub(crate) fn refuse_puts(&self) {
        self.node.state().refuses_puts = true;
    }

    /// Forgets every key.
    pub(crate) fn clear(&self) {
        self.node.state().keys.clear();
    }
}

impl Node {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn execute(&self, operation: v1::Operation) -> result::Kind {
        let mut state = self.state();
        let kind = operation.kind.expect("an operation has a kind");
        let Some((id, key)) = mutation(&kind) else { return state.execute(kind).unwrap_or_else(result::Kind::Error) };
        let key = key.to_vec();
        if state.refuses_puts && matches!(kind, operation::Kind::Put(_)) {
            return result::Kind::Error(v1::Error::new(Reason::DiskFull, "the disk is full"));
        }
        if key.starts_with(b"large:") {
            return result::Kind::Error(v1::Error::new(
                Reason::ValueTooLarge,
                "the value is larger than this cluster takes",
            ));
        }
        // Plain gRPC calls may come without an id; then nothing is remembered.
        let Some(id) = id else { return state.execute(kind).unwrap_or_else(result::Kind::Error) };
        if key.starts_with(b"busy:") && state.seen_busy.insert(id) {
            return result::Kind::Error(v1::Error::new(Reason::Overloaded, "the queue is full"));
        }
        let outcome = match state.outcomes.get(&id) {
            Some(outcome) => outcome.clone(),
            None => state.execute(kind).unwrap_or_else(result::Kind::Error),
        };
        state.outcomes.insert(id, outcome.clone());
        if key.starts_with(b"lost:") {
            return result::Kind::Error(v1::Error::new(Reason::OutcomeUnknown, "the leader died"));
        }
        outcome
    }
}

/// Client and sequence.
type RequestId = (u64, u64);

/// The request id, if there is one, and the key.
fn mutation(kind: &operation::Kind) -> Option<(Option<RequestId>, &[u8])> {
    let (header, key) = match kind {
        operation::Kind::Put(r) => (&r.header, &r.key),
        operation::Kind::Delete(r) => (&r.header, &r.key),
        operation::Kind::Cas(r) => (&r.header, &r.key),
        operation::Kind::Add(r) => (&r.header, &r.key),
        // Reads, and what a fake does not have.
        _ => return None,
    };
    let id = header.as_ref().map(|header| header.id.as_ref().expect("the SDK gives every mutation a request id"));
    Some((id.map(|id| (id.client, id.sequence)), key))
}

impl State {
    fn header(&self) -> Option<v1::ResponseHeader> {
        Some(v1::ResponseHeader { revision: self.clock, shard: 1, node: 1 })
    }

    fn put(&mut self, key: Bytes, value: Bytes, ttl_ms: Option<i64>) -> u64 {
        self.clock += 1;
        let old = self.keys.get(key.as_ref() as &[u8]);
        let kv = v1::KeyValue {
            key: key.clone(),
            value,
            revision: self.clock,
            create_revision: old.map_or(self.clock, |kv| kv.create_revision),
            version: old.map_or(1, |kv| kv.version + 1),
            ttl_ms: ttl_ms.map(|ms| ms as u64),
        };
        let version = kv.version;
        self.keys.insert(key.into(), kv);
        version
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        self.clock += 1;
        self.keys.remove(key).is_some()
    }

    fn execute(&mut self, kind: operation::Kind) -> Result<result::Kind, v1::Error> {
        Ok(match kind {
            operation::Kind::Get(r) => {
                let kv = self.keys.get(r.key.as_ref() as &[u8]).cloned();
                result::Kind::Get(v1::GetResponse { header: self.header(), kv })
            }
            operation::Kind::Put(r) => {
                let version = self.put(r.key, r.value, r.ttl_ms);
                result::Kind::Put(v1::PutResponse { header: self.header(), version })
            }
            operation::Kind::Delete(r) => {
                let existed = self.delete(&r.key);
                result::Kind::Delete(v1::DeleteResponse { header: self.header(), existed })
            }
            operation::Kind::Cas(r) => {
                self.check(&r)?;
                let (version, existed) = match r.then.expect("cas says what to do") {
                    v1::cas_request::Then::Put(value) => (self.put(r.key, value, r.ttl_ms), false),
                    v1::cas_request::Then::Delete(_) => (0, self.delete(&r.key)),
                };
                result::Kind::Cas(v1::CasResponse { header: self.header(), version, existed })
            }
            operation::Kind::Add(r) => {
                let text = self
                    .keys
                    .get(r.key.as_ref() as &[u8])
                    .map_or("0".into(), |kv| String::from_utf8_lossy(&kv.value).into_owned());
                let Ok(current) = text.parse::<i64>() else {
                    return Err(v1::Error::new(Reason::NotAnInteger, "the key holds no integer"));
                };
                let sum = current
                    .checked_add(r.delta)
                    .filter(|sum| r.min.is_none_or(|min| *sum >= min) && r.max.is_none_or(|max| *sum <= max));
                let Some(value) = sum else {
                    return Err(v1::Error::new(Reason::OutOfBounds, format!("the key holds {current}"))
                        .with(metadata::CURRENT, current));
                };
                let version = self.put(r.key, value.to_string().into_bytes().into(), None);
                result::Kind::Add(v1::AddResponse { header: self.header(), value, version })
            }
            operation::Kind::Scan(r) => self.scan(r),
            _ => return Err(v1::Error::new(Reason::InvalidRequest, "this fake has no locks")),
        })
    }

    fn check(&self, r: &v1::CasRequest) -> Result<(), v1::Error> {
        let kv = self.keys.get(r.key.as_ref() as &[u8]);
        let holds =
            match r.condition.as_ref().and_then(|condition| condition.kind.as_ref()).expect("cas has a condition") {
                condition::Kind::Absent(_) => kv.is_none(),
                condition::Kind::Exists(_) => kv.is_some(),
                condition::Kind::RevisionIs(revision) => kv.is_some_and(|kv| kv.revision == *revision),
                condition::Kind::VersionIs(version) => kv.map_or(0, |kv| kv.version) == *version,
                condition::Kind::ValueIs(value) => kv.is_some_and(|kv| kv.value == *value),
            };
        let (revision, version) = kv.map_or((0, 0), |kv| (kv.revision, kv.version));
        let refusal = || {
            v1::Error::new(Reason::ConditionFailed, format!("the key is at revision {revision}, version {version}"))
                .with(metadata::REVISION, revision)
                .with(metadata::VERSION, version)
        };
        holds.then_some(()).ok_or_else(refusal)
    }

    fn scan(&self, r: v1::ScanRequest) -> result::Kind {
        let prefix = match r.what {
            None => Vec::new(),
            Some(scan_request::What::Prefix(prefix)) => prefix.to_vec(),
            Some(scan_request::What::Tag(tag)) => [b"{", &tag[..], b"}"].concat(),
        };
        let limit = self.scan_page_items.min(if r.limit == 0 { usize::MAX } else { r.limit as usize });
        let found: Vec<_> = self
            .keys
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix) && (r.cursor.is_empty() || key[..] > r.cursor[..]))
            .take(limit + 1)
            .map(|(_, kv)| v1::KeyValue {
                value: if r.keys_only { Default::default() } else { kv.value.clone() },
                ..kv.clone()
            })
            .collect();
        let more = found.len() > limit;
        let kvs: Vec<_> = found.into_iter().take(limit).collect();
        let next_cursor = kvs.last().filter(|_| more).map(|kv| kv.key.clone()).unwrap_or_default();
        let filtered = !prefix.contains(&b'}');
        result::Kind::Scan(v1::ScanResponse { header: self.header(), kvs, next_cursor, filtered })
    }

    fn shard(&self, shard: u64, first: u64, last: u64) -> v1::Shard {
        v1::Shard {
            shard,
            first_position: first,
            last_position: last,
            range_epoch: 1,
            membership_epoch: 1,
            replicas: vec![v1::Replica { replica: 10 + shard, node: 1, voter: true }],
            leader_node: 1,
        }
    }
}

#[tonic::async_trait]
impl Kv for Node {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut requests = request.into_inner();
        let (answers, stream) = tokio::sync::mpsc::channel(64);
        let node = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let answer = |call: v1::Call| {
                    let kind = node.execute(call.operation.expect("a call has an operation"));
                    v1::Answer { call: call.call, result: Some(v1::Result { kind: Some(kind) }) }
                };
                let response = v1::SessionResponse { answers: request.calls.into_iter().map(answer).collect() };
                if answers.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn batch(&self, request: Request<v1::BatchRequest>) -> Result<Response<v1::BatchResponse>, Status> {
        let operations = request.into_inner().operations.into_iter();
        let results = operations.map(|operation| v1::Result { kind: Some(self.execute(operation)) }).collect();
        Ok(Response::new(v1::BatchResponse { results }))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        match self.unary(operation::Kind::Get(request.into_inner()))? {
            result::Kind::Get(response) => Ok(Response::new(response)),
            other => panic!("a get was answered with {other:?}"),
        }
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        match self.unary(operation::Kind::Put(request.into_inner()))? {
            result::Kind::Put(response) => Ok(Response::new(response)),
            other => panic!("a put was answered with {other:?}"),
        }
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        match self.unary(operation::Kind::Delete(request.into_inner()))? {
            result::Kind::Delete(response) => Ok(Response::new(response)),
            other => panic!("a delete was answered with {other:?}"),
        }
    }

    async fn cas(&self, request: Request<v1::CasRequest>) -> Result<Response<v1::CasResponse>, Status> {
        match self.unary(operation::Kind::Cas(request.into_inner()))? {
            result::Kind::Cas(response) => Ok(Response::new(response)),
            other => panic!("a cas was answered with {other:?}"),
        }
    }

    async fn add(&self, request: Request<v1::AddRequest>) -> Result<Response<v1::AddResponse>, Status> {
        match self.unary(operation::Kind::Add(request.into_inner()))? {
            result::Kind::Add(response) => Ok(Response::new(response)),
            other => panic!("an add was answered with {other:?}"),
        }
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<v1::ScanResponse>, Status> {
        match self.unary(operation::Kind::Scan(request.into_inner()))? {
            result::Kind::Scan(response) => Ok(Response::new(response)),
            other => panic!("a scan was answered with {other:?}"),
        }
    }
}

impl Node {
    #[allow(clippy::result_large_err, reason = "tonic's Status")]
    fn unary(&self, kind: operation::Kind) -> Result<result::Kind, Status> {
        match self.execute(v1::Operation { kind: Some(kind) }) {
            result::Kind::Error(error) => Err(error.into()),
            done => Ok(done),
        }
    }
}

#[tonic::async_trait]
impl ClusterService for Node {
    async fn describe(&self, _: Request<v1::DescribeRequest>) -> Result<Response<v1::DescribeResponse>, Status> {
        let state = self.state();
        Ok(Response::new(v1::DescribeResponse {
            cluster: 0xfeed,
            node: 1,
            nodes: vec![v1::Node { node: 1, address: state.address.clone(), labels: "zone=a".into(), incarnation: 0 }],
            shards: vec![state.shard(1, 0, u64::MAX / 2), state.shard(2, u64::MAX / 2 + 1, u64::MAX)],
            meta: Some(state.shard(0, 0, u64::MAX)),
            revision: state.clock,
            version: "0.0.0-fake".into(),
        }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let state = self.state();
        let replica = |shard: u64, role: &str, problem: &str| v1::ReplicaStatus {
            shard: Some(state.shard(shard, 0, u64::MAX)),
            replica: 10 + shard,
            role: role.into(),
            problem: problem.into(),
            term: 3,
            last_log_index: 9,
            committed_index: 9,
            applied_index: 8,
            revision: state.clock,
            keys_estimate: state.keys.len() as u64,
            bytes_estimate: 100,
        };
        Ok(Response::new(v1::StatusResponse {
            cluster: 0xfeed,
            node: 1,
            replicas: vec![
                replica(0, "leader", ""),
                replica(1, "leader", ""),
                replica(2, "stopped", "its log ends early"),
            ],
            version: "0.0.0-fake".into(),
            distrust: state.distrust.clone(),
            disk: Some(v1::Disk { available_bytes: 12 << 20, reserve_bytes: 64 << 20, low: true, full: true }),
        }))
    }

    async fn replace_node(
        &self,
        request: Request<v1::ReplaceNodeRequest>,
    ) -> Result<Response<v1::ReplaceNodeResponse>, Status> {
        let mut state = self.state();
        match &mut state.distrust {
            Some(distrust) if request.into_inner().node == 1 => {
                distrust.waiting = false;
                Ok(Response::new(v1::ReplaceNodeResponse {}))
            }
            _ => {
                Err(v1::Error::new(Reason::InvalidRequest, "node 1 trusts its disk, so there is nothing to replace")
                    .into())
            }
        }
    }

    /// Node 1 leads; node 2 votes, too; node 3 is behind; no other is there.
    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let v1::TransferLeaderRequest { shard, to_node, .. } = request.into_inner();
        let refused = |reason, message: &str| Err(v1::Error::new(reason, message).into());
        match (shard, to_node) {
            (3.., _) => refused(Reason::UnknownShard, "there is no such shard"),
            (_, 0 | 2) => Ok(Response::new(v1::TransferLeaderResponse { shard, from_node: 1, leader_node: 2 })),
            (_, 1) => Ok(Response::new(v1::TransferLeaderResponse { shard, from_node: 1, leader_node: 1 })),
            (_, 3) => refused(Reason::ReplicaBehind, "the replica on node 3 lags by 1000 entries"),
            (_, _) => refused(Reason::InvalidRequest, "no voter is there"),
        }
    }

    /// Always the same; the replica of shard 2 has stopped.
    async fn replica_hash(
        &self,
        request: Request<v1::ReplicaHashRequest>,
    ) -> Result<Response<v1::ReplicaHashResponse>, Status> {
        let shard = request.into_inner().shard;
        if shard == 2 {
            return Err(v1::Error::new(Reason::NoQuorum, "the replica has stopped").into());
        }
        Ok(Response::new(v1::ReplicaHashResponse {
            node: 1,
            shard,
            replica: 10 + shard,
            applied_index: 8,
            applied_term: 3,
            revision: self.state().clock,
            hash: vec![0xab; 16].into(),
            keys: 5,
            records: 6,
            bytes: 7,
            version: "0.0.0-fake".into(),
        }))
    }
}
