//! Ids of 64 bits, made by many workers without asking anyone for each: milliseconds, worker, sequence ("snowflake"). They
//! are unique though workers come and go, crash, are thrown out, and have clocks that repeat themselves.
//!
//! **The naive way** takes the worker's number from its configuration, or from a lock that expires. Two workers have the same
//! number when a deployment overlaps, or when one is paused past its ttl; and who inherits a number with a clock that
//! runs behind, or was set back, makes ids that its predecessor has made already.
//!
//! **What makes this right.**
//!
//! * The number is the permit of a semaphore: at most so many workers, each with another one of `0 .. WORKERS`.
//! * Before a worker makes ids it *reserves* their milliseconds: it writes up to where it may go, fenced by its lease. Its
//!   successor reads that, after the grant, and begins there, whatever its own clock says. A predecessor that is still
//!   running, unaware, has only what it had reserved before; its next reservation is refused.
//!
//! So uniqueness rests on the fence alone, neither on clocks nor on anybody stopping in time. That a worker stops when its lease is
//! lost is good manners: else it would go on to the end of its reservation.
//!
//! Start a cluster with `ringfence dev`, then `cargo run --release -p ringfence-client --example worker_ids`.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use ringfence_client::{Client, Lease, PutError, ReleaseError};
use tokio::time::sleep;

/// How many may work at once: up to 1024, which is what ten bits hold.
const WORKERS: u32 = 4;
/// How many come, over time.
const LIVES: usize = 16;
const IDS_PER_LIFE: usize = 2_000;
const TTL: Duration = Duration::from_millis(900);
/// How many milliseconds of ids a worker reserves at a time: it writes once in so long. What is left when it goes is never used.
const RESERVED_MS: u64 = 50;
/// The worst of clocks: every worker is started from one image of a machine, and begins with the time that this was taken. In
/// milliseconds since 2024, as ids count them: 41 bits last until 2093.
const IMAGE_TAKEN_MS: u64 = 50_000_000_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoints = std::env::var("RINGCTL_ENDPOINTS").unwrap_or_else(|_| "127.0.0.1:7401".to_owned());
    let db = Client::connect(endpoints.split(',')).await?;
    let tag = format!("{{ids-{:08x}}}", rand::random::<u32>());
    let ends = [End::Leaves, End::Crashes, End::IsThrownOut];
    let lives = (0..LIVES).map(|n| live(&db, &tag, ends[n % ends.len()]));
    let lives = try_join_all(lives).await?;

    let numbers: BTreeSet<u32> = lives.iter().map(|(number, _)| *number).collect();
    let made: usize = lives.iter().map(|(_, ids)| ids.len()).sum();
    let different: BTreeSet<u64> = lives.into_iter().flat_map(|(_, ids)| ids).collect();
    println!("{LIVES} workers with numbers {numbers:?} made {made} ids, {} different ones", different.len());
    assert_eq!(made, different.len());
    assert!(numbers.iter().all(|number| *number < WORKERS));
    Ok(())
}

/// How a worker's life ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Leaves,
    Crashes,
    IsThrownOut,
}

/// Waits for a number and makes ids. Gives both.
async fn live(db: &Client, tag: &str, end: End) -> Result<(u32, Vec<u64>), Box<dyn Error>> {
    let semaphore = format!("{tag}workers");
    let lease = db.semaphore(&semaphore, WORKERS).acquire().ttl(TTL).await?;
    let mut worker = Worker::begin(db, tag, lease).await?;
    let mut ids = Vec::new();
    while let Some(id) = worker.next_id().await? {
        ids.push(id);
        if ids.len() % 100 == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        if ids.len() == IDS_PER_LIFE {
            match end {
                End::Leaves => break,
                End::Crashes => {
                    let number = worker.lease.permit();
                    worker.lease.abandon(); // its number is free again when the ttl is over
                    return Ok((number, ids));
                }
                End::IsThrownOut => {
                    // By an operator, behind its back: another may have its number at once. It goes on until it notices.
                    let (holder, token) = (worker.lease.holder().bytes().clone(), worker.lease.token());
                    match db.release_lease(&semaphore, holder, token).await {
                        Ok(()) | Err(ReleaseError::Over) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }
    Ok((worker.lease.permit(), ids))
}

struct Worker {
    db: Client,
    lease: Lease,
    high_key: String,
    /// Up to here, in milliseconds, ids are ours to make.
    reserved_ms: u64,
    /// The last id without its worker: milliseconds, then 12 bits of sequence.
    last: u64,
    started: Instant,
}

impl Worker {
    async fn begin(db: &Client, tag: &str, lease: Lease) -> Result<Worker, Box<dyn Error>> {
        let high_key = format!("{tag}high/{}", lease.permit());
        // Read after the grant: no predecessor can raise it any more.
        let high_ms = match db.get(&high_key).await? {
            Some(high) => std::str::from_utf8(&high.value)?.parse()?,
            None => 0,
        };
        let started = Instant::now();
        Ok(Worker { db: db.clone(), lease, high_key, reserved_ms: high_ms, last: high_ms << 12, started })
    }

    /// `None` when the lease is lost: this worker makes no more.
    async fn next_id(&mut self) -> Result<Option<u64>, Box<dyn Error>> {
        if self.lease.is_lost() {
            return Ok(None);
        }
        let next = (self.last + 1).max(self.clock_ms() << 12);
        if next >> 12 >= self.reserved_ms {
            let reserved_ms = (next >> 12) + RESERVED_MS;
            match self.db.put(&self.high_key, reserved_ms.to_string()).fence(&self.lease).await {
                Ok(_) => self.reserved_ms = reserved_ms,
                Err(PutError::Fenced { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        self.last = next;
        Ok(Some((next >> 12) << 22 | u64::from(self.lease.permit()) << 12 | next & 0xfff))
    }

    /// What this worker believes the time to be.
    fn clock_ms(&self) -> u64 {
        IMAGE_TAKEN_MS + self.started.elapsed().as_millis() as u64
    }
}
