use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use ringfence_proto::v1::cas_request::Then;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::{Reason, v1};
use ringfence_types::{Fence, FencingToken, Key, KeyError, Revision};

use super::{Condition, current_token, fenced, key_facts, revision, wire_fences};
use crate::call::Request;
use crate::client::Client;
use crate::errors::{CallFailure, Outcome, OutcomeUnknown, Rejected, Unavailable};
use crate::routing::Place;

/// The key is absent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Of the removal; the shard's clock if there was nothing to remove.
    pub revision: Revision,
    /// Whether there was something to remove.
    pub existed: bool,
}

/// Removes a key. Made by [`Client::delete`]; await it.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Delete {
    client: Client,
    key: Bytes,
    condition: Option<Condition>,
    fences: Vec<Fence>,
    timeout: Option<Duration>,
}

/// Why a key was not removed, or perhaps was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// This is not a key.
    #[error(transparent)]
    InvalidKey(#[from] KeyError),
    /// The [`Delete::condition`] did not hold. Read the key and decide again.
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
    /// It may have happened. Deleting again is harmless unless somebody else may create the key meanwhile.
    #[error(transparent)]
    OutcomeUnknown(OutcomeUnknown),
}

impl DeleteError {
    /// Whether it may have happened.
    pub fn outcome(&self) -> Outcome {
        match self {
            DeleteError::OutcomeUnknown(_) => Outcome::Unknown,
            _ => Outcome::Refused,
        }
    }
}

impl From<CallFailure> for DeleteError {
    fn from(failure: CallFailure) -> DeleteError {
        match failure {
            CallFailure::Refused(error) if error.reason() == Some(Reason::ConditionFailed) => {
                let (revision, version) = key_facts(&error);
                DeleteError::ConditionFailed { revision, version }
            }
            CallFailure::Refused(error) if error.reason() == Some(Reason::Fenced) => {
                DeleteError::Fenced { current: current_token(&error) }
            }
            CallFailure::Refused(error) => DeleteError::Rejected(error.into()),
            CallFailure::Unavailable(unavailable) => DeleteError::Unavailable(unavailable),
            CallFailure::Unknown(unknown) => DeleteError::OutcomeUnknown(unknown),
        }
    }
}

impl Client {
    /// Removes a key. Of an absent key it succeeds with `existed: false`.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Delete {
        Delete {
            client: self.clone(),
            key: Bytes::copy_from_slice(key.as_ref()),
            condition: None,
            fences: Vec::new(),
            timeout: None,
        }
    }
}

impl Delete {
    /// Only if this holds.
    pub fn condition(mut self, condition: Condition) -> Delete {
        self.condition = Some(condition);
        self
    }

    /// Happens only while this lease is current, checked where and when it happens; else [`DeleteError::Fenced`]. May be given up to
    /// 16 times. The lock must lie on the key's shard: give both the same hash tag.
    pub fn fence(mut self, fence: impl Into<Fence>) -> Delete {
        self.fences.push(fence.into());
        self
    }

    /// Another deadline than the client's.
    pub fn timeout(mut self, timeout: Duration) -> Delete {
        self.timeout = Some(timeout);
        self
    }

    async fn run(self) -> Result<Deleted, DeleteError> {
        let place = Place::Position(Key::new(self.key.clone())?.position());
        let fences = wire_fences(self.fences);
        let ask = match self.condition {
            None => Ask::Delete(v1::DeleteRequest { header: None, key: self.key, fences }),
            Some(condition) => Ask::Cas(v1::CasRequest {
                header: None,
                key: self.key,
                condition: Some(condition.into_wire()),
                ttl_ms: None,
                then: Some(Then::Delete(true)),
                fences,
            }),
        };
        let pick = |told| match told {
            Told::Delete(delete) => Some(Deleted { revision: revision(&delete.header), existed: delete.existed }),
            Told::Cas(cas) => Some(Deleted { revision: revision(&cas.header), existed: cas.existed }),
            _ => None,
        };
        let request = Request { ask, place, timeout: self.timeout };
        Ok(self.client.shared.call(request, pick).await?)
    }
}

impl IntoFuture for Delete {
    type Output = Result<Deleted, DeleteError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
