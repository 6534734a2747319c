//! Cuts a replica's log, so that it does not grow for ever.
//!
//! What may go is applied, and durable in the state DB: the state DB is not synced write by write, so it is synced first.
//! A stretch is kept behind the cut for followers that are a little late; whoever needs older entries gets a snapshot, and what
//! it will need after that is kept meanwhile ([`Holds`]), up to [`HELD_TIMES_MAX`] of what is kept anyway.

use std::collections::VecDeque;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use ringfence_storage::StateDb;
use ringfence_types::ShardId;

use crate::config::Compaction;
use crate::holds::Holds;
use crate::log_store::Durable;
use crate::machine::AppliedBytes;
use crate::raft::Raft;

/// How often to look whether there is something to cut.
const TICK: Duration = Duration::from_millis(500);

/// How long building a snapshot may take; it only notes a position.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// How many times the bytes that are kept anyway may be kept for followers that are sent a snapshot.
const HELD_TIMES_MAX: u64 = 8;

/// What it needs of a replica.
pub(crate) struct Compactor {
    pub shard: ShardId,
    pub raft: Raft,
    pub state: StateDb,
    pub durable: Durable,
    pub applied_bytes: AppliedBytes,
    pub holds: Holds,
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
    let mut known = None;
    loop {
        tokio::time::sleep(TICK).await;
        let (now, purged) = {
            let metrics = compactor.raft.metrics();
            let metrics = metrics.borrow_watched();
            let Some(applied) = metrics.last_applied else { continue };
            let bytes = compactor.applied_bytes.total();
            (Mark { index: applied.index, bytes }, metrics.purged.map_or(0, |id| id.index))
        };
        // The log of a replica that was seeded or installed a snapshot began so, and was not cut.
        if known.is_some_and(|known| purged > known) {
            tracing::debug!(shard = %compactor.shard, upto = purged, "cut the log");
        }
        known = Some(purged);
        let upto = due(&mut marks, now, purged, compactor.holds.lowest(), &compactor.policy);
        if let Some(upto) = upto
            && let Err(reason) = compactor.cut(now.index, upto).await
        {
            tracing::warn!(shard = %compactor.shard, "cannot cut the log: {reason}");
        }
    }
}

/// Up to where to cut the log, once twice as much as is kept has gathered since `purged`.
///
/// Entries are counted exactly. Bytes are known only at the marks that earlier calls left, so a cut by bytes keeps what was
/// written between two of them, too. Nothing above `held` is cut, unless that would keep too much.
fn due(marks: &mut VecDeque<Mark>, now: Mark, purged: u64, held: Option<u64>, policy: &Compaction) -> Option<u64> {
    if marks.back().is_none_or(|last| last.index < now.index) {
        marks.push_back(now);
    }
    while marks.front().is_some_and(|mark| mark.index < purged) {
        marks.pop_front();
    }
    let by_entries =
        (now.index.saturating_sub(purged) >= policy.entries.saturating_mul(2)).then(|| now.index - policy.entries);
    let written_since = |mark: &Mark| now.bytes - mark.bytes;
    let by_bytes = if marks.front().is_some_and(|first| written_since(first) >= policy.bytes.saturating_mul(2)) {
        marks.iter().rev().find(|mark| written_since(mark) >= policy.bytes).map(|mark| mark.index)
    } else {
        None
    };
    let held = held.filter(|_| {
        let kept = marks.front().map_or(0, written_since);
        kept < policy.bytes.saturating_mul(HELD_TIMES_MAX)
    });
    let upto = by_entries.max(by_bytes)?.min(held.unwrap_or(u64::MAX));
    (upto > purged).then_some(upto)
}

impl Compactor {
    /// Syncs the state up to `applied`, then has the log removed up to `upto`. Raft removes it when no follower is being sent
    /// entries of it any more.
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

    /// The log is bounded by twice what is kept, and never cut into what is kept, however unevenly it grows.
    #[test]
    fn keeps_one_measure_and_cuts_at_two() {
        let policy = Compaction { entries: 100, bytes: u64::MAX };
        let mut marks = VecDeque::new();
        let (mut index, mut purged) = (0, 0);
        for burst in [1, 50, 99, 100, 500, 1, 1, 98, 3000, 199] {
            index += burst;
            if let Some(upto) = due(&mut marks, Mark { index, bytes: 0 }, purged, None, &policy) {
                assert!(upto > purged && index - upto >= 100, "{index} {upto}");
                purged = upto;
            }
            assert!(index - purged < 200, "{index} {purged}");
        }
        assert!(purged > 3_000);
    }

    #[test]
    fn few_large_entries_are_cut_by_bytes() {
        let policy = Compaction { entries: u64::MAX, bytes: 1000 };
        let mut marks = VecDeque::new();
        let mut purged = 0;
        let mut cuts = Vec::new();
        for index in 1..=10 {
            if let Some(upto) = due(&mut marks, Mark { index, bytes: index * 500 }, purged, None, &policy) {
                purged = upto;
                cuts.push((index, upto));
            }
        }
        assert_eq!(cuts, [(5, 3), (7, 5), (9, 7)]);
    }

    /// What a snapshot on its way will need stays, until it would be too much.
    #[test]
    fn what_is_held_is_not_cut_but_within_bounds() {
        let policy = Compaction { entries: 10, bytes: 1000 };
        let mut marks = VecDeque::new();
        let (mut purged, mut cuts) = (0, Vec::new());
        for index in (10..=2_000).step_by(10) {
            let now = Mark { index, bytes: index * 10 };
            if let Some(upto) = due(&mut marks, now, purged, Some(100), &policy) {
                purged = upto;
                cuts.push((index, upto));
            }
        }
        let (within, beyond) = cuts.split_at(cuts.iter().position(|(_, upto)| *upto > 100).unwrap());
        assert_eq!(within.last(), Some(&(110, 100)));
        assert_eq!(beyond[0].0, 900, "8 x 1000 bytes after entry 100");
    }
}
