//! One operation, checked. Input from outside becomes a [`Call`] once, at the edge, and cannot be wrong afterwards.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use ringfence_proto::v1;
use ringfence_state_machine::{Action, Command, Condition, LockCommand, Mutation, WaiterRef};
use ringfence_types::limits::{FENCES_MAX, SCAN_PAGE_BYTES_SOFT_MAX, SCAN_PAGE_ITEMS_MAX, TTL_MS_MAX, TTL_MS_MIN};
use ringfence_types::{
    ClusterId, Fence, HashTag, Key, LockName, RequestId, Revision, RingPosition, Value, routing_part,
};

use crate::admission::REQUEST_BYTES;
use crate::cursor::Cursor;
use crate::grpc::status;

mod lock;

pub(crate) use lock::{LeaseCursor, LeaseList};

/// Items of a page if the caller does not say.
const SCAN_ITEMS_DEFAULT: u32 = 1000;

/// A read is charged this much of the node's memory for its answer: the usual value is small.
const GET_ANSWER_BYTES: usize = 4096;

/// A checked operation, with what its header says.
pub(crate) struct Call {
    /// The mutation's name, if its client gave it one.
    pub id: Option<RequestId>,
    /// The highest revision its client has seen.
    pub seen: Revision,
    /// Tell the leader's address instead of forwarding.
    pub no_forward: bool,
    /// What to do.
    pub ask: Ask,
    /// Bytes of the node's memory that it holds while it is under way.
    pub cost_bytes: usize,
}

/// What a call asks for.
pub(crate) enum Ask {
    /// One key, now or at a revision.
    Get {
        /// Which.
        key: Key,
        /// When.
        at: Option<Revision>,
    },
    /// A change of one key or one lock. `kind` says which message answers it.
    Mutate {
        /// The change.
        command: Command,
        /// As it was asked.
        kind: MutationKind,
    },
    /// One page of keys.
    Scan(Scan),
    /// The turn of a request that was queued.
    Wait {
        /// Which.
        waiter: WaiterRef,
        /// How long to keep the call.
        within: Duration,
    },
    /// How a lock is held.
    Inspect {
        /// Which.
        name: LockName,
        /// Only once it has changed from this.
        unless: Option<u64>,
        /// How long to wait for that.
        within: Duration,
    },
    /// One page of leases.
    ListLeases(LeaseList),
}

/// Which of the mutating calls it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MutationKind {
    /// `Put`.
    Put,
    /// `Delete`.
    Delete,
    /// `Cas`.
    Cas,
    /// `Add`.
    Add,
    /// `Acquire`.
    Acquire,
    /// `GiveUp`.
    GiveUp,
    /// `Renew`.
    Renew,
    /// `Release`.
    Release,
}

/// One page of a scan.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Only keys that begin so.
    pub prefix: Bytes,
    /// The one position of all of them, if the prefix holds a complete hash tag.
    pub position: Option<RingPosition>,
    /// Only keys at or after this.
    pub from: Bytes,
    /// Only keys before this.
    pub to: Option<Bytes>,
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// Most items.
    pub limit_items: usize,
    /// Leave values out.
    pub keys_only: bool,
}

impl Scan {
    /// What must not change from page to page: see [`Cursor`].
    pub(crate) fn identity(&self) -> [&[u8]; 4] {
        let kind: &[u8] = if self.to.is_some() { b"to" } else { b"" };
        [&self.prefix, &self.from, self.to.as_deref().unwrap_or_default(), kind]
    }
}

impl Call {
    /// Checks an operation, and that it is meant for this cluster.
    pub(crate) fn check(operation: &v1::Operation, cluster: ClusterId) -> Result<Call, v1::Error> {
        use v1::operation::Kind;
        let kind = operation.kind.as_ref();
        let kind = kind.ok_or_else(|| status::invalid("the operation is missing, or newer than this node"))?;
        let (header, ask, answer_bytes) = match kind {
            Kind::Get(get) => (&get.header, check_get(get)?, GET_ANSWER_BYTES),
            Kind::Put(put) => (&put.header, check_put(put)?, 0),
            Kind::Delete(delete) => (&delete.header, check_delete(delete)?, 0),
            Kind::Cas(cas) => (&cas.header, check_cas(cas)?, 0),
            Kind::Add(add) => (&add.header, check_add(add)?, 0),
            Kind::Scan(scan) => (&scan.header, Ask::Scan(check_scan(scan)?), SCAN_PAGE_BYTES_SOFT_MAX),
            Kind::Acquire(acquire) => (&acquire.header, lock::check_acquire(acquire)?, 0),
            Kind::Wait(wait) => (&wait.header, lock::check_wait(wait)?, 0),
            Kind::GiveUp(give_up) => (&give_up.header, lock::check_give_up(give_up)?, 0),
            Kind::Renew(renew) => (&renew.header, lock::check_renew(renew)?, 0),
            Kind::Release(release) => (&release.header, lock::check_release(release)?, 0),
            Kind::Inspect(inspect) => (&inspect.header, lock::check_inspect(inspect)?, GET_ANSWER_BYTES),
            Kind::ListLeases(list) => (&list.header, lock::check_list(list)?, SCAN_PAGE_BYTES_SOFT_MAX),
        };
        let header = header.unwrap_or_default();
        if header.cluster != 0 && header.cluster != cluster.0 {
            return Err(status::wrong_cluster(header.cluster, cluster));
        }
        if header.seen < 0 {
            return Err(status::invalid("`seen` is negative; give the highest revision of any answer, or 0"));
        }
        let id = header.id.map(RequestId::try_from).transpose().map_err(status::request_id)?;
        Ok(Call {
            id: id.filter(|_| ask.is_remembered()),
            seen: Revision(header.seen),
            no_forward: header.no_forward,
            ask,
            cost_bytes: REQUEST_BYTES + operation.encoded_len() + answer_bytes,
        })
    }

    /// The ring position that decides which shard the call goes to.
    pub(crate) fn position(&self) -> RingPosition {
        match &self.ask {
            Ask::Get { key, .. } => key.position(),
            Ask::Mutate { command: Command::Mutate(mutation) | Command::Fenced { mutation, .. }, .. } => {
                mutation.home()
            }
            Ask::Mutate { command: Command::Lock(command), .. } => {
                command.name().expect("clients' commands are about one lock").position()
            }
            Ask::Mutate { .. } => unreachable!("clients ask for no other commands"),
            Ask::Wait { waiter, .. } => waiter.name.position(),
            Ask::Inspect { name, .. } => name.position(),
            Ask::ListLeases(list) => list.position(),
            Ask::Scan(scan) => {
                let begin = scan.after.as_ref().map(|after| after.position);
                scan.position.or(begin).unwrap_or(RingPosition::MIN)
            }
        }
    }

    /// Whether it may change something.
    pub(crate) fn is_mutation(&self) -> bool {
        matches!(self.ask, Ask::Mutate { .. })
    }

    /// Whether it takes effect at most once, however often it is sent, because it is remembered by its id. What is not may be
    /// sent again at any time: it changes nothing, or the second time nothing more.
    pub(crate) fn is_remembered(&self) -> bool {
        self.ask.is_remembered()
    }
}

impl Ask {
    fn is_remembered(&self) -> bool {
        match self {
            // Metadata that are set once more would undo what was set since.
            Ask::Mutate { command: Command::Lock(LockCommand::Renew { metadata, .. }), .. } => metadata.is_some(),
            Ask::Mutate { kind, .. } => !matches!(kind, MutationKind::GiveUp),
            _ => false,
        }
    }
}

/// The header of an operation, to be filled in before it is forwarded.
pub(crate) fn header_of(operation: &mut v1::Operation) -> Option<&mut v1::RequestHeader> {
    use v1::operation::Kind;
    let header = match operation.kind.as_mut()? {
        Kind::Get(get) => &mut get.header,
        Kind::Put(put) => &mut put.header,
        Kind::Delete(delete) => &mut delete.header,
        Kind::Cas(cas) => &mut cas.header,
        Kind::Add(add) => &mut add.header,
        Kind::Scan(scan) => &mut scan.header,
        Kind::Acquire(acquire) => &mut acquire.header,
        Kind::Wait(wait) => &mut wait.header,
        Kind::GiveUp(give_up) => &mut give_up.header,
        Kind::Renew(renew) => &mut renew.header,
        Kind::Release(release) => &mut release.header,
        Kind::Inspect(inspect) => &mut inspect.header,
        Kind::ListLeases(list) => &mut list.header,
    };
    Some(header.get_or_insert_default())
}

fn check_key(key: &Bytes) -> Result<Key, v1::Error> {
    Key::new(key.clone()).map_err(status::key)
}

fn check_value(value: &Bytes) -> Result<Value, v1::Error> {
    Value::new(value.clone()).map_err(status::value)
}

fn check_ttl(ttl_ms: Option<i64>) -> Result<Option<u64>, v1::Error> {
    let Some(given) = ttl_ms else { return Ok(None) };
    match u64::try_from(given) {
        Ok(ttl_ms) if (TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl_ms) => Ok(Some(ttl_ms)),
        _ => Err(status::ttl(given, TTL_MS_MAX)),
    }
}

/// A change of a key that happens only under its fences.
fn mutate(mutation: Mutation, fences: &[v1::Fence], kind: MutationKind) -> Result<Ask, v1::Error> {
    if fences.is_empty() {
        return Ok(Ask::Mutate { command: Command::Mutate(mutation), kind });
    }
    if fences.len() > FENCES_MAX {
        let count = fences.len();
        return Err(status::invalid(format!("the request has {count} fences; the most is {FENCES_MAX}")));
    }
    let fences = fences.iter().map(|fence| {
        let lock = lock::check_name(&fence.lock)?;
        Ok(Fence { lock, token: lock::check_token(fence.token)? })
    });
    let fences = fences.collect::<Result<Vec<Fence>, v1::Error>>()?;
    Ok(Ask::Mutate { command: Command::Fenced { fences, mutation }, kind })
}

fn check_get(get: &v1::GetRequest) -> Result<Ask, v1::Error> {
    let at = match get.at_revision {
        0 => None,
        at if at > 0 => Some(Revision(at)),
        _ => return Err(status::invalid("`at_revision` is negative; give a revision of an answer, or 0 for now")),
    };
    Ok(Ask::Get { key: check_key(&get.key)?, at })
}

fn check_put(put: &v1::PutRequest) -> Result<Ask, v1::Error> {
    let action = Action::Put { value: check_value(&put.value)?, ttl_ms: check_ttl(put.ttl_ms)? };
    let mutation = Mutation { key: check_key(&put.key)?, condition: Condition::None, action };
    mutate(mutation, &put.fences, MutationKind::Put)
}

fn check_delete(delete: &v1::DeleteRequest) -> Result<Ask, v1::Error> {
    let mutation = Mutation { key: check_key(&delete.key)?, condition: Condition::None, action: Action::Delete };
    mutate(mutation, &delete.fences, MutationKind::Delete)
}

fn check_cas(cas: &v1::CasRequest) -> Result<Ask, v1::Error> {
    use v1::cas_request::Then;
    use v1::condition::Kind;
    let condition = match cas.condition.as_ref().and_then(|condition| condition.kind.as_ref()) {
        Some(Kind::Absent(_)) => Condition::Absent,
        Some(Kind::Exists(_)) => Condition::Exists,
        Some(Kind::RevisionIs(revision)) => Condition::RevisionIs(Revision(*revision)),
        Some(Kind::VersionIs(version)) => Condition::VersionIs(*version),
        Some(Kind::ValueIs(value)) => Condition::ValueIs(check_value(value)?.bytes().clone()),
        None => return Err(status::no_condition()),
    };
    let ttl_ms = check_ttl(cas.ttl_ms)?;
    let action = match &cas.then {
        Some(Then::Put(value)) => Action::Put { value: check_value(value)?, ttl_ms },
        Some(Then::Delete(_)) if ttl_ms.is_some() => {
            return Err(status::invalid("a deletion has no time to live; leave `ttl_ms` out"));
        }
        Some(Then::Delete(_)) => Action::Delete,
        None => return Err(status::invalid("`then` is missing: set `put` to the new value, or `delete`")),
    };
    let mutation = Mutation { key: check_key(&cas.key)?, condition, action };
    mutate(mutation, &cas.fences, MutationKind::Cas)
}

fn check_add(add: &v1::AddRequest) -> Result<Ask, v1::Error> {
    let (min, max) = (add.min.unwrap_or(i64::MIN), add.max.unwrap_or(i64::MAX));
    if min > max {
        return Err(status::invalid(format!("`min` {min} is above `max` {max}: no sum lies between them")));
    }
    let action = Action::Add { delta: add.delta, min, max };
    let mutation = Mutation { key: check_key(&add.key)?, condition: Condition::None, action };
    mutate(mutation, &add.fences, MutationKind::Add)
}

fn check_scan(scan: &v1::ScanRequest) -> Result<Scan, v1::Error> {
    use v1::scan_request::What;
    let limit_items = match scan.limit {
        0 => SCAN_ITEMS_DEFAULT,
        limit if limit <= SCAN_PAGE_ITEMS_MAX => limit,
        limit => {
            return Err(status::invalid(format!("`limit` is {limit}; a page has at most {SCAN_PAGE_ITEMS_MAX} items")));
        }
    };
    let mut checked = Scan {
        prefix: Bytes::new(),
        position: None,
        from: Bytes::new(),
        to: None,
        after: None,
        limit_items: limit_items as usize,
        keys_only: scan.keys_only,
    };
    match &scan.what {
        Some(What::Tag(tag)) => {
            let tag = HashTag::new(tag.clone()).map_err(status::tag)?;
            let within = |rest: &Bytes| Bytes::from([tag.prefix().as_slice(), rest.as_ref()].concat());
            checked.position = Some(tag.position());
            checked.prefix = within(&Bytes::new());
            checked.from = within(&scan.start);
            checked.to = (!scan.end.is_empty()).then(|| within(&scan.end));
        }
        what => {
            if !scan.start.is_empty() || !scan.end.is_empty() {
                return Err(status::invalid("`start` and `end` need a `tag`: keys without one are in no order"));
            }
            let prefix = match what {
                Some(What::Prefix(prefix)) => prefix.clone(),
                _ => Bytes::new(),
            };
            if !prefix.is_empty() {
                let key = check_key(&prefix)?;
                let is_tagged = routing_part(&prefix).len() < prefix.len();
                checked.position = is_tagged.then(|| key.position());
            }
            checked.prefix = prefix;
        }
    }
    if !scan.cursor.is_empty() {
        let after = Cursor::decode(&scan.cursor, &checked.identity()).map_err(status::cursor)?;
        if checked.position.is_some_and(|position| position != after.position) {
            return Err(status::cursor(crate::cursor::CursorError::Malformed));
        }
        checked.after = Some(after);
    }
    Ok(checked)
}

#[cfg(test)]
mod tests;
