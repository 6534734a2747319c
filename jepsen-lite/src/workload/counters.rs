//! Counters that many add to, some within bounds: does every addition count once, and is every sum that is told the
//! right one?

use futures::future::BoxFuture;
use jepsen_checkers::{Enough, History, Model, Settings, Unfit, Verdict, bounds, final_read, judge};
use ringfence_client::{AddError, Client};
use ringfence_tests::Dice;
use serde_json::json;

use super::reading::{self, What, sum};
use super::{Workload, enough, keys};
use crate::recorder::Process;
use crate::scene::Scene;

/// Of a generation.
const KEYS: u64 = 4;

/// An upper bound that is soon reached, and left again by who takes away.
const MAX: i64 = 12;

/// See the module.
pub(super) struct Counters;

struct Worker {
    scene: Scene,
    dice: Dice,
    process: Process,
    /// Those who look, right after an addition.
    witnesses: Vec<Process>,
    client: Client,
}

impl Workload for Counters {
    fn name(&self) -> &'static str {
        "counters"
    }

    fn about(&self) -> &'static str {
        "additions to counters, some within bounds, must count once each, tell the right sum, and keep their bounds"
    }

    fn workers(&self) -> usize {
        4
    }

    fn work(&self, scene: Scene, worker: usize) -> BoxFuture<'static, Result<(), String>> {
        let mut worker = Worker {
            dice: scene.dice(worker),
            process: scene.process(),
            witnesses: reading::everyone(&scene),
            client: scene.client(worker).clone(),
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
            reading::read_back(&scene, &keys::used(&scene), sum).await;
            Ok(())
        })
    }

    fn judge(&self, history: &History, seconds: u64) -> Result<Vec<(&'static str, Verdict)>, Unfit> {
        let settings = Settings { enough: enough(seconds, 3.0, 3.0), ..Settings::default() };
        Ok(vec![
            // All that takes away asks for at least 0, so no order may lead below.
            ("linearizable", judge(Model::Counter { min: Some(0) }, &bounds::as_reads(history), settings)?),
            ("bounds are kept", bounds::check(history, enough(seconds, 0.0, 0.6))?),
            ("every addition counts once in the end", final_read::counters(history, Enough::default())?),
        ])
    }
}

impl Worker {
    async fn step(&mut self) {
        let key = format!("counters/{}/{}", keys::generation(&self.scene), self.dice.within(0..KEYS));
        let some = self.dice.within(1..5) as i64;
        match self.dice.within(0..100) {
            0..15 => _ = reading::read(&mut self.process, &self.client, What::of(&key, sum)).await,
            15..35 => {
                reading::read_at(&mut self.process, self.scene.any_node(&mut self.dice), What::of(&key, sum)).await
            }
            35..60 => self.add(&key, some, None, None).await,
            60..80 => self.add(&key, -some, Some(0), None).await,
            _ => self.add(&key, some, None, Some(MAX)).await,
        }
    }

    async fn add(&mut self, key: &str, delta: i64, min: Option<i64>, max: Option<i64>) {
        let asked = self.process.invoke_with("add", key, json!(delta), |event| {
            let bounds = [("min", min), ("max", max)];
            event.extra.extend(bounds.into_iter().filter_map(|(name, bound)| Some((name.to_owned(), bound?.into()))));
        });
        let mut add = self.client.add(key, delta);
        if let Some(min) = min {
            add = add.min(min);
        }
        if let Some(max) = max {
            add = add.max(max);
        }
        match add.await {
            Ok(added) => asked.ok_with(json!([delta, added.value]), |event| {
                event.revision = Some(added.revision.0 as u64);
            }),
            Err(AddError::OutOfBounds { current }) => {
                return asked.fail_with("out of bounds", |event| {
                    event.extra.extend(current.map(|current| ("current".to_owned(), current.into())));
                });
            }
            Err(error) => return asked.ended(error.outcome(), error),
        }
        if self.dice.percent(20) {
            reading::read_everywhere(&mut self.witnesses, &self.scene, What::of(key, sum)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::by_hand::assert_rules;

    #[test]
    fn every_rule_can_be_broken() {
        let good = "
            0 0-10 ok add c 3 -> [3,3]
            1 12-15 fail add c -4 min=0 current=3
            2 16-17 info add c 1
            1 20-30 ok add c -2 -> [-2,1] min=0
            0 80-90 ok read c null -> 2";
        assert_rules(
            &Counters,
            good,
            &[
                ("linearizable", "3 40-50 ok add c 1 -> [1,4]"),
                ("linearizable", "3 40-50 fail add c -9 min=0 current=7"),
                ("bounds are kept", "3 40-50 fail add c -1 min=0 current=1"),
                ("bounds are kept", "3 40-50 ok add c 1 -> [1,2] max=1"),
                ("every addition counts once in the end", "3 100-110 ok read c null -> 3"),
            ],
        );
    }
}
