//! How etcd is asked: through the crate `etcd-client`, as its users do.
//!
//! What is not the same as in the `unary` path of Ringfence favours etcd: unless told otherwise it is asked at its
//! leader alone, over the one connection that is cheapest for it, which spares it the way from a follower to the leader (a
//! get costs it half as much again that way). Ours goes to the nodes in turn, because its shards have leaders of their own, and
//! two of three calls are forwarded. The tonic below, the deadline, and everything above are the same.
//!
//! A linearizable get is etcd's default. Compare-and-set is a transaction that compares `mod_revision`, and that reads the
//! key if the comparison fails, so that a loser learns the revision from the refusal, as Ringfence tells it.
//!
//! Locks are those of etcd's Lock service, which waits at the server and serves in order. An etcd lock belongs to a lease that is
//! granted apart; each client gets one before anything is measured, and it is kept alive beside. That favours etcd again: a
//! pair is a lock and an unlock, two writes, although a service that wants a ttl for each lock would pay two more, to grant a
//! lease and to revoke it. Ringfence's acquire is a lease with a ttl of its own.

use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, GetOptions, KvClient, LeaseClient, LockClient, LockOptions,
    ResponseHeader, Txn, TxnOp, TxnOpResponse,
};
use ringfence_bench::{CLIENTS_MAX, Cas, Found, LOCK_TTL, OpError, Path, Peer, Target, channels_for};
use tokio::task::JoinHandle;

/// Which members are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    /// All, in turn.
    All,
    /// Only the one that leads now.
    Leader,
}

/// An etcd cluster.
pub(crate) struct Etcd {
    channels: Vec<Services>,
    members: usize,
    fixed: Option<usize>,
    leases: Vec<i64>,
}

/// One client's view of the channels.
pub(crate) struct EtcdClient {
    channels: Vec<Services>,
    next: usize,
    /// That its locks belong to; 0 if none was granted.
    lease: i64,
    /// The key that stands for the lock it holds.
    held: Option<Vec<u8>>,
}

/// What is asked over one channel.
#[derive(Clone)]
struct Services {
    kv: KvClient,
    lock: LockClient,
    lease: LeaseClient,
}

/// The leases of all clients. They are kept alive until they are revoked.
pub(crate) struct Leases {
    client: LeaseClient,
    ids: Vec<i64>,
    keeper: JoinHandle<()>,
}

impl Etcd {
    pub(crate) async fn connect(
        endpoints: &[String],
        to: To,
        channels: Option<usize>,
        timeout: Duration,
    ) -> Result<Etcd, String> {
        let options = ConnectOptions::new().with_timeout(timeout).with_connect_timeout(timeout);
        let connect = async |endpoint: &String| {
            let connected = Client::connect([endpoint], Some(options.clone())).await;
            connected.map_err(|error| format!("cannot use {endpoint}: {error}"))
        };
        let members = match to {
            To::All => endpoints.to_vec(),
            To::Leader => {
                let mut leader = Vec::new();
                for endpoint in endpoints {
                    let status = connect(endpoint).await?.status().await;
                    let status = status.map_err(|error| format!("{endpoint} does not say how it is: {error}"))?;
                    if status.header().is_some_and(|header| header.member_id() == status.leader()) {
                        leader = vec![endpoint.clone()];
                    }
                }
                leader
            }
        };
        if members.is_empty() {
            return Err("none of the endpoints leads the cluster".to_owned());
        }
        let mut all = Vec::new();
        for number in 0..channels.unwrap_or_else(|| channels_for(CLIENTS_MAX, members.len())) {
            let client = connect(&members[number % members.len()]).await?;
            all.push(Services { kv: client.kv_client(), lock: client.lock_client(), lease: client.lease_client() });
        }
        // Nothing has connected yet; a wrong address should be told now, not as an error of every operation.
        all[0]
            .kv
            .get("ringfence-bench", None)
            .await
            .map_err(|error| format!("{} does not answer: {error}", members[0]))?;
        Ok(Etcd { channels: all, members: members.len(), fixed: channels, leases: Vec::new() })
    }

    /// Grants a lease to each of so many clients.
    pub(crate) async fn grant_leases(&mut self, clients: usize) -> Result<Leases, String> {
        let mut client = self.channels[0].lease.clone();
        let failed = |error| format!("cannot grant a lease: {error}");
        for _ in 0..clients {
            self.leases.push(client.grant(LOCK_TTL.as_secs() as i64, None).await.map_err(failed)?.id());
        }
        let ids = self.leases.clone();
        let keeper = tokio::spawn(keep_alive(client.clone(), ids.clone()));
        Ok(Leases { client, ids, keeper })
    }
}

/// As often as etcd's own client does it.
async fn keep_alive(mut client: LeaseClient, ids: Vec<i64>) {
    loop {
        tokio::time::sleep(LOCK_TTL / 3).await;
        for id in &ids {
            // One that is lost shows as errors of the operations that need it.
            let _ = client.keep_alive(*id).await;
        }
    }
}

impl Leases {
    /// Ends them, and with them every lock that is still held.
    pub(crate) async fn revoke(mut self) -> Result<(), String> {
        self.keeper.abort();
        for id in self.ids {
            self.client.revoke(id).await.map_err(|error| format!("cannot revoke a lease: {error}"))?;
        }
        Ok(())
    }
}

impl Peer for Etcd {
    type Target = EtcdClient;

    fn target(&self, client: usize, clients: usize) -> EtcdClient {
        let count = self.fixed.unwrap_or_else(|| channels_for(clients, self.members)).min(self.channels.len());
        EtcdClient {
            channels: self.channels[..count].to_vec(),
            next: client % count,
            lease: self.leases.get(client).copied().unwrap_or_default(),
            held: None,
        }
    }

    fn path(&self) -> Path {
        Path::Unary
    }
}

impl EtcdClient {
    fn services(&mut self) -> &mut Services {
        self.next = (self.next + 1) % self.channels.len();
        &mut self.channels[self.next]
    }
}

impl Target for EtcdClient {
    async fn get(&mut self, key: &Bytes) -> Result<Option<Found>, OpError> {
        let answer = self.services().kv.get(key.clone(), None).await.map_err(op_error)?;
        let found = answer.kvs().first();
        Ok(found.map(|kv| Found { revision: kv.mod_revision(), value_bytes: kv.value().len() }))
    }

    async fn put(&mut self, key: &Bytes, value: &Bytes) -> Result<i64, OpError> {
        let answer = self.services().kv.put(key.clone(), value.clone(), None).await.map_err(op_error)?;
        revision(answer.header())
    }

    async fn cas(&mut self, key: &Bytes, expected: i64, value: &Bytes) -> Result<Cas, OpError> {
        let txn = Txn::new()
            .when([Compare::mod_revision(key.clone(), CompareOp::Equal, expected)])
            .and_then([TxnOp::put(key.clone(), value.clone(), None)])
            .or_else([TxnOp::get(key.clone(), Some(GetOptions::new().with_keys_only()))]);
        let answer = self.services().kv.txn(txn).await.map_err(op_error)?;
        if answer.succeeded() {
            return revision(answer.header()).map(Cas::Done);
        }
        match answer.op_responses().first() {
            Some(TxnOpResponse::Get(get)) => Ok(Cas::Conflict(get.kvs().first().map_or(0, |kv| kv.mod_revision()))),
            _ => Err(OpError::new("NO_RESPONSE", "a transaction did not answer what it was asked")),
        }
    }

    async fn delete(&mut self, key: &Bytes) -> Result<(), OpError> {
        self.services().kv.delete(key.clone(), None).await.map_err(op_error)?;
        Ok(())
    }

    async fn acquire(&mut self, name: &Bytes) -> Result<(), OpError> {
        let options = LockOptions::new().with_lease(self.lease);
        let answer = self.services().lock.lock(name.clone(), Some(options)).await.map_err(op_error)?;
        self.held = Some(answer.key().to_vec());
        Ok(())
    }

    async fn release(&mut self) -> Result<(), OpError> {
        let key = self.held.take().expect("only what was acquired is released");
        self.services().lock.unlock(key).await.map_err(op_error)?;
        Ok(())
    }
}

fn revision(header: Option<&ResponseHeader>) -> Result<i64, OpError> {
    header.map(ResponseHeader::revision).ok_or_else(|| OpError::new("NO_HEADER", "an answer has no header"))
}

fn op_error(error: etcd_client::Error) -> OpError {
    match &error {
        etcd_client::Error::GRpcStatus(status) => OpError::new(OpError::kind_of(status.code()), status.message()),
        _ => OpError::new("CLIENT", error),
    }
}
