use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringfence_proto::v1::acquire_response::Outcome as Acquired;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::{Reason, metadata, v1};
use ringfence_types::limits::WAITER_SILENCE_MS_MAX;
use ringfence_types::{
    FencingToken, Holder, HolderError, KeyError, LeaseTtl, LeaseTtlError, LockMode, LockName, Metadata, MetadataError,
    Permits, PermitsError, Revision,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::lease::{Granted, Lease};
use super::release::release;
use super::tenure::Tenure;
use crate::call::Request;
use crate::client::{Client, Shared};
use crate::errors::{CallFailure, Outcome, OutcomeUnknown, Rejected, Unavailable};
use crate::routing::Place;

/// How long a lease lasts unless it is renewed, if the caller does not say.
const TTL_DEFAULT: Duration = Duration::from_secs(10);

/// How long one call waits for the lock's turn. Then another one does.
const CALL_MAX: Duration = Duration::from_millis(WAITER_SILENCE_MS_MAX / 3);

/// How long whoever has waited in vain waits for its place to be given up. Then that goes on in the background.
const GIVE_UP_MAX: Duration = Duration::from_secs(1);

/// Acquires a lock. Made by [`Client::lock`] and its relatives; await it.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Acquire {
    client: Client,
    name: Bytes,
    holder: Option<Bytes>,
    mode: Mode,
    ttl: Duration,
    metadata: Bytes,
    patience: Patience,
    fixed_term: bool,
}

/// Beside whom. Checked when it is awaited.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    Exclusive,
    Shared,
    Permit { of: u32 },
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
enum Patience {
    Endless,
    AtMost(Duration),
    None,
}

/// Why a lock was not acquired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// This is no name of a lock.
    #[error(transparent)]
    InvalidName(#[from] KeyError),
    /// This is no name of a holder.
    #[error(transparent)]
    InvalidHolder(#[from] HolderError),
    /// Too long.
    #[error(transparent)]
    InvalidMetadata(#[from] MetadataError),
    /// No lease lasts so long.
    #[error(transparent)]
    InvalidTtl(#[from] LeaseTtlError),
    /// No semaphore has so many permits.
    #[error(transparent)]
    InvalidPermits(#[from] PermitsError),
    /// It is not free, and the request was not to wait.
    #[error("{}", .0.message)]
    Held(Box<Held>),
    /// As many wait as may.
    #[error(
        "{waiting} wait for this lock already, and more are not let in. Try again later, or spread the work over several locks"
    )]
    QueueFull {
        /// How many.
        waiting: u64,
    },
    /// It was not granted for as long as the request was to wait.
    #[error("the lock was not granted within {} ms. Its place in the queue is given up", .waited.as_millis())]
    TimedOut {
        /// How long it waited.
        waited: Duration,
    },
    /// The semaphore is in use with another number of permits.
    #[error("the semaphore has {of} permits for those who use it now. All must ask for the same number")]
    PermitsDiffer {
        /// Theirs.
        of: u32,
    },
    /// No node could answer in time.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// The cluster refuses, and would again.
    #[error(transparent)]
    Rejected(Rejected),
    /// It may have been granted. Then it ends when its ttl has passed.
    #[error(transparent)]
    OutcomeUnknown(OutcomeUnknown),
}

/// Who has a lock that was not to be waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Of the lease, or of the first of several.
    pub token: FencingToken,
    /// Unless it is renewed.
    pub ttl_left: Duration,
    /// How many wait.
    pub waiting: u64,
    /// For people: by whom, and what to do.
    pub message: String,
}

impl AcquireError {
    /// Whether it may have happened.
    pub fn outcome(&self) -> Outcome {
        match self {
            AcquireError::OutcomeUnknown(_) => Outcome::Unknown,
            _ => Outcome::Refused,
        }
    }
}

impl From<CallFailure> for AcquireError {
    fn from(failure: CallFailure) -> AcquireError {
        let error = match failure {
            CallFailure::Refused(error) => error,
            CallFailure::Unavailable(unavailable) => return AcquireError::Unavailable(unavailable),
            CallFailure::Unknown(unknown) => return AcquireError::OutcomeUnknown(unknown),
        };
        match error.reason() {
            Some(Reason::LockHeld) => AcquireError::Held(Box::new(Held {
                token: FencingToken(Revision(error.fact(metadata::TOKEN).unwrap_or_default())),
                ttl_left: Duration::from_millis(error.fact(metadata::TTL_LEFT_MS).unwrap_or_default()),
                waiting: error.fact(metadata::WAITING).unwrap_or_default(),
                message: error.message,
            })),
            Some(Reason::LockQueueFull) => {
                AcquireError::QueueFull { waiting: error.fact(metadata::WAITING).unwrap_or_default() }
            }
            Some(Reason::PermitsDiffer) => {
                AcquireError::PermitsDiffer { of: error.fact(metadata::PERMITS).unwrap_or_default() }
            }
            _ => AcquireError::Rejected(error.into()),
        }
    }
}

impl Client {
    /// Acquires a lock: waits its turn, and then has it alone. See [`Lease`].
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn f(db: ringfence_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let lease = db.lock("{job:9}lock").ttl(Duration::from_secs(5)).wait_at_most(Duration::from_secs(30)).await?;
    /// tokio::select! {
    ///     () = lease.lost() => println!("stop: somebody else may have it now"),
    ///     written = db.put("{job:9}state", "done").fence(&lease) => println!("{written:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock(&self, name: impl AsRef<[u8]>) -> Acquire {
        Acquire::new(self, name.as_ref(), Mode::Exclusive)
    }
}

impl Acquire {
    pub(super) fn new(client: &Client, name: &[u8], mode: Mode) -> Acquire {
        Acquire {
            client: client.clone(),
            name: Bytes::copy_from_slice(name),
            holder: None,
            mode,
            ttl: TTL_DEFAULT,
            metadata: Bytes::new(),
            patience: Patience::Endless,
            fixed_term: false,
        }
    }

    /// How long the lease lasts unless it is renewed, from the grant: 100 ms to 24 h; 10 s unless set. Short: a holder that died is
    /// soon replaced. Long: a holder that was only slow keeps its lock.
    pub fn ttl(mut self, ttl: Duration) -> Acquire {
        self.ttl = ttl;
        self
    }

    /// Who asks: 1 to 256 bytes, shown to whoever finds the lock held. Unless set, a random name of this client.
    pub fn holder(mut self, holder: impl Into<Bytes>) -> Acquire {
        self.holder = Some(holder.into());
        self
    }

    /// Shown with the lease; at most 4 KiB.
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Acquire {
        self.metadata = metadata.into();
        self
    }

    /// Waits for so long at most. Unless set, as long as it takes.
    pub fn wait_at_most(mut self, patience: Duration) -> Acquire {
        self.patience = if patience.is_zero() { Patience::None } else { Patience::AtMost(patience) };
        self
    }

    /// Refused with [`AcquireError::Held`] at once if the lock is not free.
    pub fn without_waiting(mut self) -> Acquire {
        self.patience = Patience::None;
        self
    }

    /// The lease ends when its ttl has passed, whatever happens: it is not renewed in the background, and not released when it is
    /// dropped. For holds that are worth something without their holder, as that of a seat.
    pub fn fixed_term(mut self) -> Acquire {
        self.fixed_term = true;
        self
    }

    async fn run(self) -> Result<Lease, AcquireError> {
        let wanted = self.checked()?;
        let begun = Instant::now();
        loop {
            let ticket = match wanted.acquire(!matches!(self.patience, Patience::None)).await {
                Ok(Answer::Granted(granted)) if granted.tenure.left(Instant::now()).is_zero() => None,
                Ok(Answer::Granted(granted)) => return Ok(Lease::new(&self.client, granted, self.fixed_term)),
                Ok(Answer::Queued(ticket)) => Some(ticket),
                Err(failure) if is_over(&failure) => None,
                Err(failure) => return Err(failure.into()),
            };
            let Some(ticket) = ticket else {
                // Granted while nobody listened, as when this process was frozen, and over by now.
                if self.left(begun).is_zero() && !matches!(self.patience, Patience::None) {
                    return Err(AcquireError::TimedOut { waited: begun.elapsed() });
                }
                continue;
            };
            let mut place = PlaceInQueue { wanted: Some(&wanted), ticket };
            loop {
                let left = self.left(begun);
                if left.is_zero() {
                    if timeout(GIVE_UP_MAX, wanted.give_up(ticket)).await.is_ok() {
                        place.wanted = None;
                    }
                    return Err(AcquireError::TimedOut { waited: begun.elapsed() });
                }
                match wanted.wait(ticket, left.min(CALL_MAX).min(wanted.ttl / 3)).await {
                    Ok(Answer::Granted(granted)) => {
                        place.wanted = None;
                        if granted.tenure.left(Instant::now()).is_zero() {
                            break; // as above
                        }
                        return Ok(Lease::new(&self.client, granted, self.fixed_term));
                    }
                    Ok(Answer::Queued(_)) => {}
                    // Passed over while no node could be reached: from the end of the queue again.
                    Err(failure) if is_over(&failure) => {
                        place.wanted = None;
                        break;
                    }
                    Err(failure) => return Err(failure.into()),
                }
            }
        }
    }

    /// How long it may still wait.
    fn left(&self, begun: Instant) -> Duration {
        match self.patience {
            Patience::AtMost(patience) => patience.saturating_sub(begun.elapsed()),
            Patience::Endless | Patience::None => Duration::MAX,
        }
    }

    fn checked(&self) -> Result<Arc<Wanted>, AcquireError> {
        let ttl = LeaseTtl::from_ms(u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX))?;
        let holder = match &self.holder {
            Some(holder) => Holder::new(holder.clone())?,
            None => self.client.shared.ids.holder(),
        };
        let mode = match self.mode {
            Mode::Exclusive => LockMode::Exclusive,
            Mode::Shared => LockMode::Shared,
            Mode::Permit { of } => LockMode::Permit { of: Permits::new(of)? },
        };
        Ok(Arc::new(Wanted {
            client: self.client.clone(),
            name: LockName::new(self.name.clone())?,
            holder,
            mode,
            ttl: Duration::from_millis(ttl.as_ms()),
            metadata: Metadata::new(self.metadata.clone())?,
        }))
    }
}

impl IntoFuture for Acquire {
    type Output = Result<Lease, AcquireError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Whether what was granted, or the place in the queue, is over.
fn is_over(failure: &CallFailure) -> bool {
    matches!(failure, CallFailure::Refused(error) if error.reason() == Some(Reason::LeaseOver))
}

/// An acquire that was checked.
struct Wanted {
    client: Client,
    name: LockName,
    holder: Holder,
    mode: LockMode,
    ttl: Duration,
    metadata: Metadata,
}

enum Answer {
    Granted(Granted),
    Queued(i64),
}

impl Wanted {
    fn shared(&self) -> &Arc<Shared> {
        &self.client.shared
    }

    fn request(&self, ask: Ask, timeout: Option<Duration>) -> Request {
        Request { ask, place: Place::Position(self.name.position()), timeout }
    }

    /// Asks for the lock. What comes of it is not left behind if nobody waits for it any more.
    async fn acquire(self: &Arc<Self>, waits: bool) -> Result<Answer, CallFailure> {
        let (mode, permits) = match self.mode {
            LockMode::Exclusive => (v1::LockMode::Exclusive, 0),
            LockMode::Shared => (v1::LockMode::Shared, 0),
            LockMode::Permit { of } => (v1::LockMode::Permit, of.count()),
        };
        let ask = Ask::Acquire(v1::AcquireRequest {
            header: None,
            name: self.name.bytes().clone(),
            holder: self.holder.bytes().clone(),
            mode: mode.into(),
            permits,
            ttl_ms: self.ttl.as_millis() as i64,
            metadata: self.metadata.bytes().clone(),
            wait_ms: waits.into(),
        });
        let wanted = Arc::clone(self);
        let call = tokio::spawn(async move {
            let pick = |told| match told {
                Told::Acquire(acquired) => acquired.outcome,
                _ => None,
            };
            let (told, sent) = wanted.shared().call_timed(wanted.request(ask, None), pick).await?;
            Ok(wanted.answer(told, sent))
        });
        let mut asked = Asked { wanted: self, call: Some(call) };
        let answer = asked.call.as_mut().expect("it was just put there").await;
        asked.call = None;
        answer.unwrap_or_else(|stopped| {
            let last = format!("the call was stopped: {stopped}");
            Err(CallFailure::Unavailable(Unavailable { attempts: 0, reason: None, last }))
        })
    }

    /// Waits for the ticket's turn, for so long.
    async fn wait(&self, ticket: i64, within: Duration) -> Result<Answer, CallFailure> {
        let ask = Ask::Wait(v1::WaitRequest {
            header: None,
            name: self.name.bytes().clone(),
            holder: self.holder.bytes().clone(),
            ticket,
            within_ms: (within.as_millis() as u32).max(1),
        });
        let pick = |told| match told {
            Told::Wait(acquired) => acquired.outcome,
            _ => None,
        };
        let timeout = Some(self.shared().config.timeout + within);
        let (told, sent) = self.shared().call_timed(self.request(ask, timeout), pick).await?;
        Ok(self.answer(told, sent))
    }

    fn answer(&self, told: Acquired, sent: Instant) -> Answer {
        match told {
            Acquired::Queued(queued) => Answer::Queued(queued.ticket),
            Acquired::Granted(told) => Answer::Granted(Granted {
                name: self.name.clone(),
                holder: self.holder.clone(),
                ttl: self.ttl,
                tenure: Tenure::new(sent, Duration::from_millis(told.ttl_left_ms)),
                told,
            }),
        }
    }

    /// Leaves the queue, or gives back what was granted meanwhile. If that fails, the place is passed over after a while.
    async fn give_up(&self, ticket: i64) {
        let ask = Ask::GiveUp(v1::GiveUpRequest {
            header: None,
            name: self.name.bytes().clone(),
            holder: self.holder.bytes().clone(),
            ticket,
        });
        let pick = |told| matches!(told, Told::GiveUp(_)).then_some(());
        let _ = self.shared().call(self.request(ask, None), pick).await;
    }
}

/// A call whose answer nobody may be left to hear: then what it got is given back.
struct Asked<'a> {
    wanted: &'a Arc<Wanted>,
    call: Option<JoinHandle<Result<Answer, CallFailure>>>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let (Some(call), Ok(runtime)) = (self.call.take(), tokio::runtime::Handle::try_current()) else { return };
        let wanted = Arc::clone(self.wanted);
        runtime.spawn(async move {
            match call.await {
                Ok(Ok(Answer::Queued(ticket))) => wanted.give_up(ticket).await,
                Ok(Ok(Answer::Granted(granted))) => {
                    let token = FencingToken(Revision(granted.told.token));
                    let _ = release(&wanted.client, &wanted.name, &wanted.holder, token, None).await;
                }
                _ => {}
            }
        });
    }
}

/// A place in the queue, given up when this is dropped.
struct PlaceInQueue<'a> {
    /// `None`: it is none any more.
    wanted: Option<&'a Arc<Wanted>>,
    ticket: i64,
}

impl Drop for PlaceInQueue<'_> {
    fn drop(&mut self) {
        let (Some(wanted), Ok(runtime)) = (self.wanted, tokio::runtime::Handle::try_current()) else { return };
        let (wanted, ticket) = (Arc::clone(wanted), self.ticket);
        runtime.spawn(async move { wanted.give_up(ticket).await });
    }
}
