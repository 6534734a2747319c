//! A node, from its start to its end.
//!
//! ```text
//!   start:  data directory ─▶ (first time: seed the replicas, damaged: set it aside) ─▶ Raft groups ─▶ gRPC server ─▶ background tasks
//!   stop:   hand over leadership ─▶ no new calls ─▶ calls under way end ─▶ connections end ─▶ Raft groups ─▶ disk
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use ringfence_proto::internal::v1::node_service_server::NodeServiceServer;
use ringfence_proto::v1::cluster_service_server::ClusterServiceServer;
use ringfence_proto::v1::election_server::ElectionServer;
use ringfence_proto::v1::kv_server::KvServer;
use ringfence_proto::v1::lock_server::LockServer;
use ringfence_raft_host::{Host, HostConfig, HostError, Problem, Shard, SystemClock, TransferError};
use ringfence_state_machine::NodeInfo;
use ringfence_storage::{DataDir, StorageError};
use ringfence_types::limits::GRPC_MESSAGE_BYTES_MAX;
use ringfence_types::{NodeId, ShardId};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::admission::Admission;
use crate::birth;
use crate::config::{Config, ConfigError};
use crate::forward::Forwarder;
use crate::gateway::Gateway;
use crate::grpc;
use crate::incarnation::Standing;
use crate::incoming;
use crate::known::Known;
use crate::life::Life;
use crate::mint::Mint;
use crate::newcomer;
use crate::peers::{CONNECTION_WINDOW_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_WINDOW_BYTES};
use crate::rejoin::Rejoin;
use crate::replica_hash::Hashing;
use crate::room::Room;
use crate::tasks;
use crate::transport::{PeerTransport, with_causes};

/// Calls under way on one connection, at the most. Further ones wait in the client.
const STREAMS_PER_CONNECTION_MAX: u32 = 4096;

/// How long a stopping node tries to hand over leadership. It serves meanwhile, but whoever stops it waits.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);

/// How long it then waits for calls under way, and for connections to end.
const FINISH_MAX: Duration = Duration::from_secs(3);
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// How long to wait until nothing holds the storage any more.
const RELEASE_MAX: Duration = Duration::from_secs(10);

/// Why a node does not start. One line each: what happened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is not one.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The port is taken, or the address is not this machine's.
    #[error("cannot listen on {address}: {reason}. Stop what uses the port, or give the node another one (--listen)")]
    Listen {
        /// Which address.
        address: String,
        /// What the operating system said.
        reason: String,
    },
    /// The data directory.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The record of how the node was born.
    #[error("{}: {reason}. It says how this node was founded; restore it, or replace the node by a fresh one", .path.display())]
    Founding {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The databases are damaged, and this is the only node.
    #[error("{} cannot be trusted any more: {reason}. There is no other node to get it back from. Restore the directory from a \
             copy; it was left as it is", .path.display())]
    NobodyToFillFrom {
        /// The directory.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The Raft groups.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Why a node ended though nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It cannot write to its disk any more, or has read nonsense from it.
    #[error("the node has stopped: {0}. Nothing that was acknowledged is lost while a majority of the nodes is well")]
    Storage(String),
}

/// A node that runs.
pub struct Node {
    addr: SocketAddr,
    gateway: Arc<Gateway>,
    ending: Ending,
    server: JoinHandle<()>,
    problem: watch::Receiver<Option<Problem>>,
    dir: DataDir,
    life: Arc<Life>,
}

/// The three steps in which a node goes away.
#[derive(Clone, Default)]
struct Ending {
    /// No new calls.
    stopping: CancellationToken,
    /// Streams between nodes end.
    quiet: CancellationToken,
    /// Every connection and task ends now.
    cut: CancellationToken,
}

/// Opens the port that a configuration names.
pub async fn bind(config: &Config) -> Result<TcpListener, StartError> {
    TcpListener::bind(&config.listen)
        .await
        .map_err(|error| StartError::Listen { address: config.listen.clone(), reason: error.to_string() })
}

/// Runs a node until `shutdown` is ready, or until its storage fails.
pub async fn run(config: Config, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let node = Node::start(config, listener).await?;
    tokio::pin!(shutdown);
    tokio::select! {
        () = &mut shutdown => {
            tracing::info!("stopping");
            node.stop().await;
            Ok(())
        }
        problem = node.failed() => {
            node.abort().await;
            Err(RunError::Storage(problem))
        }
    }
}

impl Node {
    /// Starts a node that serves on `listener`.
    pub async fn start(config: Config, listener: TcpListener) -> Result<Node, StartError> {
        let addr = listener
            .local_addr()
            .map_err(|error| StartError::Listen { address: config.listen.clone(), reason: error.to_string() })?;
        let lived_before = newcomer::check(&config).await?;
        let for_birth = config.clone();
        let opening = tokio::task::spawn_blocking(move || birth::open_or_found(&for_birth, lived_before));
        let born = opening.await.expect("it does not panic")?;
        let room = Room::new(config.node, &config.data_dir, config.disk_reserve_bytes);
        let configured = birth::founders(&config.founding);
        let known = Known::load(&config.data_dir, &born.founders, &configured, &config.dial, born.meta, born.shards);
        let (life, dir) = (born.life, born.dir);
        let cluster = life.record().cluster;
        let rejoin = Rejoin::of(&life).map(Arc::new);
        let storage = dir.storage();

        let ending = Ending::default();
        let standing = Standing::new(life.clone());
        let transport =
            PeerTransport::new(config.node, cluster, standing.clone(), known.book.clone(), ending.cut.clone());
        let host_config = HostConfig {
            timing: config.timing,
            compaction: config.compaction,
            staging_dir: Some(config.data_dir.join("staging")),
            ..HostConfig::new(config.node, rand::random())
        };
        let clock = Arc::new(SystemClock::default());
        let host = Host::start(host_config, storage.clone(), Arc::new(transport), clock).await?;
        let problem = host.problem();
        let gateway = Arc::new(Gateway {
            node: config.node,
            cluster,
            host,
            state: storage.state,
            forwarder: Forwarder::new(known.book.clone(), ending.cut.clone()),
            known: Arc::new(known),
            admission: Admission::new(config.inflight_bytes_max),
            mint: Mint::new(),
            standing,
            rejoin,
            room: Arc::new(room),
            stopping: ending.stopping.clone(),
        });
        let server = tokio::spawn(serve(gateway.clone(), listener, ending.clone()));
        let here = NodeInfo {
            node: config.node,
            address: config.advertise.clone(),
            labels: config.labels.clone(),
            incarnation: life.record().incarnation,
        };
        tasks::start(&gateway, &config, here, &ending.cut);
        tracing::info!(node = config.node.0, %addr, data_dir = %config.data_dir.display(), "serving");
        Ok(Node { addr, gateway, ending, server, problem, dir, life })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.gateway.node
    }

    /// Its Raft groups, for tests that look inside.
    pub fn host(&self) -> &Host {
        &self.gateway.host
    }

    /// Returns when the node's storage has failed, with the reason. The node must be ended then.
    pub async fn failed(&self) -> String {
        let mut problem = self.problem.clone();
        let failed = tokio::select! {
            failed = problem.wait_for(Option::is_some) => failed.ok().and_then(|problem| problem.clone()),
            reason = self.gateway.standing.disowned() => {
                return format!("{reason}. Start it again: the other nodes fill it anew then");
            }
        };
        match failed {
            Some(Problem::Damaged(reason)) => {
                self.distrust(&reason).await;
                format!(
                    "{reason}. Start it again: what it has on this disk is set aside then, and the other nodes fill it anew"
                )
            }
            Some(problem) => problem.to_string(),
            None => std::future::pending().await, // the host is gone: someone ends the node already
        }
    }

    /// Leaves a mark for the next start, which might not come upon the damage before it has voted.
    async fn distrust(&self, reason: &str) {
        let (life, reason) = (self.life.clone(), reason.to_owned());
        if life.record().founding.founders.len() == 1 {
            return; // nobody could fill it; let an operator see what can be saved
        }
        let marked = tokio::task::spawn_blocking(move || life.change(|record| record.distrust(reason))).await;
        if !matches!(marked, Ok(Ok(()))) {
            tracing::error!("the data directory could not be marked as damaged: {marked:?}");
        }
    }

    /// Ends the node so that clients notice as little as possible. When it returns, the data directory is free.
    pub async fn stop(self) {
        let handed_over = timeout(HAND_OVER_MAX, hand_over(&self.gateway)).await;
        if handed_over.is_err() {
            tracing::info!("leadership was not handed over in time; the other nodes elect leaders");
        }
        self.ending.stopping.cancel();
        if timeout(FINISH_MAX, self.gateway.admission.idle()).await.is_err() {
            tracing::info!("some calls did not end in time and are cut off");
        }
        self.ending.quiet.cancel();
        let mut node = self;
        let _ = timeout(GOODBYE_MAX, &mut node.server).await;
        node.release().await;
    }

    /// Ends the node as a crash would, as far as that is possible inside a living process: nothing is handed over, no
    /// connection says goodbye, what was under way is lost. What the operating system holds for its files is kept, as it
    /// is when a process is killed. When it returns, the data directory is free.
    pub async fn abort(self) {
        self.ending.stopping.cancel();
        self.ending.quiet.cancel();
        self.release().await;
    }

    /// Ends everything that still runs, and waits until nothing holds the storage.
    async fn release(self) {
        let Node { gateway, ending, server, dir, .. } = self;
        ending.cut.cancel();
        server.abort();
        gateway.host.stop().await;
        drop(gateway);
        // Tasks that were cut are gone at their next step, and scans when they have read their page.
        let closed = tokio::task::spawn_blocking(move || dir.close(RELEASE_MAX)).await;
        if !closed.unwrap_or(false) {
            tracing::warn!("something still holds the data directory");
        }
    }
}

/// Hands every leadership of this node to the best of the other replicas.
async fn hand_over(gateway: &Gateway) {
    let leading: Vec<Shard> = gateway.host.shards().into_iter().filter(Shard::is_leader).collect();
    join_all(leading.iter().map(|shard| async {
        match shard.hand_over(gateway.node, None).await {
            Ok(_) | Err(TransferError::NotLeader | TransferError::OnlyVoter) => {}
            Err(error) => tracing::info!(shard = shard.id().0, "leadership was not handed over: {error}"),
        }
    }))
    .await;
}

async fn serve(gateway: Arc<Gateway>, listener: TcpListener, ending: Ending) {
    let (health_reporter, health) = tonic_health::server::health_reporter();
    let kv = grpc::kv::KvService { gateway: gateway.clone(), stopping: ending.stopping.clone() };
    let kv = limited(KvServer::new(kv), KvServer::max_decoding_message_size, KvServer::max_encoding_message_size);
    let lock = limited(
        LockServer::new(grpc::lock::LockService { gateway: gateway.clone() }),
        LockServer::max_decoding_message_size,
        LockServer::max_encoding_message_size,
    );
    let election = ElectionServer::new(grpc::election::ElectionService { gateway: gateway.clone() });
    let cluster =
        ClusterServiceServer::new(grpc::cluster::Cluster { gateway: gateway.clone(), hashing: Hashing::default() });
    let node = grpc::node::Node { gateway, stopping: ending.stopping.clone(), quiet: ending.quiet.clone() };
    let node = limited(
        NodeServiceServer::new(node),
        NodeServiceServer::max_decoding_message_size,
        NodeServiceServer::max_encoding_message_size,
    );
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(ringfence_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were compiled with us");
    health_reporter.set_serving::<KvServer<grpc::kv::KvService>>().await;

    let stopping = ending.stopping.clone();
    let goodbye = async move {
        stopping.cancelled().await;
        health_reporter.set_not_serving::<KvServer<grpc::kv::KvService>>().await;
    };
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL * 5))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(health)
        .add_service(reflection)
        .add_service(kv)
        .add_service(lock)
        .add_service(election)
        .add_service(cluster)
        .add_service(node)
        .serve_with_incoming_shutdown(incoming::accept(listener, ending.cut.clone()), goodbye)
        .await;
    if let Err(error) = served {
        tracing::error!("the gRPC server has ended: {}", with_causes(&error));
    }
}

/// The same message size limits for every service that carries keys and values.
fn limited<S>(service: S, decoding: fn(S, usize) -> S, encoding: fn(S, usize) -> S) -> S {
    encoding(decoding(service, GRPC_MESSAGE_BYTES_MAX), GRPC_MESSAGE_BYTES_MAX)
}

/// Whether every shard that has a replica on this node has a leader, the meta group too.
pub(crate) fn is_led(node: &Node) -> bool {
    node.host().shards().iter().all(|shard| shard.leader().is_some() || shard.id() == ShardId::META)
}
