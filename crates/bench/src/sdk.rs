use bytes::Bytes;
use ringfence_client::{
    AcquireError, CasError, Client, Condition, DeleteError, GetError, Lease, OutcomeUnknown, PutError, Reason,
    Rejected, ReleaseError, Revision, Unavailable,
};

use crate::target::{Cas, Found, LOCK_TTL, OpError, Path, Peer, Target};

/// Ringfence through its SDK: one [`Client`] that all tasks share, as a service has one.
#[derive(Clone, Debug)]
pub struct Sdk(Client);

/// One task of that service.
#[derive(Debug)]
pub struct SdkClient {
    client: Client,
    /// Of the lock that it holds.
    lease: Option<Lease>,
}

impl Sdk {
    /// With this client.
    pub fn new(client: Client) -> Sdk {
        Sdk(client)
    }
}

impl Peer for Sdk {
    type Target = SdkClient;

    fn target(&self, _client: usize, _clients: usize) -> SdkClient {
        SdkClient { client: self.0.clone(), lease: None }
    }

    fn path(&self) -> Path {
        Path::Sdk
    }
}

impl Target for SdkClient {
    async fn get(&mut self, key: &Bytes) -> Result<Option<Found>, OpError> {
        let found = self.client.get(key).await?;
        Ok(found.map(|kv| Found { revision: kv.revision.0, value_bytes: kv.value.len() }))
    }

    async fn put(&mut self, key: &Bytes, value: &Bytes) -> Result<i64, OpError> {
        Ok(self.client.put(key, value.clone()).await?.revision.0)
    }

    async fn cas(&mut self, key: &Bytes, expected: i64, value: &Bytes) -> Result<Cas, OpError> {
        let condition = match expected {
            0 => Condition::Absent,
            revision => Condition::RevisionIs(Revision(revision)),
        };
        match self.client.cas(key, condition, value.clone()).await {
            Ok(written) => Ok(Cas::Done(written.revision.0)),
            Err(CasError::ConditionFailed { revision, .. }) => Ok(Cas::Conflict(revision.0)),
            Err(error) => Err(error.into()),
        }
    }

    async fn delete(&mut self, key: &Bytes) -> Result<(), OpError> {
        self.client.delete(key).await?;
        Ok(())
    }

    async fn acquire(&mut self, name: &Bytes) -> Result<(), OpError> {
        self.lease = Some(self.client.lock(name).ttl(LOCK_TTL).await?);
        Ok(())
    }

    async fn release(&mut self) -> Result<(), OpError> {
        self.lease.take().expect("only what was acquired is released").release().await?;
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
            | PutError::Fenced { .. }
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
            DeleteError::InvalidKey(_) | DeleteError::Fenced { .. } | DeleteError::ConditionFailed { .. } => {
                BAD_REQUEST
            }
        };
        OpError::new(kind, error)
    }
}

impl From<AcquireError> for OpError {
    fn from(error: AcquireError) -> OpError {
        let kind = match &error {
            AcquireError::Unavailable(error) => unavailable(error),
            AcquireError::Rejected(error) => rejected(error),
            AcquireError::OutcomeUnknown(error) => unknown(error),
            AcquireError::Held(_) | AcquireError::TimedOut { .. } => Reason::LockHeld.name(),
            AcquireError::QueueFull { .. } => Reason::LockQueueFull.name(),
            AcquireError::InvalidName(_)
            | AcquireError::InvalidHolder(_)
            | AcquireError::InvalidMetadata(_)
            | AcquireError::InvalidTtl(_)
            | AcquireError::InvalidPermits(_)
            | AcquireError::PermitsDiffer { .. } => BAD_REQUEST,
        };
        OpError::new(kind, error)
    }
}

impl From<ReleaseError> for OpError {
    fn from(error: ReleaseError) -> OpError {
        let kind = match &error {
            ReleaseError::Unavailable(error) => unavailable(error),
            ReleaseError::Rejected(error) => rejected(error),
            ReleaseError::OutcomeUnknown(error) => unknown(error),
            // A lease of a minute is over while it is held and renewed: that must never happen.
            ReleaseError::Over => Reason::LeaseOver.name(),
            ReleaseError::NotTheHolder => Reason::NotTheHolder.name(),
            ReleaseError::InvalidName(_) | ReleaseError::InvalidHolder(_) => BAD_REQUEST,
        };
        OpError::new(kind, error)
    }
}
