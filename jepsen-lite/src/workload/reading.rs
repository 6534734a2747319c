//! Reads: by the SDK, which asks the leader; by plain gRPC to any node, which must answer as if it were the leader; and
//! in the end, until there is an answer.

use futures::future::join_all;
use ringfence_proto::v1::GetRequest;
use ringfence_proto::v1::kv_client::KvClient;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::transport::Channel;

use super::before_asking_again;
use crate::recorder::{Asked, Process};
use crate::scene::{CALL_TIMEOUT, Scene};

/// Keys that are read back at the same time.
const AT_ONCE: usize = 8;

/// What is read.
#[derive(Clone, Copy)]
pub(super) struct What<'a> {
    /// As the history names it.
    pub(super) key: &'a str,
    /// As the store does.
    pub(super) at: &'a str,
    /// What the bytes there mean. Those that nobody wrote become something that no model allows.
    pub(super) meaning: fn(&[u8]) -> Value,
}

impl<'a> What<'a> {
    /// A key that has one name.
    pub(super) fn of(key: &'a str, meaning: fn(&[u8]) -> Value) -> What<'a> {
        What { key, at: key, meaning }
    }
}

/// Reads by the SDK. Says whether there was an answer.
pub(super) async fn read(process: &mut Process, client: &ringfence_client::Client, what: What<'_>) -> bool {
    let asked = process.invoke("read", what.key, Value::Null);
    match client.get(what.at).await {
        Ok(found) => {
            told(asked, what, found.map(|found| (found.value, found.revision.0)));
            true
        }
        Err(error) => {
            asked.fail(error); // a read that failed has changed nothing
            false
        }
    }
}

/// Reads at one node, whether it leads the key's shard or not.
pub(super) async fn read_at(process: &mut Process, node: Channel, what: What<'_>) {
    let asked = process.invoke("read", what.key, Value::Null);
    let request = GetRequest { key: what.at.to_owned().into(), ..GetRequest::default() };
    match timeout(CALL_TIMEOUT, KvClient::new(node).get(request)).await {
        Ok(Ok(found)) => told(asked, what, found.into_inner().kv.map(|found| (found.value, found.revision))),
        Ok(Err(status)) => asked.fail(status.message()),
        Err(_) => asked.fail("no answer in time"),
    }
}

/// Reads at all nodes at the same time, right after somebody was told that it is written: whoever has not heard of it
/// yet must not answer from what it has.
pub(super) async fn read_everywhere(processes: &mut [Process], scene: &Scene, what: What<'_>) {
    let reads = processes.iter_mut().zip(scene.plain.values());
    join_all(reads.map(|(process, node)| read_at(process, node.clone(), what))).await;
}

/// As many processes as there are nodes.
pub(super) fn everyone(scene: &Scene) -> Vec<Process> {
    scene.plain.iter().map(|_| scene.process()).collect()
}

/// Reads each of these keys until there is an answer.
pub(super) async fn read_back(scene: &Scene, keys: &[String], meaning: fn(&[u8]) -> Value) {
    let readers = (0..AT_ONCE.min(keys.len())).map(|reader| {
        let (mut process, client) = (scene.process(), scene.client(reader));
        async move {
            for key in keys.iter().skip(reader).step_by(AT_ONCE) {
                while !read(&mut process, client, What::of(key, meaning)).await {
                    before_asking_again().await;
                }
            }
        }
    });
    join_all(readers).await;
}

fn told(asked: Asked<'_>, what: What<'_>, found: Option<(bytes::Bytes, i64)>) {
    let value = found.as_ref().map_or(Value::Null, |(value, _)| (what.meaning)(value));
    asked.ok_with(value, |event| event.revision = found.map(|(_, revision)| revision as u64));
}

/// A number, or else the text that stands there: no model takes it for a number.
pub(super) fn number(value: &[u8]) -> Value {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
    number.map_or_else(|| json!(String::from_utf8_lossy(value)), |number| json!(number))
}

/// What a counter holds, or else what no counter of ours can hold.
pub(super) fn sum(value: &[u8]) -> Value {
    let sum = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    json!(sum.unwrap_or(i64::MIN))
}
