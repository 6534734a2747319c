//! Whether what a node finds on its disk can be believed.
//!
//! RocksDB's recovery may silently drop everything behind a bad record, and a replica that forgot entries it acknowledged
//! would help to elect a leader without them (guarantee G3). So a log that ends before what was applied or committed means
//! that something was lost.
//!
//! Distrust is contagious. One log DB holds the logs of all replicas of a node, in the same files and written by the same
//! syncs: if one group's log misses what it acknowledged, the disk has lied, and the log of another group may miss
//! acknowledged entries too, of which nobody can know, because they were neither applied nor known to be committed here. The
//! state DB's tables are shared by all shards in the same way. So what is found wrong with one replica is held against the
//! whole directory, and that is what gets replaced.
//!
//! Not everything that cannot be read is damage. Bytes that are what was written, by their checksums, and that this program
//! cannot make sense of, come from a newer release or from a fault of ours, and then from all nodes alike: if each of them
//! gave up its disk for that, nobody would be left. Such a replica stays stopped and says so.

use ringfence_planted::{Bug, planted};
use ringfence_state_machine::ShardState;
use ringfence_storage::{GroupLog, LogPosition, NodeStorage, ReplicaRecord, StorageError};

use crate::host::HostError;

/// Checks every replica of a node, before any of them is started. Reads all logs: not on an async worker.
///
/// Of an error that [is damage](HostError::is_damage) nothing in the databases may be used any more.
pub fn examine(storage: &NodeStorage) -> Result<(), HostError> {
    // Planted: what is there will do.
    if planted(Bug::TornLogVotes) {
        return Ok(());
    }
    let records = storage.state.replicas()?;
    for replica in storage.log.replicas()? {
        // A replica's record is made before its log, so a log without one means that the state DB has forgotten it.
        if !records.iter().any(|record| record.replica == replica) {
            return Err(HostError::Orphan { replica });
        }
    }
    for record in &records {
        check_trust(record, &storage.log.group(record.replica)?)?;
        let _ = ShardState::load(&storage.state.view(), record.shard); // whether it is damaged is asked below
    }
    storage.state.failure().or(storage.log.failure()).map_or(Ok(()), |error| Err(error.into()))
}

/// Whether a replica's log holds everything that the replica is known to have had.
pub(crate) fn check_trust(record: &ReplicaRecord, log: &GroupLog) -> Result<(), HostError> {
    // Planted: what is there will do.
    if planted(Bug::TornLogVotes) {
        return Ok(());
    }
    let state = log.state();
    let distrusted = |reason: String| HostError::Distrusted { shard: record.shard, replica: record.replica, reason };
    let last = state.last.unwrap_or(LogPosition { term: 0, index: 0 });
    // A replica that was seeded, or took a snapshot, has a state without the log that led to it.
    let begins = record.base.unwrap_or(LogPosition { term: 0, index: 0 });
    if let Some(applied) = record.applied
        && applied > last
        && applied > begins
    {
        return Err(distrusted(format!("its log ends at {last}, but {applied} was applied")));
    }
    if let Some(purged) = state.purged
        && record.applied.is_none_or(|applied| applied < purged)
    {
        // It was purged because the state had it for good.
        let applied = record.applied.map_or("nothing".into(), |applied| format!("no more than {applied}"));
        return Err(distrusted(format!("its log begins behind {purged}, but its state has {applied}")));
    }
    if let Some(committed) = state.committed
        && committed > last
        && committed > begins
    {
        return Err(distrusted(format!("its log ends at {last}, but {committed} was committed")));
    }
    Ok(())
}

impl HostError {
    /// Whether it means that the node's disk cannot be trusted any more. False for what another program, another
    /// configuration or a newer release can mend.
    pub fn is_damage(&self) -> bool {
        match self {
            HostError::Distrusted { .. } | HostError::Orphan { .. } => true,
            HostError::Storage(error) => matches!(error, StorageError::Corrupt { .. }),
            HostError::Unreadable { .. }
            | HostError::Timing { .. }
            | HostError::Raft { .. }
            | HostError::Threads(_) => false,
        }
    }
}
