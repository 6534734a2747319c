//! Forgets what is old enough, in two steps.
//!
//! What a replica answers depends on what is forgotten, so *that* something is forgotten is decided in the shard's log: the
//! leader proposes to raise the floors. What lies below them nobody can read any more, so every replica deletes it from
//! its own disk when it likes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringfence_raft_host::Lane;
use ringfence_state_machine::{Command, Request, ShardState};
use ringfence_types::{Revision, ShardId};

use tokio::time::Instant;

use super::proposal_deadline;
use crate::gateway::Gateway;

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(15);

/// A floor is raised in steps of this part of its window, so that an idle hour costs few log entries.
const STEPS_PER_WINDOW: u32 = 20;

/// After a step of deleting it rests for so many times as long as the step took.
const REST_TIMES: u32 = 9;

/// Raises the floors of the shards that this node leads.
pub(super) async fn propose(gateway: Arc<Gateway>, history_window: Duration, dedup_window: Duration) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        for shard in gateway.host.shards() {
            if shard.id() == ShardId::META || !shard.is_leader() {
                continue;
            }
            let Ok(Some(state)) = ShardState::load(&shard.view(), shard.id()) else { continue };
            let history = floor(state.clock, state.history_floor, history_window);
            let dedup = floor(state.clock, state.dedup_floor, dedup_window);
            if history.is_none() && dedup.is_none() {
                continue;
            }
            let command = Command::Collect {
                history: history.unwrap_or(state.history_floor),
                dedup: dedup.unwrap_or(state.dedup_floor),
            };
            let request = Request { id: None, seen: Revision::ZERO, command };
            match tokio::time::timeout_at(proposal_deadline(), shard.propose(request, Lane::NODE)).await {
                Ok(Ok(Ok(_))) => tracing::debug!(shard = shard.id().0, "raised the floors"),
                Ok(Ok(Err(refusal))) => tracing::warn!(shard = shard.id().0, "the floors were not raised: {refusal}"),
                // Not the leader any more, or too busy: the next round, or the next leader, does it.
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
}

/// The new floor, if it is worth raising. The shard's clock runs with the wall clock while the shard is used, and stands
/// while it is not: then nothing grows old.
fn floor(clock: Revision, floor: Revision, window: Duration) -> Option<Revision> {
    let target_ms = clock.wall_ms().checked_sub(window.as_millis() as u64)?;
    let step_ms = (window / STEPS_PER_WINDOW).as_millis() as u64;
    (target_ms >= floor.wall_ms() + step_ms).then(|| Revision::from_wall_ms(target_ms)).flatten()
}

/// Deletes what lies below the floors, on this node's disk, once they have been raised.
///
/// Every record is looked at, so with much history this is much work: a tenth of one core is the most that it takes, and what
/// is old enough goes a little later.
pub(super) async fn delete(gateway: Arc<Gateway>) {
    let mut done: BTreeMap<ShardId, (Revision, Revision)> = BTreeMap::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        for shard in gateway.host.shards() {
            let Ok(Some(state)) = ShardState::load(&shard.view(), shard.id()) else { continue };
            let floors = (state.history_floor, state.dedup_floor);
            if floors == (Revision::ZERO, Revision::ZERO) || done.get(&shard.id()) == Some(&floors) {
                continue;
            }
            match delete_of(&gateway, shard.id()).await {
                Ok(()) => {
                    done.insert(shard.id(), floors);
                }
                Err(error) => tracing::error!(shard = shard.id().0, "old records were not deleted: {error}"),
            }
        }
    }
}

async fn delete_of(gateway: &Gateway, shard: ShardId) -> Result<(), String> {
    let mut collection = gateway.state.collection(shard).map_err(|error| error.to_string())?;
    loop {
        let begun = Instant::now();
        let step = tokio::task::spawn_blocking(move || collection.step().map(|more| (more, collection)));
        let (more, rest) = step.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        if !more {
            return Ok(());
        }
        collection = rest;
        tokio::time::sleep(begun.elapsed() * REST_TIMES).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(600);

    fn at(ms: u64) -> Revision {
        Revision::from_wall_ms(ms).unwrap()
    }

    #[test]
    fn a_floor_follows_the_clock_a_window_behind_in_steps() {
        assert_eq!(floor(at(1_000_000), Revision::ZERO, WINDOW), Some(at(400_000)));
        assert_eq!(floor(at(1_010_000), at(400_000), WINDOW), None, "not worth an entry");
        assert_eq!(floor(at(1_030_000), at(400_000), WINDOW), Some(at(430_000)));
    }

    /// A young shard, or one whose leaders have no trusted clock, has a small clock.
    #[test]
    fn a_clock_younger_than_the_window_raises_nothing() {
        assert_eq!(floor(at(599_000), Revision::ZERO, WINDOW), None);
        assert_eq!(floor(Revision(17), Revision::ZERO, WINDOW), None);
    }
}
