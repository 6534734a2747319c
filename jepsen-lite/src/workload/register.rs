//! Single keys that are read, written and compared-and-set: do they look as if there were one copy, and one thing at a time?

use futures::future::BoxFuture;
use jepsen_checkers::{Enough, History, Model, Settings, Unfit, Verdict, final_read, judge};
use ringfence_client::{Client, Condition};
use ringfence_proto::v1::GetRequest;
use ringfence_proto::v1::kv_client::KvClient;
use ringfence_tests::Dice;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::transport::Channel;

use super::{Workload, before_asking_again};
use crate::recorder::Process;
use crate::scene::{CALL_TIMEOUT, Scene};

const KEYS: u64 = 6;

/// See the module.
pub(super) struct Register;

/// One worker.
struct Worker {
    scene: Scene,
    dice: Dice,
    process: Process,
    client: Client,
    plain: Channel,
    /// Values are unique, so that a read tells which write it saw.
    next_value: u64,
}

impl Workload for Register {
    fn name(&self) -> &'static str {
        "register"
    }

    fn about(&self) -> &'static str {
        "reads, writes and compare-and-sets of a few keys, by the SDK and by plain gRPC to each node, must be linearizable"
    }

    fn workers(&self) -> usize {
        6
    }

    fn work(&self, scene: Scene, worker: usize) -> BoxFuture<'static, Result<(), String>> {
        let mut worker = Worker {
            dice: scene.dice(worker),
            process: scene.process(),
            client: scene.client(worker).clone(),
            plain: scene.channel(worker).1,
            next_value: worker as u64 * 1_000_000,
            scene,
        };
        Box::pin(async move {
            while !worker.scene.is_over() {
                worker.step().await;
                worker.scene.think(&mut worker.dice, 20).await;
            }
            Ok(())
        })
    }

    fn finish(&self, scene: Scene) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            let mut process = scene.process();
            for key in (0..KEYS).map(key) {
                loop {
                    let asked = process.invoke("read", key.as_str(), Value::Null);
                    match scene.clients[0].get(&key).await {
                        Ok(found) => {
                            asked.ok(found.map_or(Value::Null, |found| number(&found.value)));
                            break;
                        }
                        Err(error) => asked.fail(error),
                    }
                    before_asking_again().await;
                }
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History, seconds: u64) -> Result<Vec<(&'static str, Verdict)>, Unfit> {
        let enough = Enough { ok_min: seconds as usize * 20, telling_min: seconds as usize * 5 };
        let settings = Settings { enough, ..Settings::default() };
        Ok(vec![
            ("linearizable", judge(Model::Register, history, settings)?),
            ("every acknowledged write is there in the end", final_read::registers(history, Enough::default())?),
        ])
    }
}

impl Worker {
    async fn step(&mut self) {
        let key = key(self.dice.within(0..KEYS));
        match self.dice.within(0..100) {
            0..35 => self.read(&key).await,
            35..60 => self.read_plain(&key).await,
            60..80 => self.write(&key).await,
            _ => self.cas(&key).await,
        }
    }

    async fn read(&mut self, key: &str) {
        let asked = self.process.invoke("read", key, Value::Null);
        match self.client.get(key).await {
            Ok(found) => asked.ok_with(found.as_ref().map_or(Value::Null, |found| number(&found.value)), |event| {
                event.revision = found.map(|found| found.revision.0 as u64);
            }),
            Err(error) => asked.fail(error), // a read that failed has changed nothing
        }
    }

    /// Any node answers any client: this one is asked whether it leads the key's shard or not.
    async fn read_plain(&mut self, key: &str) {
        let asked = self.process.invoke("read", key, Value::Null);
        let request = GetRequest { key: key.to_owned().into(), ..GetRequest::default() };
        match timeout(CALL_TIMEOUT, KvClient::new(self.plain.clone()).get(request)).await {
            Ok(Ok(found)) => {
                let found = found.into_inner().kv;
                asked.ok(found.map_or(Value::Null, |found| number(&found.value)));
            }
            Ok(Err(status)) => asked.fail(status.message()),
            Err(_) => asked.fail("no answer in time"),
        }
    }

    async fn write(&mut self, key: &str) {
        let value = self.value();
        let asked = self.process.invoke("write", key, json!(value));
        match self.client.put(key, value.to_string()).await {
            Ok(_) => asked.ok(json!(value)),
            Err(error) => asked.ended(error.outcome(), error),
        }
    }

    /// From what was read a moment ago, so that it often succeeds and often doesn't.
    async fn cas(&mut self, key: &str) {
        let Ok(Some(found)) = self.client.get(key).await else { return };
        self.scene.think(&mut self.dice, 3).await;
        let value = self.value();
        let asked = self.process.invoke("cas", key, json!([number(&found.value), value]));
        match self.client.cas(key, Condition::ValueIs(found.value.clone()), value.to_string()).await {
            Ok(_) => asked.ok(json!([number(&found.value), value])),
            Err(error) => asked.ended(error.outcome(), error),
        }
    }

    fn value(&mut self) -> u64 {
        self.next_value += 1;
        self.next_value
    }
}

fn key(n: u64) -> String {
    format!("register/{n}")
}

fn number(value: &[u8]) -> Value {
    std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok()).map_or_else(
        || json!(String::from_utf8_lossy(value)), // nobody wrote that: the checker will say so
        |number| json!(number),
    )
}
