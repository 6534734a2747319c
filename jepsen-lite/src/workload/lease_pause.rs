//! Leases in time: nobody is granted a lock while another may still believe in its lease, whatever fails; and none
//! lasts for ever.
//!
//! Short leases come and go all the time, and some of their holders sleep past the end without looking, as a process
//! does that was paused, and then write as if nothing had happened. Long ones live through failovers, restarts and
//! snapshots; their holders look and write all the time, and others ask for the lock meanwhile.

use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use jepsen_checkers::{History, Unfit, Verdict};
use ringfence_client::{Client, Lease};
use ringfence_tests::Dice;

use super::Workload;
use super::leasing::{self, Demand, Guarded, Told};
use crate::recorder::Process;
use crate::scene::Scene;

const SHORT: u64 = 3;
const LONG: u64 = 2;

/// Workers that hold short leases; then those that hold long ones; then one that asks for what others have.
const SHORT_HOLDERS: usize = 3;
const LONG_HOLDERS: usize = LONG as usize;

/// See the module.
pub(super) struct LeasePause;

struct Worker {
    scene: Scene,
    dice: Dice,
    process: Process,
    client: Client,
    number: usize,
    next: u64,
}

impl Workload for LeasePause {
    fn name(&self) -> &'static str {
        "lease-pause"
    }

    fn about(&self) -> &'static str {
        "short and long leases, some of holders who sleep past the end: nobody else is granted the lock before, the sleeper's writes are \
         refused after, and every lease ends"
    }

    fn workers(&self) -> usize {
        SHORT_HOLDERS + LONG_HOLDERS + 1
    }

    fn work(&self, scene: Scene, worker: usize) -> BoxFuture<'static, Result<(), String>> {
        let mut worker = Worker {
            dice: scene.dice(worker),
            process: scene.process(),
            client: scene.client(worker).clone(),
            number: worker,
            next: 0,
            scene,
        };
        Box::pin(async move {
            while !worker.scene.is_over() {
                match worker.number {
                    0..SHORT_HOLDERS => worker.hold_short().await,
                    number if number < SHORT_HOLDERS + LONG_HOLDERS => worker.hold_long().await,
                    _ => worker.ask_for_what_others_have().await,
                }
                worker.scene.think(&mut worker.dice, 60).await;
            }
            Ok(())
        })
    }

    fn finish(&self, scene: Scene) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            let locks: Vec<Guarded> = (0..SHORT).map(short).chain((0..LONG).map(long)).collect();
            join_all(locks.iter().zip(0..).map(|(lock, n)| leasing::take_in_the_end(&scene, lock, n))).await;
            Ok(())
        })
    }

    fn judge(&self, history: &History, seconds: u64) -> Result<Vec<(&'static str, Verdict)>, Unfit> {
        leasing::rules(history, seconds, Demand { grants: 0.1, writes: 0.8, reads: 0.2 })
    }
}

impl Worker {
    async fn hold_short(&mut self) {
        let lock = short(self.dice.within(0..SHORT));
        let ttl = Duration::from_millis(self.dice.within(1_000..3_000));
        let is_fixed = self.dice.percent(50);
        let patience = Duration::from_millis(if self.dice.percent(30) { 0 } else { 2_500 });
        let Some(lease) = self.acquire(&lock, ttl, is_fixed, patience).await else { return };
        if is_fixed && self.dice.percent(50) {
            let pause = ttl + Duration::from_millis(self.dice.within(0..1_000));
            tokio::time::sleep(pause).await;
            return self.wake_up(&lock, lease).await;
        }
        let so_long = ttl.mul_f64(self.dice.within(20..200) as f64 / 100.0);
        self.hold(&lock, &lease, so_long).await;
        if self.dice.percent(30) {
            return lease.abandon(); // as one that dies
        }
        leasing::release(&mut self.process, &lock.key, lease.token(), lease.release()).await;
    }

    /// Writes at first, and looks only then: a process that was paused does not know it.
    async fn wake_up(&mut self, lock: &Guarded, lease: Lease) {
        for _ in 0..2 {
            let value = self.value();
            leasing::write(&mut self.process, &self.client, lock, value, lease.fence(), None).await;
            leasing::look(&mut self.process, &self.scene.recorder, &lock.key, &lease);
            self.scene.think(&mut self.dice, 200).await;
        }
    }

    async fn hold_long(&mut self) {
        let lock = long(self.dice.within(0..LONG));
        let ttl = Duration::from_millis(self.dice.within(10_000..20_000));
        // A lease that is renewed shows that no renewal is lost, one that is not that its deadline stays where it was.
        let is_fixed = self.dice.percent(60);
        let Some(lease) = self.acquire(&lock, ttl, is_fixed, Duration::from_secs(2)).await else { return };
        let so_long = Duration::from_millis(self.dice.within(4_000..30_000));
        self.hold(&lock, &lease, so_long).await;
        leasing::release(&mut self.process, &lock.key, lease.token(), lease.release()).await;
    }

    /// Looks and writes, for so long at most.
    async fn hold(&mut self, lock: &Guarded, lease: &Lease, so_long: Duration) {
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < so_long && !self.scene.is_over() {
            let Some(until) = leasing::look(&mut self.process, &self.scene.recorder, &lock.key, lease) else { return };
            let value = self.value();
            let told = leasing::write(&mut self.process, &self.client, lock, value, lease.fence(), Some(until)).await;
            if told == Told::Fenced {
                return;
            }
            self.scene.think(&mut self.dice, 250).await;
        }
    }

    async fn ask_for_what_others_have(&mut self) {
        let lock =
            if self.dice.percent(60) { long(self.dice.within(0..LONG)) } else { short(self.dice.within(0..SHORT)) };
        match self.dice.percent(50) {
            true => _ = lock.read(&mut self.process, &self.client).await,
            false => lock.read_at(&mut self.process, self.scene.any_node(&mut self.dice)).await,
        }
        let patience = Duration::from_millis(if self.dice.percent(60) { 0 } else { self.dice.within(100..1_000) });
        let Some(lease) = self.acquire(&lock, Duration::from_secs(2), false, patience).await else { return };
        self.hold(&lock, &lease, Duration::from_millis(300)).await;
        leasing::release(&mut self.process, &lock.key, lease.token(), lease.release()).await;
    }

    async fn acquire(&mut self, lock: &Guarded, ttl: Duration, is_fixed: bool, patience: Duration) -> Option<Lease> {
        let ask = self.client.lock(&lock.lock).holder(format!("worker-{}", self.value()));
        let ask = ask.ttl(ttl).wait_at_most(patience);
        let ask = if is_fixed { ask.fixed_term() } else { ask };
        leasing::acquire(&mut self.process, &self.scene.recorder, &lock.key, ask).await
    }

    /// One that nobody else writes.
    fn value(&mut self) -> u64 {
        self.next += 1;
        (self.number as u64 + 1) * 1_000_000 + self.next
    }
}

fn short(n: u64) -> Guarded {
    Guarded::new(format!("pause/short/{n}"))
}

fn long(n: u64) -> Guarded {
    Guarded::new(format!("pause/long/{n}"))
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
            1  20-90  ok   acquire l null token=9 permit=0 until_ns=200
            0  95-99  fail write   l 2    token=5 refused=over
            0  99-99  ok   lost    l null token=5
            1 100-105 ok   write   l 3    token=9 until_ns=200 revision=11
            2 110-240 ok   acquire l null token=12 final=true
            2 250-260 ok   read    l null -> 3";
        assert_rules(
            &LeasePause,
            good,
            &[
                ("tokens rise and stale writes are refused", "0 103-104 ok write l 2 token=5 revision=10"),
                ("one holder at a time", "7 20-59 ok acquire l null token=7"),
                ("no lease ends early", "1 106-150 fail write l 4 token=9 until_ns=180 refused=over"),
                ("no lease ends early", "1 106-106 ok lost l null token=9"),
                ("what is protected is linearizable", "7 106-109 ok read l null -> 1"),
                ("every acknowledged write is there in the end", "7 270-280 ok read l null -> 1"),
                ("every lease ends", "7 270-280 fail acquire l null final=true refused=timeout"),
            ],
        );
    }
}
