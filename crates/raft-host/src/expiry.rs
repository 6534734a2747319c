//! Proposes the removal of keys whose time is up, while this replica leads.
//!
//! The task decides nothing: it looks for deadlines that the applied lease clock has passed, and proposes. Whether a key
//! really is due is decided in `apply`, by the entry's lease clock. A key may live a little longer than its ttl, by this
//! task's interval and by a failover; never shorter.
//!
//! It keeps no index in memory, so any number of keys may have a ttl. It reads through the deadlines of the shard, and rests
//! ten times as long as that took, so that it never costs more than a tenth of a thread.

use std::sync::Arc;
use std::time::Duration;

use ringfence_state_machine::{Command, Request, ShardState, deadlines};
use ringfence_storage::StateDb;
use ringfence_types::{Key, Revision, ShardId};

use crate::clock::Clock;
use crate::fair_queue::Lane;
use crate::proposer::Proposer;
use crate::raft::Raft;

/// Shortest rest between two looks.
const REST_MIN: Duration = Duration::from_millis(200);

/// Keys removed by one command.
const KEYS_PER_COMMAND: usize = 256;

/// Keys removed after one look; the rest are found by the next.
const KEYS_PER_LOOK: usize = 16 * KEYS_PER_COMMAND;

pub(crate) async fn run(shard: ShardId, raft: Raft, state: StateDb, proposer: Proposer, clock: Arc<dyn Clock>) {
    // How the lease clock has run since it was last read from the state: an idle shard's stands still in the log.
    let mut rest = REST_MIN;
    let mut pace = Pace::default();
    loop {
        tokio::time::sleep(rest).await;
        if !raft.is_leader() {
            pace = Pace::default();
            rest = REST_MIN;
            continue;
        }
        let began = clock.monotonic();
        let view = state.clone();
        let estimate = pace.clone();
        let Ok(looked) = tokio::task::spawn_blocking(move || look(&view, shard, estimate, began)).await else { return };
        rest = REST_MIN.max((clock.monotonic() - began) * 10);
        let look = match looked {
            Ok(look) => look,
            Err(e) => {
                tracing::error!(shard = %shard, "cannot look for keys whose time is up: {e}");
                continue;
            }
        };
        pace = look.pace;
        for keys in look.due.chunks(KEYS_PER_COMMAND) {
            let command = Command::ExpireKeys(keys.to_vec());
            let request = Request { id: None, seen: Revision::ZERO, command };
            if proposer.propose([request], Lane::NODE).single().await.is_err() {
                break; // not the leader any more, or overloaded: the next look finds them again
            }
        }
        if look.due.len() == KEYS_PER_LOOK {
            rest = REST_MIN;
        }
    }
}

/// What the lease clock would read if something were proposed now: the applied reading, and the time since it last moved.
/// It may run ahead of the leader's own reckoning by the age of its term; then `apply` refuses, and nothing is lost.
#[derive(Clone, Default)]
pub(crate) struct Pace {
    seen: Option<(u64, Duration)>,
}

impl Pace {
    /// `now`: the monotonic clock.
    pub(crate) fn estimate(&mut self, applied_ms: u64, now: Duration) -> u64 {
        let (base, since) = match self.seen {
            Some((base, since)) if base == applied_ms => (base, since),
            _ => (applied_ms, now),
        };
        self.seen = Some((base, since));
        base + (now - since).as_millis() as u64
    }
}

struct Look {
    due: Vec<Key>,
    pace: Pace,
}

fn look(
    state: &StateDb,
    shard: ShardId,
    mut pace: Pace,
    now: Duration,
) -> Result<Look, ringfence_state_machine::Unreadable> {
    let view = state.view();
    let Some(known) = ShardState::load(&view, shard)? else { return Ok(Look { due: Vec::new(), pace }) };
    let now_ms = pace.estimate(known.lease_clock_ms, now);
    let mut due = Vec::new();
    if shard != ShardId::META {
        deadlines(&view, &known.descriptor.range, &mut |key, deadline_ms| {
            if deadline_ms <= now_ms && due.len() < KEYS_PER_LOOK {
                due.push(key);
            }
        })?;
    }
    Ok(Look { due, pace })
}
