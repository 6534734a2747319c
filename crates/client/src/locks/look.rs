use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use ringfence_proto::v1;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_types::limits::SCAN_PAGE_ITEMS_MAX;
use ringfence_types::{
    FencingToken, Holder, Key, KeyError, LockMode, LockName, Metadata, Permits, Revision, routing_part,
};

use crate::Reason;
use crate::call::Request;
use crate::client::Client;
use crate::errors::{Outcome, ReadFailure, Rejected, Unavailable};
use crate::routing::Place;

/// How a lock is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockInfo {
    /// By token. None: the lock is free.
    pub leases: Vec<LeaseInfo>,
    /// In the order of the queue.
    pub waiters: Vec<WaiterInfo>,
}

/// A lease, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Of which lock.
    pub name: LockName,
    /// Which of its leases.
    pub token: FencingToken,
    /// Who has it.
    pub holder: Holder,
    /// What it shows.
    pub metadata: Metadata,
    /// Beside whom.
    pub mode: LockMode,
    /// Which permit of a semaphore; 0 in other modes.
    pub permit: u32,
    /// What the holder shows to guards outside.
    pub generation: FencingToken,
    /// As it was asked for last.
    pub ttl: Duration,
    /// Unless it is renewed. Zero: it is due, and only its end has not been applied yet.
    pub ttl_left: Duration,
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterInfo {
    /// Its place in the queue: the lowest is next.
    pub ticket: Revision,
    /// Who asks.
    pub holder: Holder,
    /// Beside whom.
    pub mode: LockMode,
    /// Whether it was not heard of for so long that it will be passed over.
    pub is_silent: bool,
}

/// Why a lock could not be looked at. Looking changes nothing, whatever happens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockReadError {
    /// This is no name of a lock.
    #[error(transparent)]
    InvalidName(#[from] KeyError),
    /// No node could answer in time.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// The cluster refuses, and would again.
    #[error(transparent)]
    Rejected(Rejected),
}

impl LockReadError {
    /// Always refused: looking changes nothing.
    pub fn outcome(&self) -> Outcome {
        Outcome::Refused
    }
}

impl From<ReadFailure> for LockReadError {
    fn from(failure: ReadFailure) -> LockReadError {
        match failure {
            ReadFailure::Unavailable(unavailable) => LockReadError::Unavailable(unavailable),
            ReadFailure::Refused(error) => LockReadError::Rejected(error.into()),
        }
    }
}

/// Looks at a lock. Made by [`Client::inspect_lock`]; await it.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct InspectLock {
    client: Client,
    name: Bytes,
    timeout: Option<Duration>,
}

/// Lists leases, page by page. Made by [`Client::leases`]; end with [`Leases::next_page`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until a page is awaited"]
pub struct Leases {
    client: Client,
    prefix: Bytes,
    page_size: u32,
    timeout: Option<Duration>,
    /// `None` after the last page.
    cursor: Option<Bytes>,
}

impl Client {
    /// How a lock is held, and who waits for it. Linearizable.
    pub fn inspect_lock(&self, name: impl AsRef<[u8]>) -> InspectLock {
        InspectLock { client: self.clone(), name: Bytes::copy_from_slice(name.as_ref()), timeout: None }
    }

    /// All leases, in ring order. Each page is one linearizable read.
    pub fn leases(&self) -> Leases {
        let cursor = Some(Bytes::new());
        Leases { client: self.clone(), prefix: Bytes::new(), page_size: 0, timeout: None, cursor }
    }
}

impl InspectLock {
    /// Another deadline than the client's.
    pub fn timeout(mut self, timeout: Duration) -> InspectLock {
        self.timeout = Some(timeout);
        self
    }

    async fn run(self) -> Result<LockInfo, LockReadError> {
        Ok(inspect(&self.client, &LockName::new(self.name)?, None, self.timeout).await?.0)
    }
}

/// Looks at a lock, at once or when its state is not the given one any more; gives the state, too.
pub(super) async fn inspect(
    client: &Client,
    name: &LockName,
    unless: Option<(u64, Duration)>,
    timeout: Option<Duration>,
) -> Result<(LockInfo, u64), LockReadError> {
    let (unless_state, within) = unless.unwrap_or_default();
    let within_ms = within.as_millis() as u32;
    let ask = Ask::Inspect(v1::InspectRequest { header: None, name: name.bytes().clone(), unless_state, within_ms });
    let pick = |told| match told {
        Told::Inspect(inspected) => Some(inspected),
        _ => None,
    };
    let request = Request { ask, place: Place::Position(name.position()), timeout };
    let inspected = client.shared.call(request, pick).await.map_err(ReadFailure::from)?;
    let info = LockInfo {
        leases: inspected.leases.into_iter().map(LeaseInfo::read).collect::<Result<_, _>>()?,
        waiters: inspected.waiters.into_iter().map(WaiterInfo::read).collect::<Result<_, _>>()?,
    };
    Ok((info, inspected.state))
}

impl Leases {
    /// Only those of locks whose names begin so.
    pub fn prefix(mut self, prefix: impl AsRef<[u8]>) -> Leases {
        self.prefix = Bytes::copy_from_slice(prefix.as_ref());
        self
    }

    /// Most leases in one page: 1000 unless set, and 10,000 is the most.
    pub fn page_size(mut self, leases: u32) -> Leases {
        self.page_size = leases.min(SCAN_PAGE_ITEMS_MAX);
        self
    }

    /// Another deadline than the client's, for each page.
    pub fn timeout(mut self, timeout: Duration) -> Leases {
        self.timeout = Some(timeout);
        self
    }

    /// The next page, which may be short or even empty. `None` after the last.
    pub async fn next_page(&mut self) -> Result<Option<Vec<LeaseInfo>>, LockReadError> {
        let Some(cursor) = self.cursor.clone() else { return Ok(None) };
        let has_tag = !self.prefix.is_empty() && routing_part(&self.prefix).len() < self.prefix.len();
        let place = match has_tag {
            true => Place::Position(Key::new(self.prefix.clone())?.position()),
            false => Place::Everywhere,
        };
        let (prefix, limit) = (self.prefix.clone(), self.page_size);
        let ask = Ask::ListLeases(v1::ListLeasesRequest { header: None, prefix, limit, cursor });
        let pick = |told| match told {
            Told::ListLeases(listed) => Some(listed),
            _ => None,
        };
        let request = Request { ask, place, timeout: self.timeout };
        let listed = self.client.shared.call(request, pick).await.map_err(ReadFailure::from)?;
        let page = listed.leases.into_iter().map(LeaseInfo::read).collect::<Result<_, _>>()?;
        self.cursor = (!listed.next_cursor.is_empty()).then_some(listed.next_cursor);
        Ok(Some(page))
    }
}

impl LeaseInfo {
    fn read(lease: v1::Lease) -> Result<LeaseInfo, LockReadError> {
        let mode = mode(lease.mode(), lease.permits)?;
        Ok(LeaseInfo {
            mode,
            name: LockName::new(lease.name)?,
            token: FencingToken(Revision(lease.token)),
            holder: holder(lease.holder)?,
            metadata: Metadata::new(lease.metadata).map_err(|error| unreadable(&error))?,
            permit: lease.permit,
            generation: FencingToken(Revision(lease.generation)),
            ttl: Duration::from_millis(lease.ttl_ms),
            ttl_left: Duration::from_millis(lease.ttl_left_ms),
        })
    }
}

impl WaiterInfo {
    fn read(waiter: v1::Waiter) -> Result<WaiterInfo, LockReadError> {
        let mode = mode(waiter.mode(), waiter.permits)?;
        let (ticket, is_silent) = (Revision(waiter.ticket), waiter.silent);
        Ok(WaiterInfo { ticket, holder: holder(waiter.holder)?, mode, is_silent })
    }
}

fn holder(bytes: Bytes) -> Result<Holder, LockReadError> {
    Holder::new(bytes).map_err(|error| unreadable(&error))
}

fn mode(mode: v1::LockMode, permits: u32) -> Result<LockMode, LockReadError> {
    Ok(match mode {
        v1::LockMode::Exclusive => LockMode::Exclusive,
        v1::LockMode::Shared => LockMode::Shared,
        v1::LockMode::Permit => LockMode::Permit { of: Permits::new(permits).map_err(|error| unreadable(&error))? },
    })
}

/// A newer server has other bounds.
fn unreadable(error: &dyn std::error::Error) -> LockReadError {
    let message = format!("the answer has what this SDK does not know: {error}. Update it");
    LockReadError::Rejected(Rejected { reason: Some(Reason::Internal), message })
}

impl IntoFuture for InspectLock {
    type Output = Result<LockInfo, LockReadError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
