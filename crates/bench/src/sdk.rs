use bytes::Bytes;
use ringfence_client::{
    CasError, Client, Condition, DeleteError, GetError, OutcomeUnknown, PutError, Rejected, Revision, Unavailable,
};

use crate::target::{Cas, Found, OpError, Path, Peer, Target};

/// Ringfence through its SDK: one [`Client`] that all tasks share, as a service has one.
#[derive(Clone, Debug)]
pub struct Sdk(Client);

impl Sdk {
    /// With this client.
    pub fn new(client: Client) -> Sdk {
        Sdk(client)
    }
}

impl Peer for Sdk {
    type Target = Sdk;

    fn target(&self, _client: usize, _clients: usize) -> Sdk {
        self.clone()
    }

    fn path(&self) -> Path {
        Path::Sdk
    }
}

impl Target for Sdk {
    async fn get(&mut self, key: &Bytes) -> Result<Option<Found>, OpError> {
        let found = self.0.get(key).await?;
        Ok(found.map(|kv| Found { revision: kv.revision.0, value_bytes: kv.value.len() }))
    }

    async fn put(&mut self, key: &Bytes, value: &Bytes) -> Result<i64, OpError> {
        Ok(self.0.put(key, value.clone()).await?.revision.0)
    }

    async fn cas(&mut self, key: &Bytes, expected: i64, value: &Bytes) -> Result<Cas, OpError> {
        let condition = match expected {
            0 => Condition::Absent,
            revision => Condition::RevisionIs(Revision(revision)),
        };
        match self.0.cas(key, condition, value.clone()).await {
            Ok(written) => Ok(Cas::Done(written.revision.0)),
            Err(CasError::ConditionFailed { revision, .. }) => Ok(Cas::Conflict(revision.0)),
            Err(error) => Err(error.into()),
        }
    }

    async fn delete(&mut self, key: &Bytes) -> Result<(), OpError> {
        self.0.delete(key).await?;
        Ok(())
    }
}

fn unavailable(error: &Unavailable) -> &'static str {
    error.reason.map_or("NO_ANSWER", |reason| reason.name())
}

fn rejected(error: &Rejected) -> &'static str {
    error.reason.map_or("REJECTED", |reason| reason.name())
}

fn unknown(_: &OutcomeUnknown) -> &'static str {
    "OUTCOME_UNKNOWN"
}

/// The bench asked for something that is none; its own fault.
const BAD_REQUEST: &str = "BAD_REQUEST";

impl From<GetError> for OpError {
    fn from(error: GetError) -> OpError {
        let kind = match &error {
            GetError::Unavailable(error) => unavailable(error),
            GetError::Rejected(error) => rejected(error),
            GetError::HistoryGone { .. } | GetError::InvalidKey(_) => BAD_REQUEST,
        };
        OpError::new(kind, error)
    }
}

impl From<PutError> for OpError {
    fn from(error: PutError) -> OpError {
        let kind = match &error {
            PutError::Unavailable(error) => unavailable(error),
            PutError::Rejected(error) => rejected(error),
            PutError::OutcomeUnknown(error) => unknown(error),
            PutError::InvalidKey(_)
            | PutError::InvalidValue(_)
            | PutError::InvalidTtl(_)
            | PutError::ConditionFailed { .. } => BAD_REQUEST,
        };
        OpError::new(kind, error)
    }
}

impl From<CasError> for OpError {
    fn from(error: CasError) -> OpError {
        OpError::from(PutError::from(error))
    }
}

impl From<DeleteError> for OpError {
    fn from(error: DeleteError) -> OpError {
        let kind = match &error {
            DeleteError::Unavailable(error) => unavailable(error),
            DeleteError::Rejected(error) => rejected(error),
            DeleteError::OutcomeUnknown(error) => unknown(error),
            DeleteError::InvalidKey(_) | DeleteError::ConditionFailed { .. } => BAD_REQUEST,
        };
        OpError::new(kind, error)
    }
}
