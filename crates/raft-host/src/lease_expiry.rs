//! Proposes the end of leases whose time is up, and keeps the lease clock going, while this replica leads.
//!
//! The task decides nothing. A lease ends when the command is applied, if the *entry's* lease clock has reached its deadline by
//! then; so a leader that was stuck, or is not the leader any more, ends none early.
//!
//! While leases live it sees to it that something is logged now and then (guarantee G6): a new leader goes on from the highest
//! reading in the log, so the time between that and the failover is added to every lease.

use std::sync::Arc;
use std::time::Duration;

use ringfence_state_machine::{Command, LockCommand, Request, ShardState};
use ringfence_storage::StateDb;
use ringfence_types::{Revision, ShardId};

use crate::clock::Clock;
use crate::expiry::Pace;
use crate::fair_queue::Lane;
use crate::lease_book::LeaseBook;
use crate::proposer::Proposer;
use crate::raft::Raft;

/// How late a lease may end by this task.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Leases ended by one command.
const LEASES_PER_COMMAND: usize = 256;

pub(crate) async fn run(
    shard: ShardId,
    raft: Raft,
    state: StateDb,
    book: LeaseBook,
    proposer: Proposer,
    clock: Arc<dyn Clock>,
) {
    let mut pace = Pace::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(silence_max) = book.silence_max().filter(|_| raft.is_leader()) else {
            pace = Pace::default();
            continue;
        };
        let applied_ms = match ShardState::load(&state.view(), shard) {
            Ok(Some(state)) => state.lease_clock_ms,
            Ok(None) => continue,
            Err(e) => {
                tracing::error!(shard = %shard, "cannot look for leases whose time is up: {e}");
                continue;
            }
        };
        let now_ms = pace.estimate(applied_ms, clock.monotonic());
        let due = book.due(now_ms, LEASES_PER_COMMAND);
        let is_silent = now_ms - applied_ms >= silence_max.as_millis() as u64;
        let command = match due.is_empty() {
            false => Command::Lock(LockCommand::Expire(due)),
            true if is_silent => Command::Advance(Revision::ZERO), // an entry carries the clock, whatever it says
            true => continue,
        };
        // If it fails we do not lead any more, or are overloaded: the next look finds them again.
        let _ = proposer.propose([Request { id: None, seen: Revision::ZERO, command }], Lane::NODE).single().await;
    }
}
