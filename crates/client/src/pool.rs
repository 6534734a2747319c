//! The nodes that this client talks to: one connection and one session each, and how well each is doing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringfence_proto::v1::cluster_service_client::ClusterServiceClient;
use ringfence_proto::v1::kv_client::KvClient;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::{Reason, v1};
use ringfence_types::limits::GRPC_MESSAGE_BYTES_MAX;
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::retry::Failure;
use crate::session::{Session, describe};

/// A node that does not accept a connection in this time is down for us.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection whose peer does not answer pings for this long, plus [`PING_INTERVAL`], is broken.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a peer is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// How long a node is avoided after its first failure in a row; doubled by each further one.
const AVOID_FIRST: Duration = Duration::from_millis(250);
/// The longest it is avoided.
const AVOID_MAX: Duration = Duration::from_secs(5);

/// Every node that was ever named, by address.
#[derive(Debug)]
pub(crate) struct Pool {
    unary: bool,
    links: Mutex<BTreeMap<Arc<str>, Arc<Link>>>,
}

impl Pool {
    pub(crate) fn new(unary: bool) -> Pool {
        Pool { unary, links: Mutex::default() }
    }

    /// The link to an address; made, not yet connected, if it is new. `Err` says why that is no address.
    pub(crate) fn link(&self, address: &str) -> Result<Arc<Link>, String> {
        let mut links = lock(&self.links);
        if let Some(link) = links.get(address) {
            return Ok(Arc::clone(link));
        }
        let link = Arc::new(Link::new(address, self.unary)?);
        links.insert(Arc::clone(&link.address), Arc::clone(&link));
        Ok(link)
    }
}

/// One node.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) address: Arc<str>,
    unary: bool,
    channel: Channel,
    session: Mutex<Option<Arc<Session>>>,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    failures: u32,
    avoid_until: Option<Instant>,
}

impl Link {
    fn new(address: &str, unary: bool) -> Result<Link, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(4 << 20) // else values of a megabyte wait for window updates
            .initial_connection_window_size(16 << 20)
            .connect_lazy();
        let address = Arc::from(address);
        Ok(Link { address, unary, channel, session: Mutex::default(), health: Mutex::default() })
    }

    /// Until when this node had better not be asked; `None` if it is well.
    pub(crate) fn avoid_until(&self) -> Option<Instant> {
        lock(&self.health).avoid_until.filter(|until| *until > Instant::now())
    }

    /// Sends one operation and waits for its answer.
    pub(crate) async fn send(&self, operation: v1::Operation, bytes: usize, within: Duration) -> Result<Told, Failure> {
        let outcome = match self.unary {
            true => self.send_alone(operation, within).await,
            false => self.session().call(operation, bytes, within).await.and_then(told),
        };
        self.take_note(&outcome);
        outcome
    }

    /// The cluster as this node knows it.
    pub(crate) async fn describe(&self, within: Duration) -> Result<v1::DescribeResponse, v1::Error> {
        let mut client = self.cluster_client();
        match timeout(within, client.describe(v1::DescribeRequest {})).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(explained(&status)),
            Err(_) => Err(v1::Error::new(Reason::DeadlineExceeded, format!("no answer within {within:?}"))),
        }
    }

    /// Each shard as its replica on this node sees it.
    pub(crate) async fn status(&self, shard: Option<u64>, within: Duration) -> Result<v1::StatusResponse, v1::Error> {
        let mut client = self.cluster_client();
        match timeout(within, client.status(v1::StatusRequest { shard })).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(explained(&status)),
            Err(_) => Err(v1::Error::new(Reason::DeadlineExceeded, format!("no answer within {within:?}"))),
        }
    }

    /// Lets the node be replaced.
    pub(crate) async fn replace(&self, node: u64, within: Duration) -> Result<(), v1::Error> {
        let mut client = self.cluster_client();
        match timeout(within, client.replace_node(v1::ReplaceNodeRequest { node })).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(explained(&status)),
            Err(_) => Err(v1::Error::new(Reason::DeadlineExceeded, format!("no answer within {within:?}"))),
        }
    }

    /// Has a shard's leader hand over, wherever it is.
    pub(crate) async fn transfer_leader(
        &self,
        request: v1::TransferLeaderRequest,
        within: Duration,
    ) -> Result<v1::TransferLeaderResponse, Failure> {
        let mut client = self.cluster_client();
        let mut request = tonic::Request::new(request);
        request.set_timeout(within);
        asked(within, client.transfer_leader(request)).await
    }

    /// What the node's own replica of a shard holds.
    pub(crate) async fn replica_hash(
        &self,
        request: v1::ReplicaHashRequest,
        within: Duration,
    ) -> Result<v1::ReplicaHashResponse, Failure> {
        let mut client = self.cluster_client();
        asked(within, client.replica_hash(request)).await
    }

    fn session(&self) -> Arc<Session> {
        let mut session = lock(&self.session);
        match &*session {
            Some(open) if !open.has_ended() => Arc::clone(open),
            _ => Arc::clone(session.insert(Arc::new(Session::open(self.kv_client())))),
        }
    }

    async fn send_alone(&self, operation: v1::Operation, within: Duration) -> Result<Told, Failure> {
        match timeout(within, unary(self.kv_client(), operation, within)).await {
            Ok(Ok(result)) => told(result),
            Ok(Err(status)) if never_connected(&status) => Err(Failure::NotSent(describe(&status))),
            Ok(Err(status)) => Err(Failure::Answered(explained(&status))),
            Err(_) => Err(Failure::Silent),
        }
    }

    /// One failure is enough to prefer another node for a moment; one answer is enough to be well again.
    fn take_note(&self, outcome: &Result<Told, Failure>) {
        let failed = match outcome {
            Ok(_) => false,
            Err(Failure::Answered(error)) => error.reason().is_none_or(|reason| reason == Reason::ShuttingDown),
            Err(_) => true,
        };
        let mut health = lock(&self.health);
        if failed {
            let wait = AVOID_FIRST.saturating_mul(1 << health.failures.min(16)).min(AVOID_MAX);
            // Many calls fail together when a node dies; that is one failure, not many.
            if health.avoid_until.is_none_or(|until| until <= Instant::now()) {
                health.failures += 1;
                health.avoid_until = Some(Instant::now() + wait);
            }
        } else if health.failures > 0 {
            *health = Health::default();
        }
    }

    fn kv_client(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
            .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX)
    }

    fn cluster_client(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone()).max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
    }
}

/// The answer inside a result; an error, or a kind that a newer server invented, is a failure.
fn told(result: v1::Result) -> Result<Told, Failure> {
    match result.kind {
        Some(Told::Error(error)) => Err(Failure::Answered(error)),
        Some(told) => Ok(told),
        None => {
            Err(Failure::Answered(v1::Error::new(Reason::Internal, "the answer is of an unknown kind; update the SDK")))
        }
    }
}

/// How a unary call about the cluster ended. A status that no node of ours has made is a broken connection.
async fn asked<T>(
    within: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Failure> {
    match timeout(within, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) if never_connected(&status) => Err(Failure::NotSent(describe(&status))),
        Ok(Err(status)) => match explained(&status) {
            error if error.reason().is_none() && status.code() == tonic::Code::Unavailable => {
                Err(Failure::Broken(error.message))
            }
            error => Err(Failure::Answered(error)),
        },
        Err(_) => Err(Failure::Silent),
    }
}

async fn unary(
    mut kv: KvClient<Channel>,
    operation: v1::Operation,
    within: Duration,
) -> Result<v1::Result, tonic::Status> {
    fn request<T>(message: T, within: Duration) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(within);
        request
    }
    let Some(kind) = operation.kind else { return Err(tonic::Status::invalid_argument("no operation")) };
    let told = match kind {
        Ask::Get(get) => Told::Get(kv.get(request(get, within)).await?.into_inner()),
        Ask::Put(put) => Told::Put(kv.put(request(put, within)).await?.into_inner()),
        Ask::Delete(delete) => Told::Delete(kv.delete(request(delete, within)).await?.into_inner()),
        Ask::Cas(cas) => Told::Cas(kv.cas(request(cas, within)).await?.into_inner()),
        Ask::Add(add) => Told::Add(kv.add(request(add, within)).await?.into_inner()),
        Ask::Scan(scan) => Told::Scan(kv.scan(request(scan, within)).await?.into_inner()),
        // The Lock service keeps one call open until the lock is granted. What we want is each step by itself.
        kind => {
            let batch = v1::BatchRequest { operations: vec![v1::Operation { kind: Some(kind) }], fences: Vec::new() };
            let results = kv.batch(request(batch, within)).await?.into_inner().results;
            return Ok(results.into_iter().next().unwrap_or_default());
        }
    };
    Ok(v1::Result { kind: Some(told) })
}

/// Whether the request never reached a connection, so that nothing can have happened.
fn never_connected(status: &tonic::Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn explained(status: &tonic::Status) -> v1::Error {
    v1::Error { message: describe(status), ..v1::Error::from(status) }
}

/// Our locks guard plain values that are right at every moment, so one that a panic has poisoned is still good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
