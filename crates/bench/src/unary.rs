use std::time::Duration;

use bytes::Bytes;
use ringfence_proto::v1::acquire_response::Outcome;
use ringfence_proto::v1::cas_request::Then;
use ringfence_proto::v1::condition::Kind;
use ringfence_proto::v1::kv_client::KvClient;
use ringfence_proto::v1::lock_client::LockClient;
use ringfence_proto::{Reason, metadata, v1};
use tonic::transport::{Channel, Endpoint};

use crate::plan::CLIENTS_MAX;
use crate::target::{Cas, Found, LOCK_TTL, OpError, Path, Peer, Target};

/// One HTTP/2 connection is served by one task on either side; with many more clients than this on one, it is what is
/// measured. Below that fewer are cheaper: what several calls write at once shares a packet and a wake-up. (On two cores, 64
/// clients: 200 µs of etcd's CPU for a put over one channel, 280 over three, 330 over six; ours likewise.)
const CLIENTS_PER_CHANNEL: usize = 256;

/// How many channels a plain gRPC user would open: enough for the clients, and the same number to each node.
pub fn channels_for(clients: usize, nodes: usize) -> usize {
    clients.div_ceil(CLIENTS_PER_CHANNEL).max(1).next_multiple_of(nodes.max(1))
}

/// Ringfence without its SDK: plain gRPC, one call for each operation, to the nodes in turn. A node that does not lead
/// the key's shard forwards it. No request ids, no retries.
#[derive(Clone, Debug)]
pub struct Unary {
    /// To the nodes in turn. As many as the most clients need; those that nobody uses never connect.
    channels: Vec<Channel>,
    nodes: usize,
    timeout: Duration,
    /// Instead of [`channels_for`].
    fixed: Option<usize>,
}

/// One client's view of the channels.
#[derive(Clone, Debug)]
pub struct UnaryClient {
    channels: Vec<Services>,
    next: usize,
    /// As the leases of this client show it.
    holder: Bytes,
    /// As long as a call may take.
    wait_ms: u32,
    held: Option<Held>,
}

/// What is asked over one channel.
#[derive(Clone, Debug)]
struct Services {
    kv: KvClient<Channel>,
    lock: LockClient<Channel>,
}

/// The lock that a client holds.
#[derive(Clone, Debug)]
struct Held {
    name: Bytes,
    token: i64,
}

impl Unary {
    /// To these addresses (`host:port`), with as many channels as [`channels_for`] says, or another number. Each call may
    /// take `timeout`. Connects when it is first used.
    pub fn new(addresses: &[String], channels: Option<usize>, timeout: Duration) -> Result<Unary, String> {
        let nodes = addresses.len();
        let count = channels.unwrap_or_else(|| channels_for(CLIENTS_MAX, nodes));
        if nodes == 0 || count == 0 {
            return Err("there must be an address and a channel at least".to_owned());
        }
        let connect = |number: usize| {
            let address = &addresses[number % nodes];
            let uri = if address.contains("://") { address.clone() } else { format!("http://{address}") };
            let endpoint = Endpoint::from_shared(uri).map_err(|error| format!("{address:?} is no address: {error}"))?;
            Ok(endpoint.timeout(timeout).connect_timeout(timeout).connect_lazy())
        };
        let all = (0..count).map(connect).collect::<Result<_, String>>()?;
        Ok(Unary { channels: all, nodes, timeout, fixed: channels })
    }
}

impl UnaryClient {
    /// Takes the channels in turn, call by call, as gRPC's `round_robin` does.
    fn services(&mut self) -> &mut Services {
        self.next = (self.next + 1) % self.channels.len();
        &mut self.channels[self.next]
    }
}

impl Peer for Unary {
    type Target = UnaryClient;

    fn target(&self, client: usize, clients: usize) -> UnaryClient {
        let count = self.fixed.unwrap_or_else(|| channels_for(clients, self.nodes)).min(self.channels.len());
        let services =
            |channel: &Channel| Services { kv: KvClient::new(channel.clone()), lock: LockClient::new(channel.clone()) };
        UnaryClient {
            channels: self.channels[..count].iter().map(services).collect(),
            next: client % count,
            holder: format!("ringfence-bench/{client}").into(),
            wait_ms: u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX),
            held: None,
        }
    }

    fn path(&self) -> Path {
        Path::Unary
    }
}

impl Target for UnaryClient {
    async fn get(&mut self, key: &Bytes) -> Result<Option<Found>, OpError> {
        let request = v1::GetRequest { header: None, key: key.clone(), at_revision: 0 };
        let answer = self.services().kv.get(request).await.map_err(op_error)?.into_inner();
        Ok(answer.kv.map(|kv| Found { revision: kv.revision, value_bytes: kv.value.len() }))
    }

    async fn put(&mut self, key: &Bytes, value: &Bytes) -> Result<i64, OpError> {
        let request =
            v1::PutRequest { header: None, key: key.clone(), value: value.clone(), ttl_ms: None, fences: Vec::new() };
        let answer = self.services().kv.put(request).await.map_err(op_error)?.into_inner();
        revision(answer.header)
    }

    async fn cas(&mut self, key: &Bytes, expected: i64, value: &Bytes) -> Result<Cas, OpError> {
        let kind = if expected == 0 { Kind::Absent(true) } else { Kind::RevisionIs(expected) };
        let request = v1::CasRequest {
            header: None,
            key: key.clone(),
            condition: Some(v1::Condition { kind: Some(kind) }),
            ttl_ms: None,
            then: Some(Then::Put(value.clone())),
            fences: Vec::new(),
        };
        match self.services().kv.cas(request).await {
            Ok(answer) => revision(answer.into_inner().header).map(Cas::Done),
            Err(status) => {
                let error = v1::Error::from(&status);
                match (error.reason(), error.fact(metadata::REVISION)) {
                    (Some(Reason::ConditionFailed), Some(revision)) => Ok(Cas::Conflict(revision)),
                    _ => Err(op_error(status)),
                }
            }
        }
    }

    async fn delete(&mut self, key: &Bytes) -> Result<(), OpError> {
        let request = v1::DeleteRequest { header: None, key: key.clone(), fences: Vec::new() };
        self.services().kv.delete(request).await.map_err(op_error)?;
        Ok(())
    }

    async fn acquire(&mut self, name: &Bytes) -> Result<(), OpError> {
        let request = v1::AcquireRequest {
            name: name.clone(),
            holder: self.holder.clone(),
            ttl_ms: LOCK_TTL.as_millis() as i64,
            wait_ms: self.wait_ms,
            ..v1::AcquireRequest::default()
        };
        match self.services().lock.acquire(request).await.map_err(op_error)?.into_inner().outcome {
            Some(Outcome::Granted(granted)) => {
                self.held = Some(Held { name: name.clone(), token: granted.token });
                Ok(())
            }
            _ => Err(OpError::new("NOT_GRANTED", "a call that waits for a lock was answered before it was granted")),
        }
    }

    async fn release(&mut self) -> Result<(), OpError> {
        let Held { name, token } = self.held.take().expect("only what was acquired is released");
        let request = v1::ReleaseRequest { header: None, name, holder: self.holder.clone(), token };
        self.services().lock.release(request).await.map_err(op_error)?;
        Ok(())
    }
}

fn revision(header: Option<v1::ResponseHeader>) -> Result<i64, OpError> {
    header.map(|header| header.revision).ok_or_else(|| OpError::new("NO_HEADER", "an answer has no header"))
}

fn op_error(status: tonic::Status) -> OpError {
    let kind = match v1::Error::from(&status).reason() {
        Some(reason) => reason.name(),
        None => OpError::kind_of(status.code()),
    };
    OpError::new(kind, status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_gets_the_same_number_of_channels() {
        for (clients, nodes, channels) in
            [(1, 3, 3), (256, 3, 3), (512, 3, 3), (1, 1, 1), (256, 1, 1), (512, 1, 2), (1, 5, 5)]
        {
            assert_eq!(channels_for(clients, nodes), channels, "{clients} clients, {nodes} nodes");
        }
    }
}
