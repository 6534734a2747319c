//! Looking at locks: one, now or once it has changed, or all leases, a page at a time.

use std::time::Duration;

use ringfence_proto::v1;
use ringfence_proto::v1::result::Kind;
use ringfence_raft_host::Shard;
use ringfence_state_machine::{LeaseQuery, LockView, inspect, list_leases};
use ringfence_types::{LockName, RingPosition};
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use crate::answer;
use crate::call::{LeaseCursor, LeaseList};
use crate::gateway::{Attempt, Gateway};
use crate::grpc::status;

/// Records that one page looks at, at the most, however few are leases of the prefix.
const EXAMINED_MAX: usize = 20_000;

impl Gateway {
    /// How the lock is held, at once or when its state is not `unless` any more. Linearizable.
    pub(crate) async fn inspect(
        &self,
        shard: &Shard,
        name: &LockName,
        unless: Option<u64>,
        within: Duration,
        deadline: Instant,
    ) -> Attempt {
        let until = deadline.min(Instant::now() + within);
        loop {
            let seat = match shard.watch(name.clone()) {
                Ok(seat) => seat,
                Err(error) => return Attempt::Again(status::propose(shard.id(), &error)),
            };
            if let Err(attempt) = self.barrier(shard, deadline).await {
                return attempt;
            }
            let view = match self.state.snapshot_view() {
                Ok(view) => view,
                Err(error) => return Attempt::Final(Err(status::internal(&error.to_string()))),
            };
            let answer = match inspect(&view, shard.id(), name) {
                Ok(Ok(answer)) => answer,
                Ok(Err(refusal)) => return self.read_refused(shard.id(), refusal),
                Err(error) => return Attempt::Again(status::unreadable(shard.id(), &error)),
            };
            let state = state_of(&answer.value);
            let told = v1::InspectResponse {
                header: self.answering(shard).header(answer.clock),
                leases: answer.value.leases.into_iter().map(answer::lease).collect(),
                waiters: answer.value.waiters.into_iter().map(answer::waiter).collect(),
                state,
            };
            let told = Attempt::Final(Ok(Kind::Inspect(told)));
            if unless != Some(state) {
                return told;
            }
            tokio::select! {
                () = seat.called() => {}
                () = tokio::time::sleep_until(until) => return told,
                () = self.stopping.cancelled() => return told,
            }
        }
    }

    /// One page of leases.
    pub(crate) async fn list_leases(&self, shard: &Shard, list: &LeaseList, deadline: Instant) -> Attempt {
        if let Err(attempt) = self.barrier(shard, deadline).await {
            return attempt;
        }
        let query = LeaseQuery {
            prefix: list.prefix.clone(),
            after: list.after.as_ref().and_then(|after| after.lease.clone()),
            from: list.after.as_ref().map(|after| after.position).or(list.only),
            limit: list.limit,
            examined_max: EXAMINED_MAX,
        };
        let (state, id) = (self.state.clone(), shard.id());
        let read = tokio::task::spawn_blocking(move || {
            let view = state.snapshot_view().map_err(|error| status::internal(&error.to_string()))?;
            list_leases(&view, id, &query).map_err(|error| status::unreadable(id, &error))
        });
        let page = match tokio::time::timeout_at(deadline, read).await {
            Ok(Ok(Ok(Ok(page)))) => page,
            Ok(Ok(Ok(Err(refusal)))) => return self.read_refused(id, refusal),
            Ok(Ok(Err(error))) => return Attempt::Final(Err(error)),
            Ok(Err(error)) => return Attempt::Final(Err(status::internal(&format!("a list did not finish: {error}")))),
            Err(_) => return Attempt::Final(Err(status::read_too_late(id))),
        };
        let (clock, page) = (page.clock, page.value);
        let next = match page.resume {
            Some((name, token)) => Some(LeaseCursor { position: name.position(), lease: Some((name, token)) }),
            None if list.only.is_some() => None,
            None => {
                page.range.last.0.checked_add(1).map(|next| LeaseCursor { position: RingPosition(next), lease: None })
            }
        };
        Attempt::Final(Ok(Kind::ListLeases(v1::ListLeasesResponse {
            header: self.answering(shard).header(clock),
            leases: page.leases.into_iter().map(answer::lease).collect(),
            next_cursor: next.map(|next| next.encode(&list.identity())).unwrap_or_default(),
        })))
    }
}

/// Changes with the leases and what they show, and with nothing else. Never 0.
fn state_of(lock: &LockView) -> u64 {
    let mut hash = Xxh3::new();
    for lease in &lock.leases {
        hash.update(&lease.token.0.0.to_be_bytes());
        hash.update(&(lease.metadata.bytes().len() as u64).to_be_bytes());
        hash.update(lease.metadata.bytes());
    }
    hash.digest().max(1)
}
