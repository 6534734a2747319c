//! What the core decided, as the messages that clients get.

use ringfence_proto::v1;
use ringfence_proto::v1::result::Kind;
use ringfence_state_machine::{Done, Versioned};
use ringfence_types::{NodeId, Revision, ShardId};

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
            _ => {
                return Err(status::invalid(
                    "the request id was used before, for another operation, which took effect then. Never use a sequence \
                     number twice",
                ));
            }
        })
    }

    /// The outcome of a Get. The live view may show a write that is newer than the clock read just before it.
    pub(crate) fn get(&self, clock: Revision, found: Option<Versioned>) -> Kind {
        let revision = found.as_ref().map_or(clock, |found| clock.max(found.revision));
        Kind::Get(v1::GetResponse { header: self.header(revision), kv: found.map(key_value) })
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
    };
    header.as_ref().map(|header| header.revision)
}
