//! Requests that are sent again on purpose: at once through several nodes, a moment later, and long after, when nodes
//! have failed, restarted, and been filled by snapshots. Each must count once, and each sending be told the same.
//!
//! The SDK sends again only until it has an answer, so this speaks plain gRPC: the request id is in our hand. Every
//! sending is an operation of the history, by a process of its own, with the name of its request.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use jepsen_checkers::{Enough, History, Model, Settings, Unfit, Verdict, bounds, final_read, judge, retries};
use ringfence_client::Client;
use ringfence_proto::v1::kv_client::KvClient;
use ringfence_proto::v1::{AddRequest, AddResponse, Error, RequestHeader, RequestId};
use ringfence_proto::{Outcome, Reason, metadata};
use ringfence_tests::Dice;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Channel;

use super::reading::{self, What, sum};
use super::{Workload, enough, keys};
use crate::recorder::{Asked, Process};
use crate::scene::{CALL_TIMEOUT, Scene};

/// Of a generation.
const KEYS: u64 = 3;

/// Sendings at the same time.
const AT_ONCE: usize = 3;

/// From when on a repetition is a late one: after most failovers and restarts.
const LATE_NS: u64 = 10_000_000_000;

/// A worker remembers so many requests; then each new one takes the place of any, so that some stay for very long.
const REMEMBERED_MAX: usize = 2_000;

/// How many requests are sent again when all is well, beside those of which nobody knows.
const SENT_AGAIN_IN_THE_END: usize = 400;

/// See the module.
#[derive(Default)]
pub(super) struct Retries {
    /// What workers have left when they ended.
    left: Arc<Mutex<Vec<Said>>>,
}

/// A request that may be sent again.
#[derive(Clone)]
struct Said {
    at_ns: u64,
    name: String,
    key: String,
    request: AddRequest,
    /// Whether anyone was told what became of it.
    told: bool,
}

struct Worker {
    scene: Scene,
    dice: Dice,
    process: Process,
    senders: Vec<Process>,
    client: Client,
    /// Of the request ids: as any client of the cluster, it has one that nobody else has.
    id: u64,
    sequence: u64,
    /// The highest revision in any answer.
    seen: i64,
    /// By age.
    said: Vec<Said>,
}

impl Workload for Retries {
    fn name(&self) -> &'static str {
        "retries"
    }

    fn about(&self) -> &'static str {
        "additions that are sent again and again under one request id, at once and much later, through any node, must count once, and \
         every sending must be told the same"
    }

    fn workers(&self) -> usize {
        3
    }

    fn work(&self, scene: Scene, worker: usize) -> BoxFuture<'static, Result<(), String>> {
        let mut dice = scene.dice(worker);
        let mut worker = Worker {
            process: scene.process(),
            senders: (0..AT_ONCE).map(|_| scene.process()).collect(),
            client: scene.client(worker).clone(),
            id: dice.roll().max(1),
            sequence: 0,
            seen: scene.client(worker).revision_seen().0,
            said: Vec::new(),
            dice,
            scene,
        };
        let left = Arc::clone(&self.left);
        Box::pin(async move {
            while !worker.scene.is_over() {
                worker.step().await;
                worker.scene.think(&mut worker.dice, 60).await;
            }
            left.lock().await.append(&mut worker.said);
            Ok(())
        })
    }

    /// Once more, now that every node has gone through whatever it went through: what is unknown, and a part of what is
    /// known.
    fn finish(&self, scene: Scene) -> BoxFuture<'static, Result<(), String>> {
        let left = Arc::clone(&self.left);
        Box::pin(async move {
            let mut said = std::mem::take(&mut *left.lock().await);
            said.sort_by_key(|said| (said.told, said.at_ns));
            let unknown = said.iter().filter(|said| !said.told).count();
            let known = said.len() - unknown;
            let every = known.div_ceil(SENT_AGAIN_IN_THE_END).max(1);
            let again: Vec<Said> =
                said[..unknown].iter().chain(said[unknown..].iter().step_by(every)).cloned().collect();
            let nodes: Vec<Channel> = scene.plain.values().cloned().collect();
            let senders = (0..8).map(|sender| {
                let (mut process, again, nodes) = (scene.process(), &again, &nodes);
                async move {
                    for (nth, said) in again.iter().enumerate().skip(sender).step_by(8) {
                        let node = nodes[nth % nodes.len()].clone();
                        send(&mut process, node, said, CALL_TIMEOUT).await;
                    }
                }
            });
            join_all(senders).await;
            reading::read_back(&scene, &keys::used(&scene), sum).await;
            Ok(())
        })
    }

    fn judge(&self, history: &History, seconds: u64) -> Result<Vec<(&'static str, Verdict)>, Unfit> {
        let enough = enough(seconds, 2.0, 2.0);
        let settings = Settings { enough, ..Settings::default() };
        let requests = retries::requests(history)?;
        Ok(vec![
            ("every sending is told the same", retries::check(history, enough)?),
            ("every request counts once", judge(Model::Counter { min: None }, &bounds::as_reads(&requests), settings)?),
            ("every request counts once in the end", final_read::counters(&requests, Enough::default())?),
        ])
    }
}

impl Worker {
    async fn step(&mut self) {
        match self.dice.within(0..100) {
            0..50 => self.say().await,
            50..80 => self.say_again().await,
            _ => {
                let key = self.key();
                _ = reading::read(&mut self.process, &self.client, What::of(&key, sum)).await;
            }
        }
    }

    fn key(&mut self) -> String {
        format!("retries/{}/{}", keys::generation(&self.scene), self.dice.within(0..KEYS))
    }

    /// A new request: often several times at once, sometimes with so little patience that it is not known what became
    /// of it.
    async fn say(&mut self) {
        self.sequence += 1;
        let (key, delta) = (self.key(), self.dice.within(1..10) as i64);
        // Some break their bound, for good: also that is told again.
        let max = self.dice.percent(15).then_some(30);
        let id = RequestId { client: self.id, sequence: self.sequence, birth: self.seen };
        let header = Some(RequestHeader { id: Some(id), ..RequestHeader::default() });
        let request = AddRequest { header, key: key.clone().into(), delta, min: None, max, fences: Vec::new() };
        let name = format!("{:x}-{}", self.id, self.sequence);
        let mut said = Said { at_ns: self.scene.recorder.now_ns(), name, key, request, told: false };
        let count = self.dice.within(1..AT_ONCE as u64 + 1) as usize;
        let said_now = &said;
        let sendings: Vec<_> = self.senders[..count]
            .iter_mut()
            .map(|process| {
                let node = self.scene.any_node(&mut self.dice);
                let after = if self.dice.percent(50) { 0 } else { self.dice.within(0..30) };
                let within = if self.dice.percent(30) { self.dice.within(2..200) } else { 3_000 };
                async move {
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    send(process, node, said_now, Duration::from_millis(within)).await
                }
            })
            .collect();
        for told in join_all(sendings).await.into_iter().flatten() {
            said.told = true;
            self.seen = self.seen.max(told);
        }
        if self.said.len() >= REMEMBERED_MAX {
            self.said.remove(self.dice.within(0..REMEMBERED_MAX as u64) as usize);
        }
        self.said.push(said);
    }

    /// An old one, by any node: of the late ones if there are, or any.
    async fn say_again(&mut self) {
        let now = self.scene.recorder.now_ns();
        let late = self.said.partition_point(|said| said.at_ns + LATE_NS < now);
        let among = if late > 0 && self.dice.percent(50) { late } else { self.said.len() };
        if among == 0 {
            return;
        }
        let which = self.dice.within(0..among as u64) as usize;
        let node = self.scene.any_node(&mut self.dice);
        let told = send(&mut self.senders[0], node, &self.said[which], CALL_TIMEOUT).await;
        self.said[which].told |= told.is_some();
        self.seen = self.seen.max(told.unwrap_or_default());
    }
}

/// Sends a request to a node, once. Gives the revision if it was told what became of it.
async fn send(process: &mut Process, node: Channel, said: &Said, within: Duration) -> Option<i64> {
    let asked = process.invoke_with("add", said.key.as_str(), json!(said.request.delta), |event| {
        event.extra.insert("request".into(), said.name.clone().into());
    });
    match timeout(within, KvClient::new(node).add(said.request.clone())).await {
        Ok(Ok(told)) => {
            let AddResponse { header, value, .. } = told.into_inner();
            let revision = header.map(|header| header.revision).unwrap_or_default();
            asked.ok_with(json!([said.request.delta, value]), |event| event.revision = Some(revision as u64));
            Some(revision)
        }
        Ok(Err(status)) => refused(asked, status),
        Err(_) => {
            asked.info("no answer in time");
            None
        }
    }
}

fn refused(asked: Asked<'_>, status: Status) -> Option<i64> {
    let error = Error::from(status);
    match (error.reason(), error.outcome()) {
        (reason, Outcome::Decided) => {
            let bound = (reason == Some(Reason::OutOfBounds)).then(|| error.fact::<i64>(metadata::CURRENT)).flatten();
            asked.fail_with(&error.message, |event| {
                event.extra.insert("decided".into(), error.reason.clone().into());
                event.extra.extend(bound.map(|current| ("current".to_owned(), current.into())));
            });
            Some(0)
        }
        // Nobody remembers it any more. Of this sending it is certain that it did nothing.
        (_, Outcome::Refused) => {
            asked.fail(format!("{} {}", error.reason, error.message));
            None
        }
        (_, Outcome::Unknown) => {
            asked.info(format!("{} {}", error.reason, error.message));
            None
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
            0 0-10 ok add c 3 -> [3,3] request=a revision=7
            1 1-12 ok add c 3 -> [3,3] request=a revision=7
            2 2-20 info add c 3 request=a
            1 20-30 info add c 2 request=b
            3 21-22 fail add c 2 request=b
            0 40-50 ok add c 2 -> [2,5] request=b revision=9
            1 60-70 fail add c 9 request=c decided=OUT_OF_BOUNDS current=5
            2 80-90 ok read c null -> 5";
        assert_rules(
            &Retries::default(),
            good,
            &[
                ("every sending is told the same", "0 60-70 ok add c 3 -> [3,8] request=a revision=11"),
                ("every sending is told the same", "0 72-79 ok add c 9 -> [9,14] request=c revision=11"),
                ("every request counts once", "0 60-70 ok read c null -> 8"),
                ("every request counts once", "0 60-70 fail add c 9 request=d decided=OUT_OF_BOUNDS current=8"),
                ("every request counts once in the end", "0 100-110 ok read c null -> 8"),
            ],
        );
    }
}
