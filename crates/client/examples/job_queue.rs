//! Two hundred jobs, eight workers. Some workers stall in the middle of a job for longer than their claim lasts. Every job is
//! acknowledged exactly once, and never by a worker whose claim was over.
//!
//! **The naive way** marks a job "taken by me at 12:00", and hands it out anew if it is not done by 12:05 (a *visibility
//! timeout*). The worker that needed six minutes acknowledges a job that another is working on: it is then done twice, or
//! deleted under the other's hands, or, when the other fails, not done at all and gone.
//!
//! **What makes this right.** A claim is a lease of the job's lock, renewed while the worker lives, and tried
//! `without_waiting()`: there is other work to do. The acknowledgement deletes the job, *fenced by the claim*. After a
//! claim is over it is refused, though the worker has noticed nothing, and the job is free for the next one.
//!
//! So a job is worked on *at least* once and acknowledged *exactly* once. What must not happen twice belongs into writes with the
//! same fence, or behind a `FenceGuard`.
//!
//! Start a cluster with `ringfence dev`, then `cargo run --release -p ringfence-client --example job_queue`.

use std::error::Error;
use std::time::Duration;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use rand::Rng;
use rand::seq::SliceRandom;
use ringfence_client::{AcquireError, Client, DeleteError, Fence, Lease};
use tokio::time::sleep;

const JOBS: usize = 200;
const WORKERS: usize = 8;
/// In every so-manieth job a worker stalls.
const STALLS_EVERY: usize = 10;
const TTL: Duration = Duration::from_millis(600);
/// How many jobs a worker looks at before it looks anew.
const GLANCE: usize = 50;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoints = std::env::var("RINGCTL_ENDPOINTS").unwrap_or_else(|_| "127.0.0.1:7401".to_owned());
    let clients = try_join_all((0..WORKERS).map(|_| Client::connect(endpoints.split(',')))).await?;
    let tag = format!("jobs-{:08x}", rand::random::<u32>());
    let jobs: Vec<String> = (0..JOBS).map(|n| format!("{n:04}")).collect();
    for job in &jobs {
        clients[0].put(format!("{{{tag}}}job/{job}"), "send a letter").await?;
    }

    let workers: Vec<Worker> = clients.into_iter().map(|db| Worker { db, tag: tag.clone() }).collect();
    let work = try_join_all(workers.iter().map(Worker::run)).await?;

    let refused: usize = work.iter().map(|work| work.refused).sum();
    let mut acknowledged: Vec<String> = work.into_iter().flat_map(|work| work.acknowledged).collect();
    acknowledged.sort();
    println!("{} of {JOBS} jobs acknowledged once each; {refused} acknowledgements came too late", acknowledged.len());
    assert_eq!(acknowledged, jobs, "each was acknowledged, by one");
    assert!(refused > 0, "nobody stalled");
    assert!(workers[0].open_jobs().await?.is_empty());
    Ok(())
}

struct Worker {
    db: Client,
    tag: String,
}

/// What a worker has done.
#[derive(Default)]
struct Work {
    claimed: usize,
    acknowledged: Vec<String>,
    refused: usize,
}

impl Worker {
    /// Until there are no jobs.
    async fn run(&self) -> Result<Work, Box<dyn Error>> {
        let mut work = Work::default();
        loop {
            let mut jobs = self.open_jobs().await?;
            if jobs.is_empty() {
                return Ok(work);
            }
            jobs.shuffle(&mut rand::rng()); // so that not all workers want the same
            let claimed_before = work.claimed;
            for job in jobs {
                if let Some(claim) = self.claim(&job).await? {
                    work.claimed += 1;
                    self.process(job, claim, &mut work).await?;
                }
            }
            if work.claimed == claimed_before {
                sleep(Duration::from_millis(rand::rng().random_range(50..150))).await; // others have what is left
            }
        }
    }

    /// `None` if another is at it, or it was done since we looked.
    async fn claim(&self, job: &str) -> Result<Option<Lease>, Box<dyn Error>> {
        let claim = match self.db.lock(format!("{{{}}}lock/{job}", self.tag)).ttl(TTL).without_waiting().await {
            Ok(claim) => claim,
            Err(AcquireError::Held(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Read after the grant: what is open now stays so until we acknowledge it, or our claim is over.
        let is_open = self.db.get(self.key(job)).await?.is_some();
        Ok(is_open.then_some(claim))
    }

    async fn process(&self, job: String, claim: Lease, work: &mut Work) -> Result<(), Box<dyn Error>> {
        sleep(Duration::from_millis(rand::rng().random_range(1..10))).await; // the work
        let fence = claim.fence();
        let stalls = work.claimed.is_multiple_of(STALLS_EVERY);
        if stalls {
            claim.abandon(); // a stalled process renews nothing and releases nothing
            while self.db.inspect_lock(&fence.lock).await?.leases.iter().any(|lease| lease.token == fence.token) {
                sleep(Duration::from_millis(50)).await;
            }
        }
        // It goes on here, and knows nothing of a stall.
        let is_acknowledged = self.acknowledge(&job, fence).await?;
        assert!(!(stalls && is_acknowledged), "job {job} was acknowledged by a claim that was over");
        match is_acknowledged {
            true => work.acknowledged.push(job),
            false => work.refused += 1, // somebody else will do it, or has done it
        }
        Ok(())
    }

    /// False if the claim is over; then nothing happened.
    async fn acknowledge(&self, job: &str, claim: Fence) -> Result<bool, Box<dyn Error>> {
        match self.db.delete(self.key(job)).fence(claim).await {
            Ok(deleted) => {
                assert!(deleted.existed, "job {job} was acknowledged before, under our claim");
                Ok(true)
            }
            Err(DeleteError::Fenced { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The first few.
    async fn open_jobs(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let jobs = self.db.scan_tag(&self.tag).start("job/").end("job0").keys_only().page_items(GLANCE as u32).stream();
        let jobs: Vec<_> = jobs.take(GLANCE).try_collect().await?;
        let number = |key: &[u8]| String::from_utf8_lossy(key).rsplit('/').next().unwrap_or_default().to_owned();
        Ok(jobs.iter().map(|job| number(&job.key)).collect())
    }

    fn key(&self, job: &str) -> String {
        format!("{{{}}}job/{job}", self.tag)
    }
}
