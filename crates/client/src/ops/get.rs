use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::{Reason, v1};
use ringfence_types::{Key, KeyError, Revision};

use crate::call::Request;
use crate::client::Client;
use crate::errors::{Outcome, ReadFailure, Rejected, Unavailable};
use crate::routing::Place;

/// A key, what it holds, and its history in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// What it holds. Empty in a scan of keys only.
    pub value: Bytes,
    /// Of the last write.
    pub revision: Revision,
    /// Of the write that created it.
    pub create_revision: Revision,
    /// How often it was written since; 1 = created.
    pub version: u64,
    /// What is left of its time to live, if it has one.
    pub ttl: Option<Duration>,
}

impl From<v1::KeyValue> for KeyValue {
    fn from(kv: v1::KeyValue) -> KeyValue {
        KeyValue {
            key: kv.key,
            value: kv.value,
            revision: Revision(kv.revision),
            create_revision: Revision(kv.create_revision),
            version: kv.version,
            ttl: kv.ttl_ms.map(Duration::from_millis),
        }
    }
}

/// Reads a key. Made by [`Client::get`]; await it.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Get {
    client: Client,
    key: Bytes,
    at: Revision,
    timeout: Option<Duration>,
}

/// Why a key could not be read. Reading changes nothing, whatever happens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GetError {
    /// This is not a key.
    #[error(transparent)]
    InvalidKey(#[from] KeyError),
    /// What the key held at that revision is not kept any more. Read at a later one.
    #[error("{message}")]
    HistoryGone {
        /// For people.
        message: String,
    },
    /// No node could answer in time. Try again later.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// The cluster refuses, and would again.
    #[error(transparent)]
    Rejected(Rejected),
}

impl GetError {
    /// Always refused: reading changes nothing.
    pub fn outcome(&self) -> Outcome {
        Outcome::Refused
    }
}

impl From<ReadFailure> for GetError {
    fn from(failure: ReadFailure) -> GetError {
        match failure {
            ReadFailure::Unavailable(unavailable) => GetError::Unavailable(unavailable),
            ReadFailure::Refused(error) if error.reason() == Some(Reason::HistoryGone) => {
                GetError::HistoryGone { message: error.message }
            }
            ReadFailure::Refused(error) => GetError::Rejected(error.into()),
        }
    }
}

impl Client {
    /// Reads a key: `None` if it is absent. Linearizable: sees every write that was acknowledged, to anyone, before this began.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Get {
        let key = Bytes::copy_from_slice(key.as_ref());
        Get { client: self.clone(), key, at: Revision::ZERO, timeout: None }
    }
}

impl Get {
    /// Reads what the key held at an earlier revision, as long as that is kept (10 min unless configured otherwise).
    pub fn at_revision(mut self, revision: Revision) -> Get {
        self.at = revision;
        self
    }

    /// Another deadline than the client's.
    pub fn timeout(mut self, timeout: Duration) -> Get {
        self.timeout = Some(timeout);
        self
    }

    async fn run(self) -> Result<Option<KeyValue>, GetError> {
        let place = Place::Position(Key::new(self.key.clone())?.position());
        let ask = Ask::Get(v1::GetRequest { header: None, key: self.key, at_revision: self.at.0 });
        let pick = |told| match told {
            Told::Get(get) => Some(get.kv.map(KeyValue::from)),
            _ => None,
        };
        let request = Request { ask, place, timeout: self.timeout };
        Ok(self.client.shared.call(request, pick).await.map_err(ReadFailure::from)?)
    }
}

impl IntoFuture for Get {
    type Output = Result<Option<KeyValue>, GetError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
