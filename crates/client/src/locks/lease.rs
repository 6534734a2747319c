use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::{Reason, v1};
use ringfence_types::{Fence, FencingToken, Holder, LockName, Metadata, MetadataError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::keeper::{Kept, keep};
use super::release::{ReleaseError, release};
use super::tenure::Tenure;
use crate::call::Request;
use crate::client::{Client, Shared};
use crate::errors::{CallFailure, Outcome, OutcomeUnknown, Rejected, Unavailable};
use crate::routing::Place;

/// A lock that is held, from the grant until it is released or lost: see [`locks`](crate::locks) on what that is worth.
///
/// It is renewed in the background while it lives, and released in the background when it is dropped.
#[derive(Debug)]
#[must_use = "the lock is released when the lease is dropped"]
pub struct Lease {
    client: Client,
    tenant: Arc<Tenant>,
    generation: FencingToken,
    permit: u32,
    /// Renews it. `None` for a fixed term.
    kept: Option<Kept>,
    on_drop: OnDrop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDrop {
    Release,
    Nothing,
}

/// What the lease and its keeper share.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) name: LockName,
    pub(super) holder: Holder,
    pub(super) token: FencingToken,
    pub(super) ttl: Duration,
    /// `None` once it is known to be over.
    tenure: watch::Sender<Option<Tenure>>,
}

/// Why a lease was not renewed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenewError {
    /// It is over, and perhaps somebody else holds the lock.
    #[error("the lease is over{}. Stop, and acquire the lock again", held_by(.current))]
    Over {
        /// Of the newest lease, if anyone holds the lock.
        current: Option<FencingToken>,
    },
    /// Its ttl has passed, though nobody has the lock yet.
    #[error("the ttl of the lease has passed, so it is not renewed any more. Stop, and acquire the lock again")]
    TooLate,
    /// The lease has another holder.
    #[error("the lease is held by somebody else: the token is not this holder's")]
    NotTheHolder,
    /// Too long.
    #[error(transparent)]
    InvalidMetadata(#[from] MetadataError),
    /// No node could answer in time. The lease goes on until its ttl has passed, and is renewed again in the background.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// The cluster refuses, and would again.
    #[error(transparent)]
    Rejected(Rejected),
    /// It may have been renewed.
    #[error(transparent)]
    OutcomeUnknown(OutcomeUnknown),
}

fn held_by(current: &Option<FencingToken>) -> String {
    current.map(|token| format!(", token {token} is the newest now")).unwrap_or_default()
}

impl RenewError {
    /// Whether it may have happened.
    pub fn outcome(&self) -> Outcome {
        match self {
            RenewError::OutcomeUnknown(_) => Outcome::Unknown,
            _ => Outcome::Refused,
        }
    }

    /// Whether the lease is over for good.
    fn is_final(&self) -> bool {
        matches!(self, RenewError::Over { .. } | RenewError::TooLate | RenewError::NotTheHolder)
    }
}

impl From<CallFailure> for RenewError {
    fn from(failure: CallFailure) -> RenewError {
        match failure {
            CallFailure::Refused(error) => match error.reason() {
                Some(Reason::Fenced) => RenewError::Over { current: crate::ops::current_token(&error) },
                Some(Reason::LeaseOver) => RenewError::Over { current: None },
                Some(Reason::LeaseExpired) => RenewError::TooLate,
                Some(Reason::NotTheHolder) => RenewError::NotTheHolder,
                _ => RenewError::Rejected(error.into()),
            },
            CallFailure::Unavailable(unavailable) => RenewError::Unavailable(unavailable),
            CallFailure::Unknown(unknown) => RenewError::OutcomeUnknown(unknown),
        }
    }
}

/// What a grant says.
pub(super) struct Granted {
    pub(super) name: LockName,
    pub(super) holder: Holder,
    pub(super) ttl: Duration,
    pub(super) tenure: Tenure,
    pub(super) told: v1::Granted,
}

impl Tenant {
    /// Whether it must not be believed in any more.
    pub(super) fn is_lost(&self) -> bool {
        self.left().is_zero()
    }

    fn left(&self) -> Duration {
        self.tenure.borrow().map_or(Duration::ZERO, |tenure| tenure.left(Instant::now()))
    }

    /// When it should be renewed: a third of the ttl after the last confirmed renewal was sent.
    pub(super) fn renewal_due(&self) -> Instant {
        self.tenure.borrow().map_or_else(Instant::now, |tenure| {
            let started = tenure.until.checked_sub(self.ttl).map_or(tenure.sent, |whole| whole.min(tenure.sent));
            started + self.ttl / 3
        })
    }

    /// Gives it its whole ttl again.
    pub(super) async fn renew(&self, shared: &Arc<Shared>) -> Result<(), RenewError> {
        self.change(shared, Some(self.ttl), None).await
    }

    async fn change(
        &self,
        shared: &Arc<Shared>,
        ttl: Option<Duration>,
        metadata: Option<Metadata>,
    ) -> Result<(), RenewError> {
        let left = self.left();
        if left.is_zero() {
            self.end();
            return Err(RenewError::TooLate);
        }
        let ask = Ask::Renew(v1::RenewRequest {
            header: None,
            name: self.name.bytes().clone(),
            holder: self.holder.bytes().clone(),
            token: self.token.0.0,
            ttl_ms: ttl.map(|ttl| ttl.as_millis() as i64),
            metadata: metadata.map(|metadata| metadata.bytes().clone()),
        });
        let pick = |told| match told {
            Told::Renew(renewed) => Some(Duration::from_millis(renewed.ttl_left_ms)),
            _ => None,
        };
        let timeout = Some(left.min(shared.config.timeout));
        let request = Request { ask, place: Place::Position(self.name.position()), timeout };
        match shared.call_timed(request, pick).await {
            Ok((ttl_left, sent)) => {
                self.confirm(Tenure::new(sent, ttl_left));
                Ok(())
            }
            Err(failure) => {
                let error = RenewError::from(failure);
                if error.is_final() {
                    self.end();
                }
                Err(error)
            }
        }
    }

    fn confirm(&self, by: Tenure) {
        self.tenure.send_modify(|tenure| *tenure = tenure.and_then(|tenure| tenure.renewed(by, Instant::now())));
    }

    fn end(&self) {
        self.tenure.send_replace(None);
    }
}

impl Lease {
    pub(super) fn new(client: &Client, granted: Granted, fixed_term: bool) -> Lease {
        use ringfence_types::Revision;
        let Granted { name, holder, ttl, tenure, told } = granted;
        let token = FencingToken(Revision(told.token));
        let tenure = watch::Sender::new(Some(tenure));
        let tenant = Arc::new(Tenant { name, holder, token, ttl, tenure });
        let kept = (!fixed_term).then(|| keep(&client.shared, Arc::clone(&tenant)));
        Lease {
            client: client.clone(),
            tenant,
            generation: FencingToken(Revision(told.generation)),
            permit: told.permit,
            kept,
            on_drop: if fixed_term { OnDrop::Nothing } else { OnDrop::Release },
        }
    }

    /// Of which lock.
    pub fn name(&self) -> &LockName {
        &self.tenant.name
    }

    /// Who holds it.
    pub fn holder(&self) -> &Holder {
        &self.tenant.holder
    }

    /// Larger for every later lease of the lock. Show it with every write that the lock protects.
    pub fn token(&self) -> FencingToken {
        self.tenant.token
    }

    /// The number of the permit, from 0, if the lock is a semaphore; else 0.
    pub fn permit(&self) -> u32 {
        self.permit
    }

    /// What those who share a lock show to guards outside: one for all of them. Of other leases the token.
    pub fn generation(&self) -> FencingToken {
        self.generation
    }

    /// To attach to writes.
    pub fn fence(&self) -> Fence {
        Fence { lock: self.tenant.name.clone(), token: self.tenant.token }
    }

    /// How long it may still be believed in unless it is renewed.
    pub fn remaining(&self) -> Duration {
        self.tenant.left()
    }

    /// Whether it must not be believed in any more. Once true, always true.
    pub fn is_lost(&self) -> bool {
        self.tenant.is_lost()
    }

    /// Returns when the lease must not be believed in any more, which is before anyone else can be granted the lock.
    pub async fn lost(&self) {
        let mut tenure = self.tenant.tenure.subscribe();
        loop {
            let Some(Tenure { until, .. }) = *tenure.borrow_and_update() else { return };
            tokio::select! {
                () = sleep_until(until) => {
                    if self.is_lost() {
                        return;
                    }
                }
                _ = tenure.changed() => {} // its sender is ours, so it is there
            }
        }
    }

    /// Gives it its whole ttl again, now. In the background that is done anyway, unless it is for a fixed term.
    pub async fn renew(&self) -> Result<(), RenewError> {
        self.tenant.renew(&self.client.shared).await
    }

    /// Changes what is shown with the lease, and renews it, unless it is for a fixed term.
    pub async fn set_metadata(&self, metadata: impl Into<Bytes>) -> Result<(), RenewError> {
        let ttl = self.kept.is_some().then_some(self.tenant.ttl);
        self.tenant.change(&self.client.shared, ttl, Some(Metadata::new(metadata)?)).await
    }

    /// Ends it: the next who waits is granted the lock at once.
    pub async fn release(mut self) -> Result<(), ReleaseError> {
        self.kept = None;
        self.on_drop = OnDrop::Nothing;
        release(&self.client, &self.tenant.name, &self.tenant.holder, self.tenant.token, None).await
    }

    /// Forgets it: it is not renewed any more, and ends when its ttl has passed.
    pub fn abandon(mut self) {
        self.on_drop = OnDrop::Nothing;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::Nothing {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (client, tenant) = (self.client.clone(), Arc::clone(&self.tenant));
        runtime.spawn(async move {
            // If it fails, the lease ends by its ttl.
            let _ = release(&client, &tenant.name, &tenant.holder, tenant.token, None).await;
        });
    }
}

impl From<&Lease> for Fence {
    fn from(lease: &Lease) -> Fence {
        lease.fence()
    }
}
