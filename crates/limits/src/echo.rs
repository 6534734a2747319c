//! A gRPC server that knows our protocol and does nothing: every get finds a value, every put succeeds.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringfence_bench::{Bench, Keys, Peer, Plan, Row, Sdk, Unary, Workload};
use ringfence_client::Client;
use ringfence_proto::v1;
use ringfence_proto::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use ringfence_proto::v1::kv_client::KvClient;
use ringfence_proto::v1::kv_server::{Kv, KvServer};
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::Limit;
use crate::stream::Stream;

/// Keys that are asked for. The server doesn't look at them.
const KEYS: usize = 1000;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Answers of one stream that wait for the transport.
const ANSWERS_AHEAD_MAX: usize = 4;

/// Starts a server and measures it.
pub(crate) fn measure(
    limit: Limit,
    clients: usize,
    warm_up: Duration,
    duration: Duration,
    key_bytes: usize,
    value_bytes: usize,
) -> Result<Row, String> {
    let server = Server::start(value_bytes)?;
    let keys = Keys::new(None, KEYS, key_bytes, value_bytes).map_err(|error| error.to_string())?;
    let plan = Plan { workload: Workload::Get, clients, warm_up, duration, server_pids: vec![server.process.id()] };
    // As many threads as `ringctl` has.
    runtime(Some(2))?.block_on(async {
        match limit {
            Limit::EchoUnary => {
                let unary = Unary::new(std::slice::from_ref(&server.address), None, TIMEOUT)?;
                row(unary, keys, &plan).await
            }
            Limit::EchoSdk => {
                let client = Client::connect([&server.address]).await.map_err(|error| error.to_string())?;
                row(Sdk::new(client), keys, &plan).await
            }
            _ => {
                let endpoint = Endpoint::from_shared(format!("http://{}", server.address));
                let channel = endpoint.map_err(|error| error.to_string())?.connect_lazy();
                row(Stream::open(KvClient::new(channel)), keys, &plan).await
            }
        }
    })
}

async fn row<P: Peer>(peer: P, keys: Keys, plan: &Plan) -> Result<Row, String> {
    let row = Bench::new(peer, keys).row(plan, &mut |_| {}).await.map_err(|error| error.to_string())?;
    match row.error_messages.values().next() {
        None => Ok(row),
        Some(message) => Err(format!("{} operations failed, first: {message}", row.errors_total())),
    }
}

fn runtime(threads: Option<usize>) -> Result<Runtime, String> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().map_err(|error| format!("cannot start threads: {error}"))
}

/// The server as a process of its own.
///
/// * It ends when its stdin closes, so it does not outlive us, however we end.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(value_bytes: usize) -> Result<Server, String> {
        let failed = |error: std::io::Error| format!("cannot start the echo server: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["echo-server", "--value-size", &value_bytes.to_string()]);
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let mut server = Server { process, address: String::new() };
        if let Some(stdout) = server.process.stdout.take() {
            BufReader::new(stdout).read_line(&mut server.address).map_err(failed)?;
        }
        server.address.truncate(server.address.trim_end().len());
        if server.address.is_empty() { Err("the echo server ended at once".to_owned()) } else { Ok(server) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Runs the server until stdin is closed.
pub(crate) fn serve(value_bytes: usize) -> Result<(), String> {
    // As many threads as `ringfence` has.
    let runtime = runtime(None)?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.map_err(|error| format!("cannot listen: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?.to_string();
    // Else an answer waits up to 40 ms for the acknowledgement of the one before.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let echo = Echo { address: address.clone().into(), value: vec![0x5a; value_bytes].into() };
    let _guard = runtime.enter(); // tonic starts tasks of its own
    let server = tonic::transport::Server::builder()
        .add_service(KvServer::new(echo.clone()))
        .add_service(ClusterServiceServer::new(echo))
        .serve_with_incoming(incoming);
    runtime.spawn(server);
    println!("{address}");
    std::io::stdout().flush().map_err(|error| error.to_string())?;
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    runtime.shutdown_background();
    Ok(())
}

#[derive(Clone)]
struct Echo {
    address: Arc<str>,
    value: Bytes,
}

impl Echo {
    fn header() -> Option<v1::ResponseHeader> {
        Some(v1::ResponseHeader { revision: 1, shard: 1, node: 1 })
    }

    fn found(&self, key: Bytes) -> v1::GetResponse {
        let value = self.value.clone();
        let kv = v1::KeyValue { key, value, revision: 1, create_revision: 1, version: 1, ttl_ms: None };
        v1::GetResponse { header: Echo::header(), kv: Some(kv) }
    }

    fn answer(&self, call: v1::Call) -> v1::Answer {
        let kind = match call.operation.and_then(|operation| operation.kind) {
            Some(Ask::Get(get)) => Some(Told::Get(self.found(get.key))),
            Some(Ask::Put(_)) => Some(Told::Put(v1::PutResponse { header: Echo::header(), version: 1 })),
            _ => None,
        };
        v1::Answer { call: call.call, result: Some(v1::Result { kind }) }
    }
}

fn nothing<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this server only echoes gets and puts"))
}

#[tonic::async_trait]
impl Kv for Echo {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        Ok(Response::new(self.found(request.into_inner().key)))
    }

    async fn put(&self, _: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        Ok(Response::new(v1::PutResponse { header: Echo::header(), version: 1 }))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut requests = request.into_inner();
        let (answers, stream) = tokio::sync::mpsc::channel(ANSWERS_AHEAD_MAX);
        let echo = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let response =
                    v1::SessionResponse { answers: request.calls.into_iter().map(|call| echo.answer(call)).collect() };
                if answers.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        nothing()
    }

    async fn cas(&self, _: Request<v1::CasRequest>) -> Result<Response<v1::CasResponse>, Status> {
        nothing()
    }

    async fn add(&self, _: Request<v1::AddRequest>) -> Result<Response<v1::AddResponse>, Status> {
        nothing()
    }

    async fn scan(&self, _: Request<v1::ScanRequest>) -> Result<Response<v1::ScanResponse>, Status> {
        nothing()
    }

    async fn batch(&self, _: Request<v1::BatchRequest>) -> Result<Response<v1::BatchResponse>, Status> {
        nothing()
    }
}

/// The SDK wants to know the cluster before it asks anything.
#[tonic::async_trait]
impl ClusterService for Echo {
    async fn describe(&self, _: Request<v1::DescribeRequest>) -> Result<Response<v1::DescribeResponse>, Status> {
        let replicas = vec![v1::Replica { replica: 1, node: 1, voter: true }];
        let shard = |shard| v1::Shard {
            shard,
            first_position: 0,
            last_position: u64::MAX,
            range_epoch: 1,
            membership_epoch: 1,
            replicas: replicas.clone(),
            leader_node: 1,
        };
        Ok(Response::new(v1::DescribeResponse {
            cluster: 1,
            node: 1,
            nodes: vec![v1::Node { node: 1, address: self.address.to_string(), labels: String::new(), incarnation: 0 }],
            shards: vec![shard(1)],
            meta: Some(shard(0)),
            revision: 1,
            version: "echo".to_owned(),
        }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        nothing()
    }

    async fn replace_node(
        &self,
        _: Request<v1::ReplaceNodeRequest>,
    ) -> Result<Response<v1::ReplaceNodeResponse>, Status> {
        nothing()
    }

    async fn transfer_leader(
        &self,
        _: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        nothing()
    }

    async fn replica_hash(
        &self,
        _: Request<v1::ReplicaHashRequest>,
    ) -> Result<Response<v1::ReplicaHashResponse>, Status> {
        nothing()
    }
}
