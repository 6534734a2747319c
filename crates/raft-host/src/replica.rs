//! One replica of a shard: its Raft group member and the tasks around it.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{Config, ServerState, SnapshotPolicy};
use ringfence_planted::{Bug, planted};
use ringfence_state_machine::ShardState;
use ringfence_storage::{NodeStorage, ReplicaRecord, StateDb};
use ringfence_types::{ReplicaId, ShardId};
use tokio::task::JoinHandle;

use crate::apply_pool::ApplyPool;
use crate::calls::Calls;
use crate::clock::Clock;
use crate::compaction::{self, Compactor};
use crate::config::{HostConfig, Timing};
use crate::confirm::Confirmer;
use crate::descriptor_cell::DescriptorCell;
use crate::expiry;
use crate::flushed::Flushed;
use crate::holds::Holds;
use crate::host::HostError;
use crate::inbound::Inbound;
use crate::lease_expiry;
use crate::locks::Locks;
use crate::log_store::{Durable, LogStore};
use crate::machine::{AppliedBytes, Machine};
use crate::majority::leader_node;
use crate::moments::Moments;
use crate::network::Link;
use crate::proposer::{Office, Proposer};
use crate::raft::{Raft, position};
use crate::reader::Reader;
use crate::shard::{ReplicaRole, ShardStatus};
use crate::snapshot::SnapshotReceiver;
use crate::transport::Transport;
use crate::trust::check_trust;
use crate::wall_time::WallTime;

/// What all replicas of a node share.
pub(crate) struct Surroundings {
    pub config: HostConfig,
    pub storage: NodeStorage,
    pub transport: Arc<dyn Transport>,
    pub clock: Arc<dyn Clock>,
    pub wall_time: Arc<WallTime>,
    pub calls: Arc<Calls>,
    pub apply_pool: ApplyPool,
}

/// See the module. Its tasks end when it is shut down or its Raft core stops.
pub(crate) struct Replica {
    pub shard: ShardId,
    pub replica: ReplicaId,
    pub descriptor: DescriptorCell,
    pub raft: Raft,
    pub state: StateDb,
    pub proposer: Proposer,
    pub reader: Reader,
    pub inbound: Inbound,
    pub link: Link,
    pub flushed: Flushed,
    pub locks: Locks,
    pub moments: Moments,
    tasks: Vec<JoinHandle<()>>,
}

impl Replica {
    /// Starts a replica from what is on disk.
    pub(crate) async fn start(around: &Surroundings, record: &ReplicaRecord) -> Result<Replica, HostError> {
        let (shard, replica) = (record.shard, record.replica);
        let log = around.storage.log.group(replica)?;
        check_trust(record, &log)?;
        let state = around.storage.state.clone();
        // A fresh replica has none before a leader has filled it. Until then its Raft core knows no membership either, so
        // it never stands for election.
        let known =
            ShardState::load(&state.view(), shard).map_err(|e| HostError::Unreadable { shard, reason: e.reason })?;
        let descriptor = DescriptorCell::new(known.map(|state| state.descriptor));

        let durable = Durable::default();
        // Seeds and snapshots are synced. Of what was applied since, a killed process may have left some in the operating
        // system's cache alone, so it does not count until the compactor has synced it.
        durable.raise(record.base.map_or(0, |p| p.index));
        let applied_bytes = AppliedBytes::default();
        let log_store = LogStore::new(log, durable.clone());
        let flushed = log_store.flushed();
        let locks = Locks::default();
        locks.reload(&state.view(), shard).map_err(|e| HostError::Unreadable { shard, reason: e.reason })?;
        let moments = Moments::default();
        let machine = Machine::new(
            shard,
            replica,
            state.clone(),
            around.apply_pool.thread(shard),
            durable.clone(),
            flushed.clone(),
            applied_bytes.clone(),
            descriptor.clone(),
            locks.clone(),
            moments.clone(),
        );
        let holds = Holds::default();
        let link = Link {
            group: shard,
            from: replica,
            descriptor: descriptor.clone(),
            transport: around.transport.clone(),
            calls: around.calls.clone(),
            clock: around.clock.clone(),
            state: state.clone(),
            holds: holds.clone(),
        };
        let config = raft_config(shard, &around.config.timing)?;
        let raft = Raft::new(replica.0, config, link.clone(), log_store.clone(), machine)
            .await
            .map_err(|e| HostError::Raft { shard, reason: e.to_string() })?;

        let office = || Office::new(shard, raft.clone(), state.clone(), around.clock.clone(), around.wall_time.clone());
        let proposer = Proposer::start(office(), &around.config.admission, locks.room.clone());
        let confirmer = Confirmer::new(raft.clone(), link.clone(), log_store.clone());
        let reader = Reader::start(confirmer, around.config.admission.requests_max);
        let receiver = SnapshotReceiver::new(shard, replica, around.config.staging_dir.clone());
        let inbound = Inbound::new(raft.clone(), link.clone(), log_store, receiver);
        let compactor = Compactor {
            shard,
            raft: raft.clone(),
            state: state.clone(),
            durable,
            applied_bytes,
            holds,
            policy: around.config.compaction,
        };
        let clock = &around.clock;
        let of_leases = lease_expiry::run(
            shard,
            raft.clone(),
            state.clone(),
            locks.leases.clone(),
            proposer.clone(),
            clock.clone(),
        );
        let tasks = vec![
            tokio::spawn(compaction::run(compactor)),
            tokio::spawn(expiry::run(shard, raft.clone(), state.clone(), proposer.clone(), clock.clone())),
            tokio::spawn(of_leases),
        ];
        Ok(Replica {
            shard,
            replica,
            descriptor,
            raft,
            state,
            proposer,
            reader,
            inbound,
            link,
            flushed,
            locks,
            moments,
            tasks,
        })
    }

    /// Stops Raft and the tasks. What is in the log stays there.
    pub(crate) async fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Err(e) = self.raft.shutdown().await {
            tracing::warn!(shard = %self.shard, "Raft did not stop cleanly: {e}");
        }
    }

    /// Whether the Raft core runs; else why not, and whether starting it again can help.
    pub(crate) fn stopped(&self) -> Option<(String, Restart)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let fatal = metrics.running_state.as_ref().err()?;
        let restart = match fatal {
            Fatal::Panicked => Restart::Helps,
            Fatal::StorageError(_) | Fatal::Stopped => Restart::IsInVain,
        };
        Some((fatal.to_string(), restart))
    }

    pub(crate) fn status(&self) -> ShardStatus {
        let leader = leader_node(&self.raft);
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let problem = metrics.running_state.as_ref().err().map(ToString::to_string);
        ShardStatus {
            shard: self.shard,
            replica: self.replica,
            role: match metrics.state {
                _ if problem.is_some() => ReplicaRole::Stopped,
                ServerState::Leader => ReplicaRole::Leader,
                ServerState::Follower => ReplicaRole::Follower,
                ServerState::Candidate => ReplicaRole::Candidate,
                ServerState::Learner => ReplicaRole::Learner,
                ServerState::Shutdown => ReplicaRole::Stopped,
            },
            problem,
            leader,
            term: metrics.current_term,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            committed_index: metrics.local_committed.as_ref().map_or(0, |id| position(id).index),
            applied_index: metrics.last_applied.as_ref().map_or(0, |id| position(id).index),
        }
    }
}

/// Whether a replica that stopped should be started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// Its log and state are as the disk has them, and what happened may not happen again.
    Helps,
    /// It would stop at the same place: it cannot read or apply what it has, or was told to stop.
    IsInVain,
}

fn raft_config(shard: ShardId, timing: &Timing) -> Result<Arc<Config>, HostError> {
    let ms = |d: Duration| d.as_millis() as u64;
    let config = Config {
        cluster_name: shard.to_string(),
        heartbeat_interval: ms(timing.heartbeat),
        election_timeout_min: ms(timing.election_min),
        election_timeout_max: ms(timing.election_max),
        install_snapshot_timeout: 600_000,
        max_payload_entries: 256,
        // Snapshots and purges are triggered by `compaction`, never by Raft itself (openraft issue 2116).
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // The default lets a restarted leader go on without an election and serve stale reads.
        enable_leader_restore: Some(false),
        // A replica that was cut off must not depose a good leader when it comes back.
        enable_pre_vote: Some(true),
        // Planted: a follower that turns out to lack what it was believed to have is no reason for alarm.
        allow_log_reversion: Some(planted(Bug::CommitWithoutQuorum)),
        ..Config::default()
    };
    let config = config.validate().map_err(|e| HostError::Timing { reason: e.to_string() })?;
    Ok(Arc::new(config))
}
