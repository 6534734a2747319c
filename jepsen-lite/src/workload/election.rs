//! Elections: one leads at a time, whoever asks is told who, and what a leader wrote is not overwritten by one that was
//! deposed.

use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use jepsen_checkers::{History, Unfit, Verdict, observers};
use ringfence_client::{Client, Fence, Leader, LockReadError, Observer};
use ringfence_tests::Dice;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::leasing::{self, Demand, Guarded, Told};
use super::{Workload, enough};
use crate::recorder::{Asked, Process};
use crate::scene::Scene;

const ELECTIONS: u64 = 2;

/// Workers that campaign; then an observer for each election.
const CANDIDATES: usize = 4;

/// An observer waits so long for news. Then it asks anew.
const NEWS: Duration = Duration::from_millis(1_500);

/// Old tokens that a worker remembers.
const OLD_MAX: usize = 20;

/// See the module.
pub(super) struct Election;

struct Candidate {
    scene: Scene,
    dice: Dice,
    process: Process,
    client: Client,
    number: usize,
    next: u64,
    old: Vec<(u64, Fence)>,
}

impl Workload for Election {
    fn name(&self) -> &'static str {
        "election"
    }

    fn about(&self) -> &'static str {
        "leaders are elected, proclaim, write, resign and are deposed: one at a time, seen in their order, and the deposed write nothing"
    }

    fn workers(&self) -> usize {
        CANDIDATES + ELECTIONS as usize
    }

    fn work(&self, scene: Scene, worker: usize) -> BoxFuture<'static, Result<(), String>> {
        if worker >= CANDIDATES {
            return Box::pin(observe(scene, worker));
        }
        let mut candidate = Candidate {
            dice: scene.dice(worker),
            process: scene.process(),
            client: scene.client(worker).clone(),
            number: worker,
            next: 0,
            old: Vec::new(),
            scene,
        };
        Box::pin(async move {
            while !candidate.scene.is_over() {
                candidate.step().await;
                candidate.scene.think(&mut candidate.dice, 60).await;
            }
            Ok(())
        })
    }

    fn finish(&self, scene: Scene) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            let elections: Vec<Guarded> = (0..ELECTIONS).map(guarded).collect();
            join_all(elections.iter().zip(0..).map(|(one, n)| leasing::take_in_the_end(&scene, one, n))).await;
            Ok(())
        })
    }

    fn judge(&self, history: &History, seconds: u64) -> Result<Vec<(&'static str, Verdict)>, Unfit> {
        let mut rules = leasing::rules(history, seconds, Demand { grants: 0.1, writes: 0.25, reads: 0.1 })?;
        rules.push(("observers see the leaders in order", observers::check(history, enough(seconds, 0.0, 0.4))?));
        Ok(rules)
    }
}

impl Candidate {
    async fn step(&mut self) {
        match self.dice.within(0..100) {
            0..50 => self.lead().await,
            50..65 if !self.old.is_empty() => {
                let (n, fence) = self.dice.one_of(&self.old).clone();
                let value = self.value();
                leasing::write(&mut self.process, &self.client, &guarded(n), value, fence, None).await;
            }
            _ => {
                let election = guarded(self.dice.within(0..ELECTIONS));
                match self.dice.percent(50) {
                    true => _ = election.read(&mut self.process, &self.client).await,
                    false => election.read_at(&mut self.process, self.scene.any_node(&mut self.dice)).await,
                }
            }
        }
    }

    /// Campaigns, and leads for a while if elected.
    async fn lead(&mut self) {
        let n = self.dice.within(0..ELECTIONS);
        let election = guarded(n);
        let recorder = self.scene.recorder.clone();
        let ttl = Duration::from_millis(self.dice.within(1_000..3_000));
        let patience = Duration::from_millis(self.dice.within(500..2_500));
        let holder = format!("candidate-{}", self.value());
        // What is proclaimed counts up, so that observers can be held to the order.
        let campaign = self.client.election(&election.lock).campaign("0").ttl(ttl).holder(holder);
        let asked = self.process.invoke("acquire", election.key.as_str(), Value::Null);
        let leadership = match campaign.wait_at_most(patience).await {
            Ok(leadership) => leadership,
            Err(error) => return asked.ended(error.outcome(), error),
        };
        leasing::granted(asked, &recorder, leadership.lease());
        let fence = leadership.fence();
        for number in 1..self.dice.within(2..10) {
            let lease = leadership.lease();
            let Some(until) = leasing::look(&mut self.process, &recorder, &election.key, lease) else { break };
            if self.dice.percent(40) {
                let proclamation = leadership.proclaim(number.to_string());
                leasing::renew(&mut self.process, &recorder, &election.key, lease, json!(number), proclamation).await;
            } else {
                let value = self.value();
                let (client, until) = (&self.client, Some(until));
                let told = leasing::write(&mut self.process, client, &election, value, fence.clone(), until).await;
                if told == Told::Fenced {
                    break;
                }
            }
            if self.scene.is_over() {
                break;
            }
            self.scene.think(&mut self.dice, 120).await;
        }
        if self.old.len() >= OLD_MAX {
            self.old.remove(self.dice.within(0..OLD_MAX as u64) as usize);
        }
        self.old.push((n, fence.clone()));
        match self.dice.percent(25) {
            true => leadership.abandon(), // as one that dies: deposed when its ttl has passed
            false => {
                leasing::release(&mut self.process, &election.key, fence.token, leadership.resign()).await;
            }
        }
    }

    /// One that nobody else writes.
    fn value(&mut self) -> u64 {
        self.next += 1;
        (self.number as u64 + 1) * 1_000_000 + self.next
    }
}

/// Follows the changes of one election, and asks in between who leads.
async fn observe(scene: Scene, worker: usize) -> Result<(), String> {
    let election = guarded((worker - CANDIDATES) as u64);
    let (mut dice, mut process, client) = (scene.dice(worker), scene.process(), scene.client(worker).clone());
    let asks = client.election(&election.lock);
    let mut observer: Observer = asks.observe();
    while !scene.is_over() {
        let asked = process.invoke("observe", election.key.as_str(), Value::Null);
        match timeout(NEWS, observer.next()).await {
            Ok(told) => seen(asked, told),
            Err(_) => asked.fail("no news"),
        }
        if dice.percent(50) {
            let asked = process.invoke("leader", election.key.as_str(), Value::Null);
            seen(asked, asks.leader().await);
        }
        if dice.percent(2) {
            observer = asks.observe(); // as one that has just come
        }
        scene.think(&mut dice, 60).await;
    }
    Ok(())
}

fn seen(asked: Asked<'_>, told: Result<Option<Leader>, LockReadError>) {
    match told {
        Ok(None) => asked.ok(Value::Null),
        Ok(Some(leader)) => {
            let number = std::str::from_utf8(&leader.value).ok().and_then(|text| text.parse::<u64>().ok());
            // What nobody proclaimed stands after all that anybody will.
            asked.ok_with(json!(number.unwrap_or(u64::MAX)), |event| event.token = Some(leasing::bare(leader.token)));
        }
        Err(error) => asked.fail(error),
    }
}

fn guarded(n: u64) -> Guarded {
    Guarded::new(format!("election/{n}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::by_hand::assert_rules;

    #[test]
    fn every_rule_can_be_broken() {
        let good = "
            0   0-10  ok   acquire e null token=5 permit=0 until_ns=60
            8  11-13  ok   observe e null -> 0 token=5
            0  12-14  ok   write   e 1    token=5 until_ns=60 revision=6
            0  15-25  ok   renew   e 1    token=5 until_ns=70
            8  26-28  ok   leader  e null -> 1 token=5
            1  40-90  ok   acquire e null token=9 permit=0 until_ns=200
            0  80-85  fail write   e 2    token=5 refused=over
            1 100-105 ok   write   e 3    token=9 until_ns=200 revision=11
            8 106-108 ok   observe e null -> 0 token=9
            1 110-115 ok   release e null token=9
            8 116-118 ok   leader  e null
            2 130-140 ok   acquire e null token=12 final=true
            2 150-160 ok   read    e null -> 3";
        let observed = "observers see the leaders in order";
        assert_rules(
            &Election,
            good,
            &[
                ("tokens rise and stale writes are refused", "0 95-98 ok write e 7 token=5 revision=10"),
                ("one holder at a time", "7 20-30 ok acquire e null token=7"),
                ("no lease ends early", "0 50-55 fail renew e 7 token=5 refused=over"),
                ("what is protected is linearizable", "7 106-109 ok read e null -> 1"),
                ("every acknowledged write is there in the end", "7 170-180 ok read e null -> 1"),
                ("every lease ends", "7 170-180 fail acquire e null final=true refused=timeout"),
                (observed, "7 85-108 ok leader e null -> 0 token=9\n 7 109-110 ok leader e null -> 1 token=5"),
                (observed, "7 26-28 ok observe e null -> 1 token=5\n 7 29-30 ok observe e null -> 0 token=5"),
                (observed, "7 92-95 ok leader e null -> 1 token=5"),
                (observed, "7 30-35 ok leader e null"),
                (observed, "7 116-118 ok leader e null -> 0 token=9"),
            ],
        );
    }
}
