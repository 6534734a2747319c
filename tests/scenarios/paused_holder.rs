//! The reason for fencing tokens (G5): a holder that sleeps through its ttl does not know it when it wakes, and writes. No clock of
//! its own can prevent that, so the writes must be refused, from the very first on, and before the next holder has written
//! anything that could collide.

use std::time::{Duration, Instant};

use ringfence_client::{Client, LockMode};
use ringfence_tests::{Cluster, Program, eventually, in_time};

const LOCK: &str = "{account}lock";
const KEYS: &str = "{account}entry/";
const TTL: Duration = Duration::from_millis(1500);

/// Nobody's lease that is not renewed ends in the time of a test.
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_wakes_after_its_ttl_writes_nothing() {
    let mut cluster = Cluster::start(3).await;
    wakes_too_late(&mut cluster, async |_| {}).await;
}

/// The leader that granted the new lease is gone, too: whoever takes over must know both tokens.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_wakes_after_its_ttl_and_a_failover_writes_nothing() {
    let mut cluster = Cluster::start(3).await;
    wakes_too_late(&mut cluster, async |cluster| {
        for shard in cluster.shards().await {
            let leader = cluster.leader(shard).await;
            cluster.kill(leader);
            cluster.led().await;
            cluster.start_node(leader);
            cluster.led().await;
        }
    })
    .await;
}

async fn wakes_too_late(cluster: &mut Cluster, meanwhile: impl AsyncFnOnce(&mut Cluster)) {
    let client = cluster.client().await;
    let stale = holder(cluster, "stale");
    // A ttl is no end by itself: it is renewed.
    let began = Instant::now();
    eventually("the holder has written for longer than two ttls", async || {
        (told(&stale).written.len() >= 20 && began.elapsed() > 2 * TTL).then_some(())
    })
    .await;
    let before = told(&stale);
    assert!(!before.lost && before.refused.is_empty() && before.failed.is_empty(), "it lost a lease that it renewed");

    let waiting = tokio::spawn(client.lock(LOCK).holder("next").ttl(LONG).into_future());
    waits(&client, "next").await;
    stale.pause(true);
    let next = in_time("the lease that is not renewed any more has ended", waiting).await.unwrap().unwrap();
    let (old, new) = (before.token.unwrap(), next.token().0.0);
    assert!(new > old, "token {new} was granted after {old}");
    meanwhile(cluster).await;
    stale.pause(false);

    // The new holder has written nothing yet.
    goes_on_in_vain(&stale, new, "the old holder has tried again and again", |told| told.refused.len() >= 50).await;
    goes_on_in_vain(&stale, new, "the old holder was told by its lease that it is lost", |told| told.lost).await;
    only_before(&client, &told(&stale), new).await;

    let tried = told(&stale).refused.len();
    let mine = client.put(format!("{KEYS}next"), "mine").fence(&next).await.expect("the new lease is current");
    assert!(mine.revision.0 > new);
    goes_on_in_vain(&stale, new, "the old holder goes on trying", |told| told.refused.len() >= tried + 20).await;
    only_before(&client, &told(&stale), new).await;

    // That the lock is free is no reason to let it in.
    next.release().await.expect("it was held to the end");
    goes_on_in_vain(&stale, new, "the old holder is told that nobody holds the lock", |told| {
        told.refused.iter().any(|refused| refused.current.is_none())
    })
    .await;
    let end = told(&stale);
    drop(stale);
    only_before(&client, &end, new).await;
    assert_eq!(client.get(format!("{KEYS}next")).await.unwrap().unwrap().revision, mine.revision);
}

/// Waits until the stale holder was told something, which is never that it has written after `new` was granted.
async fn goes_on_in_vain(stale: &Program, new: i64, what: &str, told_so: impl Fn(&Told) -> bool) {
    eventually(what, async || {
        let told = told(stale);
        let late = told.written.iter().find(|(_, revision)| *revision > new);
        assert_eq!(late, None, "a write of the old holder, and its revision, after the lock was granted anew at {new}");
        told_so(&told).then_some(())
    })
    .await;
}

/// Nothing that the stale holder sent after `new` was granted has happened. A write that was under way when it was stopped may
/// have happened before.
async fn only_before(client: &Client, told: &Told, new: i64) {
    assert!(told.failed.is_empty(), "a stale write is refused for one reason only: {:?}", told.failed);
    for (n, revision) in &told.written {
        assert!(*revision < new, "write {n} happened at {revision}, after the lock was granted anew at {new}");
    }
    for refused in &told.refused {
        let Refused { n, current, remaining_ms, is_lost } = refused;
        assert!(current.is_none_or(|current| current == new), "write {n} was told of another lease: {current:?}");
        assert!(*remaining_ms == 0 && *is_lost, "write {n} was fenced, and its lease still seems good: {refused:?}");
    }
    // It wrote, it slept, it was refused: nothing was accepted again after that, and at most the one that was under way is unknown.
    let first_refused = told.refused.first().expect("some were refused").n;
    assert!(told.written.iter().all(|(n, _)| *n < first_refused), "a write was accepted after one was fenced");
    assert!(told.unknown.iter().all(|n| *n + 1 == first_refused), "unknown: {:?}", told.unknown);
    for (n, revision) in &told.written {
        let found = client.get(format!("{KEYS}{n}")).await.unwrap().expect("acknowledged before the takeover");
        assert_eq!(found.revision.0, *revision, "write {n}");
    }
    for refused in &told.refused {
        let found = client.get(format!("{KEYS}{}", refused.n)).await.unwrap();
        assert!(found.is_none(), "write {} was fenced and is there", refused.n);
    }
    for n in &told.unknown {
        let found = client.get(format!("{KEYS}{n}")).await.unwrap();
        assert!(found.is_none_or(|found| found.revision.0 < new), "write {n} happened too late");
    }
}

/// The same for one that sleeps while it *waits*: its turn comes, and its ttl passes, before it can know. What it is told when it
/// wakes is old, so it must not believe it; it queues again and is granted a newer lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_that_sleeps_through_its_turn_does_not_believe_in_it() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let first = client.lock(LOCK).ttl(LONG).await.unwrap();
    let sleeper = holder(&cluster, "sleeper");
    waits(&client, "sleeper").await;
    let waiting = tokio::spawn(client.lock(LOCK).holder("third").ttl(LONG).into_future());
    waits(&client, "third").await;
    sleeper.pause(true);
    first.release().await.unwrap();
    let missed = eventually("it is the sleeper's turn", async || {
        let lease = client.inspect_lock(LOCK).await.unwrap().leases.pop()?;
        assert_eq!(lease.mode, LockMode::Exclusive);
        (lease.holder.bytes() == "sleeper").then_some(lease.token)
    })
    .await;
    let third = in_time("the lease that nobody renews has ended", waiting).await.unwrap().unwrap();
    assert!(third.token() > missed);
    sleeper.pause(false);

    waits(&client, "sleeper").await;
    assert_eq!(told(&sleeper).written, [], "nothing while another holds the lock");
    third.release().await.unwrap();
    let granted = eventually("the sleeper is granted the lock in the end", async || told(&sleeper).token).await;
    assert!(granted > missed.0.0, "it believes in the lease that it slept through");
    eventually("and writes", async || (told(&sleeper).written.len() >= 20).then_some(())).await;
    let told = told(&sleeper);
    assert!(told.refused.is_empty() && told.failed.is_empty() && told.unknown.is_empty() && !told.lost);
}

fn holder(cluster: &Cluster, name: &str) -> Program {
    let (endpoints, ttl_ms) = (cluster.endpoints().join(","), TTL.as_millis().to_string());
    Program::start("lock_holder", &[endpoints.as_str(), name, LOCK, &ttl_ms, KEYS])
}

async fn waits(client: &Client, holder: &str) {
    eventually(&format!("{holder} waits"), async || {
        let waiters = client.inspect_lock(LOCK).await.unwrap().waiters;
        waiters.iter().any(|waiter| waiter.holder.bytes() == holder.as_bytes()).then_some(())
    })
    .await;
}

/// What a holder was told, in the order of its writes.
#[derive(Debug, Default)]
struct Told {
    token: Option<i64>,
    /// Which write, and its revision.
    written: Vec<(u64, i64)>,
    refused: Vec<Refused>,
    unknown: Vec<u64>,
    failed: Vec<String>,
    lost: bool,
}

#[derive(Debug)]
struct Refused {
    n: u64,
    /// The token of whoever holds the lock now.
    current: Option<i64>,
    /// What the lease said of itself afterwards.
    remaining_ms: u64,
    is_lost: bool,
}

fn told(program: &Program) -> Told {
    let mut told = Told::default();
    for line in program.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<i64>().unwrap_or_else(|_| panic!("{line:?} has no number at {at}"));
        match words[0] {
            "granted" => told.token = Some(number(1)),
            "ok" => told.written.push((number(1) as u64, number(2))),
            "fenced" => told.refused.push(Refused {
                n: number(1) as u64,
                current: (words[2] != "none").then(|| number(2)),
                remaining_ms: number(3) as u64,
                is_lost: words[4] == "true",
            }),
            "unknown" => told.unknown.push(number(1) as u64),
            "failed" => told.failed.push(line),
            "lost" => told.lost = true,
            _ => panic!("{line:?} is nothing that a holder says"),
        }
    }
    told
}
