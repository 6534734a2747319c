//! All Raft groups of a node.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use ringfence_storage::{NodeStorage, ReplicaRecord, StateDb, StorageError};
use ringfence_types::{NodeId, ReplicaId, ShardId};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::apply_pool::ApplyPool;
use crate::calls::Calls;
use crate::clock::Clock;
use crate::config::HostConfig;
use crate::inbound::may_speak;
use crate::replica::{Replica, Restart, Surroundings};
use crate::shard::Shard;
use crate::transport::Transport;
use crate::wire::{Header, Message, decode, encode};

/// How often to look for replicas whose Raft core has stopped.
const SUPERVISION: Duration = Duration::from_secs(1);

/// Why a node's groups, or one of them, cannot start.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HostError {
    /// The disk, or what is on it.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A replica's log is not what it acknowledged. It never votes again, and must be replaced.
    #[error(
        "{replica} of {shard} is distrusted: {reason}. Entries that it acknowledged are missing, so it takes no part any more"
    )]
    Distrusted {
        /// Of which shard.
        shard: ShardId,
        /// Which replica.
        replica: ReplicaId,
        /// What was found.
        reason: String,
    },
    /// A replica's state cannot be read.
    #[error("the state of {shard} cannot be read: {reason}")]
    Unreadable {
        /// Of which shard.
        shard: ShardId,
        /// What was found.
        reason: String,
    },
    /// There is a log of a replica that the state DB does not know.
    #[error("there is a log of {replica}, but the state DB knows no such replica: it has lost what it had")]
    Orphan {
        /// Which replica.
        replica: ReplicaId,
    },
    /// The timing does not fit together.
    #[error("the timing does not fit together: {reason}. It must be heartbeat < election_min < election_max")]
    Timing {
        /// What does not fit.
        reason: String,
    },
    /// Raft did not start.
    #[error("Raft of {shard} did not start: {reason}")]
    Raft {
        /// Of which shard.
        shard: ShardId,
        /// Why.
        reason: String,
    },
    /// No thread could be started.
    #[error("cannot start the apply threads: {0}. Raise the limit of threads of this user")]
    Threads(String),
}

/// Why a node that ran must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A write or a sync failed, so nobody knows what the disk has. What is there is whole, as far as anybody knows: the
    /// next start reads it back.
    #[error("{0}")]
    Failed(String),
    /// What was read is not what was written. Nothing on that disk is trusted any more.
    #[error("{0}")]
    Damaged(String),
}

/// All groups of a node. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    around: Arc<Surroundings>,
    slots: RwLock<BTreeMap<ShardId, Arc<Slot>>>,
    tell: watch::Sender<Option<Problem>>,
    supervisor: std::sync::Mutex<Option<JoinHandle<()>>>,
}

/// A place for the replica of a shard, which may be restarted in it.
pub(crate) struct Slot {
    pub shard: ShardId,
    pub replica_id: ReplicaId,
    pub state: StateDb,
    replica: RwLock<Result<Arc<Replica>, String>>,
}

impl Slot {
    async fn start(around: &Surroundings, record: &ReplicaRecord) -> Result<Slot, HostError> {
        let replica = RwLock::new(start_replica(around, record).await?);
        let state = around.storage.state.clone();
        Ok(Slot { shard: record.shard, replica_id: record.replica, state, replica })
    }

    pub(crate) fn replica(&self) -> Result<Arc<Replica>, String> {
        self.replica.read().expect("never poisoned").clone()
    }

    fn put(&self, replica: Result<Arc<Replica>, String>) {
        *self.replica.write().expect("never poisoned") = replica;
    }
}

impl Host {
    /// Starts all replicas that this node's storage knows. A replica that cannot be trusted does not start, and says so in
    /// its status; the others do.
    pub async fn start(
        config: HostConfig,
        storage: NodeStorage,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Host, HostError> {
        let tell = watch::Sender::new(None);
        let teller = |what: &'static str| {
            let tell = tell.clone();
            move |e: StorageError| {
                let said = format!("the {what} DB failed: {e}");
                let is_damage = matches!(e, StorageError::Corrupt { .. });
                tell.send_replace(Some(if is_damage { Problem::Damaged(said) } else { Problem::Failed(said) }));
            }
        };
        storage.log.on_failure(teller("log"));
        storage.state.on_failure(teller("state"));
        let apply_pool = ApplyPool::start(config.apply_threads).map_err(|e| HostError::Threads(e.to_string()))?;
        let around = Arc::new(Surroundings {
            calls: Calls::new(config.seed),
            wall_time: Arc::default(),
            apply_pool,
            config,
            storage,
            transport,
            clock,
        });
        let mut slots = BTreeMap::new();
        for record in around.storage.state.replicas()? {
            let slot = Slot::start(&around, &record).await?;
            slots.insert(record.shard, Arc::new(slot));
        }
        let inner = Inner { around, slots: RwLock::new(slots), tell, supervisor: std::sync::Mutex::default() };
        let host = Host { inner: Arc::new(inner) };
        let supervisor = tokio::spawn(supervise(Arc::downgrade(&host.inner)));
        *host.inner.supervisor.lock().expect("never poisoned") = Some(supervisor);
        Ok(host)
    }

    /// Begins to host a fresh, empty replica of a shard that this node has none of. It takes no part until a leader fills it.
    /// Durable on return; a shard that is here already is left alone.
    pub async fn host_fresh(&self, shard: ShardId, replica: ReplicaId) -> Result<(), HostError> {
        if self.shard(shard).is_some() {
            return Ok(());
        }
        let around = &self.inner.around;
        let record = ReplicaRecord::empty(shard, replica);
        let (state, fresh) = (around.storage.state.clone(), record.clone());
        tokio::task::spawn_blocking(move || state.seed(fresh, Vec::new()))
            .await
            .unwrap_or(Err(StorageError::Stopped))?;
        let slot = Arc::new(Slot::start(around, &record).await?);
        self.inner.slots.write().expect("never poisoned").insert(shard, slot);
        Ok(())
    }

    /// Takes an envelope that came from a node. Never waits.
    pub fn receive(&self, from: NodeId, envelope: Bytes) {
        let (header, message) = match decode(envelope) {
            Ok(decoded) => decoded,
            Err(e) => {
                tracing::warn!(%from, "dropped an envelope: {e}");
                return;
            }
        };
        let around = &self.inner.around;
        around.wall_time.heard(from, header.wall_ms, &*around.clock);
        if let Some(call) = message.answers() {
            around.calls.answered(call, message);
            return;
        }
        let slot = self.inner.slots.read().expect("never poisoned").get(&header.group).cloned();
        let refusal = match slot.as_ref().map(|slot| slot.replica()) {
            Some(Ok(replica)) if replica.replica != header.to => {
                format!("{} is not here; {} is", header.to, replica.replica)
            }
            Some(Ok(replica)) if !may_speak(replica.descriptor.get().as_deref(), &header) => {
                format!("{} was removed from {}", header.from, header.group)
            }
            Some(Ok(replica)) => return replica.inbound.receive(from, &header, message),
            Some(Err(problem)) => problem,
            None => format!("{} has no replica here", header.group),
        };
        self.refuse(from, &header, &message, refusal);
    }

    /// Tells the sender of a question that it will not be answered.
    fn refuse(&self, from: NodeId, header: &Header, message: &Message, reason: String) {
        let Some(call) = message.asks() else { return };
        let around = &self.inner.around;
        let back = Header { from: header.to, to: header.from, wall_ms: around.clock.wall_ms(), ..*header };
        let _ = around.transport.send(from, encode(&back, &Message::Refused { call, reason }));
    }

    /// This node's replica of a shard, if it has one.
    pub fn shard(&self, shard: ShardId) -> Option<Shard> {
        let slots = self.inner.slots.read().expect("never poisoned");
        slots.get(&shard).map(|slot| Shard { slot: slot.clone() })
    }

    /// All replicas of this node, the meta group's first.
    pub fn shards(&self) -> Vec<Shard> {
        let slots = self.inner.slots.read().expect("never poisoned");
        slots.values().map(|slot| Shard { slot: slot.clone() }).collect()
    }

    /// Becomes `Some` when the node must stop: nothing is acknowledged any more.
    pub fn problem(&self) -> watch::Receiver<Option<Problem>> {
        self.inner.tell.subscribe()
    }

    /// Stops all replicas and lets go of the storage. What was acknowledged stays.
    pub async fn stop(&self) {
        if let Some(supervisor) = self.inner.supervisor.lock().expect("never poisoned").take() {
            supervisor.abort();
        }
        let slots: Vec<_> = self.inner.slots.read().expect("never poisoned").values().cloned().collect();
        futures::future::join_all(slots.iter().map(|slot| async {
            if let Ok(replica) = slot.replica() {
                replica.stop().await;
            }
            slot.put(Err("the node is shutting down".into()));
        }))
        .await;
    }
}

/// Starts one replica. A failure of its own (distrust, unreadable state) is the inner error; one of the node, the outer.
async fn start_replica(
    around: &Surroundings,
    record: &ReplicaRecord,
) -> Result<Result<Arc<Replica>, String>, HostError> {
    match Replica::start(around, record).await {
        Ok(replica) => Ok(Ok(Arc::new(replica))),
        Err(
            e @ (HostError::Distrusted { .. }
            | HostError::Unreadable { .. }
            | HostError::Orphan { .. }
            | HostError::Raft { .. }
            | HostError::Storage(StorageError::Corrupt { .. } | StorageError::UnknownVersion { .. })),
        ) => {
            tracing::error!(shard = %record.shard, "replica not started: {e}");
            Ok(Err(e.to_string()))
        }
        Err(e) => Err(e),
    }
}

/// Restarts replicas whose Raft core panicked (openraft issue 2116). Their log and state are what the disk has, so that is
/// the same as restarting the node for them. One that cannot read or apply what it has stays stopped, and says why.
async fn supervise(host: std::sync::Weak<Inner>) {
    loop {
        tokio::time::sleep(SUPERVISION).await;
        let Some(inner) = host.upgrade() else { return };
        if inner.tell.borrow().is_some() {
            return;
        }
        let slots: Vec<_> = inner.slots.read().expect("never poisoned").values().cloned().collect();
        for slot in slots {
            let Ok(replica) = slot.replica() else { continue };
            let Some((problem, restart)) = replica.stopped() else { continue };
            tracing::error!(shard = %slot.shard, "the replica stopped: {problem}");
            replica.stop().await;
            if restart == Restart::IsInVain {
                slot.put(Err(problem));
                continue;
            }
            slot.put(Err(format!("it stopped ({problem}) and is being started again")));
            let restarted = match inner.around.storage.state.replica(slot.shard) {
                Ok(Some(record)) => match Replica::start(&inner.around, &record).await {
                    Ok(replica) => Ok(Arc::new(replica)),
                    Err(e) => {
                        if e.is_damage() {
                            inner.tell.send_replace(Some(Problem::Damaged(e.to_string())));
                        }
                        Err(e.to_string())
                    }
                },
                Ok(None) => Err("its record is gone".into()),
                Err(e) => Err(e.to_string()),
            };
            slot.put(restarted);
        }
    }
}
