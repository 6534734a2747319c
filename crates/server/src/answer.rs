//! What the core decided, as the messages that clients get.

use ringfence_proto::v1;
use ringfence_proto::v1::result::Kind;
use ringfence_state_machine::{Done, LeaseView, Versioned, WaiterView};
use ringfence_types::{LockMode, NodeId, Revision, ShardId};

use crate::call::MutationKind;
use crate::grpc::status;

/// Who answers.
#[derive(Clone, Copy)]
pub(crate) struct Answering {
    /// For which shard.
    pub shard: ShardId,
    /// On which node.
    pub node: NodeId,
}

impl Answering {
    pub(crate) fn header(&self, revision: Revision) -> Option<v1::ResponseHeader> {
        Some(v1::ResponseHeader { revision: revision.0, shard: self.shard.0, node: self.node.0 })
    }

    /// The outcome of a mutation. An outcome that does not go with what was asked means that the id was used before, for
    /// something else: the state machine tells what it remembers.
    pub(crate) fn mutation(&self, kind: MutationKind, done: &Done) -> Result<Kind, v1::Error> {
        let header = self.header(done.revision());
        Ok(match (kind, done) {
            (MutationKind::Put, Done::Put { version, .. }) => Kind::Put(v1::PutResponse { header, version: *version }),
            (MutationKind::Delete, Done::Deleted { existed, .. }) => {
                Kind::Delete(v1::DeleteResponse { header, existed: *existed })
            }
            (MutationKind::Cas, Done::Put { version, .. }) => {
                Kind::Cas(v1::CasResponse { header, version: *version, existed: false })
            }
            (MutationKind::Cas, Done::Deleted { existed, .. }) => {
                Kind::Cas(v1::CasResponse { header, version: 0, existed: *existed })
            }
            (MutationKind::Add, Done::Added { version, value, .. }) => {
                Kind::Add(v1::AddResponse { header, value: *value, version: *version })
            }
            (MutationKind::Acquire, Done::Granted { .. } | Done::Queued { .. }) => Kind::Acquire(self.acquired(done)),
            (MutationKind::GiveUp, Done::Accepted { .. }) => Kind::GiveUp(v1::GiveUpResponse { header }),
            (MutationKind::Renew, Done::Renewed { ttl_left_ms, .. }) => {
                Kind::Renew(v1::RenewResponse { header, ttl_left_ms: *ttl_left_ms })
            }
            (MutationKind::Release, Done::Accepted { .. }) => Kind::Release(v1::ReleaseResponse { header }),
            _ => {
                return Err(status::invalid(
                    "the request id was used before, for another operation, which took effect then. Never use a sequence \
                     number twice",
                ));
            }
        })
    }

    /// How an acquire stands.
    pub(crate) fn acquired(&self, done: &Done) -> v1::AcquireResponse {
        use v1::acquire_response::Outcome;
        let outcome = match done {
            Done::Granted { token, generation, permit, ttl_left_ms, .. } => Some(Outcome::Granted(v1::Granted {
                token: token.0.0,
                generation: generation.0.0,
                permit: *permit,
                ttl_left_ms: *ttl_left_ms,
            })),
            Done::Queued { ticket, waiting, .. } => {
                Some(Outcome::Queued(v1::Queued { ticket: ticket.0, waiting: *waiting }))
            }
            _ => None,
        };
        v1::AcquireResponse { header: self.header(done.revision()), outcome }
    }

    /// The outcome of a Get. The live view may show a write that is newer than the clock read just before it.
    pub(crate) fn get(&self, clock: Revision, found: Option<Versioned>) -> Kind {
        let revision = found.as_ref().map_or(clock, |found| clock.max(found.revision));
        Kind::Get(v1::GetResponse { header: self.header(revision), kv: found.map(key_value) })
    }
}

/// A lease, as it is shown.
pub(crate) fn lease(lease: LeaseView) -> v1::Lease {
    let (mode, permits) = mode(lease.mode);
    v1::Lease {
        name: lease.name.bytes().clone(),
        token: lease.token.0.0,
        holder: lease.holder.bytes().clone(),
        metadata: lease.metadata.bytes().clone(),
        mode: mode.into(),
        permits,
        permit: lease.permit,
        generation: lease.generation.0.0,
        ttl_ms: lease.ttl.as_ms(),
        ttl_left_ms: lease.ttl_left_ms,
    }
}

/// A request that waits, as it is shown.
pub(crate) fn waiter(waiter: WaiterView) -> v1::Waiter {
    let (mode, permits) = mode(waiter.mode);
    v1::Waiter {
        ticket: waiter.ticket.0,
        holder: waiter.holder.bytes().clone(),
        mode: mode.into(),
        permits,
        silent: waiter.is_silent,
    }
}

fn mode(mode: LockMode) -> (v1::LockMode, u32) {
    match mode {
        LockMode::Exclusive => (v1::LockMode::Exclusive, 0),
        LockMode::Shared => (v1::LockMode::Shared, 0),
        LockMode::Permit { of } => (v1::LockMode::Permit, of.count()),
    }
}

/// One key with its value.
pub(crate) fn key_value(found: Versioned) -> v1::KeyValue {
    v1::KeyValue {
        key: found.key.bytes().clone(),
        value: found.value.bytes().clone(),
        revision: found.revision.0,
        create_revision: found.create_revision.0,
        version: found.version,
        ttl_ms: found.ttl_left_ms,
    }
}

/// The revision that a client has seen once it has this answer, if it tells one.
pub(crate) fn revision_of(kind: &Kind) -> Option<i64> {
    let header = match kind {
        Kind::Error(_) => return None,
        Kind::Get(get) => &get.header,
        Kind::Put(put) => &put.header,
        Kind::Delete(delete) => &delete.header,
        Kind::Cas(cas) => &cas.header,
        Kind::Add(add) => &add.header,
        Kind::Scan(scan) => &scan.header,
        Kind::Acquire(acquired) | Kind::Wait(acquired) => &acquired.header,
        Kind::GiveUp(given_up) => &given_up.header,
        Kind::Renew(renewed) => &renewed.header,
        Kind::Release(released) => &released.header,
        Kind::Inspect(inspected) => &inspected.header,
        Kind::ListLeases(listed) => &listed.header,
    };
    header.as_ref().map(|header| header.revision)
}
