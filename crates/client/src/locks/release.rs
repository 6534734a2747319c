use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::{Reason, v1};
use ringfence_types::{FencingToken, Holder, HolderError, KeyError, LockName};

use crate::call::Request;
use crate::client::Client;
use crate::errors::{CallFailure, Outcome, OutcomeUnknown, Rejected, Unavailable};
use crate::routing::Place;

/// Ends a lease of whoever holds it. Made by [`Client::release_lease`]; await it.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct ReleaseLease {
    client: Client,
    name: Bytes,
    holder: Bytes,
    token: FencingToken,
    timeout: Option<Duration>,
}

/// Why a lease was not released.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// It was over already, and perhaps somebody else holds the lock.
    #[error("the lease was over already; whoever holds the lock now has another token")]
    Over,
    /// The lease has another holder.
    #[error("the lease has another holder. `inspect_lock` tells which")]
    NotTheHolder,
    /// This is no lock.
    #[error(transparent)]
    InvalidName(#[from] KeyError),
    /// This is no holder.
    #[error(transparent)]
    InvalidHolder(#[from] HolderError),
    /// No node could answer in time. The lease ends when its ttl has passed.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// The cluster refuses, and would again.
    #[error(transparent)]
    Rejected(Rejected),
    /// It may have been released. If not, it ends when its ttl has passed.
    #[error(transparent)]
    OutcomeUnknown(OutcomeUnknown),
}

impl ReleaseError {
    /// Whether it may have happened.
    pub fn outcome(&self) -> Outcome {
        match self {
            ReleaseError::OutcomeUnknown(_) => Outcome::Unknown,
            _ => Outcome::Refused,
        }
    }
}

impl From<CallFailure> for ReleaseError {
    fn from(failure: CallFailure) -> ReleaseError {
        match failure {
            CallFailure::Refused(error) => match error.reason() {
                Some(Reason::Fenced | Reason::LeaseOver | Reason::LeaseExpired) => ReleaseError::Over,
                Some(Reason::NotTheHolder) => ReleaseError::NotTheHolder,
                _ => ReleaseError::Rejected(error.into()),
            },
            CallFailure::Unavailable(unavailable) => ReleaseError::Unavailable(unavailable),
            CallFailure::Unknown(unknown) => ReleaseError::OutcomeUnknown(unknown),
        }
    }
}

impl Client {
    /// Ends a lease in its holder's name: what an operator does with a holder that is stuck. Its writes are refused from then on
    /// if they carry its fence.
    pub fn release_lease(&self, name: impl AsRef<[u8]>, holder: impl Into<Bytes>, token: FencingToken) -> ReleaseLease {
        let name = Bytes::copy_from_slice(name.as_ref());
        ReleaseLease { client: self.clone(), name, holder: holder.into(), token, timeout: None }
    }
}

impl ReleaseLease {
    /// Another deadline than the client's.
    pub fn timeout(mut self, timeout: Duration) -> ReleaseLease {
        self.timeout = Some(timeout);
        self
    }

    async fn run(self) -> Result<(), ReleaseError> {
        let (name, holder) = (LockName::new(self.name)?, Holder::new(self.holder)?);
        release(&self.client, &name, &holder, self.token, self.timeout).await
    }
}

pub(super) async fn release(
    client: &Client,
    name: &LockName,
    holder: &Holder,
    token: FencingToken,
    timeout: Option<Duration>,
) -> Result<(), ReleaseError> {
    let ask = Ask::Release(v1::ReleaseRequest {
        header: None,
        name: name.bytes().clone(),
        holder: holder.bytes().clone(),
        token: token.0.0,
    });
    let pick = |told| matches!(told, Told::Release(_)).then_some(());
    let request = Request { ask, place: Place::Position(name.position()), timeout };
    Ok(client.shared.call(request, pick).await?)
}

impl IntoFuture for ReleaseLease {
    type Output = Result<(), ReleaseError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
