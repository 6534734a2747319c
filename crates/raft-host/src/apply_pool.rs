//! Threads that apply entries. Shards are spread over them; one shard's entries always go to the same thread, in order.
//!
//! Applying reads and writes RocksDB, which would hold up an async worker, and with it heartbeats of other shards.

use std::sync::mpsc;
use std::thread::JoinHandle;

use ringfence_types::ShardId;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Applies for all shards of a node.
pub(crate) struct ApplyPool {
    threads: Vec<(mpsc::Sender<Job>, JoinHandle<()>)>,
}

/// One shard's way to its thread.
#[derive(Clone)]
pub(crate) struct ApplyThread {
    /// `None`: no threads, the caller applies. For simulations, where one thread does everything.
    jobs: Option<mpsc::Sender<Job>>,
}

impl ApplyPool {
    /// With this many threads; with none, whoever awaits a job runs it.
    pub(crate) fn start(threads: usize) -> std::io::Result<ApplyPool> {
        let threads = (0..threads)
            .map(|i| {
                let (jobs, inbox) = mpsc::channel::<Job>();
                let thread = std::thread::Builder::new().name(format!("apply-{i}")).spawn(move || {
                    while let Ok(job) = inbox.recv() {
                        job();
                    }
                })?;
                Ok((jobs, thread))
            })
            .collect::<std::io::Result<_>>()?;
        Ok(ApplyPool { threads })
    }

    /// The thread of a shard.
    pub(crate) fn thread(&self, shard: ShardId) -> ApplyThread {
        let place = (shard.0 as usize).checked_rem(self.threads.len());
        ApplyThread { jobs: place.map(|place| self.threads[place].0.clone()) }
    }
}

impl ApplyThread {
    /// Runs a job on the thread and waits for what it returns. `None`: the job panicked, or the pool is gone.
    ///
    /// The queue has no bound of its own: openraft gives a replica one job at a time, so it holds one job per shard.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, wait) = oneshot::channel();
        let job: Job = Box::new(move || {
            // A panic would take the thread, and with it every shard on it; openraft stops just the one replica.
            if let Ok(value) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)) {
                let _ = done.send(value);
            }
        });
        match &self.jobs {
            Some(jobs) => jobs.send(job).ok()?,
            None => job(),
        }
        wait.await.ok()
    }
}

impl Drop for ApplyPool {
    fn drop(&mut self) {
        for (jobs, thread) in self.threads.drain(..) {
            drop(jobs); // the thread ends when the last replica has let go of it too
            drop(thread);
        }
    }
}
