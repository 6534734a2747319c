use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::{Reason, metadata, v1};
use ringfence_types::{Fence, FencingToken, Key, KeyError, Revision};

use super::{current_token, fenced, revision, wire_fences};
use crate::call::Request;
use crate::client::Client;
use crate::errors::{CallFailure, Outcome, OutcomeUnknown, Rejected, Unavailable};
use crate::routing::Place;

/// The sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// After the addition.
    pub value: i64,
    /// Of the write.
    pub revision: Revision,
    /// How often the key was written since it was created; 1 = created by this write.
    pub version: u64,
}

/// Adds to an integer. Made by [`Client::add`]; await it.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Add {
    client: Client,
    key: Bytes,
    delta: i64,
    min: Option<i64>,
    max: Option<i64>,
    fences: Vec<Fence>,
    timeout: Option<Duration>,
}

/// Why nothing was added, or perhaps was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// This is not a key.
    #[error(transparent)]
    InvalidKey(#[from] KeyError),
    /// The sum would leave its bounds, or 64 bits. Nothing happened.
    #[error("the sum would leave its bounds: {}. Nothing was changed", holds(.current))]
    OutOfBounds {
        /// What the key holds, if the cluster said so.
        current: Option<i64>,
    },
    /// The key holds something that is not a decimal integer. Put one first.
    #[error("the key holds a value that is not a decimal integer, so nothing can be added to it. Put an integer first")]
    NotAnInteger,
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
    /// It may have been added. Adding again may add twice: read the key first.
    #[error(transparent)]
    OutcomeUnknown(OutcomeUnknown),
}

fn holds(current: &Option<i64>) -> String {
    current.map_or("the key holds an integer near its bound".to_owned(), |current| format!("the key holds {current}"))
}

impl AddError {
    /// Whether it may have happened.
    pub fn outcome(&self) -> Outcome {
        match self {
            AddError::OutcomeUnknown(_) => Outcome::Unknown,
            _ => Outcome::Refused,
        }
    }
}

impl From<CallFailure> for AddError {
    fn from(failure: CallFailure) -> AddError {
        match failure {
            CallFailure::Refused(error) => match error.reason() {
                Some(Reason::OutOfBounds) => AddError::OutOfBounds { current: error.fact(metadata::CURRENT) },
                Some(Reason::Fenced) => AddError::Fenced { current: current_token(&error) },
                Some(Reason::NotAnInteger) => AddError::NotAnInteger,
                _ => AddError::Rejected(error.into()),
            },
            CallFailure::Unavailable(unavailable) => AddError::Unavailable(unavailable),
            CallFailure::Unknown(unknown) => AddError::OutcomeUnknown(unknown),
        }
    }
}

impl Client {
    /// Adds to an integer that is kept as decimal text; an absent key counts as 0. The delta may be negative. Counted once
    /// however often it has to be sent.
    pub fn add(&self, key: impl AsRef<[u8]>, delta: i64) -> Add {
        let key = Bytes::copy_from_slice(key.as_ref());
        Add { client: self.clone(), key, delta, min: None, max: None, fences: Vec::new(), timeout: None }
    }
}

impl Add {
    /// The sum must not be lower, else nothing happens.
    pub fn min(mut self, min: i64) -> Add {
        self.min = Some(min);
        self
    }

    /// The sum must not be higher, else nothing happens.
    pub fn max(mut self, max: i64) -> Add {
        self.max = Some(max);
        self
    }

    /// Happens only while this lease is current, checked where and when it happens; else [`AddError::Fenced`]. May be given up to
    /// 16 times. The lock must lie on the key's shard: give both the same hash tag.
    pub fn fence(mut self, fence: impl Into<Fence>) -> Add {
        self.fences.push(fence.into());
        self
    }

    /// Another deadline than the client's.
    pub fn timeout(mut self, timeout: Duration) -> Add {
        self.timeout = Some(timeout);
        self
    }

    async fn run(self) -> Result<Added, AddError> {
        let place = Place::Position(Key::new(self.key.clone())?.position());
        let Add { key, delta, min, max, fences, .. } = self;
        let ask = Ask::Add(v1::AddRequest { header: None, key, delta, min, max, fences: wire_fences(fences) });
        let pick = |told| match told {
            Told::Add(add) => Some(Added { value: add.value, revision: revision(&add.header), version: add.version }),
            _ => None,
        };
        let request = Request { ask, place, timeout: self.timeout };
        Ok(self.client.shared.call(request, pick).await?)
    }
}

impl IntoFuture for Add {
    type Output = Result<Added, AddError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
