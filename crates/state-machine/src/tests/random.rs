//! Random entries on several replicas of one shard, each invariant a named function, checked after every step.
//!
//! Replicas apply the same log (as encoded bytes) at their own pace; now and then one falls back to its last durable state,
//! takes another's snapshot, or removes what lies below its floors. A plain [`Model`] says what must come out.
//!
//! A failure prints its seed. `RINGFENCE_SEED=n cargo test -p ringfence-state-machine random` runs that seed alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use ringfence_shard_router::{Epoch, ShardDescriptor, ShardRange};
use ringfence_types::{
    ClientId, Fence, FencingToken, Holder, Key, LeaseTtl, LockMode, LockName, Metadata, Permits, RequestId, Revision,
    RingPosition, ShardId, Value,
};

use super::model::Model;
use crate::record::VersionRecord;
use crate::*;

const SHARD: ShardId = ShardId(3);
const STEPS: usize = 700;

/// A client that keeps the rules: the birth of a request never changes.
const CLIENTS: [ClientId; 3] = [ClientId(1), ClientId(2), ClientId(u64::MAX)];
/// A client that does not. It gets what it deserves; the replicas must agree all the same.
const ROGUE: ClientId = ClientId(99);
/// Only ever added 1 to, and only by requests with an id: counts effects.
const TALLY: &str = "tally";

#[test]
fn replicas_agree_with_each_other_and_with_the_model() {
    if let Ok(seed) = std::env::var("RINGFENCE_SEED") {
        run(seed.parse().expect("RINGFENCE_SEED is a number"));
        return;
    }
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seeds = (0..12).chain((0..4).map(|i| fresh.wrapping_add(i)));
    every_refusal_was_met(&seeds.flat_map(run).collect());
}

/// The same seed makes the same log: what a failure prints can be run again.
#[test]
fn a_seed_can_be_run_again() {
    let log = |seed| {
        let mut world = World::new(seed);
        (0..STEPS).for_each(|_| world.step());
        world.log
    };
    assert_eq!(log(7), log(7));
    assert_ne!(log(7), log(8));
}

/// Gives the refusals that were met.
fn run(seed: u64) -> BTreeSet<&'static str> {
    let printed_if_it_panics = PrintSeed(seed);
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.everyone_catches_up();
    world.the_run_was_worth_it();
    drop(printed_if_it_panics);
    world.refusals
}

/// Of all seeds together: one alone may by chance never meet some refusal.
fn every_refusal_was_met(met: &BTreeSet<&str>) {
    let of_keys = ["ConditionFailed", "OutOfBounds", "RequestTooOld", "WrongShard", "ClockOutOfRange"];
    let of_locks =
        ["Fenced", "FenceElsewhere", "LeaseExpired", "LeaseOver", "NotTheHolder", "LockHeld", "PermitsDiffer"];
    for refusal in of_keys.into_iter().chain(of_locks) {
        assert!(met.contains(refusal), "never refused with {refusal}");
    }
}

struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was RINGFENCE_SEED={}", self.0);
        }
    }
}

struct Replica {
    store: MemoryView,
    applied: usize,
    /// What a crash falls back to.
    durable: (MemoryView, usize),
    /// The leader's expiry indexes, kept from writes.
    deadlines: BTreeMap<Key, u64>,
    leases: BTreeMap<(LockName, FencingToken), u64>,
}

struct World {
    rng: StdRng,
    keys: Vec<Key>,
    names: Vec<LockName>,
    log: Vec<Bytes>,
    model: Model,
    /// What the model answered, per entry.
    expected: Vec<Vec<Reply>>,
    replicas: Vec<Replica>,
    /// Of the first replica that got there, per number of applied entries.
    digests: BTreeMap<usize, Digest>,

    now_ms: u64,
    lease_clock_ms: u64,
    /// Highest revision that any client has seen.
    seen: Revision,
    sent: Vec<Request>,
    /// Revision of the effect, by request.
    effects: BTreeMap<(ClientId, u64), Revision>,
    tallied: i64,
    /// Whatever was granted or queued, current or not, and some that never were.
    granted: Vec<LeaseRef>,
    queued: Vec<WaiterRef>,
    /// Of every lock, the highest so far.
    highest_token: BTreeMap<LockName, FencingToken>,
    seen_leases: BTreeSet<(LockName, FencingToken)>,
    last_revision: BTreeMap<Key, Revision>,
    refusals: BTreeSet<&'static str>,
}

impl World {
    fn new(seed: u64) -> World {
        // Three quarters of the ring are ours; some keys are not.
        let range = ShardRange { first: RingPosition(1 << 60), last: RingPosition(13 << 60) };
        let descriptor =
            ShardDescriptor { shard: SHARD, range, epoch: Epoch { range: 2, membership: 5 }, replicas: Vec::new() };
        let mut store = MemoryView::default();
        store.apply_writes(&seed_of(&descriptor));
        let replica = || Replica {
            store: store.clone(),
            applied: 0,
            durable: (store.clone(), 0),
            deadlines: BTreeMap::new(),
            leases: BTreeMap::new(),
        };
        let names = ["a", "b", "c", "d", "{t}", "{t}x", "{t}x\0", "{t}x\0\u{1}", "{t}y", "\0", "u{t}"];
        let mut world = World {
            rng: StdRng::seed_from_u64(seed),
            keys: names.iter().map(|name| Key::new(*name).unwrap()).collect(),
            names: ["a", "b", "{t}", "{t}x", "{t}x\0", "\0"].iter().map(|name| LockName::new(*name).unwrap()).collect(),
            log: Vec::new(),
            model: Model::new(descriptor),
            expected: Vec::new(),
            replicas: (0..3).map(|_| replica()).collect(),
            digests: BTreeMap::new(),
            now_ms: 1_000_000,
            lease_clock_ms: 0,
            seen: Revision::ZERO,
            sent: Vec::new(),
            effects: BTreeMap::new(),
            tallied: 0,
            granted: Vec::new(),
            queued: Vec::new(),
            highest_token: BTreeMap::new(),
            seen_leases: BTreeSet::new(),
            last_revision: BTreeMap::new(),
            refusals: BTreeSet::new(),
        };
        world.keys.push(Key::new(TALLY).unwrap());
        assert!(range.contains(Key::new(TALLY).unwrap().position()), "the tally must be ours");
        world
    }

    fn step(&mut self) {
        let who = self.rng.random_range(0..self.replicas.len());
        match self.rng.random_range(0..20) {
            0..8 => self.propose(),
            8..15 => {
                for _ in 0..self.rng.random_range(1..4) {
                    self.apply_next(who);
                }
            }
            15 | 16 => {
                let replica = &mut self.replicas[who];
                let state = ShardState::load(&replica.store, SHARD).unwrap().unwrap();
                replica.store.collect(state.history_floor, state.dedup_floor);
                self.invariants(who);
            }
            17 => {
                let replica = &mut self.replicas[who];
                replica.durable = (replica.store.clone(), replica.applied);
            }
            18 => {
                let replica = &mut self.replicas[who];
                (replica.store, replica.applied) = replica.durable.clone();
                (replica.deadlines, replica.leases) = (indexed(&replica.store), indexed_leases(&replica.store));
                self.invariants(who);
            }
            _ => {
                let from = self.rng.random_range(0..self.replicas.len());
                let (store, applied) = (snapshot(&self.replicas[from].store), self.replicas[from].applied);
                if applied > self.replicas[who].applied {
                    let (deadlines, leases) = (indexed(&store), indexed_leases(&store));
                    self.replicas[who] =
                        Replica { durable: (store.clone(), applied), store, applied, deadlines, leases };
                    self.invariants(who);
                }
            }
        }
    }

    fn propose(&mut self) {
        self.now_ms += self.rng.random_range(0..50);
        self.lease_clock_ms += self.rng.random_range(0..20);
        if self.rng.random_bool(0.01) {
            self.lease_clock_ms += 16_000; // longer than a waiter may be silent
        }
        let now_ms = match self.rng.random_range(0..12) {
            0 => 0,                    // a leader that does not trust its clock
            1 => self.now_ms - 500,    // a new leader whose clock is behind
            2 => Revision::NOW_MS_END, // a broken clock
            _ => self.now_ms,
        };
        let behind = if self.rng.random_bool(0.1) { 30 } else { 0 };
        let lease_clock_ms = self.lease_clock_ms.saturating_sub(behind);
        let requests: Vec<_> = (0..self.rng.random_range(0..8)).map(|_| self.request()).collect();
        let entry = Entry { now_ms, lease_clock_ms, requests };

        let replies = self.model.apply(&entry);
        entry.requests.iter().zip(&replies).for_each(|(request, reply)| self.note(request, reply));
        self.expected.push(replies);
        self.log.push(entry.encode());
    }

    fn request(&mut self) -> Request {
        let key = self.keys.choose(&mut self.rng).unwrap().clone();
        let command = match self.rng.random_range(0..50) {
            0 | 1 => Command::ExpireKeys(self.keys.clone()),
            2 => Command::Collect { history: self.some_revision(), dedup: self.some_revision() },
            3 => Command::Advance(self.some_revision()),
            4 => Command::SetLimits(Limits { value_bytes_max: self.rng.random_range(3..12) }),
            5 => Command::Meta(MetaCommand::ReportShard(descriptor_of(&self.replicas[0].store))),
            6..14 if !self.sent.is_empty() => return self.retry(),
            14..28 => Command::Lock(self.lock_command()),
            _ if key.as_ref() == TALLY.as_bytes() => {
                let add = Action::Add { delta: 1, min: i64::MIN, max: i64::MAX };
                Command::Mutate(Mutation { key, condition: Condition::None, action: add })
            }
            28..32 => {
                let fences = (0..self.rng.random_range(1..3)).map(|_| self.some_lease()).map(fence_of).collect();
                Command::Fenced {
                    fences,
                    mutation: Mutation { key, condition: self.condition(), action: self.action() },
                }
            }
            _ => Command::Mutate(Mutation { key, condition: self.condition(), action: self.action() }),
        };
        let must_count = matches!(&command, Command::Mutate(m) if m.key.as_ref() == TALLY.as_bytes());
        let client = if must_count {
            CLIENTS[0]
        } else {
            *[CLIENTS.as_slice(), &[ROGUE]].concat().choose(&mut self.rng).unwrap()
        };
        let mut birth = self.seen;
        if client == ROGUE && self.rng.random_bool(0.2) {
            birth = *[Revision(i64::MAX), Revision(-1), self.some_revision()].choose(&mut self.rng).unwrap();
        }
        let id = RequestId { client, sequence: self.sent.len() as u64, birth };
        let may_have_id = match &command {
            Command::Lock(LockCommand::Renew { metadata, .. }) => metadata.is_some(),
            Command::Lock(command) => matches!(command, LockCommand::Acquire(_) | LockCommand::Release(_)),
            _ => true,
        };
        let has_id = may_have_id && (must_count || self.rng.random_bool(0.8));
        let seen = *[Revision::ZERO, self.seen, self.some_revision()].choose(&mut self.rng).unwrap();
        let request = Request { id: has_id.then_some(id), seen, command };
        if has_id {
            self.sent.push(request.clone());
        }
        request
    }

    fn lock_command(&mut self) -> LockCommand {
        let name = self.names.choose(&mut self.rng).unwrap().clone();
        let ttl = LeaseTtl::from_ms(self.rng.random_range(100..400)).unwrap();
        let metadata = Metadata::new(*["", "x", "y"].choose(&mut self.rng).unwrap()).unwrap();
        match self.rng.random_range(0..20) {
            0..9 => LockCommand::Acquire(Acquire {
                name,
                holder: self.holder(),
                mode: *[LockMode::Exclusive, LockMode::Shared, permits(2), permits(3)].choose(&mut self.rng).unwrap(),
                ttl,
                metadata,
                waits: self.rng.random_bool(0.6),
            }),
            9..12 => {
                let (ttl, metadata) =
                    (self.rng.random_bool(0.7).then_some(ttl), self.rng.random_bool(0.5).then_some(metadata));
                LockCommand::Renew { lease: self.some_lease(), ttl, metadata }
            }
            12..15 => LockCommand::Release(self.some_lease()),
            15 | 16 => LockCommand::Wait(self.some_waiter()),
            17 => LockCommand::GiveUp(self.some_waiter()),
            _ => LockCommand::Expire(
                (0..self.rng.random_range(0..6))
                    .map(|_| self.some_lease())
                    .map(|lease| (lease.name, lease.token))
                    .collect(),
            ),
        }
    }

    fn holder(&mut self) -> Holder {
        Holder::new(*["ann", "bob", "cay"].choose(&mut self.rng).unwrap()).unwrap()
    }

    /// Mostly one that was granted lately, by its holder.
    fn some_lease(&mut self) -> LeaseRef {
        let lately = self.granted.len().saturating_sub(8);
        let from = if self.rng.random_bool(0.8) { lately } else { 0 };
        let known = self.granted[from..].choose(&mut self.rng).cloned();
        let mut lease = known.unwrap_or_else(|| LeaseRef {
            name: self.names[0].clone(),
            holder: Holder::new("ann").unwrap(),
            token: FencingToken(Revision(1)),
        });
        match self.rng.random_range(0..12) {
            0 => lease.holder = self.holder(),
            1 => lease.token.0.0 += self.rng.random_range(-1..2),
            2 => lease.name = self.names.choose(&mut self.rng).unwrap().clone(),
            _ => {}
        }
        lease
    }

    fn some_waiter(&mut self) -> WaiterRef {
        let lately = self.queued.len().saturating_sub(8);
        let known = self.queued[lately..].choose(&mut self.rng).cloned();
        let mut waiter = known.unwrap_or_else(|| WaiterRef {
            name: self.names[0].clone(),
            holder: Holder::new("ann").unwrap(),
            ticket: Revision(1),
        });
        if self.rng.random_bool(0.1) {
            waiter.holder = self.holder();
        }
        waiter
    }

    /// Anything that was ever sent may come again, however late.
    fn retry(&mut self) -> Request {
        let mut request = self.sent.choose(&mut self.rng).unwrap().clone();
        let id = request.id.as_mut().expect("only requests with an id are kept");
        if id.client == ROGUE && self.rng.random_bool(0.5) {
            id.birth = self.seen;
        }
        request
    }

    fn condition(&mut self) -> Condition {
        match self.rng.random_range(0..10) {
            0 => Condition::Absent,
            1 => Condition::Exists,
            2 => Condition::RevisionIs(self.some_revision()),
            3 => Condition::VersionIs(self.rng.random_range(0..4)),
            4 => Condition::ValueIs(self.value().bytes().clone()),
            _ => Condition::None,
        }
    }

    fn action(&mut self) -> Action {
        match self.rng.random_range(0..10) {
            0..5 => {
                let ttl_ms = self.rng.random_bool(0.5).then(|| self.rng.random_range(0..60));
                Action::Put { value: self.value(), ttl_ms }
            }
            5..7 => Action::Delete,
            7 => Action::Add { delta: i64::MAX - 5, min: 0, max: i64::MAX },
            _ => Action::Add { delta: self.rng.random_range(-3..4), min: -2, max: 9 },
        }
    }

    fn value(&mut self) -> Value {
        Value::new(*["", "1", "-2", "007", "x\0y", "longer text"].choose(&mut self.rng).unwrap()).unwrap()
    }

    /// Mostly one that means something.
    fn some_revision(&mut self) -> Revision {
        let spread = 3_000_000;
        match self.rng.random_range(0..8) {
            0 => Revision(self.rng.random()),
            1 => Revision(self.seen.0 + self.rng.random_range(0..spread)),
            2 => self.seen,
            _ => Revision((self.seen.0 - self.rng.random_range(0..10 * spread)).max(0)),
        }
    }

    fn apply_next(&mut self, who: usize) {
        let replica = &mut self.replicas[who];
        let Some(bytes) = self.log.get(replica.applied) else { return };
        let entry = Entry::decode(bytes).expect("what was encoded can be decoded");
        let applied = apply(&replica.store, SHARD, &entry).expect("a healthy replica can read its state");
        replica.store.apply_writes(&applied.writes);
        replica.applied += 1;
        for (key, deadline) in applied.writes.iter().filter_map(deadline_of_write) {
            match deadline {
                Some(deadline_ms) => replica.deadlines.insert(key, deadline_ms),
                None => replica.deadlines.remove(&key),
            };
        }
        for (name, token, deadline) in applied.writes.iter().filter_map(lease_of_write) {
            match deadline {
                Some(times) => replica.leases.insert((name, token), times.deadline_ms),
                None => replica.leases.remove(&(name, token)),
            };
        }
        let count = replica.applied;
        each_stored_key_is_written_once(&applied.writes);
        if !self.digests.contains_key(&count) {
            for (request, reply) in entry.requests.iter().zip(&applied.replies) {
                self.effects_happen_once_and_later_than_those_before(request, reply);
            }
            self.tokens_strictly_increase(who);
        }
        assert_eq!(applied.replies, self.expected[count - 1], "entry {count}: {entry:?}");
        self.invariants(who);
    }

    fn everyone_catches_up(&mut self) {
        for who in 0..self.replicas.len() {
            while self.replicas[who].applied < self.log.len() {
                self.apply_next(who);
            }
        }
        self.tally_counts_effects();
    }

    /// A client gets its answer, and knows more.
    fn note(&mut self, request: &Request, reply: &Reply) {
        let asked = match &request.command {
            Command::Lock(LockCommand::Acquire(acquire)) => Some((acquire.name.clone(), acquire.holder.clone())),
            Command::Lock(LockCommand::Wait(waiter)) => Some((waiter.name.clone(), waiter.holder.clone())),
            _ => None,
        };
        match (reply, asked) {
            (Ok(Done::Granted { token, .. }), Some((name, holder))) => {
                self.granted.push(LeaseRef { name, holder, token: *token });
            }
            (Ok(Done::Queued { ticket, .. }), Some((name, holder))) => {
                self.queued.push(WaiterRef { name, holder, ticket: *ticket });
            }
            _ => {}
        }
        match reply {
            Ok(done) => self.seen = self.seen.max(done.revision()),
            Err(refusal) => {
                self.refusals.insert(name_of(refusal));
                if let Refusal::RequestTooOld { clock, .. } = refusal {
                    self.seen = self.seen.max(*clock); // a good new birth
                }
            }
        }
    }

    /// Invariants: a request takes effect at most once, and revisions of a key strictly increase.
    fn effects_happen_once_and_later_than_those_before(&mut self, request: &Request, reply: &Reply) {
        let (Command::Mutate(mutation) | Command::Fenced { mutation, .. }) = &request.command else { return };
        let Ok(done) = reply else { return };
        let keeps_the_rules = request.id.is_none_or(|id| CLIENTS.contains(&id.client));
        if !keeps_the_rules {
            return; // it may be told again what is not remembered here
        }
        if let Some(id) = &request.id {
            if let Some(revision) = self.effects.insert((id.client, id.sequence), done.revision()) {
                assert_eq!(revision, done.revision(), "{id} took effect twice");
                return;
            }
            if mutation.key.as_ref() == TALLY.as_bytes() {
                self.tallied += 1;
            }
        }
        if !matches!(done, Done::Deleted { existed: false, .. }) {
            let last = self.last_revision.insert(mutation.key.clone(), done.revision());
            assert!(last.is_none_or(|last| last < done.revision()), "{}: {last:?}, then {done:?}", mutation.key);
        }
    }

    /// Invariant (G4): whatever was granted since is above everything granted before, of the same lock.
    fn tokens_strictly_increase(&mut self, who: usize) {
        for (name, token) in self.replicas[who].leases.keys() {
            if self.seen_leases.contains(&(name.clone(), *token)) {
                continue;
            }
            let before = self.highest_token.get(name);
            assert!(before.is_none_or(|before| before < token), "{name}: {token} after {before:?}");
        }
        for (name, token) in self.replicas[who].leases.keys() {
            let highest = self.highest_token.entry(name.clone()).or_default();
            *highest = (*highest).max(*token);
            self.seen_leases.insert((name.clone(), *token));
        }
    }

    /// Invariants: who holds a lock may hold it together; what the lock's record says is what its leases and waiters are;
    /// once all is applied they are the model's.
    fn locks_are_as_they_should_be(&self, store: &MemoryView, is_present: bool) {
        for name in self.names.iter().filter(|name| descriptor_of(store).range.contains(name.position())) {
            let found = inspect(store, SHARD, name).unwrap().unwrap().value;
            let holders = match &found.held {
                HeldAs::Free => 0,
                HeldAs::Exclusive => 1,
                HeldAs::Shared { holders, .. } => *holders as usize,
                HeldAs::Permits { taken, of } => {
                    let permits: BTreeSet<u32> = found.leases.iter().map(|lease| lease.permit).collect();
                    assert!(permits == *taken && taken.len() <= of.count() as usize, "{name}: {found:?}");
                    taken.len()
                }
            };
            assert_eq!(holders, found.leases.len(), "{name}: {found:?}");
            let modes: BTreeSet<_> = found.leases.iter().map(|lease| format!("{:?}", lease.mode)).collect();
            assert!(modes.len() <= 1, "{name}: {found:?}");
            if is_present {
                let lock = self.model.locks.by_name.get(name).cloned().unwrap_or_default();
                let of_model = lock.leases.iter().map(|lease| {
                    let left_ms = lease.deadline_ms.saturating_sub(self.model.lease_clock_ms);
                    (lease.token, &lease.holder, &lease.metadata, lease.permit, lease.generation, left_ms)
                });
                let of_store = found.leases.iter().map(|lease| {
                    (lease.token.0, &lease.holder, &lease.metadata, lease.permit, lease.generation.0, lease.ttl_left_ms)
                });
                assert!(of_model.eq(of_store), "{name}: {found:?} {lock:?}");
                let queue = lock.queue.iter().map(|waiting| (waiting.ticket, &waiting.request.holder));
                assert!(
                    queue.eq(found.waiters.iter().map(|waiter| (waiter.ticket, &waiter.holder))),
                    "{name}: {found:?}"
                );
            }
        }
    }

    fn invariants(&mut self, who: usize) {
        let (store, applied) = (&self.replicas[who].store, self.replicas[who].applied);
        let state = ShardState::load(store, SHARD).unwrap().unwrap();
        state.check();
        let digest = digest(store, SHARD).unwrap();
        let known = *self.digests.entry(applied).or_insert(digest);
        assert_eq!(known, digest, "replicas differ after {applied} entries");

        deadlines_are_in_step(store, &self.replicas[who].deadlines);
        assert_eq!(indexed_leases(store), self.replicas[who].leases, "whoever follows the writes knows all leases");
        self.locks_are_as_they_should_be(store, applied == self.log.len());
        let span = (state.clock.0 - state.history_floor.0).max(0);
        let back = self.rng.random_range(0..=span) >> self.rng.random_range(0..40);
        for at in [state.history_floor, state.clock, Revision(state.clock.0 - back)] {
            self.snapshots_equal_the_models_history(store, at, state.history_floor);
        }
        if applied == self.log.len() {
            self.the_present_equals_the_models(store, &state);
        }
    }

    fn snapshots_equal_the_models_history(&self, store: &MemoryView, at: Revision, floor: Revision) {
        let picture: Vec<_> = self.model.picture(at).into_iter().map(|(key, span)| plain(&key, &span)).collect();
        let query = ScanQuery { limit_items: 3, examined_max: 7, ..everything(Some(at)) };
        let seen: Vec<_> = pages(store, query).iter().map(plain_of).collect();
        assert_eq!(seen, picture, "the snapshot at {at}, floor {floor}");
        for key in &self.keys {
            match get(store, SHARD, key, Some(at)).unwrap() {
                Ok(answer) => {
                    let wanted = picture.iter().find(|found| found.0 == *key);
                    assert_eq!(answer.value.as_ref().map(plain_of).as_ref(), wanted, "{key} at {at}");
                }
                Err(refusal) => assert!(matches!(refusal, ReadRefusal::WrongShard { .. }), "{key} at {at}: {refusal}"),
            }
        }
    }

    fn the_present_equals_the_models(&self, store: &MemoryView, state: &ShardState) {
        let model = &self.model;
        assert_eq!((state.clock, state.lease_clock_ms), (model.clock, model.lease_clock_ms));
        assert_eq!((state.history_floor, state.dedup_floor), (model.history_floor, model.dedup_floor));
        let picture = model.picture(model.clock);
        let present = pages(store, everything(None));
        assert_eq!(present.len(), picture.len());
        for (found, (key, span)) in present.iter().zip(&picture) {
            assert_eq!(plain_of(found), plain(key, span));
            let left_ms = span.deadline_ms.map(|deadline_ms| deadline_ms.saturating_sub(model.lease_clock_ms));
            assert_eq!(found.ttl_left_ms, left_ms, "{key}");
        }
    }

    fn tally_counts_effects(&self) {
        let found = get(&self.replicas[0].store, SHARD, &Key::new(TALLY).unwrap(), None).unwrap().unwrap().value;
        let tally = found.map_or(0, |found| str::from_utf8(found.value.as_ref()).unwrap().parse().unwrap());
        assert_eq!(tally, self.tallied, "the tally must count every request that was answered, once");
    }

    /// A generator that never gets anywhere would pass every invariant.
    fn the_run_was_worth_it(&self) {
        assert!(self.effects.len() > 50, "hardly anything took effect: {}", self.effects.len());
        assert!(self.tallied > 3, "hardly anything was tallied: {}", self.tallied);
        assert!(self.seen_leases.len() > 10, "hardly anything was granted: {}", self.seen_leases.len());
    }
}

/// Invariant: an entry writes each stored key at most once, in order.
fn each_stored_key_is_written_once(writes: &[Write]) {
    for pair in writes.windows(2) {
        assert!((pair[0].space, &pair[0].key) < (pair[1].space, &pair[1].key), "{pair:?}");
    }
}

/// Invariant: the index of deadlines has exactly the deadlines of the current records, and whoever follows the writes has
/// the same.
fn deadlines_are_in_step(store: &MemoryView, followed: &BTreeMap<Key, u64>) {
    let mut of_records = BTreeMap::new();
    for (stored, record) in store.records(Space::Current) {
        let keys::StoredKey::Current { key, .. } = keys::StoredKey::decode(Space::Current, stored).unwrap() else {
            panic!("not a current key")
        };
        if let Some(deadline_ms) = VersionRecord::decode(record).unwrap().deadline_ms {
            of_records.insert(Key::new(key.into_owned()).unwrap(), deadline_ms);
        }
    }
    assert_eq!(indexed(store), of_records);
    assert_eq!(followed, &of_records);
}

fn indexed(store: &MemoryView) -> BTreeMap<Key, u64> {
    let mut found = BTreeMap::new();
    let range = descriptor_of(store).range;
    deadlines(store, &range, &mut |key, deadline_ms| assert_eq!(found.insert(key, deadline_ms), None)).unwrap();
    found
}

fn indexed_leases(store: &MemoryView) -> BTreeMap<(LockName, FencingToken), u64> {
    let mut found = BTreeMap::new();
    let mut add = |name, token, times: LeaseTimes| assert_eq!(found.insert((name, token), times.deadline_ms), None);
    lease_times(store, &descriptor_of(store).range, &mut add).unwrap();
    found
}

fn permits(of: u32) -> LockMode {
    LockMode::Permit { of: Permits::new(of).unwrap() }
}

fn fence_of(lease: LeaseRef) -> Fence {
    Fence { lock: lease.name, token: lease.token }
}

/// What a snapshot of the shard carries.
fn snapshot(store: &MemoryView) -> MemoryView {
    let mut copy = Vec::new();
    for (space, from, to) in keys::pieces(SHARD, &descriptor_of(store).range) {
        store
            .scan(space, &from, &to, &mut |key, record| {
                let (key, record) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(record));
                copy.push(Write { space, key, value: Some(record) });
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    let mut store = MemoryView::default();
    store.apply_writes(&copy);
    store
}

fn descriptor_of(store: &MemoryView) -> ShardDescriptor {
    ShardState::load(store, SHARD).unwrap().unwrap().descriptor
}

fn seed_of(descriptor: &ShardDescriptor) -> Vec<Write> {
    seed(descriptor, Limits::default())
}

fn everything(at: Option<Revision>) -> ScanQuery {
    ScanQuery {
        prefix: Bytes::new(),
        position: None,
        from: Bytes::new(),
        to: None,
        after: None,
        limit_items: 1000,
        limit_bytes: 1 << 20,
        keys_only: false,
        at,
        examined_max: 1000,
    }
}

fn pages(store: &MemoryView, mut query: ScanQuery) -> Vec<Versioned> {
    let mut items = Vec::new();
    loop {
        let page = scan(store, SHARD, &query).unwrap().unwrap().value;
        items.extend(page.items);
        assert!(page.resume.is_none() || page.resume != query.after, "a page that gets nowhere");
        query.after = page.resume;
        if query.after.is_none() {
            return items;
        }
    }
}

type Plain = (Key, Bytes, Revision, Revision, u64);

fn plain(key: &Key, span: &super::model::Span) -> Plain {
    (key.clone(), span.value.clone(), span.begin, span.create_revision, span.version)
}

fn plain_of(found: &Versioned) -> Plain {
    (found.key.clone(), found.value.bytes().clone(), found.revision, found.create_revision, found.version)
}

fn name_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::ConditionFailed { .. } => "ConditionFailed",
        Refusal::OutOfBounds { .. } => "OutOfBounds",
        Refusal::NotAnInteger { .. } => "NotAnInteger",
        Refusal::ValueTooLarge { .. } => "ValueTooLarge",
        Refusal::RequestTooOld { .. } => "RequestTooOld",
        Refusal::WrongShard { .. } => "WrongShard",
        Refusal::ClockOutOfRange { .. } => "ClockOutOfRange",
        Refusal::WrongGroup => "WrongGroup",
        Refusal::Contradiction { .. } => "Contradiction",
        Refusal::Fenced { .. } => "Fenced",
        Refusal::FenceElsewhere { .. } => "FenceElsewhere",
        Refusal::LeaseExpired { .. } => "LeaseExpired",
        Refusal::LeaseOver { .. } => "LeaseOver",
        Refusal::NotTheHolder { .. } => "NotTheHolder",
        Refusal::LockHeld { .. } => "LockHeld",
        Refusal::LockQueueFull { .. } => "LockQueueFull",
        Refusal::PermitsDiffer { .. } => "PermitsDiffer",
    }
}
