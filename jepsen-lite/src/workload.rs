//! What clients do while things break, and by what they are judged. A file for each.
//!
//! A workload runs a few workers, each of which asks one thing at a time, thinks a little, and writes everything down. All
//! workloads of a run share one cluster, each with keys and a history of its own. When the faults are gone,
//! [`Workload::finish`] reads what must be there in the end. Then the history, and nothing else, is judged.
//!
//! What several of them do alike stands in files beside them: `keys` (fresh ones every few seconds), `reading` (by the leader,
//! and by any node) and `leasing` (what a holder does, and what can be held against the cluster). Each workload has a test
//! that breaks every one of its rules by a history written by hand.

#[cfg(test)]
mod by_hand;
mod counters;
mod election;
mod flash_sale;
mod keys;
mod lease_pause;
mod leasing;
mod lock;
mod reading;
mod register;
mod retries;
mod semaphore;
mod set;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures::future::BoxFuture;
use jepsen_checkers::{Enough, History, Unfit, Verdict};

use crate::scene::Scene;

/// What clients do, and by what they are judged.
pub trait Workload: Send + Sync {
    /// Its name: short, kebab-case.
    fn name(&self) -> &'static str;

    /// What it asks, in a sentence, for people.
    fn about(&self) -> &'static str;

    /// How many workers it has.
    fn workers(&self) -> usize;

    /// One worker's life: until [`Scene::is_over`]. An error is the harness's, never the cluster's.
    fn work(&self, scene: Scene, worker: usize) -> BoxFuture<'static, Result<(), String>>;

    /// After healing, with all workers gone: the reads that end the history. They may be repeated until they are answered.
    fn finish(&self, scene: Scene) -> BoxFuture<'static, Result<(), String>>;

    /// Judges a history by every rule that it must keep; each is named. `seconds`: how long the workers worked, for
    /// deciding how much is [enough](jepsen_checkers::Enough).
    fn judge(&self, history: &History, seconds: u64) -> Result<Vec<(&'static str, Verdict)>, Unfit>;
}

/// All of them.
pub fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(register::Register),
        Box::new(set::Set),
        Box::new(counters::Counters),
        Box::new(retries::Retries::default()),
        Box::new(lock::Lock::default()),
        Box::new(lease_pause::LeasePause),
        Box::new(flash_sale::FlashSale),
        Box::new(semaphore::Semaphore),
        Box::new(election::Election),
    ]
}

/// So many operations and telling answers for each second. Small beside what a calm machine does, because a fault may hold for most of a
/// run, and the machine may have other work; large beside nothing.
fn enough(seconds: u64, ok: f64, telling: f64) -> Enough {
    let of = |per_second: f64| (seconds as f64 * per_second) as usize;
    Enough { ok_min: of(ok), telling_min: of(telling) }
}

/// Final reads are asked for until they are answered; the run sees to it that this ends.
async fn before_asking_again() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// The name of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadName(pub String);

impl WorkloadName {
    /// The workload.
    pub fn workload(&self) -> Box<dyn Workload> {
        all().into_iter().find(|workload| workload.name() == self.0).expect("a name is made from a workload")
    }
}

impl FromStr for WorkloadName {
    type Err = String;

    fn from_str(name: &str) -> Result<WorkloadName, String> {
        let names: Vec<&str> = all().iter().map(|workload| workload.name()).collect();
        match names.contains(&name) {
            true => Ok(WorkloadName(name.to_owned())),
            false => Err(format!("there is no workload {name:?}; expected {}", names.join(", "))),
        }
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
