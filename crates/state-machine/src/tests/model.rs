//! A shard as simple as can be said: whole histories in plain maps, nothing stored, nothing collected. The random tests hold
//! the real one against it.

use std::collections::BTreeMap;

use bytes::Bytes;
use ringfence_shard_router::{ShardDescriptor, ShardRange};
use ringfence_types::limits::VALUE_BYTES_MAX;
use ringfence_types::{ClientId, Fence, Key, RequestId, Revision};

use super::lock_model::{Clocks, Locks};
use crate::*;

/// A version of a key, from the revision it was written at up to the one it ended at.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) begin: Revision,
    pub(super) end: Option<Revision>,
    pub(super) create_revision: Revision,
    pub(super) version: u64,
    pub(super) deadline_ms: Option<u64>,
    pub(super) value: Bytes,
}

pub(super) struct Model {
    descriptor: ShardDescriptor,
    pub(super) clock: Revision,
    pub(super) lease_clock_ms: u64,
    pub(super) history_floor: Revision,
    pub(super) dedup_floor: Revision,
    value_bytes_max: u32,
    pub(super) keys: BTreeMap<Key, Vec<Span>>,
    pub(super) locks: Locks,
    outcomes: BTreeMap<(ClientId, u64), (Revision, Reply)>,
}

impl Model {
    pub(super) fn new(descriptor: ShardDescriptor) -> Model {
        Model {
            descriptor,
            clock: Revision::ZERO,
            lease_clock_ms: 0,
            history_floor: Revision::ZERO,
            dedup_floor: Revision::ZERO,
            value_bytes_max: VALUE_BYTES_MAX as u32,
            keys: BTreeMap::new(),
            locks: Locks::default(),
            outcomes: BTreeMap::new(),
        }
    }

    /// What a shard must answer.
    pub(super) fn apply(&mut self, entry: &Entry) -> Vec<Reply> {
        if entry.now_ms >= 1 << 44 {
            return vec![Err(Refusal::ClockOutOfRange { now_ms: entry.now_ms }); entry.requests.len()];
        }
        self.lease_clock_ms = self.lease_clock_ms.max(entry.lease_clock_ms);
        let wall_ms = if entry.now_ms > 0 { entry.now_ms } else { (self.clock.0 >> 18) as u64 };
        let ceiling = self.clock.max(Revision(((wall_ms + 10_000) as i64) << 18));
        entry.requests.iter().map(|request| self.request(entry.now_ms, ceiling, request)).collect()
    }

    fn request(&mut self, now_ms: u64, ceiling: Revision, request: &Request) -> Reply {
        match &request.command {
            Command::Mutate(mutation) => return self.fenced(now_ms, ceiling, request, mutation, &[]),
            Command::Fenced { fences, mutation } => return self.fenced(now_ms, ceiling, request, mutation, fences),
            Command::Lock(command) => {
                let name = command.name().map(|name| Key::new(name.bytes().clone()).unwrap());
                if name.is_some_and(|name| !self.owns(&name)) {
                    return Err(Refusal::WrongShard { descriptor: self.descriptor.clone() });
                }
                let birth = request.id.map_or(Revision::ZERO, |id| id.birth);
                self.clock = self.clock.max(request.seen.max(birth).min(ceiling));
                let told = request.id.and_then(|id| self.told(&id));
                let clocks = Clocks { clock: &mut self.clock, now_ms, lease_clock_ms: self.lease_clock_ms };
                let reply = match (told, command) {
                    (Some(told), LockCommand::Acquire(acquire)) => {
                        return self.locks.again(acquire, told, clocks);
                    }
                    (Some(Ok(_)), LockCommand::Renew { lease, .. }) => return self.locks.left(lease, clocks),
                    (Some(told), _) => return told,
                    (None, command) => self.locks.run(command, clocks),
                };
                if let Some(id) = request.id {
                    self.outcomes.insert((id.client, id.sequence), (id.birth, reply.clone()));
                }
                return reply;
            }
            Command::ExpireKeys(keys) => {
                for key in keys {
                    let due = self.live(key).and_then(|span| span.deadline_ms);
                    if self.owns(key) && due.is_some_and(|due| due <= self.lease_clock_ms) {
                        self.end(now_ms, key);
                    }
                }
            }
            Command::Collect { history, dedup } => {
                self.history_floor = self.history_floor.max((*history).min(self.clock));
                self.dedup_floor = self.dedup_floor.max((*dedup).min(Revision(self.clock.0 - 1)));
            }
            Command::Advance(to) => self.clock = self.clock.max((*to).min(ceiling)),
            Command::SetLimits(limits) => self.value_bytes_max = limits.value_bytes_max.min(VALUE_BYTES_MAX as u32),
            Command::Meta(_) => return Err(Refusal::WrongGroup),
        }
        Ok(Done::Accepted { revision: self.clock })
    }

    fn fenced(
        &mut self,
        now_ms: u64,
        ceiling: Revision,
        request: &Request,
        mutation: &Mutation,
        fences: &[Fence],
    ) -> Reply {
        if !self.owns(&mutation.key) {
            return Err(Refusal::WrongShard { descriptor: self.descriptor.clone() });
        }
        let is_stranger = |fence: &&Fence| !self.owns(&Key::new(fence.lock.bytes().clone()).unwrap());
        if let Some(stranger) = fences.iter().find(is_stranger) {
            return Err(Refusal::FenceElsewhere { lock: stranger.lock.clone(), shard: self.descriptor.shard });
        }
        let birth = request.id.map_or(Revision::ZERO, |id| id.birth);
        self.clock = self.clock.max(request.seen.max(birth).min(ceiling));
        if let Some(told) = request.id.and_then(|id| self.told(&id)) {
            return told;
        }
        let reply = match self.locks.broken(fences, self.clock) {
            Some(refusal) => Err(refusal),
            None => self.mutate(now_ms, mutation),
        };
        if let Some(id) = request.id {
            self.outcomes.insert((id.client, id.sequence), (id.birth, reply.clone()));
        }
        reply
    }

    fn told(&self, id: &RequestId) -> Option<Reply> {
        let forgotten = |birth: Revision| self.dedup_floor > Revision::ZERO && birth <= self.dedup_floor;
        let remembered = self.outcomes.get(&(id.client, id.sequence)).filter(|(birth, _)| !forgotten(*birth));
        match remembered {
            _ if forgotten(id.birth) => {}
            Some((_, reply)) => return Some(reply.clone()),
            None if id.birth <= self.clock => return None,
            None => {}
        }
        Some(Err(Refusal::RequestTooOld { birth: id.birth, floor: self.dedup_floor, clock: self.clock }))
    }

    fn mutate(&mut self, now_ms: u64, mutation: &Mutation) -> Reply {
        let (key, clock) = (&mutation.key, self.clock);
        let live = self.live(key).cloned();
        let (revision, version) = live.as_ref().map_or((Revision::ZERO, 0), |span| (span.begin, span.version));
        let holds = match &mutation.condition {
            Condition::None => true,
            Condition::Absent => live.is_none(),
            Condition::Exists => live.is_some(),
            Condition::RevisionIs(wanted) => live.is_some() && revision == *wanted,
            Condition::VersionIs(wanted) => version == *wanted,
            Condition::ValueIs(wanted) => live.as_ref().is_some_and(|span| span.value == wanted),
        };
        if !holds {
            return Err(Refusal::ConditionFailed { revision, version, clock });
        }
        match &mutation.action {
            Action::Put { value, ttl_ms } => {
                let bytes = value.as_ref().len() as u32;
                if bytes > self.value_bytes_max {
                    return Err(Refusal::ValueTooLarge { bytes, bytes_max: self.value_bytes_max });
                }
                let deadline_ms = ttl_ms.map(|ttl_ms| self.lease_clock_ms + ttl_ms);
                let (revision, version) = self.write(now_ms, key, value.bytes().clone(), deadline_ms);
                Ok(Done::Put { revision, version })
            }
            Action::Delete => {
                let existed = live.is_some();
                let revision = if existed { self.end(now_ms, key) } else { clock };
                Ok(Done::Deleted { revision, existed })
            }
            Action::Add { delta, min, max } => {
                let text = live.as_ref().map_or("0".into(), |span| String::from_utf8_lossy(&span.value).into_owned());
                let current = match text.parse::<i64>() {
                    Ok(current) if current.to_string() == text => current,
                    _ => return Err(Refusal::NotAnInteger { clock }),
                };
                let sum = i128::from(current) + i128::from(*delta);
                if sum < i128::from(*min) || sum > i128::from(*max) {
                    return Err(Refusal::OutOfBounds { current, clock });
                }
                let deadline_ms = live.and_then(|span| span.deadline_ms);
                let (revision, version) = self.write(now_ms, key, sum.to_string().into(), deadline_ms);
                Ok(Done::Added { revision, version, value: sum as i64 })
            }
        }
    }

    fn write(&mut self, now_ms: u64, key: &Key, value: Bytes, deadline_ms: Option<u64>) -> (Revision, u64) {
        let before = self.live(key).cloned();
        let begin = self.end(now_ms, key);
        let create_revision = before.as_ref().map_or(begin, |span| span.create_revision);
        let version = before.map_or(0, |span| span.version) + 1;
        let span = Span { begin, end: None, create_revision, version, deadline_ms, value };
        self.keys.entry(key.clone()).or_default().push(span);
        (begin, version)
    }

    /// Takes a revision and ends the live version, if there is one, there.
    fn end(&mut self, now_ms: u64, key: &Key) -> Revision {
        self.clock = Revision((self.clock.0 + 1).max((now_ms as i64) << 18));
        if let Some(live) = self.keys.get_mut(key).and_then(|spans| spans.last_mut()).filter(|s| s.end.is_none()) {
            live.end = Some(self.clock);
        }
        self.clock
    }

    fn live(&self, key: &Key) -> Option<&Span> {
        self.keys.get(key)?.last().filter(|span| span.end.is_none())
    }

    fn owns(&self, key: &Key) -> bool {
        let ShardRange { first, last } = self.descriptor.range;
        (first..=last).contains(&key.position())
    }

    /// Everything that was there at a revision, in ring order and then in key order.
    pub(super) fn picture(&self, at: Revision) -> Vec<(Key, Span)> {
        let visible = |span: &&Span| span.begin <= at && span.end.is_none_or(|end| end > at);
        let mut picture: Vec<_> = self
            .keys
            .iter()
            .flat_map(|(key, spans)| spans.iter().filter(visible).map(|span| (key.clone(), span.clone())))
            .collect();
        picture.sort_by_key(|(key, _)| (key.position(), key.clone()));
        picture
    }
}
