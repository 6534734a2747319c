//! One client: asks, waits, asks again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::keys::Keys;
use crate::random::Random;
use crate::recorder::Recorder;
use crate::target::{Cas, OpError, Target};
use crate::workload::Workload;

/// After an error. A peer that is down or overloaded refuses at once, and a loop without a pause would measure how fast it
/// can refuse, with the cores that it needs to recover.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// When what happens counts, and when it ends.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) from: Instant,
    pub(crate) until: Instant,
    /// Ends it at once.
    pub(crate) stop: Stop,
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        now >= self.until || self.stop.is_set()
    }
}

/// Ends what a bench has under way. Cloning it makes another handle to the same switch.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on no further operation begins.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A client and what it knows.
pub(crate) struct Client<T> {
    pub(crate) number: usize,
    pub(crate) target: T,
    pub(crate) keys: Arc<Keys>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) random: Random,
    pub(crate) window: Window,
    pub(crate) own: Own,
}

/// What belongs to one client alone, in the workloads that divide the keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    /// Which of the keys that are drawn from; in `lock` they are names of locks.
    pub(crate) keys: Range<usize>,
    /// In `cas-many` the revision of each; `None` when a lost answer has left it unknown.
    pub(crate) revisions: Vec<Option<i64>>,
}

/// Client `number` of `clients` owns these of `keys` keys: every key has one owner, and nobody has none.
pub(crate) fn owned(number: usize, clients: usize, keys: usize) -> Range<usize> {
    keys * number / clients..keys * (number + 1) / clients
}

impl<T: Target> Client<T> {
    /// Does it until the window ends.
    pub(crate) async fn run(mut self, workload: Workload) {
        // What is known of the hot key; a lost answer does not matter, the next refusal tells.
        let mut hot = None;
        loop {
            let begun = Instant::now();
            if self.window.is_over(begun) {
                return;
            }
            let outcome = match workload {
                Workload::CasMany => self.cas_own().await,
                Workload::CasHot => self.cas_hot(&mut hot).await,
                Workload::Lock => {
                    let which = self.own.keys.start + self.random.below(self.own.keys.len());
                    let name = self.keys.drawn()[which].clone();
                    self.lock(&name).await
                }
                Workload::LockHot => {
                    let name = self.keys.hot().clone();
                    self.lock(&name).await
                }
                _ => self.get_or_put(workload.gets_percent()).await,
            };
            let ended = Instant::now();
            match outcome {
                // The window closed before the hot key was ours.
                Ok(Done::GaveUp) => return,
                Ok(Done::Unmeasured) => {}
                Ok(Done::Operation | Done::Pair { .. }) if ended < self.window.from => self.recorder.warmed_up(),
                Ok(Done::Operation) => self.recorder.done(self.number, ended - begun, ended < self.window.until),
                Ok(Done::Pair { acquired }) => {
                    self.recorder.done(self.number, ended - begun, ended < self.window.until);
                    self.recorder.acquires.record(self.number, acquired - begun);
                    self.recorder.releases.record(self.number, ended - acquired);
                }
                Err(error) => {
                    if ended >= self.window.from {
                        self.recorder.error(error);
                    }
                    sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    }

    async fn get_or_put(&mut self, gets_percent: u64) -> Result<Done, OpError> {
        let drawn = self.keys.drawn();
        let key = &drawn[self.random.below(drawn.len())];
        let number = self.random.next();
        if number % 100 >= gets_percent {
            self.target.put(key, self.keys.value(number >> 32)).await?;
            return Ok(Done::Operation);
        }
        match self.target.get(key).await? {
            Some(found) if found.value_bytes == self.keys.value_bytes() => Ok(Done::Operation),
            Some(_) => Err(OpError::new("WRONG_VALUE", "a value has another length than was written")),
            None => Err(OpError::new("NOT_FOUND", "a key is absent that was written before")),
        }
    }

    async fn cas_own(&mut self) -> Result<Done, OpError> {
        let which = self.random.below(self.own.revisions.len());
        let key = &self.keys.drawn()[self.own.keys.start + which];
        let Some(expected) = self.own.revisions[which] else {
            let found = self.target.get(key).await?;
            self.own.revisions[which] = Some(found.map_or(0, |found| found.revision));
            return Ok(Done::Unmeasured);
        };
        // Unknown until there is an answer.
        self.own.revisions[which] = None;
        match self.target.cas(key, expected, self.keys.value(self.random.next())).await? {
            Cas::Done(revision) => {
                self.own.revisions[which] = Some(revision);
                Ok(Done::Operation)
            }
            Cas::Conflict(revision) => {
                self.own.revisions[which] = Some(revision);
                let message =
                    format!("revision {expected} was expected, {revision} found, and nobody else sets this key");
                Err(OpError::new("CONFLICT", message))
            }
        }
    }

    async fn lock(&mut self, name: &Bytes) -> Result<Done, OpError> {
        self.target.acquire(name).await?;
        let acquired = Instant::now();
        self.target.release().await?;
        Ok(Done::Pair { acquired })
    }

    async fn cas_hot(&mut self, known: &mut Option<i64>) -> Result<Done, OpError> {
        let key = self.keys.hot();
        let mut expected = match *known {
            Some(revision) => revision,
            None => {
                let found = self.target.get(key).await?;
                *known = Some(found.map_or(0, |found| found.revision));
                return Ok(Done::Unmeasured);
            }
        };
        let value = self.keys.value(self.random.next());
        loop {
            match self.target.cas(key, expected, value).await? {
                Cas::Done(revision) => {
                    *known = Some(revision);
                    return Ok(Done::Operation);
                }
                Cas::Conflict(revision) => {
                    expected = revision;
                    *known = Some(revision);
                    let now = Instant::now();
                    if self.window.is_over(now) {
                        return Ok(Done::GaveUp);
                    }
                    if now >= self.window.from {
                        self.recorder.conflict();
                    }
                }
            }
        }
    }
}

/// What one turn of the loop was.
enum Done {
    /// An operation of the workload.
    Operation,
    /// An operation of two halves: acquired at that moment, then released.
    Pair { acquired: Instant },
    /// A read that the workload does not ask for, to learn a revision.
    Unmeasured,
    /// The end came first.
    GaveUp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_one_owner() {
        for (clients, keys) in [(1, 1), (3, 10), (64, 64), (64, 1000), (512, 10_000)] {
            let mut next = 0;
            for number in 0..clients {
                let owned = owned(number, clients, keys);
                assert!(owned.start == next && !owned.is_empty(), "client {number} of {clients}, {keys} keys");
                next = owned.end;
            }
            assert_eq!(next, keys);
        }
    }
}
