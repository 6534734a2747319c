//! Calls that wait for their turn at a lock, at the leader of its shard.
//!
//! The queue stands in the shard's state, and survives whatever happens to this node; a call only waits for news of its ticket.
//! Its client asks again when the call ends without a grant, here or at the next leader, so a call is never kept long. That
//! the client is still there is written down (`LockCommand::Wait`) now and then, when such a call comes in.
//!
//! ```text
//! Wait ticket 12 ─▶ sit down ─▶ look: it waits ─▶ … the lock is released, 12 is granted … ─▶ called ─▶ look: token 15
//!                                     └─▶ 5 s have passed ─▶ still queued: ask again
//! ```
//!
//! What is left of a waited-for lease is told by the leader's lease clock *now*, not by that of the grant: the client counts it
//! from the sending of this call, which was before. A leader that was deposed without knowing it is ahead of its successors, never
//! behind them, so what it tells is never too much.

use std::time::Duration;

use ringfence_proto::v1;
use ringfence_proto::v1::result::Kind;
use ringfence_raft_host::{Lane, ProposeError, Shard};
use ringfence_state_machine::{Command, Done, LockCommand, Request, TicketView, WaiterRef, look_up_ticket};
use ringfence_types::Revision;
use ringfence_types::limits::WAITER_SILENCE_MS_MAX;
use tokio::time::{Instant, timeout_at};

use crate::gateway::{Attempt, Gateway};
use crate::grpc::status;

/// A waiter has been silent for less than this part of what it may, when a call of it is kept without writing that down.
const HEARD_MS_MIN: u64 = WAITER_SILENCE_MS_MAX / 3 * 2;

impl Gateway {
    /// Waits until the ticket's turn has come, for so long at most; then the answer is that it is still queued.
    pub(crate) async fn wait(
        &self,
        shard: &Shard,
        waiter: &WaiterRef,
        within: Duration,
        lane: Lane,
        deadline: Instant,
    ) -> Attempt {
        let until = deadline.min(Instant::now() + within);
        loop {
            // First the seat, then the look: a grant after the look calls whoever sits.
            let seat = match shard.sit(waiter.name.clone(), waiter.ticket) {
                Ok(seat) => seat,
                Err(error) => return Attempt::Again(status::propose(shard.id(), &error)),
            };
            let queued = match self.look(shard, waiter) {
                Look::Granted(done) => return self.granted(shard, &done),
                Look::Waits(queued) => queued,
                Look::Ask => match self.ask(shard, waiter, lane, deadline).await {
                    Ok(queued @ Done::Queued { .. }) => queued,
                    Ok(granted) => return self.granted(shard, &granted),
                    Err(attempt) => return attempt,
                },
                Look::Failed(error) => return Attempt::Again(error),
            };
            tokio::select! {
                () = seat.called() => {}
                () = tokio::time::sleep_until(until) => return self.granted(shard, &queued),
                // Whoever leads next knows as much.
                () = self.stopping.cancelled() => return self.granted(shard, &queued),
            }
            if !shard.decides() {
                return Attempt::Again(self.not_leader(shard.id(), shard.leader()));
            }
        }
    }

    fn granted(&self, shard: &Shard, done: &Done) -> Attempt {
        Attempt::Final(Ok(Kind::Wait(self.answering(shard).acquired(done))))
    }

    /// What this replica has applied. It may be behind, so it is believed only where being behind does no harm.
    fn look(&self, shard: &Shard, waiter: &WaiterRef) -> Look {
        let found = match self.state.snapshot_view() {
            Ok(view) => look_up_ticket(&view, shard.id(), waiter),
            Err(error) => return Look::Failed(status::internal(&error.to_string())),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => return Look::Failed(status::unreadable(shard.id(), &error)),
        };
        match (found, shard.lease_clock_ms()) {
            (TicketView::Waits { waiting, present_until_ms, lease_clock_ms, clock }, now_ms) => {
                let now_ms = now_ms.unwrap_or(lease_clock_ms).max(lease_clock_ms);
                match present_until_ms >= now_ms + HEARD_MS_MIN {
                    true => Look::Waits(Done::Queued { ticket: waiter.ticket, waiting, revision: clock }),
                    false => Look::Ask,
                }
            }
            (TicketView::Holds { lease, deadline_ms, clock }, Some(now_ms)) => Look::Granted(Done::Granted {
                token: lease.token,
                generation: lease.generation,
                permit: lease.permit,
                ttl_left_ms: deadline_ms.saturating_sub(now_ms),
                revision: clock,
            }),
            _ => Look::Ask,
        }
    }

    /// Has the shard write down that the waiter is there, and say how it stands.
    async fn ask(&self, shard: &Shard, waiter: &WaiterRef, lane: Lane, deadline: Instant) -> Result<Done, Attempt> {
        let command = Command::Lock(LockCommand::Wait(waiter.clone()));
        let request = Request { id: None, seen: Revision::ZERO, command };
        match timeout_at(deadline, shard.propose(request, lane)).await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(refusal))) => Err(self.refused(shard, refusal)),
            // Perhaps it was written down. Said twice, it does no harm.
            Ok(Err(ProposeError::Unknown)) => Err(Attempt::Again(status::read_too_late(shard.id()))),
            Ok(Err(error)) => Err(self.not_decided(shard, error)),
            Err(_) => Err(Attempt::Final(Err(status::read_too_late(shard.id())))),
        }
    }
}

/// How a ticket stands here.
enum Look {
    Waits(Done),
    Granted(Done),
    /// The shard must say.
    Ask,
    /// This replica cannot read its own state.
    Failed(v1::Error),
}

/// The ticket of a request that was queued.
pub(crate) fn ticket_of(acquired: &v1::AcquireResponse) -> Option<i64> {
    match &acquired.outcome {
        Some(v1::acquire_response::Outcome::Queued(queued)) => Some(queued.ticket),
        _ => None,
    }
}
