//! The load that the blows fall on: tasks that change keys and keep what they were told.
//!
//! | task | what it does |
//! |---|---|
//! | writer | puts and removes keys that only it writes, and now and then puts a fresh key that nobody ever writes again |
//! | racer | lets several compare-and-sets race for one key |
//! | adder | adds through the SDK; what is unknown it asks again under the same id until it is told |
//! | sharer | the same, to a counter that others add to at the same time |
//! | repeater | adds by hand, every request several times and to several nodes on purpose, and sometimes minutes later once more |
//!
//! Some calls are given so little time that a failover makes their outcome unknown, others enough to wait it out. Between
//! calls every task can be held, so that a read back finds nothing under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::future::join_all;
use ringfence_client::{
    AddError, CasError, Client, ClientConfig, Condition, DeleteError, Key, Outcome, PutError, Revision,
};
use ringfence_proto::v1::RequestId;
use tokio::sync::{RwLock, RwLockWriteGuard};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::direct::{Change, Direct, Done, Told};
use super::known::{Added, Attempt, Counter, Fault, Held, Known, Race, Register, Verdict};
use super::schedule::NODES;
use super::tally::{Counts, Sent, Tally, Watch};
use super::{Stop, Violation};
use crate::Cluster;
use crate::Dice;

/// Keys that one writer writes again and again.
const REGISTERS: u64 = 5;

/// Attempts in one race.
const RACE_ATTEMPTS: u64 = 3;

/// A task waits up to so many milliseconds between two calls: three servers, and the clusters beside, share the machine.
const PAUSE_MS_MAX: u64 = 16;

/// Enough for any failover and restart.
const PATIENT: Duration = Duration::from_secs(60);

/// More than the most patient call takes.
const QUIET_PATIENCE: Duration = Duration::from_secs(180);

/// A repeated request is sent again until it is so old: well within the window in which a shard remembers.
const REPEAT_AGE_MAX: Duration = Duration::from_secs(300);
const REPEATABLE_MAX: usize = 64;

/// Keys read at once while everything is read back.
const READS_AT_ONCE: usize = 64;

/// The tasks, and what they know. Dropping it ends them.
pub(super) struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    book: Mutex<Book>,
    /// Every call holds it shared; whoever wants quiet takes it alone.
    work: RwLock<()>,
    watch: Arc<Watch>,
    tally: Arc<Tally>,
    direct: Direct,
    clients: Vec<Client>,
    /// First ring positions of the shards, in order.
    shards: Vec<u64>,
    /// The highest revision in any answer: the birth of requests made by hand.
    seen: AtomicI64,
    stopped: Mutex<Option<Stop>>,
}

/// What is known of all keys.
#[derive(Default)]
struct Book {
    keys: BTreeMap<String, Known>,
    /// Those that were written since they were last read back.
    touched: BTreeSet<String>,
}

/// While it lives nothing is under way.
pub(super) struct Quiet<'a> {
    shared: &'a Shared,
    _alone: RwLockWriteGuard<'a, ()>,
}

type Result<T = ()> = std::result::Result<T, Stop>;

impl Load {
    /// Connects, and starts the tasks; they wait until `quiet` is dropped for the first time.
    pub(super) async fn start(cluster: &Cluster, dice: &Dice, watch: Arc<Watch>, tally: Arc<Tally>) -> Result<Load> {
        let mut clients = Vec::new();
        // Two over the shared stream, so that they disagree on who leads, and one over plain calls.
        for unary in [false, false, true] {
            let config = ClientConfig { unary, timeout: PATIENT, ..ClientConfig::new(cluster.endpoints()) };
            let client = Client::with_config(config).await.map_err(|error| Stop::Broken(error.to_string()))?;
            clients.push(client);
        }
        let info =
            cluster.describe(1).await.ok_or_else(|| Stop::Broken("node 1 does not describe the cluster".into()))?;
        let shared = Arc::new(Shared {
            book: Mutex::default(),
            work: RwLock::default(),
            watch,
            tally,
            direct: Direct::new(cluster),
            clients,
            shards: info.shards.iter().map(|shard| shard.first_position).collect(),
            seen: AtomicI64::new(info.revision),
            stopped: Mutex::default(),
        });
        Ok(Load { shared, tasks: JoinSet::new() }.with_tasks(dice))
    }

    fn with_tasks(mut self, dice: &Dice) -> Load {
        let mut roll = dice.clone();
        for (kind, count) in
            [(Kind::Writer, 10), (Kind::Racer, 3), (Kind::Adder, 4), (Kind::Sharer, 3), (Kind::Repeater, 4)]
        {
            for number in 0..count {
                let name = format!("{kind:?}{number}").to_lowercase();
                let dice = Dice::new(roll.roll(), &name, number);
                let task = Task { shared: self.shared.clone(), kind, name, dice, count: 0, said: VecDeque::new() };
                self.tasks.spawn(task.run());
            }
        }
        self
    }

    /// Holds all tasks between two calls. Waits for the calls under way, so there must be someone to answer them.
    pub(super) async fn quiet(&self) -> Result<Quiet<'_>> {
        let stuck = |_| {
            Stop::Broken(format!("calls under way do not end within {QUIET_PATIENCE:?}, although the cluster is led"))
        };
        let alone = timeout(QUIET_PATIENCE, self.shared.work.write()).await.map_err(stuck)?;
        self.shared.watch.pause();
        self.check()?;
        Ok(Quiet { shared: &self.shared, _alone: alone })
    }

    /// Whether a task has found a violation, or cannot go on.
    pub(super) fn check(&self) -> Result {
        let stopped = self.shared.stopped.lock().expect("no code panics while it holds this lock").clone();
        stopped.map_or(Ok(()), Err)
    }

    /// What each node says a key holds, for people.
    pub(super) async fn ask_around(&self, key: &str) -> Vec<String> {
        let keys = [key.to_owned()];
        let asked = (1..=NODES).map(|node| {
            let asked = self.shared.direct.read(node, &keys);
            async move {
                match asked.await {
                    Ok(held) => format!("through node {node}: {}", super::known::shown(held[0].as_ref())),
                    Err(why) => format!("through node {node}: no answer: {why}"),
                }
            }
        });
        join_all(asked).await
    }
}

impl Quiet<'_> {
    /// Reads back what was written since the last time, or everything, and compares. Returns how many keys.
    pub(super) async fn read_back(&self, everything: bool) -> Result<u64> {
        let keys: Vec<String> = {
            let mut book = self.shared.book();
            let touched = std::mem::take(&mut book.touched);
            if everything { book.keys.keys().cloned().collect() } else { touched.into_iter().collect() }
        };
        let readers = (0..READS_AT_ONCE.min(keys.len())).map(|reader| {
            let client = &self.shared.clients[reader % self.shared.clients.len()];
            let keys = keys.iter().skip(reader).step_by(READS_AT_ONCE);
            async move {
                for key in keys {
                    let unread =
                        |error| Stop::Broken(format!("a cluster that is led does not tell what {key} holds: {error}"));
                    let found = client.get(key).await.map_err(unread)?;
                    self.shared.saw(key, found.map(held), "read back")?;
                }
                Ok(())
            }
        });
        join_all(readers).await.into_iter().collect::<Result>()?;
        self.shared.tally.count(|counts| counts.keys_read += keys.len() as u64);
        Ok(keys.len() as u64)
    }

    /// Reads everything through each node in turn, and compares.
    pub(super) async fn read_through_every_node(&self) -> Result {
        const KEYS_PER_MESSAGE: usize = 256;
        let keys: Vec<String> = self.shared.book().keys.keys().cloned().collect();
        for node in 1..=NODES {
            for some in keys.chunks(KEYS_PER_MESSAGE) {
                let begun = Instant::now();
                let found = loop {
                    match self.shared.direct.read(node, some).await {
                        Ok(found) => break found,
                        Err(why) if begun.elapsed() > PATIENT => {
                            return Err(Stop::Broken(format!("node {node} reads nothing for {PATIENT:?}: {why}")));
                        }
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                };
                for (key, held) in some.iter().zip(found) {
                    self.shared.saw(key, held, &format!("read through node {node}"))?;
                }
            }
            self.shared.tally.count(|counts| counts.keys_read += keys.len() as u64);
        }
        Ok(())
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no code panics while it holds this lock")
    }

    fn saw(&self, key: &str, found: Option<Held>, when: &str) -> Result {
        let mut book = self.book();
        let known = book.keys.get_mut(key).expect("only known keys are read");
        known.saw(found).map_err(|fault| violation(key, fault, when))
    }

    fn saw_revision(&self, revision: i64) {
        self.seen.fetch_max(revision, Ordering::Relaxed);
    }

    /// The place in ring order of the shard that owns a key.
    fn shard_of(&self, key: &str) -> usize {
        let position = Key::new(key.to_owned()).expect("keys of the load are keys").position().0;
        self.shards.partition_point(|first| *first <= position) - 1
    }
}

fn violation(key: &str, fault: Fault, when: &str) -> Stop {
    Stop::Violation(Box::new(Violation::new(key.to_owned(), fault, when.to_owned())))
}

fn held(kv: ringfence_client::KeyValue) -> Held {
    Held { value: kv.value.to_vec(), version: kv.version, revision: kv.revision.0 }
}

/// See the module.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Writer,
    Racer,
    Adder,
    Sharer,
    Repeater,
}

struct Task {
    shared: Arc<Shared>,
    kind: Kind,
    name: String,
    dice: Dice,
    /// Steps so far.
    count: u64,
    /// A repeater's requests, the oldest first.
    said: VecDeque<Said>,
}

/// A request that may be sent again later.
#[derive(Clone)]
struct Said {
    at: Instant,
    id: RequestId,
    change: Change,
    told: Added,
}

impl Task {
    /// Steps until the load is dropped, or until a step finds what must not be.
    async fn run(mut self) {
        let shared = self.shared.clone();
        loop {
            let at_work = shared.work.read().await;
            let done = match self.kind {
                Kind::Writer => self.write().await,
                Kind::Racer => self.race().await,
                Kind::Adder => self.add(true).await,
                Kind::Sharer => self.add(false).await,
                Kind::Repeater => self.repeat().await,
            };
            if let Err(stop) = done {
                shared.stopped.lock().expect("no code panics while it holds this lock").get_or_insert(stop);
                return;
            }
            self.count += 1;
            drop(at_work);
            let pause = Duration::from_millis(self.dice.within(0..PAUSE_MS_MAX + 1));
            tokio::time::sleep(pause).await;
        }
    }

    fn client(&mut self) -> Client {
        self.dice.one_of(&self.shared.clients).clone()
    }

    /// Little enough that a failover leaves the outcome unknown, or enough to wait it out.
    fn timeout(&mut self) -> Duration {
        if self.dice.percent(30) { Duration::from_millis(self.dice.within(40..400)) } else { PATIENT }
    }

    /// A value that no other write has.
    fn value(&mut self) -> Vec<u8> {
        let name = format!("{} {}", self.name, self.count);
        let bytes = match self.dice.within(0..100) {
            0..70 => self.dice.within(20..200),
            70..97 => self.dice.within(200..3_000),
            _ => self.dice.within(10_000..40_000),
        };
        format!("{name:.<width$}", width = bytes as usize).into_bytes()
    }

    fn send(&self, key: &str) -> Sent {
        self.shared.watch.send(self.shared.shard_of(key))
    }

    /// A write was acknowledged, at this revision.
    fn acknowledged(&self, key: &str, sent: Sent, revision: i64) -> Result {
        self.shared.saw_revision(revision);
        let fresh = self.shared.watch.acknowledged(&sent, &self.shared.tally);
        self.shared.watch.end(sent);
        fresh.map_err(|fault| violation(key, fault, "under load"))
    }

    fn ended(&self, sent: Sent, count: fn(&mut Counts)) {
        self.shared.watch.end(sent);
        self.shared.tally.count(count);
    }

    /// Asks the same request again until the cluster says what became of it.
    async fn resolve(&mut self, key: &str, id: RequestId, change: &Change) -> Result<Told> {
        let sent = self.send(key);
        let told = self.shared.direct.resolve(id, change, &mut self.dice).await;
        self.shared.watch.end(sent);
        self.shared.tally.count(Counts::resolved);
        told
    }

    fn register(&self, key: &str, change: impl FnOnce(&mut Register) -> Verdict) -> Result {
        let mut book = self.shared.book();
        book.touched.insert(key.to_owned());
        let known = book.keys.entry(key.to_owned()).or_insert_with(|| Known::Register(Register::default()));
        let Known::Register(register) = known else { unreachable!("{key} is a register") };
        change(register).map_err(|fault| violation(key, fault, "under load"))
    }

    fn counter<T>(&self, key: &str, change: impl FnOnce(&mut Counter) -> std::result::Result<T, Fault>) -> Result<T> {
        let mut book = self.shared.book();
        book.touched.insert(key.to_owned());
        let known = book.keys.entry(key.to_owned()).or_insert_with(|| Known::Counter(Counter::default()));
        let Known::Counter(counter) = known else { unreachable!("{key} is a counter") };
        change(counter).map_err(|fault| violation(key, fault, "under load"))
    }

    fn race_of<T>(&self, key: &str, change: impl FnOnce(&mut Race) -> std::result::Result<T, Fault>) -> Result<T> {
        let mut book = self.shared.book();
        book.touched.insert(key.to_owned());
        let known = book.keys.entry(key.to_owned()).or_insert_with(|| Known::Race(Race::default()));
        let Known::Race(race) = known else { unreachable!("{key} is raced for") };
        change(race).map_err(|fault| violation(key, fault, "under load"))
    }

    async fn write(&mut self) -> Result {
        let own = format!("{}/{}", self.name, self.dice.within(0..REGISTERS));
        match self.dice.within(0..100) {
            0..50 => self.put(&own).await,
            50..60 => self.delete(&own).await,
            60..85 => self.put(&format!("{}/once/{}", self.name, self.count)).await,
            _ => self.get(&own).await,
        }
    }

    async fn put(&mut self, key: &str) -> Result {
        let (client, timeout, value) = (self.client(), self.timeout(), self.value());
        let sent = self.send(key);
        match client.put(key, value.clone()).timeout(timeout).await {
            Ok(written) => {
                self.acknowledged(key, sent, written.revision.0)?;
                self.register(key, |register| register.put(value, written.version, written.revision.0))
            }
            Err(PutError::OutcomeUnknown(unknown)) => {
                self.ended(sent, Counts::unknown);
                // Half of them stay unknown, as they do for a client that does not ask again.
                if self.dice.percent(50) {
                    return self.register(key, |register| {
                        register.unknown(Some(value));
                        Ok(())
                    });
                }
                let change = Change::Put { key: key.to_owned(), value: value.clone() };
                let told = self.resolve(key, unknown.id.into(), &change).await?;
                self.register(key, |register| match told {
                    Told::Done(Done::Put { version, revision }) => register.put(value, version, revision),
                    Told::Refused => {
                        register.refused(value);
                        Ok(())
                    }
                    _ => {
                        register.unknown(Some(value));
                        Ok(())
                    }
                })
            }
            Err(error) => {
                assert_eq!(error.outcome(), Outcome::Refused, "the only other outcome");
                self.ended(sent, Counts::refused);
                self.register(key, |register| {
                    register.refused(value);
                    Ok(())
                })
            }
        }
    }

    async fn delete(&mut self, key: &str) -> Result {
        let (client, timeout) = (self.client(), self.timeout());
        let sent = self.send(key);
        match client.delete(key).timeout(timeout).await {
            Ok(deleted) => {
                self.acknowledged(key, sent, deleted.revision.0)?;
                self.register(key, |register| register.deleted(deleted.existed, deleted.revision.0))
            }
            Err(DeleteError::OutcomeUnknown(unknown)) => {
                self.ended(sent, Counts::unknown);
                // Absence has no name: whoever finds the key gone must know whether this removal did it.
                let told = self.resolve(key, unknown.id.into(), &Change::Delete { key: key.to_owned() }).await?;
                self.register(key, |register| match told {
                    Told::Done(Done::Deleted { existed, revision }) => register.deleted(existed, revision),
                    Told::Refused => Ok(()),
                    _ => {
                        register.unknown(None);
                        Ok(())
                    }
                })
            }
            Err(_) => {
                self.ended(sent, Counts::refused);
                Ok(())
            }
        }
    }

    /// A linearizable read in the middle of it all must see what this task knows.
    async fn get(&mut self, key: &str) -> Result {
        let (client, timeout) = (self.client(), self.timeout());
        if !self.shared.book().keys.contains_key(key) {
            return Ok(());
        }
        match client.get(key).timeout(timeout).await {
            Ok(found) => self.shared.saw(key, found.map(held), "read under load"),
            Err(_) => Ok(()), // nobody could answer in time
        }
    }

    async fn race(&mut self) -> Result {
        let key = self.name.clone();
        let on = self.race_of(&key, |race| Ok(race.revision()))?;
        let runners: Vec<_> = (0..RACE_ATTEMPTS).map(|_| (self.client(), self.timeout())).collect();
        let attempts = runners.into_iter().enumerate().map(|(runner, (client, timeout))| {
            let value = format!("{key} {} {runner}", self.count).into_bytes();
            self.attempt(client, &key, on, value, timeout)
        });
        let attempts = join_all(attempts).await.into_iter().collect::<Result<Vec<_>>>()?;
        let failed = attempts.iter().any(|(_, condition_failed)| *condition_failed);
        self.race_of(&key, |race| race.ran(attempts.into_iter().map(|(attempt, _)| attempt).collect()))?;
        if self.race_of(&key, |race| Ok(race.revision()))? != on {
            return Ok(());
        }
        // No winner that we know of. Somebody may have won whose answer was lost.
        let client = self.client();
        let Ok(found) = client.get(&key).timeout(PATIENT).await else { return Ok(()) };
        self.shared.saw(&key, found.map(held), "read under load")?;
        if failed && self.race_of(&key, |race| Ok(race.revision()))? == on {
            let fault = Fault {
                what: "a condition that holds is not said to fail",
                expected: format!("a key that was changed since revision {}", on.unwrap_or(0)),
                found: "a key that was not".to_owned(),
            };
            return Err(violation(&key, fault, "under load"));
        }
        Ok(())
    }

    /// One compare-and-set, and whether its condition failed.
    async fn attempt(
        &self,
        client: Client,
        key: &str,
        on: Option<i64>,
        value: Vec<u8>,
        timeout: Duration,
    ) -> Result<(Attempt, bool)> {
        let sent = self.send(key);
        let condition = on.map_or(Condition::Absent, |revision| Condition::RevisionIs(Revision(revision)));
        match client.cas(key, condition, value.clone()).timeout(timeout).await {
            Ok(written) => {
                self.acknowledged(key, sent, written.revision.0)?;
                let held = Held { value, version: written.version, revision: written.revision.0 };
                Ok((Attempt::Won(held), false))
            }
            Err(CasError::OutcomeUnknown(_)) => {
                self.ended(sent, Counts::unknown);
                Ok((Attempt::Unknown(value), false))
            }
            Err(error) => {
                self.ended(sent, Counts::refused);
                Ok((Attempt::Refused(value), matches!(error, CasError::ConditionFailed { .. })))
            }
        }
    }

    /// Through the SDK: to a counter of its own, where every answer can be foretold, or to one that all sharers use.
    async fn add(&mut self, alone: bool) -> Result {
        let key = if alone { self.name.clone() } else { "shared".to_owned() };
        let (client, timeout, delta) = (self.client(), self.timeout(), self.dice.within(1..10) as i64);
        // Sometimes with a bound that it must break.
        let bounded = alone && self.dice.percent(10);
        let max = if bounded { Some(self.counter(&key, |counter| Ok(counter.sum()))?) } else { None };
        let mut add = client.add(&key, delta).timeout(timeout);
        if let Some(max) = max {
            add = add.max(max);
        }
        let sent = self.send(&key);
        let told = match add.await {
            Ok(added) => {
                self.acknowledged(&key, sent, added.revision.0)?;
                Some(Added { value: added.value, version: added.version, revision: added.revision.0 })
            }
            Err(AddError::OutcomeUnknown(unknown)) => {
                self.ended(sent, Counts::unknown);
                self.shared.tally.count(|counts| counts.add_sent_again(1));
                let change = Change::Add { key: key.clone(), delta, max };
                match self.resolve(&key, unknown.id.into(), &change).await? {
                    Told::Done(Done::Added(added)) => Some(added),
                    Told::Refused => None,
                    told => return Err(lost_track(&key, unknown.id.into(), &told)),
                }
            }
            Err(error) => {
                self.ended(sent, Counts::refused);
                if matches!(error, AddError::OutOfBounds { .. } | AddError::NotAnInteger) && !bounded {
                    let expected = "a sum: the counter has no bound and holds an integer".to_owned();
                    let fault = Fault { what: "an addition counts once", expected, found: error.to_string() };
                    return Err(violation(&key, fault, "under load"));
                }
                None
            }
        };
        let Some(told) = told else { return Ok(()) };
        if let Some(max) = max {
            let fault = Fault { what: "a bound holds", expected: format!("at most {max}"), found: told.to_string() };
            return Err(violation(&key, fault, "under load"));
        }
        self.counter(&key, |counter| counter.added(delta, &told, alone))
    }

    /// By hand: one id, several sendings.
    async fn repeat(&mut self) -> Result {
        let too_old = |said: &Said| said.at.elapsed() > REPEAT_AGE_MAX;
        while self.said.front().is_some_and(too_old) || self.said.len() > REPEATABLE_MAX {
            self.said.pop_front();
        }
        if !self.said.is_empty() && self.dice.percent(20) {
            let again = self.dice.within(0..self.said.len() as u64) as usize;
            let said = self.said[again].clone();
            return self.say_again(&said).await;
        }
        let key = self.name.clone();
        let delta = self.dice.within(1..10) as i64;
        let birth = self.shared.seen.load(Ordering::Relaxed);
        let id = RequestId { client: self.dice.roll().max(1), sequence: self.count, birth };
        let change = Change::Add { key: key.clone(), delta, max: None };
        let sent = self.send(&key);
        let sendings: Vec<_> = (0..self.dice.within(1..5))
            .map(|_| {
                let (node, within) = (self.dice.within(1..NODES + 1), Duration::from_millis(self.dice.within(30..500)));
                let later = Duration::from_millis(if self.dice.percent(50) { 0 } else { self.dice.within(0..30) });
                let (direct, change) = (&self.shared.direct, &change);
                async move {
                    tokio::time::sleep(later).await;
                    direct.send(node, id, change, within).await
                }
            })
            .collect();
        let again = sendings.len() as u64 - 1;
        self.shared.tally.count(|counts| counts.add_sent_again(again));
        let mut answers: Vec<Told> = join_all(sendings).await;
        if !answers.iter().any(|told| matches!(told, Told::Done(_))) {
            self.shared.tally.count(|counts| {
                counts.unknown();
                counts.add_sent_again(1);
            });
            let told = self.resolve(&key, id, &change).await?;
            answers.push(told);
        }
        let mut told: Option<Added> = None;
        for answer in answers {
            match (answer, told) {
                (Told::Done(Done::Added(added)), None) => told = Some(added),
                (Told::Done(Done::Added(added)), Some(before)) if added != before => {
                    return Err(told_otherwise(&key, id, &before, &added));
                }
                (Told::Done(Done::Added(_)) | Told::Nothing(_), _) => {}
                (other, _) => return Err(lost_track(&key, id, &other)),
            }
        }
        let told = told.expect("one was told");
        self.acknowledged(&key, sent, told.revision)?;
        self.counter(&key, |counter| counter.added(delta, &told, true))?;
        self.said.push_back(Said { at: Instant::now(), id, change, told });
        Ok(())
    }

    /// What was answered long ago is answered the same, and not done again: the counter's next answer shows that.
    async fn say_again(&mut self, said: &Said) -> Result {
        let key = self.name.clone();
        self.shared.tally.count(|counts| counts.add_sent_again(1));
        let node = self.dice.within(1..NODES + 1);
        match self.shared.direct.send(node, said.id, &said.change, Duration::from_secs(1)).await {
            Told::Done(Done::Added(added)) if added == said.told => Ok(()),
            Told::Done(Done::Added(added)) => Err(told_otherwise(&key, said.id, &said.told, &added)),
            Told::Nothing(_) => Ok(()), // that node is down, or no one leads
            other => Err(lost_track(&key, said.id, &other)),
        }
    }
}

fn told_otherwise(key: &str, id: RequestId, before: &Added, now: &Added) -> Stop {
    let fault = Fault {
        what: "a request sent again is told the same",
        expected: format!("{before}, as request {id:?} was told before"),
        found: now.to_string(),
    };
    violation(key, fault, "under load")
}

/// A memory that is younger than its window is gone, or an addition without a bound was refused.
fn lost_track(key: &str, id: RequestId, told: &Told) -> Stop {
    let fault = Fault {
        what: "a request sent again is told the same",
        expected: format!("what became of request {id:?}"),
        found: format!("{told:?}"),
    };
    violation(key, fault, "under load")
}
