//! The flash sale: many buyers, few units, and now and then some more come in. Nothing is sold that is not there,
//! nothing vanishes, and "sold out" is told only when it is true.

use futures::future::BoxFuture;
use jepsen_checkers::{History, Model, Settings, Unfit, Verdict, bounds, judge, stock};
use ringfence_client::{AddError, Client};
use ringfence_tests::Dice;
use serde_json::{Value, json};

use super::reading::{self, What, sum};
use super::{Workload, enough, keys};
use crate::recorder::Process;
use crate::scene::Scene;

/// Articles of a generation. Nothing of them is there before the first delivery.
const ARTICLES: u64 = 2;

/// Units that come in at a time.
const DELIVERY: i64 = 10;

/// See the module.
pub(super) struct FlashSale;

struct Worker {
    scene: Scene,
    dice: Dice,
    process: Process,
    client: Client,
}

impl Workload for FlashSale {
    fn name(&self) -> &'static str {
        "flash-sale"
    }

    fn about(&self) -> &'static str {
        "many buy what is scarce, and some more comes in: nothing is sold twice, and nothing vanishes"
    }

    fn workers(&self) -> usize {
        4
    }

    fn work(&self, scene: Scene, worker: usize) -> BoxFuture<'static, Result<(), String>> {
        let mut worker =
            Worker { dice: scene.dice(worker), process: scene.process(), client: scene.client(worker).clone(), scene };
        Box::pin(async move {
            while !worker.scene.is_over() {
                worker.step().await;
                worker.scene.think(&mut worker.dice, 70).await;
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
        let enough = enough(seconds, 2.0, 2.0);
        let settings = Settings { enough, ..Settings::default() };
        let history = bounds::as_reads(history);
        let nothing_is_zero = |value: &mut Value| {
            if value.is_null() {
                *value = json!(0);
            }
        };
        let mut shelf = history.clone();
        shelf.operations.iter_mut().filter(|op| op.f == "read").for_each(|op| nothing_is_zero(&mut op.answer));
        Ok(vec![
            ("nothing is oversold, nothing vanishes", stock::check(&shelf, 0, enough)?),
            ("linearizable", judge(Model::Counter { min: Some(0) }, &as_counters(&history), settings)?),
        ])
    }
}

impl Worker {
    async fn step(&mut self) {
        let article = format!("flash-sale/{}/{}", keys::generation(&self.scene), self.dice.within(0..ARTICLES));
        match self.dice.within(0..100) {
            0..70 => self.buy(&article).await,
            70..80 => self.restock(&article).await,
            80..90 => _ = reading::read(&mut self.process, &self.client, What::of(&article, sum)).await,
            _ => {
                reading::read_at(&mut self.process, self.scene.any_node(&mut self.dice), What::of(&article, sum)).await
            }
        }
    }

    async fn buy(&mut self, article: &str) {
        let quantity = self.dice.within(1..4) as i64;
        let asked = self.process.invoke("buy", article, json!(quantity));
        match self.client.add(article, -quantity).min(0).await {
            Ok(left) => asked.ok_with(json!(left.value), |event| event.revision = Some(left.revision.0 as u64)),
            Err(AddError::OutOfBounds { current }) => asked.fail_with("sold out", |event| {
                event.extra.extend(current.map(|current| ("current".to_owned(), current.into())));
            }),
            Err(error) => asked.ended(error.outcome(), error),
        }
    }

    async fn restock(&mut self, article: &str) {
        let asked = self.process.invoke("restock", article, json!(DELIVERY));
        match self.client.add(article, DELIVERY).await {
            Ok(left) => asked.ok_with(json!(left.value), |event| event.revision = Some(left.revision.0 as u64)),
            Err(error) => asked.ended(error.outcome(), error),
        }
    }
}

/// The same history in the words of a counter: what is sold is taken away.
fn as_counters(history: &History) -> History {
    let mut history = history.clone();
    for op in history.operations.iter_mut().filter(|op| op.f != "read") {
        let sign = if op.f == "buy" { -1 } else { 1 };
        let delta = sign * op.asked.as_i64().unwrap_or_default();
        op.answer = if op.is_ok() { json!([delta, op.answer]) } else { Value::Null };
        (op.f, op.asked) = ("add".to_owned(), json!(delta));
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::by_hand::assert_rules;

    #[test]
    fn every_rule_can_be_broken() {
        let good = "
            0  0-10 fail buy     shoe 1 current=0
            1  5-15 ok   restock shoe 10 -> 10
            0 20-30 ok   buy     shoe 8 -> 2
            2 31-33 info buy     shoe 1
            0 35-40 fail buy     shoe 3 current=2
            1 50-60 ok   read    shoe null -> 1";
        assert_rules(
            &FlashSale,
            good,
            &[
                ("nothing is oversold, nothing vanishes", "3 40-50 ok buy shoe 3 -> 0"),
                ("nothing is oversold, nothing vanishes", "3 70-80 ok read shoe null -> 0"),
                ("nothing is oversold, nothing vanishes", "3 40-45 fail buy shoe 3 current=0"),
                ("linearizable", "3 42-45 ok buy shoe 1 -> 0\n 3 46-47 ok read shoe null -> 1"),
            ],
        );
    }
}
