use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use ringfence_proto::v1::cas_request::Then;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::{Reason, v1};
use ringfence_types::{Fence, FencingToken, Key, KeyError, Revision, Value, ValueError};

use super::ttl::ttl_ms;
use super::{Condition, TtlError, Written, current_token, fenced, key_facts, revision, wire_fences};
use crate::call::Request;
use crate::client::Client;
use crate::errors::{CallFailure, Outcome, OutcomeUnknown, Rejected, Unavailable};
use crate::routing::Place;

/// Sets a key if a condition holds. Made by [`Client::cas`]; await it.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Cas {
    client: Client,
    key: Bytes,
    condition: Condition,
    value: Bytes,
    pub(super) ttl: Option<Duration>,
    pub(super) fences: Vec<Fence>,
    pub(super) timeout: Option<Duration>,
}

/// Why a key was not set, or perhaps was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CasError {
    /// This is not a key.
    #[error(transparent)]
    InvalidKey(#[from] KeyError),
    /// This is not a value.
    #[error(transparent)]
    InvalidValue(#[from] ValueError),
    /// This is not a time to live.
    #[error(transparent)]
    InvalidTtl(#[from] TtlError),
    /// Somebody else was first, or the condition never held. Read the key and decide again.
    #[error("the condition does not hold: the key is at revision {revision}, version {version} (0 = absent)")]
    ConditionFailed {
        /// Of the key's last write; zero if it is absent.
        revision: Revision,
        /// 0 if it is absent.
        version: u64,
    },
    /// The lease of a fence is not current any more: nothing happened, and its holder must stop.
    #[error("{}", fenced(.current))]
    Fenced {
        /// Of the newest lease, if anyone holds the lock.
        current: Option<FencingToken>,
    },
    /// No node could do it in time. Nothing happened; try again later.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// The cluster refuses, and would again. Nothing happened.
    #[error(transparent)]
    Rejected(Rejected),
    /// It may have happened. The key's revision tells: read it.
    #[error(transparent)]
    OutcomeUnknown(OutcomeUnknown),
}

impl CasError {
    /// Whether it may have happened.
    pub fn outcome(&self) -> Outcome {
        match self {
            CasError::OutcomeUnknown(_) => Outcome::Unknown,
            _ => Outcome::Refused,
        }
    }
}

impl From<CallFailure> for CasError {
    fn from(failure: CallFailure) -> CasError {
        match failure {
            CallFailure::Refused(error) if error.reason() == Some(Reason::ConditionFailed) => {
                let (revision, version) = key_facts(&error);
                CasError::ConditionFailed { revision, version }
            }
            CallFailure::Refused(error) if error.reason() == Some(Reason::Fenced) => {
                CasError::Fenced { current: current_token(&error) }
            }
            CallFailure::Refused(error) => CasError::Rejected(error.into()),
            CallFailure::Unavailable(unavailable) => CasError::Unavailable(unavailable),
            CallFailure::Unknown(unknown) => CasError::OutcomeUnknown(unknown),
        }
    }
}

impl Client {
    /// Sets a key if the condition holds, in one atomic step. To remove a key under a condition see
    /// [`crate::Delete::condition`].
    pub fn cas(&self, key: impl AsRef<[u8]>, condition: Condition, value: impl Into<Bytes>) -> Cas {
        Cas {
            client: self.clone(),
            key: Bytes::copy_from_slice(key.as_ref()),
            condition,
            value: value.into(),
            ttl: None,
            fences: Vec::new(),
            timeout: None,
        }
    }
}

impl Cas {
    /// Removes the key after this time. Without it the key stays until it is deleted, also if it had a ttl before.
    pub fn ttl(mut self, ttl: Duration) -> Cas {
        self.ttl = Some(ttl);
        self
    }

    /// Happens only while this lease is current, checked where and when it happens; else [`CasError::Fenced`]. May be given up to
    /// 16 times. The lock must lie on the key's shard: give both the same hash tag.
    pub fn fence(mut self, fence: impl Into<Fence>) -> Cas {
        self.fences.push(fence.into());
        self
    }

    /// Another deadline than the client's.
    pub fn timeout(mut self, timeout: Duration) -> Cas {
        self.timeout = Some(timeout);
        self
    }

    pub(super) async fn run(self) -> Result<Written, CasError> {
        let place = Place::Position(Key::new(self.key.clone())?.position());
        Value::new(self.value.clone())?;
        let ask = Ask::Cas(v1::CasRequest {
            header: None,
            key: self.key,
            condition: Some(self.condition.into_wire()),
            ttl_ms: ttl_ms(self.ttl)?,
            then: Some(Then::Put(self.value)),
            fences: wire_fences(self.fences),
        });
        let pick = |told| match told {
            Told::Cas(cas) => Some(Written { revision: revision(&cas.header), version: cas.version }),
            _ => None,
        };
        let request = Request { ask, place, timeout: self.timeout };
        Ok(self.client.shared.call(request, pick).await?)
    }
}

impl IntoFuture for Cas {
    type Output = Result<Written, CasError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
