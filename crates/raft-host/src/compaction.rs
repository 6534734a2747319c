//! Cuts a replica's log, so that it does not grow for ever.
//!
//! What may go is applied, and durable in the state DB: the state DB is not synced write by write, so it is synced first.
//! A stretch is kept behind the cut for followers that are a little late; whoever needs older entries gets a snapshot.

use std::collections::VecDeque;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use ringfence_storage::StateDb;
use ringfence_types::ShardId;

use crate::config::Compaction;
use crate::log_store::Durable;
use crate::machine::AppliedBytes;
use crate::raft::Raft;

/// How often to look whether there is something to cut.
const TICK: Duration = Duration::from_millis(500);

/// How long building a snapshot may take; it only notes a position.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// What it needs of a replica.
pub(crate) struct Compactor {
    pub shard: ShardId,
    pub raft: Raft,
    pub state: StateDb,
    pub durable: Durable,
    pub applied_bytes: AppliedBytes,
    pub policy: Compaction,
}

/// Where the log was, and how many bytes had been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    index: u64,
    bytes: u64,
}

pub(crate) async fn run(compactor: Compactor) {
    let mut marks: VecDeque<Mark> = VecDeque::new();
    loop {
        tokio::time::sleep(TICK).await;
        let index = match compactor.raft.metrics().borrow_watched().last_applied {
            Some(applied) => applied.index,
            None => continue,
        };
        let now = Mark { index, bytes: compactor.applied_bytes.total() };
        if let Some(upto) = note(&mut marks, now, &compactor.policy) {
            match compactor.cut(index, upto).await {
                Ok(()) => tracing::debug!(shard = %compactor.shard, upto, "cut the log"),
                Err(reason) => tracing::warn!(shard = %compactor.shard, "cannot cut the log: {reason}"),
            }
        }
    }
}

/// Notes where the log is now. Returns up to where to cut, once twice as much as is kept has gathered.
fn note(marks: &mut VecDeque<Mark>, now: Mark, policy: &Compaction) -> Option<u64> {
    if marks.back().is_none_or(|last| last.index < now.index) {
        marks.push_back(now);
    }
    let enough = |from: &Mark, times: u64| {
        now.index - from.index >= policy.entries * times || now.bytes - from.bytes >= policy.bytes * times
    };
    if !marks.front().is_some_and(|first| enough(first, 2)) {
        return None;
    }
    let keep_from = marks.iter().rposition(|mark| enough(mark, 1))?;
    marks.drain(..keep_from);
    marks.front().map(|mark| mark.index)
}

impl Compactor {
    /// Syncs the state up to `applied`, then removes the log up to `upto`.
    async fn cut(&self, applied: u64, upto: u64) -> Result<(), String> {
        let state = self.state.clone();
        tokio::task::spawn_blocking(move || state.make_durable())
            .await
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())?;
        self.durable.raise(applied);
        self.raft.trigger().snapshot().await.map_err(|e| e.to_string())?;
        self.raft
            .wait(Some(SNAPSHOT_TIMEOUT))
            .metrics(|m| m.snapshot.is_some_and(|id| id.index >= upto), "a snapshot covers what is cut")
            .await
            .map_err(|e| e.to_string())?;
        self.raft.trigger().purge_log(upto).await.map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log is bounded by twice what is kept, in entries and in bytes, and never cut into what is kept.
    #[test]
    fn keeps_one_measure_and_cuts_at_two() {
        let policy = Compaction { entries: 100, bytes: 1000 };
        let mut marks = VecDeque::new();
        let mut cut = 0;
        for index in 1..=2_000 {
            if let Some(upto) = note(&mut marks, Mark { index, bytes: 0 }, &policy) {
                assert!(upto > cut && index - upto >= 100 && index - upto < 200, "{index} {upto}");
                cut = upto;
            }
            assert!(index - cut <= 201, "{index} {cut}");
        }
        assert!(cut >= 1_800);
    }

    #[test]
    fn few_large_entries_are_cut_by_bytes() {
        let policy = Compaction { entries: 1_000_000, bytes: 1000 };
        let mut marks = VecDeque::new();
        let cuts: Vec<u64> =
            (1..=10).filter_map(|i| note(&mut marks, Mark { index: i, bytes: i * 500 }, &policy)).collect();
        assert_eq!(cuts, [3, 5, 7, 8, 9, 10].iter().map(|last| last - 2).collect::<Vec<u64>>()[..cuts.len()]);
        assert!(!cuts.is_empty());
    }
}
