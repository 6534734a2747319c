//! What a holder does with a lease, and how that stands in a history: see `leases`, `tokens` and `semaphore` of the
//! checkers.
//!
//! The harness believes what the SDK's lease says and nothing else, and it writes down what can be held against the
//! cluster: a time is taken first, then the lease asked what is left, so the sum is never later than the end of what
//! was promised.

use std::future::Future;
use std::time::Duration;

use jepsen_checkers::tokens::Resource;
use jepsen_checkers::{Enough, Event, History, Model, Settings, Unfit, Verdict};
use jepsen_checkers::{final_read, judge, leases, semaphore, tokens};
use ringfence_client::{Acquire, AcquireError, Client, Fence, FencingToken, Lease, PutError, ReleaseError, RenewError};
use serde_json::{Value, json};

use super::reading::{self, What, number};
use super::{before_asking_again, enough};
use crate::recorder::{Asked, Process, Recorder};
use crate::scene::Scene;

/// When nothing breaks any more: longer than any lease of ours lasts, also if some that nobody waits for any more come
/// first, and less than the run waits for final reads.
const PATIENCE_IN_THE_END: Duration = Duration::from_secs(90);

/// A lock, and the key that it protects: on one shard, so that the fence is looked at in the same step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guarded {
    /// As the history names it.
    pub(super) key: String,
    /// The lock.
    pub(super) lock: String,
    /// What it protects.
    pub(super) at: String,
}

impl Guarded {
    pub(super) fn new(key: String) -> Guarded {
        Guarded { lock: format!("{{{key}}}lock"), at: format!("{{{key}}}value"), key }
    }

    fn what(&self) -> What<'_> {
        What { key: &self.key, at: &self.at, meaning: number }
    }

    /// Reads what is protected, through the leader.
    pub(super) async fn read(&self, process: &mut Process, client: &Client) -> bool {
        reading::read(process, client, self.what()).await
    }

    /// Reads what is protected, through some node.
    pub(super) async fn read_at(&self, process: &mut Process, node: tonic::transport::Channel) {
        reading::read_at(process, node, self.what()).await;
    }
}

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is done.
    Accepted,
    /// The lease is over.
    Fenced,
    /// Neither.
    Nothing,
}

/// Until when, on the recorder's clock, a lease lasts at least. `None`: its holder must not believe in it any more.
pub(super) fn until(recorder: &Recorder, lease: &Lease) -> Option<u64> {
    let now = recorder.now_ns();
    let left = lease.remaining();
    (!left.is_zero()).then(|| now + left.as_nanos() as u64)
}

/// Asks for a lease.
pub(super) async fn acquire(process: &mut Process, recorder: &Recorder, key: &str, acquire: Acquire) -> Option<Lease> {
    let asked = process.invoke("acquire", key, Value::Null);
    match acquire.await {
        Ok(lease) => {
            granted(asked, recorder, &lease);
            Some(lease)
        }
        Err(error) => {
            asked.ended(error.outcome(), error);
            None
        }
    }
}

/// Writes down a grant.
pub(super) fn granted(asked: Asked<'_>, recorder: &Recorder, lease: &Lease) {
    let until = until(recorder, lease);
    asked.ok_with(Value::Null, |event| {
        event.token = Some(bare(lease.token()));
        event.extra.insert("permit".into(), lease.permit().into());
        say_until(event, until);
    });
}

/// Looks whether a lease may still be believed in, and writes it down if not.
pub(super) fn look(process: &mut Process, recorder: &Recorder, key: &str, lease: &Lease) -> Option<u64> {
    let until = until(recorder, lease);
    if until.is_none() {
        let token = Some(bare(lease.token()));
        process.invoke_with("lost", key, Value::Null, |event| event.token = token).ok(Value::Null);
    }
    until
}

/// Writes what is protected, and shows a token. `until`: as its holder believes; a writer that knows its token to be
/// old has none.
pub(super) async fn write(
    process: &mut Process,
    client: &Client,
    guarded: &Guarded,
    value: u64,
    fence: Fence,
    until: Option<u64>,
) -> Told {
    let asked = process.invoke_with("write", guarded.key.as_str(), json!(value), |event| {
        event.token = Some(bare(fence.token));
        say_until(event, until);
    });
    match client.put(&guarded.at, value.to_string()).fence(fence).await {
        Ok(written) => {
            asked.ok_with(json!(value), |event| event.revision = Some(written.revision.0 as u64));
            Told::Accepted
        }
        Err(error @ PutError::Fenced { .. }) => {
            over(asked, error);
            Told::Fenced
        }
        Err(error) => {
            asked.ended(error.outcome(), error);
            Told::Nothing
        }
    }
}

/// Renews a lease, by this future. `proclaimed`: what it shows from then on, if that changes.
pub(super) async fn renew(
    process: &mut Process,
    recorder: &Recorder,
    key: &str,
    lease: &Lease,
    proclaimed: Value,
    renewal: impl Future<Output = Result<(), RenewError>>,
) {
    let believed = until(recorder, lease);
    let asked = process.invoke_with("renew", key, proclaimed.clone(), |event| {
        event.token = Some(bare(lease.token()));
        say_until(event, believed);
    });
    match renewal.await {
        Ok(()) => {
            // What it is worth now is later than what it was worth before.
            let renewed = until(recorder, lease);
            asked.ok_with(proclaimed, |event| say_until(event, renewed));
        }
        Err(error @ (RenewError::Over { .. } | RenewError::TooLate | RenewError::NotTheHolder)) => over(asked, error),
        Err(error) => asked.ended(error.outcome(), error),
    }
}

/// Ends a lease with that token, by this future.
pub(super) async fn release(
    process: &mut Process,
    key: &str,
    token: FencingToken,
    release: impl Future<Output = Result<(), ReleaseError>>,
) {
    let asked = process.invoke_with("release", key, Value::Null, |event| event.token = Some(bare(token)));
    match release.await {
        Ok(()) => asked.ok(Value::Null),
        Err(error @ (ReleaseError::Over | ReleaseError::NotTheHolder)) => over(asked, error),
        Err(error) => asked.ended(error.outcome(), error),
    }
}

/// When all is well: everybody's lease has ended or will, so whoever waits is granted the lock. `None`: it was not, and
/// the history says so.
pub(super) async fn acquire_in_the_end(
    process: &mut Process,
    recorder: &Recorder,
    key: &str,
    acquire: Acquire,
) -> Option<Lease> {
    let acquire = acquire.wait_at_most(PATIENCE_IN_THE_END);
    loop {
        let asked = process.invoke_with("acquire", key, Value::Null, |event| {
            event.extra.insert("final".into(), true.into());
        });
        match acquire.clone().await {
            Ok(lease) => {
                granted(asked, recorder, &lease);
                return Some(lease);
            }
            Err(error @ AcquireError::TimedOut { .. }) => {
                asked.fail_with(error, |event| drop(event.extra.insert("refused".into(), "timeout".into())));
                return None;
            }
            Err(error) => asked.ended(error.outcome(), error),
        }
        before_asking_again().await;
    }
}

/// Takes an exclusive lock in the end, writes what it protects once more, and reads it back.
pub(super) async fn take_in_the_end(scene: &Scene, guarded: &Guarded, value: u64) {
    let (mut process, client) = (scene.process(), &scene.clients[0]);
    let acquire = client.lock(&guarded.lock);
    let Some(lease) = acquire_in_the_end(&mut process, &scene.recorder, &guarded.key, acquire).await else { return };
    let until = until(&scene.recorder, &lease);
    write(&mut process, client, guarded, value, lease.fence(), until).await;
    release(&mut process, &guarded.key, lease.token(), lease.release()).await;
    while !guarded.read(&mut process, client).await {
        before_asking_again().await;
    }
}

/// The rules that every exclusive lock keeps, and the key that it protects.
pub(super) fn rules(
    history: &History,
    seconds: u64,
    per_second: Demand,
) -> Result<Vec<(&'static str, Verdict)>, Unfit> {
    let of = |telling| enough(seconds, 0.0, telling);
    let Demand { grants, writes, reads } = per_second;
    let of_lock =
        history.only(|op| matches!(op.f.as_str(), "acquire" | "renew" | "release" | "write" | "lost" | "read"));
    let of_key = history.only(|op| matches!(op.f.as_str(), "write" | "read"));
    let settings = Settings { enough: of(reads), ..Settings::default() };
    Ok(vec![
        (
            "tokens rise and stale writes are refused",
            tokens::check(&of_lock, Resource::ChecksLease, of(grants + writes))?,
        ),
        ("one holder at a time", semaphore::check(&of_lock, 1, of(grants))?),
        ("no lease ends early", leases::never_early(&of_lock, of(writes))?),
        ("what is protected is linearizable", judge(Model::Register, &of_key, settings)?),
        ("every acknowledged write is there in the end", final_read::registers(&of_key, Enough::default())?),
        ("every lease ends", leases::free_in_the_end(&of_lock)),
    ])
}

/// How much is enough, for each second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// Leases granted.
    pub(super) grants: f64,
    /// Writes by holders that were accepted.
    pub(super) writes: f64,
    /// Reads of what is protected.
    pub(super) reads: f64,
}

/// A token as a history has it.
pub(super) fn bare(token: FencingToken) -> u64 {
    token.0.0 as u64
}

fn say_until(event: &mut Event, until: Option<u64>) {
    event.extra.extend(until.map(|until| ("until_ns".to_owned(), until.into())));
}

fn over(asked: Asked<'_>, error: impl std::fmt::Display) {
    asked.fail_with(error, |event| drop(event.extra.insert("refused".into(), "over".into())));
}
