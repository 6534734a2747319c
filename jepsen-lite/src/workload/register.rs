//! Single keys that are read, written, compared-and-set and removed: do they look as if there were one copy, and one
//! thing at a time?

use futures::future::BoxFuture;
use jepsen_checkers::{Enough, History, Model, Settings, Unfit, Verdict, final_read, judge};
use ringfence_client::{Client, Condition};
use ringfence_tests::Dice;
use serde_json::{Value, json};

use super::reading::{self, What, number};
use super::{Workload, enough, keys};
use crate::recorder::Process;
use crate::scene::Scene;

/// Of a generation.
const KEYS: u64 = 4;

/// See the module.
pub(super) struct Register;

/// One worker.
struct Worker {
    scene: Scene,
    dice: Dice,
    process: Process,
    /// Those who look, right after a write.
    witnesses: Vec<Process>,
    client: Client,
    /// Values are unique, so that a read tells which write it saw.
    next_value: u64,
}

impl Workload for Register {
    fn name(&self) -> &'static str {
        "register"
    }

    fn about(&self) -> &'static str {
        "reads, writes, compare-and-sets and removals of a few keys, by the SDK and by plain gRPC to each node, must be linearizable"
    }

    fn workers(&self) -> usize {
        5
    }

    fn work(&self, scene: Scene, worker: usize) -> BoxFuture<'static, Result<(), String>> {
        let mut worker = Worker {
            dice: scene.dice(worker),
            process: scene.process(),
            witnesses: reading::everyone(&scene),
            client: scene.client(worker).clone(),
            next_value: worker as u64 * 1_000_000,
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

    fn finish(&self, scene: Scene) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            reading::read_back(&scene, &keys::used(&scene), number).await;
            Ok(())
        })
    }

    fn judge(&self, history: &History, seconds: u64) -> Result<Vec<(&'static str, Verdict)>, Unfit> {
        let settings = Settings { enough: enough(seconds, 4.0, 2.0), ..Settings::default() };
        Ok(vec![
            ("linearizable", judge(Model::Register, history, settings)?),
            ("every acknowledged write is there in the end", final_read::registers(history, Enough::default())?),
        ])
    }
}

impl Worker {
    async fn step(&mut self) {
        let key = format!("register/{}/{}", keys::generation(&self.scene), self.dice.within(0..KEYS));
        match self.dice.within(0..100) {
            0..30 => _ = reading::read(&mut self.process, &self.client, What::of(&key, number)).await,
            30..55 => {
                reading::read_at(&mut self.process, self.scene.any_node(&mut self.dice), What::of(&key, number)).await
            }
            55..80 => self.write(&key).await,
            80..97 => self.cas(&key).await,
            // Few: absence has no name, so an unknown removal is the hardest thing for a judge.
            _ => self.delete(&key).await,
        }
    }

    async fn write(&mut self, key: &str) {
        let value = self.value();
        let asked = self.process.invoke("write", key, json!(value));
        match self.client.put(key, value.to_string()).await {
            Ok(written) => asked.ok_with(json!(value), |event| event.revision = Some(written.revision.0 as u64)),
            Err(error) => return asked.ended(error.outcome(), error),
        }
        if self.dice.percent(30) {
            reading::read_everywhere(&mut self.witnesses, &self.scene, What::of(key, number)).await;
        }
    }

    /// From what was read a moment ago, so that it often succeeds and often doesn't.
    async fn cas(&mut self, key: &str) {
        let Ok(found) = self.client.get(key).await else { return };
        self.scene.think(&mut self.dice, 3).await;
        let (value, old) = (self.value(), found.as_ref().map_or(Value::Null, |found| number(&found.value)));
        let condition = found.map_or(Condition::Absent, |found| Condition::ValueIs(found.value));
        let asked = self.process.invoke("cas", key, json!([old, value]));
        match self.client.cas(key, condition, value.to_string()).await {
            Ok(_) => asked.ok(json!([old, value])),
            Err(error) => asked.ended(error.outcome(), error),
        }
    }

    async fn delete(&mut self, key: &str) {
        let asked = self.process.invoke("delete", key, Value::Null);
        match self.client.delete(key).await {
            Ok(_) => asked.ok(Value::Null),
            Err(error) => asked.ended(error.outcome(), error),
        }
    }

    fn value(&mut self) -> u64 {
        self.next_value += 1;
        self.next_value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::by_hand::assert_rules;

    #[test]
    fn every_rule_can_be_broken() {
        let good = "
            0 0-10 ok write r 1
            1 5-15 ok read r null -> 1
            1 20-30 ok cas r [1,2]
            0 40-50 ok delete r null
            0 60-70 ok write r 3
            2 80-90 ok read r null -> 3";
        assert_rules(
            &Register,
            good,
            &[
                ("linearizable", "3 62-64 ok read r null -> 2"),
                ("every acknowledged write is there in the end", "3 100-110 ok read r null -> 2"),
            ],
        );
    }
}
