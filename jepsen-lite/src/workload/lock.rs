//! Locks with fencing, judged where it counts: at the key that they protect. Holders come and go; some go on writing
//! with an old token; strangers try to end or renew what is not theirs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use jepsen_checkers::{History, Unfit, Verdict, leases};
use ringfence_client::{Client, Fence, FencingToken, Outcome};
use ringfence_proto::Reason;
use ringfence_proto::v1::lock_client::LockClient;
use ringfence_proto::v1::{Error, ReleaseRequest, RenewRequest};
use ringfence_tests::Dice;
use serde_json::json;
use tokio::time::timeout;
use tonic::Status;

use super::leasing::{self, Demand, Guarded, Told};
use super::{Workload, enough};
use crate::recorder::{Asked, Process};
use crate::scene::{CALL_TIMEOUT, Scene};

const LOCKS: u64 = 3;

/// Workers that acquire; the last one is the stranger.
const HOLDERS: usize = 4;

/// Old tokens that a worker remembers.
const OLD_MAX: usize = 40;

/// Grants of a lock that a stranger knows of.
const KNOWN_MAX: usize = 20;

/// See the module.
#[derive(Default)]
pub(super) struct Lock {
    board: Arc<Board>,
}

/// What holders say of themselves, the newest last, for strangers to abuse.
#[derive(Default)]
struct Board(Mutex<BTreeMap<u64, Vec<Known>>>);

#[derive(Clone)]
struct Known {
    holder: String,
    token: FencingToken,
}

struct Worker {
    scene: Scene,
    dice: Dice,
    process: Process,
    client: Client,
    board: Arc<Board>,
    number: usize,
    next: u64,
    /// Locks that it had, with the fences.
    old: Vec<(u64, Fence)>,
}

impl Workload for Lock {
    fn name(&self) -> &'static str {
        "lock"
    }

    fn about(&self) -> &'static str {
        "writes under locks, by holders, by those who were holders, and by strangers who meddle: no stale write is accepted, and nobody \
         but its holder ends a lease"
    }

    fn workers(&self) -> usize {
        HOLDERS + 1
    }

    fn work(&self, scene: Scene, worker: usize) -> BoxFuture<'static, Result<(), String>> {
        let mut worker = Worker {
            dice: scene.dice(worker),
            process: scene.process(),
            client: scene.client(worker).clone(),
            board: Arc::clone(&self.board),
            number: worker,
            next: 0,
            old: Vec::new(),
            scene,
        };
        Box::pin(async move {
            while !worker.scene.is_over() {
                match worker.number {
                    HOLDERS => worker.meddle().await,
                    _ => worker.step().await,
                }
                worker.scene.think(&mut worker.dice, 60).await;
            }
            Ok(())
        })
    }

    fn finish(&self, scene: Scene) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            let locks: Vec<Guarded> = (0..LOCKS).map(guarded).collect();
            join_all(locks.iter().zip(0..).map(|(lock, n)| leasing::take_in_the_end(&scene, lock, n))).await;
            Ok(())
        })
    }

    fn judge(&self, history: &History, seconds: u64) -> Result<Vec<(&'static str, Verdict)>, Unfit> {
        let mut rules = leasing::rules(history, seconds, Demand { grants: 0.15, writes: 0.8, reads: 0.15 })?;
        rules.push((
            "only the holder ends or renews a lease",
            leases::only_the_holder(history, enough(seconds, 0.0, 0.4))?,
        ));
        Ok(rules)
    }
}

impl Worker {
    async fn step(&mut self) {
        match self.dice.within(0..100) {
            0..50 => self.hold().await,
            50..75 => self.write_stale().await,
            75..85 => {
                let lock = guarded(self.dice.within(0..LOCKS));
                _ = lock.read(&mut self.process, &self.client).await;
            }
            _ => {
                guarded(self.dice.within(0..LOCKS))
                    .read_at(&mut self.process, self.scene.any_node(&mut self.dice))
                    .await
            }
        }
    }

    /// One tenure, as it should be, and how it ends.
    async fn hold(&mut self) {
        let n = self.dice.within(0..LOCKS);
        let lock = guarded(n);
        let holder = format!("holder-{}", self.value());
        let ttl = Duration::from_millis(self.dice.within(1_000..3_000));
        let ask = self.client.lock(&lock.lock).holder(holder.clone()).ttl(ttl);
        let ask = match self.dice.percent(40) {
            true => ask.without_waiting(),
            false => ask.wait_at_most(Duration::from_millis(self.dice.within(300..2_500))),
        };
        let recorder = self.scene.recorder.clone();
        let Some(lease) = leasing::acquire(&mut self.process, &recorder, &lock.key, ask).await else { return };
        self.board.granted(n, Known { holder, token: lease.token() });
        for _ in 0..self.dice.within(1..8) {
            let Some(until) = leasing::look(&mut self.process, &recorder, &lock.key, &lease) else { break };
            let value = self.value();
            let told = leasing::write(&mut self.process, &self.client, &lock, value, lease.fence(), Some(until)).await;
            if told == Told::Fenced || self.scene.is_over() {
                break;
            }
            if self.dice.percent(10) {
                leasing::renew(&mut self.process, &recorder, &lock.key, &lease, json!(null), lease.renew()).await;
            }
            self.scene.think(&mut self.dice, 60).await;
        }
        let fence = lease.fence();
        self.remember(n, fence.clone());
        if self.dice.percent(20) {
            return lease.abandon(); // as one that dies: the others have to wait
        }
        leasing::release(&mut self.process, &lock.key, fence.token, lease.release()).await;
        if self.dice.percent(40) {
            let value = self.value();
            leasing::write(&mut self.process, &self.client, &lock, value, fence, None).await;
        }
    }

    /// With a token that was good once.
    async fn write_stale(&mut self) {
        if self.old.is_empty() {
            return;
        }
        let (n, fence) = self.dice.one_of(&self.old).clone();
        let value = self.value();
        leasing::write(&mut self.process, &self.client, &guarded(n), value, fence, None).await;
    }

    /// The right token from the wrong holder, or the right holder with an old token.
    async fn meddle(&mut self) {
        let n = self.dice.within(0..LOCKS);
        let Some((newest, before)) = self.board.newest(n) else { return };
        let (holder, token, what) = match before {
            Some(before) if self.dice.percent(30) => (newest.holder, before.token, "the holder's name, an old token"),
            Some(before) if self.dice.percent(20) => (before.holder, before.token, "one that was the holder before"),
            _ => ("stranger".to_owned(), newest.token, "a stranger, the holder's token"),
        };
        let lock = guarded(n);
        let way = self.dice.within(0..3);
        let how = format!("{} by {what}", ["release through the SDK", "release", "renewal"][way as usize]);
        let asked = self.process.invoke("steal", lock.key.as_str(), json!(how));
        let (header, name, token_asked) = (None, bytes::Bytes::from(lock.lock.clone()), token.0.0);
        let mut locks = LockClient::new(self.scene.any_node(&mut self.dice));
        let told = match way {
            0 => match self.client.release_lease(&lock.lock, holder, token).await {
                Ok(()) => return asked.ok(json!(how)),
                Err(error) if error.outcome() == Outcome::Unknown => return asked.info(error),
                Err(error) => {
                    use ringfence_client::ReleaseError::{NotTheHolder, Over};
                    let known = matches!(error, Over | NotTheHolder);
                    return asked.fail_with(&error, |event| {
                        event.extra.extend(known.then(|| ("refused".to_owned(), error.to_string().into())));
                    });
                }
            },
            1 => {
                let request = ReleaseRequest { header, name, holder: holder.into(), token: token_asked };
                timeout(CALL_TIMEOUT, locks.release(request)).await.map(|told| told.map(drop))
            }
            _ => {
                let (ttl_ms, metadata) = (Some(1_000), None);
                let request =
                    RenewRequest { header, name, holder: holder.into(), token: token_asked, ttl_ms, metadata };
                timeout(CALL_TIMEOUT, locks.renew(request)).await.map(|told| told.map(drop))
            }
        };
        match told {
            Ok(Ok(())) => asked.ok(json!(how)),
            Ok(Err(status)) => refused(asked, status),
            Err(_) => asked.info("no answer in time"),
        }
    }

    fn remember(&mut self, n: u64, fence: Fence) {
        if self.old.len() >= OLD_MAX {
            self.old.remove(self.dice.within(0..OLD_MAX as u64) as usize);
        }
        self.old.push((n, fence));
    }

    /// One that nobody else writes.
    fn value(&mut self) -> u64 {
        self.next += 1;
        (self.number as u64 + 1) * 1_000_000 + self.next
    }
}

impl Board {
    fn granted(&self, n: u64, known: Known) {
        let mut board = self.0.lock().expect("no code panics while it holds this lock");
        let of = board.entry(n).or_default();
        of.push(known);
        of.sort_by_key(|known| known.token);
        if of.len() > KNOWN_MAX {
            of.remove(0);
        }
    }

    /// The newest holder, and the one before.
    fn newest(&self, n: u64) -> Option<(Known, Option<Known>)> {
        let board = self.0.lock().expect("no code panics while it holds this lock");
        let (newest, before) = board.get(&n)?.split_last()?;
        Some((newest.clone(), before.last().cloned()))
    }
}

fn refused(asked: Asked<'_>, status: Status) {
    let error = Error::from(status);
    let of_lock = matches!(
        error.reason(),
        Some(Reason::Fenced | Reason::LeaseOver | Reason::LeaseExpired | Reason::NotTheHolder)
    );
    match error.outcome() {
        ringfence_proto::Outcome::Unknown => asked.info(error.message),
        _ => asked.fail_with(error.message, |event| {
            event.extra.extend(of_lock.then(|| ("refused".to_owned(), error.reason.into())));
        }),
    }
}

fn guarded(n: u64) -> Guarded {
    Guarded::new(format!("lock/{n}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::by_hand::assert_rules;

    #[test]
    fn every_rule_can_be_broken() {
        let good = "
            0   0-10  ok   acquire l null token=5 permit=0 until_ns=60
            0  12-14  ok   write   l 1    token=5 until_ns=60 revision=6
            9  15-20  fail steal   l null refused=NOT_THE_HOLDER
            0  15-25  ok   renew   l null token=5 until_ns=70
            1  40-90  ok   acquire l null token=9 permit=0 until_ns=200
            0  80-85  fail write   l 2    token=5 refused=over
            1 100-105 ok   write   l 3    token=9 until_ns=200 revision=11
            1 110-115 ok   release l null token=9
            1 120-125 fail write   l 4    token=9 refused=over
            2 130-140 ok   acquire l null token=12 final=true
            2 150-160 ok   read    l null -> 3";
        assert_rules(
            &Lock::default(),
            good,
            &[
                ("tokens rise and stale writes are refused", "0 95-98 ok write l 7 token=5 revision=10"),
                ("tokens rise and stale writes are refused", "1 126-128 ok write l 7 token=9 revision=13"),
                ("tokens rise and stale writes are refused", "7 170-180 ok acquire l null token=11"),
                ("one holder at a time", "7 20-30 ok acquire l null token=7"),
                ("no lease ends early", "0 50-55 fail write l 7 token=5 refused=over"),
                ("no lease ends early", "0 50-55 fail renew l null token=5 refused=over"),
                ("no lease ends early", "0 50-50 ok lost l null token=5"),
                ("what is protected is linearizable", "7 106-109 ok read l null -> 1"),
                ("every acknowledged write is there in the end", "7 170-180 ok read l null -> 1"),
                ("every lease ends", "7 170-180 fail acquire l null final=true refused=timeout"),
                ("only the holder ends or renews a lease", "7 106-109 ok steal l null"),
            ],
        );
    }
}
