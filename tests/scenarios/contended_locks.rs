//! What a lock promises must hold where it is hardest: hundreds of clients want a hundred locks, of several shards, while leaders die,
//! hand over, or freeze. Every lease is used here, in this process, so there is one monotonic clock by which all holders
//! believe in their leases, and two that believe in the same lock at one moment are seen at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use ringfence_client::{AcquireError, Client, FencingToken, Lease, ReleaseError, Revision};
use ringfence_tests::{Cluster, eventually, in_time};
use tokio::task::JoinHandle;
use tokio::time::sleep;

const LOCKS: usize = 100;
const CLIENTS: usize = 4;
const TASKS: usize = 320;

/// Of leases that no failover may cost: far longer than any.
const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn contended_locks_exclude_while_leaders_are_killed() {
    let mut cluster = Cluster::start(3).await;
    let contention = Contention::start(&cluster).await;
    for shard in cluster.shards().await {
        contention.goes_on().await;
        let leader = cluster.leader(shard).await;
        cluster.kill(leader);
        contention.goes_on().await;
        cluster.start_node(leader);
        cluster.led().await;
    }
    contention.end_and_check().await;
    cluster.level().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contended_locks_exclude_while_leadership_goes_back_and_forth() {
    let mut cluster = Cluster::start(3).await;
    let contention = Contention::start(&cluster).await;
    for node in [1, 2, 1, 3] {
        contention.goes_on().await;
        cluster.let_lead(node).await;
    }
    contention.goes_on().await;
    contention.end_and_check().await;
    cluster.level().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contended_locks_exclude_while_leaders_are_paused() {
    let cluster = Cluster::start(3).await;
    let contention = Contention::start(&cluster).await;
    for shard in cluster.shards().await {
        contention.goes_on().await;
        let leader = cluster.leader(shard).await;
        cluster.server(leader).freeze(true);
        // Every lock is granted anew, so somebody else leads every shard.
        contention.goes_on().await;
        cluster.server(leader).pause(false);
        contention.goes_on().await;
        cluster.led().await;
    }
    contention.end_and_check().await;
    cluster.level().await;
}

/// Tasks that want locks, and what they know of each other.
struct Contention {
    client: Client,
    rooms: Arc<Vec<Room>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
    sampler: JoinHandle<Sampled>,
    tally: Arc<Tally>,
}

/// How often what happened: a test in which nothing did proves nothing.
#[derive(Debug, Default)]
struct Tally {
    grants: AtomicU64,
    /// Leases that ended while their holders wanted them: renewals came too late, while there was no leader.
    lost: AtomicU64,
    /// Grants of which the holder was told after they had ended again.
    late: AtomicU64,
    held: AtomicU64,
    timed_out: AtomicU64,
}

/// Behind one lock.
struct Room {
    name: String,
    state: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    holder: Option<Arc<Lease>>,
    /// Nobody comes in before: by then a holder that left without releasing has stopped believing in its lease.
    not_before: Option<Instant>,
    /// Of all who came in.
    highest: Option<FencingToken>,
    tokens: BTreeSet<FencingToken>,
    /// Of those who stayed in the queue until they were granted, with leases that no failover can end: by their names.
    granted: BTreeMap<String, FencingToken>,
    grants: u64,
    violations: Vec<String>,
}

/// Places in the queues, as they were seen: of each lock, by ticket.
type Sampled = Vec<BTreeMap<Revision, String>>;

impl Room {
    fn state(&self) -> MutexGuard<'_, Inside> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    fn assert_no_violation(&self) {
        assert_eq!(self.state().violations, [] as [String; 0]);
    }

    /// The holder of a lease comes in, unless the lease ended before it could. Whoever is in must have stopped believing.
    fn enter(&self, lease: &Arc<Lease>) -> bool {
        let mut guard = self.state();
        let inside = &mut *guard;
        let token = lease.token();
        if !inside.tokens.insert(token) {
            inside.violations.push(format!("{}: token {token} was granted twice", self.name));
        }
        if lease.remaining().is_zero() {
            return false;
        }
        // From here on the lease is current, so whatever was granted before has ended.
        if let Some(holder) = &inside.holder {
            let left = holder.remaining();
            if !left.is_zero() {
                let (before, name) = (holder.token(), &self.name);
                inside.violations.push(format!("{name}: {token} was granted while {before} had {left:?} left"));
            }
        }
        let early = inside.not_before.map(|end| end.saturating_duration_since(Instant::now()));
        if let Some(early) = early.filter(|early| !early.is_zero()) {
            inside.violations.push(format!("{}: {token} was granted {early:?} before the last lease ended", self.name));
        }
        if inside.highest.is_some_and(|highest| highest > token) {
            inside.violations.push(format!("{}: {token} was granted after {:?}", self.name, inside.highest));
        }
        (inside.highest, inside.holder, inside.not_before) = (Some(token), Some(Arc::clone(lease)), None);
        inside.grants += 1;
        true
    }

    /// Before the lease is released. `until`: somebody else may come in only then.
    fn leave(&self, lease: &Arc<Lease>, until: Option<Instant>) {
        let mut inside = self.state();
        if inside.holder.as_ref().is_some_and(|holder| Arc::ptr_eq(holder, lease)) {
            (inside.holder, inside.not_before) = (None, until);
        }
    }
}

impl Contention {
    async fn start(cluster: &Cluster) -> Contention {
        let seed = std::env::var("RINGFENCE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
        println!("RINGFENCE_SEED={seed}");
        let clients = join_all((0..CLIENTS).map(|_| cluster.client())).await;
        let rooms = (0..LOCKS).map(|n| Room { name: format!("lock/{n}"), state: Mutex::default() });
        let rooms: Arc<Vec<Room>> = Arc::new(rooms.collect());
        let (stop, tally): (Arc<AtomicBool>, Arc<Tally>) = Default::default();
        let tasks = (0..TASKS).map(|n| {
            let task = Task {
                client: clients[n % CLIENTS].clone(),
                rooms: Arc::clone(&rooms),
                tally: Arc::clone(&tally),
                random: StdRng::seed_from_u64(seed.wrapping_add(n as u64)),
                name: format!("t{n}"),
            };
            tokio::spawn(task.run(Arc::clone(&stop)))
        });
        let tasks = tasks.collect();
        let client = cluster.client().await;
        let sampler = tokio::spawn(sample(client.clone(), Arc::clone(&rooms), Arc::clone(&stop)));
        Contention { client, rooms, stop, tasks, sampler, tally }
    }

    /// Waits until every lock was granted again.
    async fn goes_on(&self) {
        let before: Vec<u64> = self.rooms.iter().map(|room| room.state().grants).collect();
        eventually("every lock is granted again", async || {
            self.rooms.iter().for_each(Room::assert_no_violation);
            assert!(
                !self.tasks.iter().any(JoinHandle::is_finished),
                "a task was told what it cannot be told: see above"
            );
            self.rooms.iter().zip(&before).all(|(room, before)| room.state().grants > *before).then_some(())
        })
        .await;
    }

    /// Lets everybody finish what they wait for, and checks that nothing is left.
    async fn end_and_check(self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = in_time("all who wait have been granted their locks", join_all(self.tasks)).await;
        for ended in ended {
            ended.expect("no task was told what it cannot be told");
        }
        let sampled = self.sampler.await.expect("locks can be looked at all the time");
        println!("{:?}", self.tally);
        self.rooms.iter().for_each(Room::assert_no_violation);
        let judged: usize = self.rooms.iter().zip(&sampled).map(|(room, queue)| in_order(room, queue)).sum();
        println!("{judged} grants were seen to come in the order of their queue");
        assert!(judged > 100, "the queues were hardly looked at: {judged} grants");
        assert!(self.tally.grants.load(Ordering::Relaxed) > 1_000, "there was hardly any contention");
        nothing_is_left(&self.client, self.rooms.iter().map(|room| room.name.as_str())).await;
    }
}

/// Of those whose place in the queue was seen, and who were granted the lock, the order of tokens is the order of tickets. Returns
/// how many those are.
fn in_order(room: &Room, queue: &BTreeMap<Revision, String>) -> usize {
    let inside = room.state();
    let holders: BTreeSet<&String> = queue.values().collect();
    for holder in holders.iter().filter(|holder| inside.granted.contains_key(**holder)) {
        let tickets: Vec<_> = queue.iter().filter(|(_, other)| *other == *holder).map(|(ticket, _)| ticket).collect();
        assert_eq!(tickets.len(), 1, "{}: {holder} stayed, and lost its place in the queue", room.name);
    }
    let granted = queue.iter().filter_map(|(ticket, holder)| Some((ticket, inside.granted.get(holder)?)));
    let granted: Vec<_> = granted.collect();
    for pair in granted.windows(2) {
        let [(earlier, first), (later, second)] = pair else { unreachable!("windows of two") };
        assert!(first < second, "{}: ticket {later} was granted before {earlier}: {second}, {first}", room.name);
    }
    granted.len()
}

/// Looks at one queue after the other, again and again.
async fn sample(client: Client, rooms: Arc<Vec<Room>>, stop: Arc<AtomicBool>) -> Sampled {
    let mut sampled: Sampled = vec![BTreeMap::new(); rooms.len()];
    while !stop.load(Ordering::Relaxed) {
        for (room, sampled) in rooms.iter().zip(&mut sampled) {
            let seen = client.inspect_lock(&room.name).await.expect("a lock can be looked at");
            assert!(seen.leases.len() <= 1, "{}: two exclusive leases: {:?}", room.name, seen.leases);
            for waiter in seen.waiters {
                let holder = String::from_utf8_lossy(waiter.holder.bytes()).into_owned();
                let before = sampled.insert(waiter.ticket, holder.clone());
                assert!(before.is_none_or(|before| before == holder), "{}: a ticket of two", room.name);
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
    sampled
}

/// No lease and no waiter, once what nobody released has run out.
async fn nothing_is_left(client: &Client, names: impl Iterator<Item = &str>) {
    eventually("no lease is left", async || {
        let mut pages = client.leases();
        while let Some(page) = pages.next_page().await.expect("leases can be listed") {
            if !page.is_empty() {
                return None;
            }
        }
        Some(())
    })
    .await;
    for name in names {
        eventually(&format!("nobody waits for {name} any more"), async || {
            let seen = client.inspect_lock(name).await.expect("a lock can be looked at");
            (seen.leases.is_empty() && seen.waiters.is_empty()).then_some(())
        })
        .await;
    }
}

/// One that wants locks.
struct Task {
    client: Client,
    rooms: Arc<Vec<Room>>,
    tally: Arc<Tally>,
    random: StdRng,
    name: String,
}

impl Task {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        for turn in 0_u64.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let room = self.random.random_range(0..LOCKS);
            let way = self.random.random_range(0..100);
            let holder = format!("{}.{turn}, way {way}", self.name);
            let rooms = Arc::clone(&self.rooms);
            self.turn(&rooms[room], way, holder).await;
        }
    }

    /// Wants one lock, in one of the ways in which locks are wanted.
    async fn turn(&mut self, room: &Room, way: u32, holder: String) {
        let acquire = self.client.lock(&room.name).holder(holder.clone());
        let ms = |random: &mut StdRng, range| Duration::from_millis(random.random_range(range));
        match way {
            // Most hold it for a moment. Only of these is it certain that one who stays is granted what it queued for.
            0..70 => {
                let Some(lease) = self.enter(room, &holder, acquire.ttl(LONG).await).await else { return };
                room.state().granted.insert(holder, lease.token());
                sleep(ms(&mut self.random, 0..10)).await;
                room.leave(&lease, None);
                let released = alone(lease).release().await;
                assert!(released.is_ok(), "{}: {released:?}", room.name);
            }
            70..75 => {
                let ttl = Duration::from_secs(5); // in case a lease that is dropped cannot be released at once
                let Some(lease) = self.enter(room, &holder, acquire.ttl(ttl).await).await else { return };
                room.leave(&lease, None);
                drop(alone(lease));
            }
            // To the end of the ttl, which nobody renews.
            75..80 => {
                let acquire = acquire.ttl(ms(&mut self.random, 100..1_500)).fixed_term();
                let Some(lease) = self.enter(room, &holder, acquire.await).await else { return };
                lease.lost().await;
                room.leave(&lease, None);
            }
            80..85 => {
                let acquire = acquire.ttl(ms(&mut self.random, 100..1_500));
                let Some(lease) = self.enter(room, &holder, acquire.await).await else { return };
                let lease_end = Instant::now() + lease.remaining();
                room.leave(&lease, Some(lease_end));
                alone(lease).abandon();
            }
            // For longer than the ttl, which is renewed.
            85..90 => {
                let acquire = acquire.ttl(ms(&mut self.random, 500..1_000));
                let Some(lease) = self.enter(room, &holder, acquire.await).await else { return };
                let rest = ms(&mut self.random, 1_000..2_500);
                let lost = tokio::time::timeout(rest, lease.lost()).await.is_ok();
                room.leave(&lease, None);
                self.tally.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
                let released = alone(lease).release().await;
                assert!(matches!(released, Ok(()) | Err(ReleaseError::Over)), "{}: {released:?}", room.name);
            }
            90..95 => {
                let wait = ms(&mut self.random, 1..500);
                let asked = acquire.ttl(LONG).wait_at_most(wait).await;
                if let Err(AcquireError::TimedOut { .. }) = asked {
                    self.tally.timed_out.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let Some(lease) = self.enter(room, &holder, asked).await else { return };
                room.leave(&lease, None);
                let released = alone(lease).release().await;
                assert!(released.is_ok(), "{}: {released:?}", room.name);
            }
            _ => {
                let asked = acquire.ttl(LONG).without_waiting().await;
                if let Err(AcquireError::Held(_)) = asked {
                    self.tally.held.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let Some(lease) = self.enter(room, &holder, asked).await else { return };
                room.leave(&lease, None);
                let released = alone(lease).release().await;
                assert!(released.is_ok(), "{}: {released:?}", room.name);
            }
        }
    }

    /// Whoever waits is granted the lock, whatever happens to leaders.
    async fn enter(&self, room: &Room, holder: &str, asked: Result<Lease, AcquireError>) -> Option<Arc<Lease>> {
        let lease = Arc::new(asked.unwrap_or_else(|e| panic!("{}: {holder} was refused {e:?}", room.name)));
        self.tally.grants.fetch_add(1, Ordering::Relaxed);
        if room.enter(&lease) {
            return Some(lease);
        }
        self.tally.late.fetch_add(1, Ordering::Relaxed);
        // It may say that it is over, or be released in time by the lease clock.
        let _ = alone(lease).release().await;
        None
    }
}

/// Whoever has left the room is the only one who knows its lease.
fn alone(lease: Arc<Lease>) -> Lease {
    Arc::into_inner(lease).expect("nobody else keeps it")
}

const QUEUES: usize = 24;
const QUEUE: usize = 12;

/// These do not stay.
const IMPATIENT: [usize; 2] = [3, 8];

/// Who came first is served first, whatever has happened to leaders since. Each queue is made one by one, so its order is known.
#[tokio::test(flavor = "multi_thread")]
async fn queues_keep_their_order_across_kills_handovers_and_pauses() {
    let mut cluster = Cluster::start(3).await;
    for fault in ["kill", "handover", "pause"] {
        println!("{fault}");
        let clients = [cluster.client().await, cluster.client().await];
        let mut queues = join_all((0..QUEUES).map(|n| Queue::fill(&clients, format!("{fault}/{n}")))).await;
        let shard = cluster.shards().await[0];
        let leader = cluster.leader(shard).await;
        match fault {
            "kill" => cluster.kill(leader),
            "handover" => cluster.let_lead(leader % 3 + 1).await,
            _ => cluster.server(leader).pause(true),
        }
        for queue in &mut queues {
            for n in IMPATIENT {
                queue.waiters[n].take().expect("it waits").abort();
            }
        }
        join_all(queues.iter().map(|queue| queue.is_as_before(&clients[0]))).await;
        let served = in_time("all who stayed are served", try_join_all(queues.into_iter().map(Queue::serve))).await;
        for served in served.expect("all who stay are granted the lock, and can release it") {
            let expected: Vec<usize> = (0..QUEUE).filter(|n| !IMPATIENT.contains(n)).collect();
            assert_eq!(served, expected, "after a {fault}");
        }
        match fault {
            "kill" => cluster.start_node(leader),
            "handover" => {}
            _ => cluster.server(leader).pause(false),
        }
        cluster.led().await;
        let names: Vec<String> = (0..QUEUES).map(|n| format!("{fault}/{n}")).collect();
        nothing_is_left(&clients[0], names.iter().map(String::as_str)).await;
    }
}

/// One lock that is held, and a queue for it.
struct Queue {
    name: String,
    first: Lease,
    waiters: Vec<Option<JoinHandle<Result<FencingToken, String>>>>,
    tickets: Vec<Revision>,
}

impl Queue {
    async fn fill(clients: &[Client], name: String) -> Queue {
        let first = clients[0].lock(&name).ttl(LONG).await.expect("it is free");
        let mut waiters = Vec::new();
        let mut tickets = Vec::new();
        for n in 0..QUEUE {
            let acquire = clients[n % clients.len()].lock(&name).holder(format!("w{n}")).ttl(LONG);
            waiters.push(Some(tokio::spawn(async move {
                let lease = acquire.await.map_err(|e| format!("w{n}: {e}"))?;
                let token = lease.token();
                lease.release().await.map_err(|e| format!("w{n}, to release {token}: {e}"))?;
                Ok(token)
            })));
            let ticket = eventually(&format!("w{n} is the last who waits for {name}"), async || {
                let waiters = clients[0].inspect_lock(&name).await.expect("a lock can be looked at").waiters;
                let last = waiters.get(n)?;
                assert_eq!((waiters.len(), last.holder.bytes()), (n + 1, &format!("w{n}").into()), "{name}");
                Some(last.ticket)
            })
            .await;
            tickets.push(ticket);
        }
        assert!(tickets.is_sorted(), "{name}: {tickets:?}");
        Queue { name, first, waiters, tickets }
    }

    /// Whoever stays is where it was; whoever does not leaves no place behind.
    async fn is_as_before(&self, client: &Client) {
        let stay = |n: &usize| self.waiters[*n].is_some();
        let expected: Vec<Revision> = (0..QUEUE).filter(stay).map(|n| self.tickets[n]).collect();
        eventually(&format!("those who gave up have left the queue for {}", self.name), async || {
            let seen = client.inspect_lock(&self.name).await.expect("a lock can be looked at");
            assert_eq!(seen.leases.len(), 1, "{}: {:?}", self.name, seen.leases);
            assert_eq!(seen.leases[0].token, self.first.token(), "{}", self.name);
            let tickets: Vec<Revision> = seen.waiters.iter().map(|waiter| waiter.ticket).collect();
            (tickets == expected).then_some(())
        })
        .await;
    }

    /// Lets the first go: who was granted the lock, in the order of the tokens.
    async fn serve(self) -> Result<Vec<usize>, String> {
        let first = self.first.token();
        self.first.release().await.map_err(|e| format!("to release {}: {e}", self.name))?;
        let mut served = Vec::new();
        for (n, waiter) in self.waiters.into_iter().enumerate() {
            let Some(waiter) = waiter else { continue };
            let token = waiter.await.map_err(|e| e.to_string())?.map_err(|e| format!("{}: {e}", self.name))?;
            served.push((token, n));
        }
        served.sort();
        if served.first().is_some_and(|(token, _)| *token <= first) {
            return Err(format!("{}: a token does not rise above {first}: {served:?}", self.name));
        }
        Ok(served.into_iter().map(|(_, n)| n).collect())
    }
}
