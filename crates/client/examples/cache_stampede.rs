//! A cached report expires, and 10,000 requests miss it in the same moment. One computes it; the others get what it found.
//!
//! **The naive way**, "get, else compute and put", sends ten thousand expensive queries at once to the very database that
//! the cache protects. A lock that expires helps until the filler is paused past its ttl: the next one fills, the paused
//! one wakes up, and overwrites the new value with what it had found before.
//!
//! **What makes this right.** Two gates and a fence:
//!
//! * Inside a server its requests share one look-up, a *single flight*. It needs no network and turns 1,000 misses into one.
//! * Between servers there is a lock, tried `without_waiting()`. Who gets it looks once more and computes; the others look
//!   for the *value*, with growing pauses. To queue would be wrong: they have no use for the lock once the value is there, it
//!   would be granted to each of them in turn, and no more than 1024 may queue for one lock.
//! * The fill carries the lease as its fence. A filler whose lease is over is refused, however late it comes.
//!
//! The lock keeps the work single; only the fence keeps the value right. If a filler dies, its lock is free after its ttl.
//!
//! Start a cluster with `ringfence dev`, then `cargo run --release -p ringfence-client --example cache_stampede`.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use rand::Rng;
use ringfence_client::{AcquireError, Client, Lease, PutError};
use tokio::sync::OnceCell;
use tokio::time::sleep;

const SERVERS: usize = 10;
const REQUESTS_PER_SERVER: usize = 1_000;
const CACHED_FOR: Duration = Duration::from_secs(600);

static COMPUTED: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoints = std::env::var("RINGCTL_ENDPOINTS").unwrap_or_else(|_| "127.0.0.1:7401".to_owned());
    // Separate clients, with nothing in common but the cluster.
    let clients = try_join_all((0..SERVERS).map(|_| Client::connect(endpoints.split(',')))).await?;
    let db = clients[0].clone();
    // One hash tag for value and lock: a fence is checked where the write happens, so both must be on one shard.
    let report = format!("{{report-{:08x}}}", rand::random::<u32>());

    let server =
        |db| Server { db, value: format!("{report}value"), lock: format!("{report}lock"), flight: OnceCell::new() };
    let servers: Vec<Server> = clients.into_iter().map(server).collect();
    let requests = servers.iter().flat_map(|server| (0..REQUESTS_PER_SERVER).map(|_| server.report()));
    let mut answers = try_join_all(requests).await?;
    let requests = answers.len();
    answers.dedup();
    assert_eq!(answers.len(), 1, "all requests got the same report");

    let filled = db.get(&servers[0].value).await?.ok_or("the report expired already")?.version;
    let (computed, refused) = (COMPUTED.load(Ordering::Relaxed), REFUSED.load(Ordering::Relaxed));
    println!("{requests} requests missed at once: {computed} computed, filled {filled} time");
    assert_eq!(filled, 1);
    // On a machine so slow that a filler lost its lease, the next one computed, and the late fill was refused.
    assert_eq!(computed, 1 + refused);

    late_filler(&servers[0]).await
}

/// One server of many, with what it needs for one report.
struct Server {
    db: Client,
    value: String,
    lock: String,
    /// A service keeps one per key that is being looked up, and drops it when the look-up has ended.
    flight: OnceCell<Bytes>,
}

impl Server {
    /// What a request calls.
    async fn report(&self) -> Result<Bytes, Box<dyn Error>> {
        self.flight.get_or_try_init(|| self.look_up()).await.cloned()
    }

    async fn look_up(&self) -> Result<Bytes, Box<dyn Error>> {
        let mut pause_ms = 10;
        loop {
            if let Some(cached) = self.db.get(&self.value).await? {
                return Ok(cached.value);
            }
            match self.db.lock(&self.lock).without_waiting().await {
                Ok(lease) => self.fill(&lease).await?, // and see what is there now
                Err(AcquireError::Held(_)) => {
                    sleep(Duration::from_millis(rand::rng().random_range(pause_ms / 2..=pause_ms))).await;
                    pause_ms = (2 * pause_ms).min(500);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn fill(&self, lease: &Lease) -> Result<(), Box<dyn Error>> {
        // Another may have filled it after we looked, and released the lock before we took it.
        if self.db.get(&self.value).await?.is_some() {
            return Ok(());
        }
        let report = compute().await;
        match self.db.put(&self.value, report).ttl(CACHED_FOR).fence(lease).await {
            Ok(_) => {}
            Err(PutError::Fenced { .. }) => {
                REFUSED.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// What nobody wants to do ten thousand times.
async fn compute() -> String {
    let n = COMPUTED.fetch_add(1, Ordering::Relaxed);
    sleep(Duration::from_millis(300)).await;
    format!("report number {n}")
}

/// A filler is paused for longer than its lease. Another fills; then the first goes on where it was.
async fn late_filler(server: &Server) -> Result<(), Box<dyn Error>> {
    let Server { db, value, lock, .. } = server;
    db.delete(value).await?; // it has expired again
    let paused = db.lock(lock).ttl(Duration::from_millis(300)).await?;
    let fence = paused.fence();
    paused.abandon(); // a paused process renews nothing and releases nothing

    let next = db.lock(lock).await?; // granted when the first lease is over
    db.put(value, "a report of today").fence(&next).await?;

    let late = db.put(value, "a report of yesterday").fence(fence).await;
    assert!(matches!(late, Err(PutError::Fenced { .. })), "a late fill ended so: {late:?}");
    assert_eq!(db.get(value).await?.ok_or("it was deleted")?.value, "a report of today");
    println!("a filler that was late was refused: {}", late.expect_err("refused"));
    Ok(())
}
