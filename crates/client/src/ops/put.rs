use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::{Reason, v1};
use ringfence_types::{Fence, FencingToken, Key, KeyError, Revision, Value, ValueError};

use super::cas::CasError;
use super::ttl::ttl_ms;
use super::{Condition, TtlError, current_token, fenced, revision, wire_fences};
use crate::call::Request;
use crate::client::Client;
use crate::errors::{CallFailure, Outcome, OutcomeUnknown, Rejected, Unavailable};
use crate::routing::Place;

/// The key holds the value now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Of the write.
    pub revision: Revision,
    /// How often the key was written since it was created; 1 = created by this write.
    pub version: u64,
}

/// Sets a key. Made by [`Client::put`]; await it.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Put {
    client: Client,
    key: Bytes,
    value: Bytes,
    ttl: Option<Duration>,
    condition: Option<Condition>,
    fences: Vec<Fence>,
    timeout: Option<Duration>,
}

/// Why a key was not set, or perhaps was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// This is not a key.
    #[error(transparent)]
    InvalidKey(#[from] KeyError),
    /// This is not a value.
    #[error(transparent)]
    InvalidValue(#[from] ValueError),
    /// This is not a time to live.
    #[error(transparent)]
    InvalidTtl(#[from] TtlError),
    /// The [`Put::condition`] did not hold. Read the key and decide again.
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
    /// It may have happened.
    #[error(transparent)]
    OutcomeUnknown(OutcomeUnknown),
}

impl PutError {
    /// Whether it may have happened.
    pub fn outcome(&self) -> Outcome {
        match self {
            PutError::OutcomeUnknown(_) => Outcome::Unknown,
            _ => Outcome::Refused,
        }
    }
}

impl From<CallFailure> for PutError {
    fn from(failure: CallFailure) -> PutError {
        match failure {
            CallFailure::Refused(error) if error.reason() == Some(Reason::Fenced) => {
                PutError::Fenced { current: current_token(&error) }
            }
            CallFailure::Refused(error) => PutError::Rejected(error.into()),
            CallFailure::Unavailable(unavailable) => PutError::Unavailable(unavailable),
            CallFailure::Unknown(unknown) => PutError::OutcomeUnknown(unknown),
        }
    }
}

impl From<CasError> for PutError {
    fn from(error: CasError) -> PutError {
        match error {
            CasError::InvalidKey(error) => PutError::InvalidKey(error),
            CasError::InvalidValue(error) => PutError::InvalidValue(error),
            CasError::InvalidTtl(error) => PutError::InvalidTtl(error),
            CasError::ConditionFailed { revision, version } => PutError::ConditionFailed { revision, version },
            CasError::Fenced { current } => PutError::Fenced { current },
            CasError::Unavailable(unavailable) => PutError::Unavailable(unavailable),
            CasError::Rejected(rejected) => PutError::Rejected(rejected),
            CasError::OutcomeUnknown(unknown) => PutError::OutcomeUnknown(unknown),
        }
    }
}

impl Client {
    /// Sets a key. The value is not copied if it is `'static`, a `Vec`, a `String` or [`Bytes`].
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Put {
        Put {
            client: self.clone(),
            key: Bytes::copy_from_slice(key.as_ref()),
            value: value.into(),
            ttl: None,
            condition: None,
            fences: Vec::new(),
            timeout: None,
        }
    }
}

impl Put {
    /// Removes the key after this time. Without it the key stays until it is deleted, also if it had a ttl before.
    pub fn ttl(mut self, ttl: Duration) -> Put {
        self.ttl = Some(ttl);
        self
    }

    /// Only if this holds. The same as [`Client::cas`].
    pub fn condition(mut self, condition: Condition) -> Put {
        self.condition = Some(condition);
        self
    }

    /// Happens only while this lease is current, checked where and when it happens; else [`PutError::Fenced`]. May be given up to
    /// 16 times. The lock must lie on the key's shard: give both the same hash tag.
    pub fn fence(mut self, fence: impl Into<Fence>) -> Put {
        self.fences.push(fence.into());
        self
    }

    /// Another deadline than the client's.
    pub fn timeout(mut self, timeout: Duration) -> Put {
        self.timeout = Some(timeout);
        self
    }

    async fn run(self) -> Result<Written, PutError> {
        if let Some(condition) = self.condition {
            let mut cas = self.client.cas(self.key, condition, self.value);
            (cas.ttl, cas.fences, cas.timeout) = (self.ttl, self.fences, self.timeout);
            return Ok(cas.run().await?);
        }
        let place = Place::Position(Key::new(self.key.clone())?.position());
        Value::new(self.value.clone())?;
        let ttl_ms = ttl_ms(self.ttl)?;
        let ask = Ask::Put(v1::PutRequest {
            header: None,
            key: self.key,
            value: self.value,
            ttl_ms,
            fences: wire_fences(self.fences),
        });
        let pick = |told| match told {
            Told::Put(put) => Some(Written { revision: revision(&put.header), version: put.version }),
            _ => None,
        };
        let request = Request { ask, place, timeout: self.timeout };
        Ok(self.client.shared.call(request, pick).await?)
    }
}

impl IntoFuture for Put {
    type Output = Result<Written, PutError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
