//! One call from first attempt to last: picks a node, sends, learns from the answer, asks [`crate::retry`] what next.

use std::sync::Arc;
use std::time::Duration;

use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::{metadata, v1};
use ringfence_types::{NodeId, RequestId, Revision, ShardId};
use tokio::time::{Instant, sleep, timeout_at};

use crate::Reason;
use crate::client::Shared;
use crate::errors::{CallFailure, OutcomeUnknown, Unavailable};
use crate::pool::Link;
use crate::retry::{Attempts, End, Failure, Next, Whom};
use crate::routing::Place;

/// How long the first attempt at one key may take before another node is asked. Longer than an election usually takes, so
/// that a call that waits out a failover inside the cluster is not torn away from it.
const POINT_ATTEMPT: Duration = Duration::from_millis(1500);
/// The same for one page of a scan, which may read every shard.
const SCAN_ATTEMPT: Duration = Duration::from_secs(5);
/// A caller who gives up on a call that should have been answered so long ago did not change his mind: the node is silent.
const GIVEN_UP_MIN: Duration = Duration::from_millis(250);
/// What a call costs in memory beside its key and value, roughly.
const CALL_OVERHEAD_BYTES: usize = 256;

const MISMATCHED: &str = "the answer is of another kind than the question; report this with the server's version";

/// What to ask, and about what. The header is filled in for every attempt.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) ask: Ask,
    pub(crate) place: Place,
    /// Without it, the client's own.
    pub(crate) timeout: Option<Duration>,
}

impl Shared {
    /// Calls until there is a result, the cluster refuses, or the deadline passes. `pick` takes the result out of an answer of
    /// the kind that goes with the question. Another kind is a fault of the server, and says nothing about what happened.
    pub(crate) async fn call<T>(
        self: &Arc<Shared>,
        request: Request,
        pick: fn(Told) -> Option<T>,
    ) -> Result<T, CallFailure> {
        self.call_timed(request, pick).await.map(|(result, _)| result)
    }

    /// The same, and tells when the request was sent that got the answer.
    pub(crate) async fn call_timed<T>(
        self: &Arc<Shared>,
        request: Request,
        pick: fn(Told) -> Option<T>,
    ) -> Result<(T, Instant), CallFailure> {
        let deadline = Instant::now() + request.timeout.unwrap_or(self.config.timeout);
        let mutation = is_remembered(&request.ask);
        let mut attempts = Attempts::new(mutation, first_attempt(&request.ask));

        let bytes = bytes_of(&request.ask);
        let _room = match is_gated(&request.ask) {
            false => None,
            true => match self.gate.enter(bytes, deadline).await {
                Some(room) => Some(room),
                None => {
                    attempts.last =
                        "this client has as much under way as it may; see ClientConfig::max_in_flight".to_owned();
                    return Err(unavailable(attempts));
                }
            },
        };

        let mut id = self.ids.mint();
        let mut link = self.choose(request.place, None).map_err(|why| {
            attempts.last = why;
            unavailable_of(&attempts)
        })?;
        loop {
            let generation = self.map_generation();
            let within = attempts.begin(deadline.saturating_duration_since(Instant::now()));
            let operation = self.operation(&request.ask, mutation.then_some(id));
            let sent = Instant::now();
            let due = sent + may_wait(&request.ask);
            let attempt = Unanswered { shared: self, place: request.place, link: &link, due };
            let answer = link.send(operation, bytes, within).await;
            attempt.ended();
            let failure = match answer {
                Ok(told) => {
                    self.learn_from(&told);
                    match pick(told) {
                        Some(result) => return Ok((result, sent)),
                        None => Failure::Answered(v1::Error::new(Reason::Internal, MISMATCHED)),
                    }
                }
                Err(failure) => failure,
            };
            self.learn_from_failure(&failure, request.place, &link);

            let left = deadline.saturating_duration_since(Instant::now());
            let (wait, whom) = match attempts.after(failure, left, rand::random()) {
                Next::Again { wait, whom } => (wait, whom),
                Next::Renew { birth, wait } => {
                    self.ids.saw(birth);
                    id = RequestId { birth, ..self.ids.mint() };
                    (wait, Whom::TheSame)
                }
                Next::End(End::Refused(error)) => return Err(CallFailure::Refused(error)),
                Next::End(End::Unavailable) => return Err(unavailable(attempts)),
                Next::End(End::Unknown) => {
                    let Attempts { made, last, .. } = attempts;
                    return Err(CallFailure::Unknown(OutcomeUnknown { id, attempts: made, last }));
                }
            };
            sleep(wait).await;
            link = match self.next_link(request.place, whom, &link, generation, deadline).await {
                Ok(link) => link,
                Err(_) => link, // a bad address was named; the one we have is as good as any
            };
        }
    }

    async fn next_link(
        self: &Arc<Shared>,
        place: Place,
        whom: Whom,
        failed: &Link,
        generation: u64,
        deadline: Instant,
    ) -> Result<Arc<Link>, String> {
        match whom {
            Whom::TheSame => self.choose(place, None),
            Whom::Another => self.choose(place, Some(failed)),
            Whom::Leader(node, address) => {
                self.routing.learn_named(place, node, &address);
                self.pool.link(&address)
            }
            Whom::FreshMap => {
                // If nobody answers in time we go on with the old map: nodes forward.
                let _ = timeout_at(deadline, self.refresh(generation)).await;
                self.choose(place, None)
            }
        }
    }

    /// The best node that is well; if none is, the one that may be tried first again. Avoids `failed` if it can.
    fn choose(&self, place: Place, failed: Option<&Link>) -> Result<Arc<Link>, String> {
        let usable =
            |link: &Arc<Link>| link.avoid_until().is_none() && failed.is_none_or(|f| f.address != link.address);
        if let Some(leader) = self.routing.leader(place)
            && let Ok(link) = self.pool.link(&leader)
            && usable(&link)
        {
            return Ok(link);
        }
        let candidates = self.routing.candidates(place);
        let links: Vec<_> = candidates.iter().filter_map(|address| self.pool.link(address).ok()).collect();
        if let Some(link) = links.iter().find(|link| usable(link)) {
            return Ok(Arc::clone(link));
        }
        let key = |link: &&Arc<Link>| (failed.is_some_and(|f| f.address == link.address), link.avoid_until());
        links.iter().min_by_key(key).cloned().ok_or_else(|| "no node has a usable address".to_owned())
    }

    fn operation(&self, ask: &Ask, id: Option<RequestId>) -> v1::Operation {
        let header = Some(v1::RequestHeader {
            id: id.map(v1::RequestId::from),
            seen: self.ids.seen().0,
            no_forward: false,
            cluster: self.cluster.0,
        });
        let mut ask = ask.clone(); // keys and values are shared, not copied
        match &mut ask {
            Ask::Get(get) => get.header = header,
            Ask::Put(put) => put.header = header,
            Ask::Delete(delete) => delete.header = header,
            Ask::Cas(cas) => cas.header = header,
            Ask::Add(add) => add.header = header,
            Ask::Scan(scan) => scan.header = header,
            Ask::Acquire(acquire) => acquire.header = header,
            Ask::Wait(wait) => wait.header = header,
            Ask::GiveUp(give_up) => give_up.header = header,
            Ask::Renew(renew) => renew.header = header,
            Ask::Release(release) => release.header = header,
            Ask::Inspect(inspect) => inspect.header = header,
            Ask::ListLeases(list) => list.header = header,
        }
        v1::Operation { kind: Some(ask) }
    }

    fn learn_from(self: &Arc<Shared>, told: &Told) {
        let header = match told {
            Told::Get(get) => &get.header,
            Told::Put(put) => &put.header,
            Told::Delete(delete) => &delete.header,
            Told::Cas(cas) => &cas.header,
            Told::Add(add) => &add.header,
            Told::Scan(scan) => &scan.header,
            Told::Acquire(acquired) | Told::Wait(acquired) => &acquired.header,
            Told::GiveUp(given_up) => &given_up.header,
            Told::Renew(renewed) => &renewed.header,
            Told::Release(released) => &released.header,
            Told::Inspect(inspected) => &inspected.header,
            Told::ListLeases(listed) => &listed.header,
            Told::Error(_) => &None,
        };
        let Some(header) = header else { return };
        self.ids.saw(Revision(header.revision));
        let named = header.shard != 0 && header.node != 0;
        if named && !self.routing.learn_leader(ShardId(header.shard), NodeId(header.node)) {
            // A shard or a node that our map does not have. Nodes forward, so this call did not suffer; the next ones
            // shall go straight.
            self.refresh_in_background();
        }
    }

    fn learn_from_failure(&self, failure: &Failure, place: Place, link: &Link) {
        match failure {
            Failure::Answered(error) => {
                if let Some(clock) = error.fact(metadata::CLOCK) {
                    self.ids.saw(Revision(clock));
                }
                if error.reason().is_some_and(|reason| reason.advice() == ringfence_proto::Advice::Elsewhere) {
                    self.routing.forget_leader(place, &link.address);
                }
            }
            Failure::NotSent(_) | Failure::Broken(_) | Failure::Silent => {
                self.routing.forget_leader(place, &link.address);
            }
        }
    }
}

/// An attempt that is under way. Whoever drops a call that waited for long has not learnt who else to ask, and the next calls
/// should not have to wait for the same node.
struct Unanswered<'a> {
    shared: &'a Shared,
    place: Place,
    link: &'a Link,
    /// A node that is well answers at about this time.
    due: Instant,
}

impl Unanswered<'_> {
    fn ended(self) {
        std::mem::forget(self); // it holds nothing
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.due.elapsed() >= GIVEN_UP_MIN {
            self.shared.routing.forget_leader(self.place, &self.link.address);
        }
    }
}

/// Whether it takes effect at most once, however often it is sent. What is not remembered does no harm if it is sent again.
fn is_remembered(ask: &Ask) -> bool {
    match ask {
        Ask::Put(_) | Ask::Delete(_) | Ask::Cas(_) | Ask::Add(_) | Ask::Acquire(_) | Ask::Release(_) => true,
        // Metadata that are set once more would undo what was set since.
        Ask::Renew(renew) => renew.metadata.is_some(),
        _ => false,
    }
}

/// Whether it counts against what the client may have under way. What waits at the server costs it nothing, and a lease must
/// not end because of other work.
fn is_gated(ask: &Ask) -> bool {
    !matches!(ask, Ask::Wait(_) | Ask::GiveUp(_) | Ask::Renew(_) | Ask::Release(_) | Ask::Inspect(_))
}

/// How long the first node may take to answer.
fn first_attempt(ask: &Ask) -> Duration {
    match ask {
        Ask::Scan(_) | Ask::ListLeases(_) => SCAN_ATTEMPT,
        // Another node should be asked while there is time.
        Ask::Renew(renew) => {
            let third = Duration::from_millis(renew.ttl_ms.unwrap_or(i64::MAX).max(0) as u64 / 3);
            third.clamp(Duration::from_millis(50), POINT_ATTEMPT)
        }
        _ => POINT_ATTEMPT + may_wait(ask),
    }
}

/// How long the node is asked to wait for news before it answers.
fn may_wait(ask: &Ask) -> Duration {
    let ms = match ask {
        Ask::Wait(wait) => wait.within_ms,
        Ask::Inspect(inspect) => inspect.within_ms,
        _ => 0,
    };
    Duration::from_millis(ms.into())
}

fn unavailable(attempts: Attempts) -> CallFailure {
    unavailable_of(&attempts)
}

fn unavailable_of(attempts: &Attempts) -> CallFailure {
    CallFailure::Unavailable(Unavailable {
        attempts: attempts.made,
        reason: attempts.last_reason,
        last: attempts.last.clone(),
    })
}

fn bytes_of(ask: &Ask) -> usize {
    use v1::cas_request::Then;
    use v1::condition::Kind::ValueIs;
    let data = match ask {
        Ask::Get(get) => get.key.len(),
        Ask::Put(put) => put.key.len() + put.value.len(),
        Ask::Delete(delete) => delete.key.len(),
        Ask::Cas(cas) => {
            let value = if let Some(Then::Put(value)) = &cas.then { value.len() } else { 0 };
            let kind = cas.condition.as_ref().and_then(|condition| condition.kind.as_ref());
            let expected = if let Some(ValueIs(value)) = kind { value.len() } else { 0 };
            cas.key.len() + value + expected
        }
        Ask::Add(add) => add.key.len(),
        Ask::Scan(scan) => scan.start.len() + scan.end.len() + scan.cursor.len(),
        Ask::Acquire(acquire) => acquire.name.len() + acquire.holder.len() + acquire.metadata.len(),
        Ask::Wait(wait) => wait.name.len() + wait.holder.len(),
        Ask::GiveUp(give_up) => give_up.name.len() + give_up.holder.len(),
        Ask::Renew(renew) => {
            renew.name.len() + renew.holder.len() + renew.metadata.as_ref().map_or(0, |metadata| metadata.len())
        }
        Ask::Release(release) => release.name.len() + release.holder.len(),
        Ask::Inspect(inspect) => inspect.name.len(),
        Ask::ListLeases(list) => list.prefix.len() + list.cursor.len(),
    };
    data + CALL_OVERHEAD_BYTES
}
