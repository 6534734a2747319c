//! Semaphores: never more holders than permits, and never two under one number. Each permit protects a slot of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use jepsen_checkers::tokens::Resource;
use jepsen_checkers::{Enough, History, Model, Name, Settings, Unfit, Verdict};
use jepsen_checkers::{final_read, judge, leases, semaphore, tokens};
use ringfence_client::{Client, Fence, Lease};
use ringfence_tests::Dice;
use serde_json::Value;

use super::leasing::{self, Guarded, Told};
use super::{Workload, before_asking_again, enough};
use crate::recorder::Process;
use crate::scene::Scene;

const SEMAPHORES: u64 = 2;
const PERMITS: u32 = 2;

/// Old tokens that a worker remembers.
const OLD_MAX: usize = 20;

/// See the module.
pub(super) struct Semaphore;

struct Worker {
    scene: Scene,
    dice: Dice,
    process: Process,
    client: Client,
    number: usize,
    next: u64,
    old: Vec<(Guarded, Fence)>,
}

impl Workload for Semaphore {
    fn name(&self) -> &'static str {
        "semaphore"
    }

    fn about(&self) -> &'static str {
        "permits are held by as many as there are, each number by one, and what a permit protects is written by its holder alone"
    }

    fn workers(&self) -> usize {
        5
    }

    fn work(&self, scene: Scene, worker: usize) -> BoxFuture<'static, Result<(), String>> {
        let mut worker = Worker {
            dice: scene.dice(worker),
            process: scene.process(),
            client: scene.client(worker).clone(),
            number: worker,
            next: 0,
            old: Vec::new(),
            scene,
        };
        Box::pin(async move {
            while !worker.scene.is_over() {
                worker.step().await;
                worker.scene.think(&mut worker.dice, 80).await;
            }
            Ok(())
        })
    }

    /// All permits of each at the same time: none has leaked.
    fn finish(&self, scene: Scene) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            let (client, recorder) = (&scene.clients[0], &scene.recorder);
            for n in 0..SEMAPHORES {
                let takers = (0..PERMITS).map(|_| {
                    let mut process = scene.process();
                    async move {
                        let acquire = client.semaphore(lock(n), PERMITS).acquire();
                        let lease = leasing::acquire_in_the_end(&mut process, recorder, &name(n), acquire).await;
                        (process, lease)
                    }
                });
                for (mut process, lease) in join_all(takers).await {
                    let Some(lease) = lease else { continue };
                    let until = leasing::until(recorder, &lease);
                    let (slot, fence) = (slot(n, lease.permit()), lease.fence());
                    leasing::write(&mut process, client, &slot, u64::from(lease.permit()), fence, until).await;
                    leasing::release(&mut process, &slot.key, lease.token(), lease.release()).await;
                }
                let mut process = scene.process();
                for permit in 0..PERMITS {
                    while !of_its_own(n, permit).read(&mut process, client).await {
                        before_asking_again().await;
                    }
                }
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History, seconds: u64) -> Result<Vec<(&'static str, Verdict)>, Unfit> {
        let of = |telling| enough(seconds, 0.0, telling);
        let whole = history.only(|op| op.f != "read");
        let permits = by_permit(history);
        let slots = permits.only(|op| matches!(op.f.as_str(), "write" | "read"));
        let settings = Settings { enough: of(0.15), ..Settings::default() };
        Ok(vec![
            ("no more holders than permits", semaphore::check(&whole, PERMITS as usize, of(0.15))?),
            ("tokens rise and stale writes are refused", tokens::check(&permits, Resource::ChecksLease, of(0.8))?),
            ("no lease ends early", leases::never_early(&permits, of(0.4))?),
            ("what is protected is linearizable", judge(Model::Register, &slots, settings)?),
            ("every acknowledged write is there in the end", final_read::registers(&slots, Enough::default())?),
            ("every lease ends", leases::free_in_the_end(&whole)),
        ])
    }
}

impl Worker {
    async fn step(&mut self) {
        match self.dice.within(0..100) {
            0..55 => self.hold().await,
            55..70 if !self.old.is_empty() => {
                let (slot, fence) = self.dice.one_of(&self.old).clone();
                let value = self.value();
                leasing::write(&mut self.process, &self.client, &slot, value, fence, None).await;
            }
            _ => {
                let slot = of_its_own(self.dice.within(0..SEMAPHORES), self.dice.within(0..PERMITS.into()) as u32);
                match self.dice.percent(50) {
                    true => _ = slot.read(&mut self.process, &self.client).await,
                    false => slot.read_at(&mut self.process, self.scene.any_node(&mut self.dice)).await,
                }
            }
        }
    }

    async fn hold(&mut self) {
        let n = self.dice.within(0..SEMAPHORES);
        let ttl = Duration::from_millis(self.dice.within(1_000..4_000));
        let patience = Duration::from_millis(if self.dice.percent(30) { 0 } else { self.dice.within(300..2_500) });
        let holder = format!("worker-{}", self.value());
        let semaphore = self.client.semaphore(lock(n), PERMITS);
        let ask = semaphore.acquire().ttl(ttl).holder(holder).wait_at_most(patience);
        let recorder = self.scene.recorder.clone();
        let Some(lease) = leasing::acquire(&mut self.process, &recorder, &name(n), ask).await else { return };
        let slot = slot(n, lease.permit());
        self.write(&slot, &lease).await;
        if self.old.len() >= OLD_MAX {
            self.old.remove(self.dice.within(0..OLD_MAX as u64) as usize);
        }
        self.old.push((slot.clone(), lease.fence()));
        if self.dice.percent(20) {
            return lease.abandon(); // as one that dies
        }
        leasing::release(&mut self.process, &slot.key, lease.token(), lease.release()).await;
    }

    async fn write(&mut self, slot: &Guarded, lease: &Lease) {
        for _ in 0..self.dice.within(1..8) {
            let Some(until) = leasing::look(&mut self.process, &self.scene.recorder, &slot.key, lease) else { return };
            let value = self.value();
            let told = leasing::write(&mut self.process, &self.client, slot, value, lease.fence(), Some(until)).await;
            if told == Told::Fenced || self.scene.is_over() {
                return;
            }
            self.scene.think(&mut self.dice, 100).await;
        }
    }

    /// One that nobody else writes.
    fn value(&mut self) -> u64 {
        self.next += 1;
        (self.number as u64 + 1) * 1_000_000 + self.next
    }
}

/// The same history by permit: what has a token is about the permit that was granted with it. For the rules of
/// exclusive locks, which each permit keeps.
fn by_permit(history: &History) -> History {
    let mut history = history.only(|op| op.f != "acquire" || op.is_ok());
    let mut permits: BTreeMap<(Option<Name>, u64), u64> = BTreeMap::new();
    for op in history.operations.iter().filter(|op| op.f == "acquire") {
        if let (Some(token), Some(permit)) = (op.token, op.extra.get("permit").and_then(Value::as_u64)) {
            permits.insert((op.key.clone(), token), permit);
        }
    }
    for op in history.operations.iter_mut().filter(|op| op.f != "read") {
        let Some(token) = op.token else { continue };
        if let (Some(permit), Some(key)) = (permits.get(&(op.key.clone(), token)), &op.key) {
            op.key = Some(Name::from(format!("{key}#{permit}")));
        }
    }
    history
}

fn name(n: u64) -> String {
    format!("semaphore/{n}")
}

fn lock(n: u64) -> String {
    format!("{{semaphore/{n}}}lock")
}

/// What a permit protects. Its writes stand in the history under the semaphore's name, with the token that tells the
/// permit.
fn slot(n: u64, permit: u32) -> Guarded {
    Guarded { key: name(n), lock: lock(n), at: format!("{{semaphore/{n}}}slot/{permit}") }
}

/// The same, under a name of its own, for reads, which have no token.
fn of_its_own(n: u64, permit: u32) -> Guarded {
    Guarded { key: format!("{}#{permit}", name(n)), ..slot(n, permit) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::by_hand::assert_rules;

    #[test]
    fn every_rule_can_be_broken() {
        let good = "
            0   0-10  ok   acquire s null token=5 permit=0 until_ns=60
            1   5-12  ok   acquire s null token=6 permit=1 until_ns=100
            0  12-14  ok   write   s 1    token=5 until_ns=60 revision=7
            1  14-16  ok   write   s 2    token=6 until_ns=100 revision=8
            2  20-70  ok   acquire s null token=9 permit=0 until_ns=200
            0  75-79  fail write   s 3    token=5 refused=over
            1  80-85  ok   write   s 4    token=6 until_ns=100 revision=11
            1  90-95  ok   release s null token=6
            3 210-220 ok   acquire s null token=12 permit=0 final=true
            3 250-260 ok   read    s#0 null -> 1
            3 265-270 ok   read    s#1 null -> 4";
        assert_rules(
            &Semaphore,
            good,
            &[
                ("no more holders than permits", "7 20-50 ok acquire s null token=8 permit=2"),
                ("no more holders than permits", "7 85-89 ok acquire s null token=10 permit=1"),
                ("tokens rise and stale writes are refused", "0 82-84 ok write s 7 token=5 revision=12"),
                ("tokens rise and stale writes are refused", "7 110-120 ok acquire s null token=4 permit=1"),
                ("no lease ends early", "0 20-25 fail write s 7 token=5 until_ns=60 refused=over"),
                ("what is protected is linearizable", "7 106-109 ok read s#1 null -> 2"),
                ("every acknowledged write is there in the end", "7 270-280 ok read s#1 null -> 2"),
                ("every lease ends", "7 270-280 fail acquire s null final=true refused=timeout"),
            ],
        );
    }
}
