//! Applies a committed entry: the one place where a shard changes.
//!
//! A whole entry is applied over one overlay, request by request. A request goes through
//!
//! 1. *range*: is the key ours? If not, the answer carries our descriptor and nothing is remembered;
//! 2. *clock*: the shard clock rises to what the client has seen, so that its new write comes after what it has read;
//! 3. *dedup*: was the request run already? Then the same answer again;
//! 4. *condition*, then *writes*, at one new revision: `max(clock + 1, now)`;
//! 5. *memory*: whatever the answer, it is the answer for ever.
//!
//! Everything consulted is in the entry or in the replicated state, so all replicas decide alike. A refusal is an
//! ordinary reply. `Err` means that this replica cannot read its own state: it must stop, and nothing was decided.

use bytes::Bytes;
use ringfence_planted::{Bug, planted};
use ringfence_shard_router::ShardDescriptor;
use ringfence_types::limits::VALUE_BYTES_MAX;
use ringfence_types::{Fence, RequestId, Revision, ShardId};

use crate::lock::Keeper;
use crate::mvcc::Place;
use crate::overlay::Overlay;
use crate::{
    Command, Done, Entry, Limits, LockCommand, Mutation, Refusal, Reply, Request, ShardState, Space, Unreadable, View,
    Wake, Write, dedup, keys, lock, meta, mvcc,
};

/// How far the word of a client may push the shard clock ahead of the leader's wall clock. As far as two trusted clocks
/// may differ; more would let one client with a made-up revision use up everyone's revisions.
pub(crate) const CLOCK_SLACK_MS: u64 = 10_000;

/// What an entry did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// To be made in one atomic step, together with the applied log id. Each stored key at most once, in order.
    pub writes: Vec<Write>,
    /// One per request, in order.
    pub replies: Vec<Reply>,
    /// Which of those who wait for locks have been granted theirs.
    pub wakes: Vec<Wake>,
}

/// Applies one committed entry to the state of a shard or of the meta group.
pub fn apply(view: &dyn View, shard: ShardId, entry: &Entry) -> Result<Applied, Unreadable> {
    let Some(now) = Revision::from_wall_ms(entry.now_ms) else {
        let refusal = Refusal::ClockOutOfRange { now_ms: entry.now_ms };
        let replies = vec![Err(refusal); entry.requests.len()];
        return Ok(Applied { writes: Vec::new(), replies, wakes: Vec::new() });
    };
    let before = ShardState::load_existing(view, shard)?;
    let mut state = before.clone();
    state.lease_clock_ms = state.lease_clock_ms.max(entry.lease_clock_ms);

    let mut overlay = Overlay::new(view);
    let targets = prefetch(&mut overlay, &state.descriptor, entry)?;
    let mut run = Run { clock_max: clock_max(entry.now_ms, state.clock), now, state, overlay, wakes: Vec::new() };
    let mut replies = Vec::with_capacity(entry.requests.len());
    for (request, target) in entry.requests.iter().zip(targets) {
        replies.push(run.request(request, target)?);
    }

    let Run { state, mut overlay, wakes, .. } = run;
    if state != before {
        let Write { space, key, value } = state.write();
        overlay.put(space, key, value);
    }
    Ok(Applied { writes: overlay.into_writes(), replies, wakes })
}

/// How high the word of a client may raise the shard clock during this entry.
///
/// With a trusted wall clock: that plus the slack, however high the clock already is, so many entries raise it no further
/// than one. Without one (`now_ms` 0): the slack per entry, because nothing else says what is reasonable.
fn clock_max(now_ms: u64, clock: Revision) -> Revision {
    let trusted_ms = if now_ms == 0 { clock.wall_ms() } else { now_ms };
    let max_ms = (trusted_ms + CLOCK_SLACK_MS).min(Revision::NOW_MS_END - 1);
    Revision::from_wall_ms(max_ms).expect("below the end").max(clock)
}

/// The stored keys of a request, computed once.
struct Target {
    /// Of the key, for a mutation.
    place: Option<Place>,
    /// In [`Space::Dedup`], for a request with an id.
    dedup: Option<Bytes>,
}

/// Reads together what the entry's requests will look at. `None` for requests that have no single key or lock of ours.
fn prefetch(
    overlay: &mut Overlay<'_>,
    descriptor: &ShardDescriptor,
    entry: &Entry,
) -> Result<Vec<Option<Target>>, Unreadable> {
    if descriptor.shard == ShardId::META {
        return Ok(entry.requests.iter().map(|_| None).collect());
    }
    let mut current = Vec::with_capacity(entry.requests.len());
    let mut outcomes = Vec::with_capacity(entry.requests.len());
    let mut locks = Vec::new();
    let mut targets = Vec::with_capacity(entry.requests.len());
    for request in &entry.requests {
        let mut target = None;
        match &request.command {
            Command::Mutate(mutation) | Command::Fenced { mutation, .. } => {
                let place = Place::of(&mutation.key);
                if descriptor.range.contains(place.position) {
                    current.push(place.current.clone());
                    let dedup = request.id.map(|id| keys::dedup(place.position, &id));
                    outcomes.extend(dedup.clone());
                    target = Some(Target { place: Some(place), dedup });
                }
                if let Command::Fenced { fences, .. } = &request.command {
                    locks.extend(fences.iter().map(|fence| lock::Place::of(&fence.lock).tenure(fence.token)));
                }
            }
            Command::Lock(command) => {
                if let Some(place) = command.name().map(lock::Place::of)
                    && descriptor.range.contains(place.position)
                {
                    match command {
                        LockCommand::Renew { lease, .. } => locks.push(place.tenure(lease.token)),
                        LockCommand::Release(lease) => locks.extend([place.lock(), place.tenure(lease.token)]),
                        _ => locks.push(place.lock()),
                    }
                    let dedup = request.id.map(|id| keys::dedup(place.position, &id));
                    outcomes.extend(dedup.clone());
                    target = Some(Target { place: None, dedup });
                }
            }
            Command::ExpireKeys(keys) => current.extend(keys.iter().map(|key| Place::of(key).current)),
            Command::Collect { .. } | Command::Advance(_) | Command::SetLimits(_) | Command::Meta(_) => {}
        }
        targets.push(target);
    }
    overlay.prefetch(Space::Current, current)?;
    overlay.prefetch(Space::Dedup, outcomes)?;
    overlay.prefetch(Space::Locks, locks)?;
    Ok(targets)
}

/// An entry being applied.
struct Run<'v> {
    state: ShardState,
    overlay: Overlay<'v>,
    /// The leader's wall clock, as the first revision of its millisecond.
    now: Revision,
    /// See [`clock_max`].
    clock_max: Revision,
    wakes: Vec<Wake>,
}

impl Run<'_> {
    fn request(&mut self, request: &Request, target: Option<Target>) -> Result<Reply, Unreadable> {
        let is_meta = self.state.descriptor.shard == ShardId::META;
        match &request.command {
            Command::Mutate(mutation) if !is_meta => self.mutate(request, target, mutation, &[]),
            Command::Fenced { fences, mutation } if !is_meta => self.mutate(request, target, mutation, fences),
            Command::Lock(command) if !is_meta => self.lock(request, target, command),
            Command::ExpireKeys(keys) if !is_meta => {
                for key in keys {
                    let place = Place::of(key);
                    if self.state.descriptor.range.contains(place.position) {
                        mvcc::expire(&mut self.overlay, &mut self.state, self.now, &place, key)?;
                    }
                }
                Ok(self.accepted())
            }
            Command::Meta(command) if is_meta => {
                self.raise_clock(request.seen);
                meta::run(&mut self.overlay, &mut self.state, self.now, command)
            }
            Command::Mutate(_)
            | Command::Fenced { .. }
            | Command::Lock(_)
            | Command::ExpireKeys(_)
            | Command::Meta(_) => Ok(Err(Refusal::WrongGroup)),
            Command::Collect { history, dedup } => {
                self.state.history_floor = self.state.history_floor.max(*history.min(&self.state.clock));
                // Below the clock, so that a request born at the clock is taken: it is what a refused client tries next.
                let newest = Revision(self.state.clock.0 - 1);
                self.state.dedup_floor = self.state.dedup_floor.max(*dedup.min(&newest));
                Ok(self.accepted())
            }
            Command::Advance(revision) => {
                self.raise_clock(*revision);
                Ok(self.accepted())
            }
            Command::SetLimits(limits) => {
                self.state.limits = Limits { value_bytes_max: limits.value_bytes_max.min(VALUE_BYTES_MAX as u32) };
                Ok(self.accepted())
            }
        }
    }

    fn mutate(
        &mut self,
        request: &Request,
        target: Option<Target>,
        mutation: &Mutation,
        fences: &[Fence],
    ) -> Result<Reply, Unreadable> {
        let Some(Target { place: Some(place), dedup }) = target else { return Ok(Err(self.wrong_shard())) };
        if let Some(refusal) = lock::fence::elsewhere(&self.state, fences) {
            return Ok(Err(refusal));
        }
        self.raise_clock(request.seen);
        let memory = request.id.zip(dedup);
        // Planted: what was answered before is not asked.
        if let Some(reply) = self.recall(memory.as_ref())?.filter(|_| !planted(Bug::RetryAppliedTwice)) {
            return Ok(reply);
        }
        let reply = match lock::fence::broken(&mut self.overlay, &self.state, fences)? {
            Some(refusal) => Err(refusal),
            None => mvcc::mutate(&mut self.overlay, &mut self.state, self.now, &place, mutation)?,
        };
        self.remember(memory, &reply);
        Ok(reply)
    }

    fn lock(&mut self, request: &Request, target: Option<Target>, command: &LockCommand) -> Result<Reply, Unreadable> {
        let memory = match (target, command) {
            (Some(target), _) => request.id.zip(target.dedup),
            (None, LockCommand::Expire(_)) => None,
            (None, _) => return Ok(Err(self.wrong_shard())),
        };
        self.raise_clock(request.seen);
        let before = self.recall(memory.as_ref())?;
        let Run { overlay, state, wakes, now, .. } = self;
        let mut keeper = Keeper { overlay, state, now: *now, wakes };
        match (before, command) {
            (Some(before), LockCommand::Acquire(acquire)) => keeper.again(acquire, before),
            (Some(Ok(_)), LockCommand::Renew { lease, .. }) => keeper.renewed(lease),
            (Some(before), _) => Ok(before),
            (None, command) => {
                let reply = keeper.run(command)?;
                self.remember(memory, &reply);
                Ok(reply)
            }
        }
    }

    /// What a request with an id was answered before.
    fn recall(&mut self, memory: Option<&(RequestId, Bytes)>) -> Result<Option<Reply>, Unreadable> {
        let Some((id, outcome)) = memory else { return Ok(None) };
        self.raise_clock(id.birth);
        dedup::recall(&mut self.overlay, &self.state, outcome, id)
    }

    fn remember(&mut self, memory: Option<(RequestId, Bytes)>, reply: &Reply) {
        if let Some((id, outcome)) = memory {
            dedup::remember(&mut self.overlay, outcome, &id, reply);
        }
    }

    fn wrong_shard(&self) -> Refusal {
        Refusal::WrongShard { descriptor: self.state.descriptor.clone() }
    }

    fn raise_clock(&mut self, to: Revision) {
        self.state.clock = self.state.clock.max(to.min(self.clock_max));
    }

    fn accepted(&self) -> Reply {
        Ok(Done::Accepted { revision: self.state.clock })
    }
}
