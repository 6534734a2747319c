//! Leader election: an exclusive lock whose metadata say what the leader proclaims.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use ringfence_types::limits::WAITER_SILENCE_MS_MAX;
use ringfence_types::{Fence, FencingToken, Holder, LockName};

use super::acquire::{Acquire, AcquireError};
use super::lease::{Lease, RenewError};
use super::look::{LockInfo, LockReadError, inspect};
use super::release::ReleaseError;
use crate::client::Client;

/// How long one call waits for news.
const CALL_MAX: Duration = Duration::from_millis(WAITER_SILENCE_MS_MAX / 3);

/// Where one of many leads. Made by [`Client::election`].
#[derive(Clone, Debug)]
pub struct Election {
    client: Client,
    name: Bytes,
}

/// Stands for election. Made by [`Election::campaign`]; await it.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Campaign {
    acquire: Acquire,
}

/// To lead, until it is resigned or lost. A [`Lease`] like any other: what the leader writes carries its fence.
#[derive(Debug)]
#[must_use = "leadership is resigned when this is dropped"]
pub struct Leadership {
    lease: Lease,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Who it is.
    pub holder: Holder,
    /// What it proclaims.
    pub value: Bytes,
    /// Larger for every later leader.
    pub token: FencingToken,
}

/// Hears of leaders as they come and go. Made by [`Election::observe`].
#[derive(Debug)]
pub struct Observer {
    client: Client,
    name: Bytes,
    state: Option<u64>,
}

impl Client {
    /// An election.
    ///
    /// ```no_run
    /// # async fn f(db: ringfence_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let leadership = db.election("{scheduler}leader").campaign("10.0.0.7:9000").await?;
    /// while !leadership.is_lost() {
    ///     db.put("{scheduler}tick", "…").fence(&leadership).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn election(&self, name: impl AsRef<[u8]>) -> Election {
        Election { client: self.clone(), name: Bytes::copy_from_slice(name.as_ref()) }
    }
}

impl Election {
    /// Waits its turn to lead, with this to proclaim: where to be reached, say.
    pub fn campaign(&self, value: impl Into<Bytes>) -> Campaign {
        Campaign { acquire: self.client.lock(&self.name).metadata(value) }
    }

    /// Who leads now. Linearizable.
    pub async fn leader(&self) -> Result<Option<Leader>, LockReadError> {
        let (info, _) = inspect(&self.client, &LockName::new(self.name.clone())?, None, None).await?;
        Ok(leader_of(info))
    }

    /// Hears of leaders as they come and go, and of what they proclaim.
    pub fn observe(&self) -> Observer {
        Observer { client: self.client.clone(), name: self.name.clone(), state: None }
    }
}

impl Campaign {
    /// As [`Acquire::ttl`].
    pub fn ttl(self, ttl: Duration) -> Campaign {
        Campaign { acquire: self.acquire.ttl(ttl) }
    }

    /// As [`Acquire::holder`].
    pub fn holder(self, holder: impl Into<Bytes>) -> Campaign {
        Campaign { acquire: self.acquire.holder(holder) }
    }

    /// As [`Acquire::wait_at_most`].
    pub fn wait_at_most(self, patience: Duration) -> Campaign {
        Campaign { acquire: self.acquire.wait_at_most(patience) }
    }

    /// As [`Acquire::without_waiting`].
    pub fn without_waiting(self) -> Campaign {
        Campaign { acquire: self.acquire.without_waiting() }
    }
}

impl IntoFuture for Campaign {
    type Output = Result<Leadership, AcquireError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(Leadership { lease: self.acquire.await? }) })
    }
}

impl Leadership {
    /// Larger for every later leader.
    pub fn token(&self) -> FencingToken {
        self.lease.token()
    }

    /// To attach to writes.
    pub fn fence(&self) -> Fence {
        self.lease.fence()
    }

    /// As [`Lease::is_lost`].
    pub fn is_lost(&self) -> bool {
        self.lease.is_lost()
    }

    /// As [`Lease::lost`].
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// Changes what is proclaimed.
    pub async fn proclaim(&self, value: impl Into<Bytes>) -> Result<(), RenewError> {
        self.lease.set_metadata(value).await
    }

    /// Lets the next one lead, at once.
    pub async fn resign(self) -> Result<(), ReleaseError> {
        self.lease.release().await
    }

    /// As [`Lease::abandon`].
    pub fn abandon(self) {
        self.lease.abandon();
    }

    /// The lease behind it.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }
}

impl From<&Leadership> for Fence {
    fn from(leadership: &Leadership) -> Fence {
        leadership.fence()
    }
}

impl Observer {
    /// Who leads: at once when it is asked first, then each time that it, or what it proclaims, has changed. Steps that were
    /// overtaken are left out. After an error, ask again.
    pub async fn next(&mut self) -> Result<Option<Leader>, LockReadError> {
        let name = LockName::new(self.name.clone())?;
        loop {
            let unless = self.state.map(|state| (state, CALL_MAX));
            let timeout = Some(self.client.shared.config.timeout + CALL_MAX);
            let (info, state) = inspect(&self.client, &name, unless, timeout).await?;
            if self.state.replace(state) != Some(state) {
                return Ok(leader_of(info));
            }
        }
    }
}

fn leader_of(info: LockInfo) -> Option<Leader> {
    let lease = info.leases.into_iter().next()?;
    Some(Leader { holder: lease.holder, value: lease.metadata.bytes().clone(), token: lease.token })
}
