//! Operations on locks, checked.

use std::time::Duration;

use bytes::Bytes;
use ringfence_proto::v1;
use ringfence_state_machine::{Acquire, Command, LeaseRef, LockCommand, WaiterRef};
use ringfence_types::limits::{SCAN_PAGE_ITEMS_MAX, WAITER_SILENCE_MS_MAX};
use ringfence_types::{
    FencingToken, Holder, Key, LeaseTtl, LockMode, LockName, Metadata, Permits, Revision, RingPosition, routing_part,
};

use super::{Ask, MutationKind, SCAN_ITEMS_DEFAULT};
use crate::cursor::{Cursor, CursorError};
use crate::grpc::status;

/// How long a call is kept that waits for its turn: so that a waiter is heard of three times before it counts as silent.
pub(super) const WITHIN_MAX: Duration = Duration::from_millis(WAITER_SILENCE_MS_MAX / 3);

/// One page of leases.
#[derive(Debug)]
pub(crate) struct LeaseList {
    /// Only those of locks whose names begin so.
    pub prefix: Bytes,
    /// The one position of all of them, if the prefix holds a complete hash tag.
    pub only: Option<RingPosition>,
    /// Where the page before ended.
    pub after: Option<LeaseCursor>,
    /// Most leases.
    pub limit: usize,
}

/// A place in the list: behind a lease, or at the beginning of a piece of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseCursor {
    /// The piece begins here.
    pub position: RingPosition,
    /// Behind this one.
    pub lease: Option<(LockName, FencingToken)>,
}

impl LeaseList {
    /// Where the page begins.
    pub(crate) fn position(&self) -> RingPosition {
        let after = self.after.as_ref().map(|after| after.position);
        after.or(self.only).unwrap_or(RingPosition::MIN)
    }

    /// What must not change from page to page.
    pub(crate) fn identity(&self) -> [&[u8]; 2] {
        [b"leases", &self.prefix]
    }
}

impl LeaseCursor {
    /// For the client. The token stands before the name, in the place of a key.
    pub(crate) fn encode(&self, query: &[&[u8]]) -> Bytes {
        let key = match &self.lease {
            Some((name, token)) => [&token.0.0.to_be_bytes(), name.as_ref()].concat().into(),
            None => Bytes::new(),
        };
        Cursor { position: self.position, key }.encode(query)
    }

    fn decode(bytes: &Bytes, query: &[&[u8]]) -> Result<LeaseCursor, CursorError> {
        let Cursor { position, key } = Cursor::decode_with(bytes, query, |_, _| true)?;
        if key.is_empty() {
            return Ok(LeaseCursor { position, lease: None });
        }
        let (token, name) = key.split_at_checked(8).ok_or(CursorError::Malformed)?;
        let token = i64::from_be_bytes(token.try_into().map_err(|_| CursorError::Malformed)?);
        let name = LockName::new(Bytes::copy_from_slice(name)).map_err(|_| CursorError::Malformed)?;
        if name.position() != position {
            return Err(CursorError::Malformed);
        }
        Ok(LeaseCursor { position, lease: Some((name, FencingToken(Revision(token)))) })
    }
}

pub(super) fn check_name(name: &Bytes) -> Result<LockName, v1::Error> {
    LockName::new(name.clone()).map_err(status::key)
}

pub(super) fn check_token(token: i64) -> Result<FencingToken, v1::Error> {
    match token {
        1.. => Ok(FencingToken(Revision(token))),
        _ => Err(status::invalid(format!("{token} is no fencing token; give that of the grant, which is above 0"))),
    }
}

fn check_ticket(ticket: i64) -> Result<Revision, v1::Error> {
    match ticket {
        1.. => Ok(Revision(ticket)),
        _ => Err(status::invalid(format!("{ticket} is no ticket; give that of the answer that said `queued`"))),
    }
}

fn check_holder(holder: &Bytes) -> Result<Holder, v1::Error> {
    Holder::new(holder.clone()).map_err(|error| status::invalid(error.to_string()))
}

fn check_metadata(metadata: &Bytes) -> Result<Metadata, v1::Error> {
    Metadata::new(metadata.clone()).map_err(|error| status::invalid(error.to_string()))
}

fn check_ttl(ttl_ms: i64) -> Result<LeaseTtl, v1::Error> {
    match u64::try_from(ttl_ms) {
        Ok(ttl_ms) => LeaseTtl::from_ms(ttl_ms).map_err(|error| status::lease_ttl(error.to_string())),
        Err(_) => Err(status::lease_ttl(format!("a lease lasts from 100 ms to 24 h, and {ttl_ms} ms was asked for"))),
    }
}

fn check_mode(mode: i32, permits: u32) -> Result<LockMode, v1::Error> {
    let mode = v1::LockMode::try_from(mode)
        .map_err(|_| status::invalid(format!("{mode} is a mode that this version does not know")))?;
    match (mode, permits) {
        (v1::LockMode::Exclusive, 0) => Ok(LockMode::Exclusive),
        (v1::LockMode::Shared, 0) => Ok(LockMode::Shared),
        (v1::LockMode::Permit, of) => {
            let of = Permits::new(of).map_err(|error| status::invalid(error.to_string()))?;
            Ok(LockMode::Permit { of })
        }
        _ => Err(status::invalid("`permits` goes with LOCK_MODE_PERMIT only; leave it out")),
    }
}

fn within(within_ms: u32) -> Duration {
    match within_ms {
        0 => WITHIN_MAX,
        within_ms => Duration::from_millis(within_ms.into()).min(WITHIN_MAX),
    }
}

fn lease(name: &Bytes, holder: &Bytes, token: i64) -> Result<LeaseRef, v1::Error> {
    Ok(LeaseRef { name: check_name(name)?, holder: check_holder(holder)?, token: check_token(token)? })
}

fn waiter(name: &Bytes, holder: &Bytes, ticket: i64) -> Result<WaiterRef, v1::Error> {
    Ok(WaiterRef { name: check_name(name)?, holder: check_holder(holder)?, ticket: check_ticket(ticket)? })
}

fn of_lock(command: LockCommand, kind: MutationKind) -> Ask {
    Ask::Mutate { command: Command::Lock(command), kind }
}

pub(super) fn check_acquire(acquire: &v1::AcquireRequest) -> Result<Ask, v1::Error> {
    let command = LockCommand::Acquire(Acquire {
        name: check_name(&acquire.name)?,
        holder: check_holder(&acquire.holder)?,
        mode: check_mode(acquire.mode, acquire.permits)?,
        ttl: check_ttl(acquire.ttl_ms)?,
        metadata: check_metadata(&acquire.metadata)?,
        waits: acquire.wait_ms > 0,
    });
    Ok(of_lock(command, MutationKind::Acquire))
}

pub(super) fn check_wait(wait: &v1::WaitRequest) -> Result<Ask, v1::Error> {
    Ok(Ask::Wait { waiter: waiter(&wait.name, &wait.holder, wait.ticket)?, within: within(wait.within_ms) })
}

pub(super) fn check_give_up(give_up: &v1::GiveUpRequest) -> Result<Ask, v1::Error> {
    let waiter = waiter(&give_up.name, &give_up.holder, give_up.ticket)?;
    Ok(of_lock(LockCommand::GiveUp(waiter), MutationKind::GiveUp))
}

pub(super) fn check_renew(renew: &v1::RenewRequest) -> Result<Ask, v1::Error> {
    let command = LockCommand::Renew {
        lease: lease(&renew.name, &renew.holder, renew.token)?,
        ttl: renew.ttl_ms.map(check_ttl).transpose()?,
        metadata: renew.metadata.as_ref().map(check_metadata).transpose()?,
    };
    Ok(of_lock(command, MutationKind::Renew))
}

pub(super) fn check_release(release: &v1::ReleaseRequest) -> Result<Ask, v1::Error> {
    let lease = lease(&release.name, &release.holder, release.token)?;
    Ok(of_lock(LockCommand::Release(lease), MutationKind::Release))
}

pub(super) fn check_inspect(inspect: &v1::InspectRequest) -> Result<Ask, v1::Error> {
    let unless = (inspect.unless_state != 0).then_some(inspect.unless_state);
    Ok(Ask::Inspect { name: check_name(&inspect.name)?, unless, within: within(inspect.within_ms) })
}

pub(super) fn check_list(list: &v1::ListLeasesRequest) -> Result<Ask, v1::Error> {
    let limit = match list.limit {
        0 => SCAN_ITEMS_DEFAULT,
        limit if limit <= SCAN_PAGE_ITEMS_MAX => limit,
        limit => {
            return Err(status::invalid(format!(
                "`limit` is {limit}; a page has at most {SCAN_PAGE_ITEMS_MAX} leases"
            )));
        }
    };
    let prefix = list.prefix.clone();
    let mut only = None;
    if !prefix.is_empty() {
        let key = Key::new(prefix.clone()).map_err(status::key)?;
        only = (routing_part(&prefix).len() < prefix.len()).then(|| key.position());
    }
    let mut checked = LeaseList { prefix, only, after: None, limit: limit as usize };
    if !list.cursor.is_empty() {
        let after = LeaseCursor::decode(&list.cursor, &checked.identity()).map_err(status::cursor)?;
        if only.is_some_and(|position| position != after.position) {
            return Err(status::cursor(CursorError::Malformed));
        }
        checked.after = Some(after);
    }
    Ok(Ask::ListLeases(checked))
}
