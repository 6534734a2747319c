//! Sets, which the store has none of: are they right when they are made of what it has?
//!
//! Two kinds, each of unique elements that are never removed:
//!
//! * a key for each element, all with one hash tag, read by one page of a scan, which is one look at one shard;
//! * a list in one key, that grows by compare-and-set.

use futures::future::BoxFuture;
use jepsen_checkers::{History, Model, Settings, Unfit, Verdict, elements, judge};
use ringfence_client::{CasError, Client, Condition};
use ringfence_proto::v1::kv_client::KvClient;
use ringfence_proto::v1::{GetRequest, ScanRequest, scan_request};
use ringfence_tests::Dice;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::transport::Channel;

use super::reading::number;
use super::{Workload, before_asking_again, enough, keys};
use crate::recorder::Process;
use crate::scene::{CALL_TIMEOUT, Scene};

/// Of each kind and generation.
const SETS: u64 = 2;

/// How often a compare-and-set that came too late is tried.
const TRIES: usize = 4;

/// More than a set ever has, so that it is one page.
const ELEMENTS_MAX: u32 = 10_000;

/// See the module.
pub(super) struct Set;

struct Worker {
    scene: Scene,
    dice: Dice,
    process: Process,
    client: Client,
    next_element: u64,
}

impl Workload for Set {
    fn name(&self) -> &'static str {
        "set"
    }

    fn about(&self) -> &'static str {
        "elements are added to sets, a key each or all in one list, and whoever reads must find what was acknowledged, and nothing else"
    }

    fn workers(&self) -> usize {
        4
    }

    fn work(&self, scene: Scene, worker: usize) -> BoxFuture<'static, Result<(), String>> {
        let mut worker = Worker {
            dice: scene.dice(worker),
            process: scene.process(),
            client: scene.client(worker).clone(),
            next_element: worker as u64 * 1_000_000,
            scene,
        };
        Box::pin(async move {
            while !worker.scene.is_over() {
                worker.step().await;
                worker.scene.think(&mut worker.dice, 100).await;
            }
            Ok(())
        })
    }

    fn finish(&self, scene: Scene) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            let mut process = scene.process();
            for set in keys::used(&scene) {
                while !read(&mut process, &scene.clients[0], &set).await {
                    before_asking_again().await;
                }
            }
            Ok(())
        })
    }

    fn judge(&self, history: &History, seconds: u64) -> Result<Vec<(&'static str, Verdict)>, Unfit> {
        let enough = enough(seconds, 2.0, 1.0);
        let settings = Settings { enough, ..Settings::default() };
        Ok(vec![
            ("what was acknowledged is there, and nothing else", elements::check(history, enough)?.0),
            ("linearizable", judge(Model::Set, history, settings)?),
        ])
    }
}

impl Worker {
    async fn step(&mut self) {
        let kind = if self.dice.percent(60) { "keys" } else { "list" };
        let set = format!("set/{kind}/{}/{}", keys::generation(&self.scene), self.dice.within(0..SETS));
        match self.dice.within(0..100) {
            0..65 if is_list(&set) => self.append(&set).await,
            0..65 => self.put(&set).await,
            65..80 => _ = read(&mut self.process, &self.client, &set).await,
            _ => read_at(&mut self.process, self.scene.any_node(&mut self.dice), &set).await,
        }
    }

    async fn put(&mut self, set: &str) {
        self.next_element += 1;
        let element = self.next_element;
        let asked = self.process.invoke("add", set, json!(element));
        match self.client.put(format!("{{{set}}}{element}"), element.to_string()).await {
            Ok(_) => asked.ok(json!(element)),
            Err(error) => asked.ended(error.outcome(), error),
        }
    }

    async fn append(&mut self, set: &str) {
        self.next_element += 1;
        let element = self.next_element;
        let asked = self.process.invoke("add", set, json!(element));
        for _ in 0..TRIES {
            let found = match self.client.get(set).await {
                Ok(found) => found,
                Err(error) => return asked.fail(error), // nothing was sent that changes anything
            };
            let (condition, list) = match found {
                Some(found) => {
                    let list = format!("{},{element}", String::from_utf8_lossy(&found.value));
                    (Condition::RevisionIs(found.revision), list)
                }
                None => (Condition::Absent, element.to_string()),
            };
            match self.client.cas(set, condition, list).await {
                Ok(_) => return asked.ok(json!(element)),
                Err(CasError::ConditionFailed { .. }) => {}
                Err(error) => return asked.ended(error.outcome(), error),
            }
        }
        asked.fail("others were quicker each time");
    }
}

/// Reads a set by the SDK. Says whether there was an answer.
async fn read(process: &mut Process, client: &Client, set: &str) -> bool {
    let asked = process.invoke("read", set, Value::Null);
    let told = match is_list(set) {
        true => {
            client.get(set).await.map(|found| elements_of(found.map(|found| found.value))).map_err(|e| e.to_string())
        }
        false => match client.scan_tag(set).page_items(ELEMENTS_MAX).page(None).await {
            Ok(page) if page.next.is_some() => Err("not one page".to_owned()),
            Ok(page) => Ok(page.items.iter().map(|item| number(&item.value)).collect()),
            Err(error) => Err(error.to_string()),
        },
    };
    let is_told = told.is_ok();
    match told {
        Ok(elements) => asked.ok(elements),
        Err(why) => asked.fail(why),
    }
    is_told
}

/// Reads a set at one node, whether it leads or not.
async fn read_at(process: &mut Process, node: Channel, set: &str) {
    let asked = process.invoke("read", set, Value::Null);
    let mut kv = KvClient::new(node);
    let told = if is_list(set) {
        let request = GetRequest { key: set.to_owned().into(), ..GetRequest::default() };
        let told = timeout(CALL_TIMEOUT, kv.get(request)).await;
        told.map(|told| told.map(|found| Some(elements_of(found.into_inner().kv.map(|found| found.value)))))
    } else {
        let what = Some(scan_request::What::Tag(set.to_owned().into()));
        let request = ScanRequest { what, limit: ELEMENTS_MAX, ..ScanRequest::default() };
        let told = timeout(CALL_TIMEOUT, kv.scan(request)).await;
        told.map(|told| {
            told.map(|page| {
                let page = page.into_inner();
                let all = || page.kvs.iter().map(|item| number(&item.value)).collect();
                page.next_cursor.is_empty().then(all)
            })
        })
    };
    match told {
        Ok(Ok(Some(elements))) => asked.ok(elements),
        Ok(Ok(None)) => asked.fail("not one page"),
        Ok(Err(status)) => asked.fail(status.message()),
        Err(_) => asked.fail("no answer in time"),
    }
}

fn elements_of(list: Option<bytes::Bytes>) -> Value {
    let Some(list) = list else { return json!([]) };
    list.split(|byte| *byte == b',').map(number).collect()
}

fn is_list(set: &str) -> bool {
    set.starts_with("set/list/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::by_hand::assert_rules;

    #[test]
    fn every_rule_can_be_broken() {
        let good = "
            0  0-10 ok   add s 1
            1  5-15 info add s 2
            2 12-14 ok   read s null -> [1]
            0 20-90 ok   add s 3
            2 92-95 ok   read s null -> [1,3]";
        assert_rules(
            &Set,
            good,
            &[
                ("what was acknowledged is there, and nothing else", "3 100-110 ok read s null -> [1]"),
                ("what was acknowledged is there, and nothing else", "3 100-110 ok read s null -> [1,3,9]"),
                // Each by itself may be, one after the other they may not.
                ("linearizable", "3 30-40 ok read s null -> [1,3]\n 3 50-60 ok read s null -> [1]"),
            ],
        );
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        assert_eq!(elements_of(Some("7,12".into())), json!([7, 12]));
        assert_eq!(elements_of(None), json!([]));
    }
}
