//! Requests in the test's own hand: plain unary gRPC to a node of our choice, with a request id of our choice.
//!
//! The SDK retries by itself, and a client that asks once cannot show that a second asking does nothing. Here the same id is
//! sent twice on purpose, to different nodes, at once and much later; and what the SDK had to leave *unknown* is asked again,
//! under its id, until the cluster says what became of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringfence_proto::v1::kv_client::KvClient;
use ringfence_proto::v1::{
    AddRequest, BatchRequest, DeleteRequest, Error, GetRequest, Operation, PutRequest, RequestHeader, RequestId,
    ResponseHeader, operation, result,
};
use ringfence_proto::{Outcome, Reason};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::Stop;
use super::known::{Added, Held};
use super::schedule::NODES;
use crate::Cluster;
use crate::Dice;

/// How long the cluster may take to say what became of a request, failovers included.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(90);

/// A change of one key.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put { key: String, value: Vec<u8> },
    Delete { key: String },
    Add { key: String, delta: i64, max: Option<i64> },
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Put { version: u64, revision: i64 },
    Deleted { existed: bool, revision: i64 },
    Added(Added),
}

/// What one sending was told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Done(Done),
    /// Final: no sending of it did anything, or ever will.
    Refused,
    /// The id is older than what the shard remembers: nobody can say any more what became of it.
    TooOld,
    /// Nothing that settles it.
    Nothing(String),
}

/// A connection to every node.
pub(super) struct Direct {
    nodes: BTreeMap<u64, KvClient<Channel>>,
}

impl Direct {
    pub(super) fn new(cluster: &Cluster) -> Direct {
        Direct { nodes: (1..=NODES).map(|node| (node, KvClient::new(cluster.channel(node)))).collect() }
    }

    /// Sends a change to a node, once.
    pub(super) async fn send(&self, node: u64, id: RequestId, change: &Change, within: Duration) -> Told {
        let mut kv = self.nodes[&node].clone();
        let header = Some(RequestHeader { id: Some(id), ..RequestHeader::default() });
        let told = match change.clone() {
            Change::Put { key, value } => {
                let put = PutRequest { header, key: key.into(), value: value.into(), ttl_ms: None, fences: Vec::new() };
                kv.put(timed(put, within))
                    .await
                    .map(|told| told.into_inner())
                    .map(|told| Done::Put { version: told.version, revision: revision(&told.header) })
            }
            Change::Delete { key } => {
                let delete = DeleteRequest { header, key: key.into(), fences: Vec::new() };
                kv.delete(timed(delete, within))
                    .await
                    .map(|told| told.into_inner())
                    .map(|told| Done::Deleted { existed: told.existed, revision: revision(&told.header) })
            }
            Change::Add { key, delta, max } => {
                let add = AddRequest { header, key: key.into(), delta, min: None, max, fences: Vec::new() };
                kv.add(timed(add, within)).await.map(|told| told.into_inner()).map(|told| {
                    Done::Added(Added { value: told.value, version: told.version, revision: revision(&told.header) })
                })
            }
        };
        told.map_or_else(Told::from, Told::Done)
    }

    /// Sends a change again and again, to one node after the other, until the cluster says what became of it.
    pub(super) async fn resolve(&self, id: RequestId, change: &Change, dice: &mut Dice) -> Result<Told, Stop> {
        let begun = Instant::now();
        let mut last = String::new();
        while begun.elapsed() < RESOLVE_PATIENCE {
            let node = dice.within(1..NODES + 1);
            match self.send(node, id, change, Duration::from_secs(2)).await {
                Told::Nothing(why) => last = why,
                told => return Ok(told),
            }
            tokio::time::sleep(Duration::from_millis(dice.within(5..40))).await;
        }
        Err(Stop::Broken(format!(
            "for {RESOLVE_PATIENCE:?} no node could say what became of {id:?}, {change:?}: {last}"
        )))
    }

    /// Reads keys through one node, many in a message.
    pub(super) async fn read(&self, node: u64, keys: &[String]) -> Result<Vec<Option<Held>>, String> {
        let get = |key: &String| GetRequest { header: None, key: key.clone().into(), at_revision: 0 };
        let operations = keys.iter().map(|key| Operation { kind: Some(operation::Kind::Get(get(key))) }).collect();
        let asked = timed(BatchRequest { operations, fences: Vec::new() }, Duration::from_secs(10));
        let answers = self.nodes[&node].clone().batch(asked).await.map_err(|status| status.to_string())?.into_inner();
        if answers.results.len() != keys.len() {
            return Err(format!("{} answers to {} questions", answers.results.len(), keys.len()));
        }
        let read = answers.results.into_iter().map(|answer| match answer.kind {
            Some(result::Kind::Get(get)) => {
                Ok(get.kv.map(|kv| Held { value: kv.value.to_vec(), version: kv.version, revision: kv.revision }))
            }
            other => Err(format!("{other:?}")),
        });
        read.collect()
    }
}

impl From<Status> for Told {
    fn from(status: Status) -> Told {
        let error = Error::from(status);
        match (error.reason(), error.outcome()) {
            (Some(Reason::RequestTooOld), _) => Told::TooOld,
            (_, Outcome::Decided) => Told::Refused,
            _ => Told::Nothing(format!("{} {}", error.reason, error.message)),
        }
    }
}

fn timed<T>(message: T, within: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(within);
    request
}

fn revision(header: &Option<ResponseHeader>) -> i64 {
    header.as_ref().map_or(0, |header| header.revision)
}
