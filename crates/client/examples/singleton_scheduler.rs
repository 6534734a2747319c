//! Three schedulers, one of which ticks. Leaders freeze and wake up again; no tick is written twice, and none by a leader of
//! the past.
//!
//! **The naive way** is `if i_am_leader() { tick() }`. Between the question and the tick the process can be paused (garbage
//! collection, a virtual machine that moves, swapping) for longer than its leadership lasts. It wakes up behind the question,
//! and ticks beside the new leader. No timeout is long enough to exclude that, and no watchdog inside the process helps: it
//! is paused, too.
//!
//! **What makes this right.** A tick is a write, and the write carries the leadership as its fence: the cluster does it only
//! if this leadership is the current one *in the same step*. So a new leader, who reads after its election how far the
//! ticks are, sees all that its predecessors ever wrote. That alone makes ticks unique: they are plain puts here.
//!
//! If a tick is to cause something outside, let that check the token, too (`FenceGuard`), or leave it to whoever reads the ticks.
//!
//! Each scheduler has a thread and a runtime of its own here. Block it, and all of it stands still, renewals included, as when
//! the system stops a process.
//!
//! Start a cluster with `ringfence dev`, then `cargo run --release -p ringfence-client --example singleton_scheduler`.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures::TryStreamExt;
use ringfence_client::{Client, KeyValue, Leadership, PutError};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

const SCHEDULERS: usize = 3;
const TICKS: usize = 40;
const TICKS_BEFORE_A_FREEZE: usize = 10;
const TTL: Duration = Duration::from_millis(800);

/// How many ticks there are, for those who are frozen and cannot ask the cluster.
static TICKED: AtomicUsize = AtomicUsize::new(0);

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let tag = format!("billing-{:08x}", rand::random::<u32>());
    let start = |n| {
        let tag = tag.clone();
        thread::spawn(move || process()?.block_on(async { Scheduler::connect(n, tag).await?.run().await }))
    };
    let schedulers: Vec<_> = (0..SCHEDULERS).map(start).collect();
    let mut refused = 0;
    for scheduler in schedulers {
        refused += scheduler.join().expect("a scheduler found that a promise was broken")?;
    }

    let ticks = process()?.block_on(async { Scheduler::connect(SCHEDULERS, tag).await?.ticks().await })?;
    assert_eq!(ticks.len(), TICKS);
    assert!(ticks.iter().all(|tick| tick.version == 1), "a tick was written twice");
    // The order of ticks, of writes and of leaderships is the same: nobody ticked after a successor had.
    assert!(ticks.is_sorted_by_key(|tick| tick.revision));
    assert!(ticks.is_sorted_by_key(token_of));
    let leaderships: BTreeSet<i64> = ticks.iter().map(token_of).collect();
    println!("{TICKS} ticks, each once, in {} leaderships", leaderships.len());
    println!("{refused} ticks of leaders that were none any more were refused");
    assert!(leaderships.len() >= TICKS / TICKS_BEFORE_A_FREEZE);
    Ok(())
}

fn process() -> Result<Runtime, Failure> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

struct Scheduler {
    db: Client,
    tag: String,
    me: String,
}

impl Scheduler {
    async fn connect(n: usize, tag: String) -> Result<Scheduler, Failure> {
        let endpoints = std::env::var("RINGCTL_ENDPOINTS").unwrap_or_else(|_| "127.0.0.1:7401".to_owned());
        Ok(Scheduler { db: Client::connect(endpoints.split(',')).await?, tag, me: format!("scheduler-{n}") })
    }

    /// Until all ticks are there. Says how many of its own were refused.
    async fn run(&self) -> Result<usize, Failure> {
        let election = self.db.election(format!("{{{}}}leader", self.tag));
        let mut refused = 0;
        loop {
            let leadership = election.campaign(self.me.clone()).ttl(TTL).await?;
            // Whatever earlier leaders wrote is visible from here on, and they can write no more.
            let mut next = self.ticks().await?.len();
            let freezes_before = next + TICKS_BEFORE_A_FREEZE;
            println!("{} leads with token {} from tick {next} on", self.me, leadership.token());
            // `is_lost` saves a useless attempt. What is relied on is the fence.
            while next < TICKS && !leadership.is_lost() {
                if next == freezes_before {
                    freeze_until_another_ticked(next);
                }
                if !self.tick(next, &leadership).await? {
                    refused += 1;
                    break;
                }
                next += 1;
                sleep(Duration::from_millis(20)).await;
            }
            if next == TICKS {
                return Ok(refused); // the leadership is dropped, and so resigned
            }
        }
    }

    /// False if this leadership is over; then nothing happened.
    async fn tick(&self, n: usize, leadership: &Leadership) -> Result<bool, Failure> {
        let key = format!("{{{}}}tick/{n:04}", self.tag);
        let value = format!("{} {}", leadership.token(), self.me);
        match self.db.put(key, value).fence(leadership).await {
            Ok(_) => {
                TICKED.fetch_max(n + 1, Ordering::Relaxed);
                Ok(true)
            }
            Err(PutError::Fenced { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn ticks(&self) -> Result<Vec<KeyValue>, Failure> {
        Ok(self.db.scan_tag(&self.tag).start("tick/").end("tick0").stream().try_collect().await?)
    }
}

/// Longer than the leadership lasts.
fn freeze_until_another_ticked(ticked: usize) {
    while TICKED.load(Ordering::Relaxed) == ticked {
        thread::sleep(Duration::from_millis(50));
    }
}

fn token_of(tick: &KeyValue) -> i64 {
    let value = String::from_utf8_lossy(&tick.value);
    value.split(' ').next().and_then(|token| token.parse().ok()).expect("a tick begins with its leader's token")
}
