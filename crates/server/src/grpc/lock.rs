//! `ringfence.v1.Lock`: for those who hold one call open until the lock is theirs.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use ringfence_proto::v1;
use ringfence_proto::v1::acquire_response::Outcome;
use ringfence_proto::v1::lock_server::Lock;
use ringfence_proto::v1::operation::Kind as Op;
use ringfence_proto::v1::result::Kind;
use ringfence_types::limits::BATCH_OPERATIONS_MAX;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{caller, mixed_up, status, unary};
use crate::caller::Caller;
use crate::deadline;
use crate::gateway::Gateway;
use crate::lock_wait::ticket_of;

/// The service.
pub(crate) struct LockService {
    pub gateway: Arc<Gateway>,
}

/// Asks for a lease, and waits for it in the queue as long as the request says. Also what campaigns.
pub(super) async fn acquire(
    gateway: &Arc<Gateway>,
    request: Request<v1::AcquireRequest>,
) -> Result<Response<v1::AcquireResponse>, Status> {
    let (mut deadline, caller) = (deadline::of_unary(request.metadata()), caller(&request));
    let acquire = request.into_inner();
    let until = Instant::now() + Duration::from_millis(acquire.wait_ms.into());
    let is_named = acquire.header.as_ref().is_some_and(|header| header.id.is_some());
    let (name, holder) = (acquire.name.clone(), acquire.holder.clone());
    let mut acquired = match ask(gateway, Op::Acquire(acquire), deadline, caller).await? {
        Kind::Acquire(acquired) => acquired,
        _ => return Err(mixed_up()),
    };
    let Some(ticket) = ticket_of(&acquired) else { return Ok(Response::new(acquired)) };
    let waiter = v1::GiveUpRequest { header: None, name, holder, ticket };
    // Whoever gave no id cannot find its place again, so it is given up with the call.
    let mut place = Place { gateway: gateway.clone(), waiter, caller, is_left: !is_named };
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            place.is_left = true;
            return Err(not_granted(&acquired).into());
        }
        if gateway.stopping.is_cancelled() {
            return Err(status::shutting_down().into());
        }
        let wait = v1::WaitRequest {
            header: None,
            name: place.waiter.name.clone(),
            holder: place.waiter.holder.clone(),
            ticket,
            within_ms: (left.as_millis() as u32).max(1),
        };
        deadline = deadline.max(Instant::now() + deadline::DEFAULT); // `wait_ms` says how long, piece by piece
        acquired = match ask(gateway, Op::Wait(wait), deadline, caller).await? {
            Kind::Wait(acquired) => acquired,
            _ => return Err(mixed_up()),
        };
        if matches!(acquired.outcome, Some(Outcome::Granted(_))) {
            place.is_left = false;
            return Ok(Response::new(acquired));
        }
    }
}

/// A place in a queue, given up when this is dropped if nobody can come back for it.
struct Place {
    gateway: Arc<Gateway>,
    waiter: v1::GiveUpRequest,
    caller: Caller,
    is_left: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_left {
            let (gateway, waiter, caller) = (self.gateway.clone(), self.waiter.clone(), self.caller);
            tokio::spawn(async move {
                let give_up = v1::Operation { kind: Some(Op::GiveUp(waiter)) };
                // If it fails the place is passed over as silent.
                let _ = gateway.execute(give_up, Instant::now() + deadline::DEFAULT, caller).await;
            });
        }
    }
}

async fn ask(gateway: &Gateway, kind: Op, deadline: Instant, caller: Caller) -> Result<Kind, Status> {
    match gateway.execute(v1::Operation { kind: Some(kind) }, deadline, caller).await.kind {
        Some(Kind::Error(error)) => Err(error.into()),
        Some(kind) => Ok(kind),
        None => Err(mixed_up()),
    }
}

fn not_granted(acquired: &v1::AcquireResponse) -> v1::Error {
    let waiting = match &acquired.outcome {
        Some(Outcome::Queued(queued)) => queued.waiting,
        _ => 0,
    };
    status::waited_in_vain(waiting)
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn acquire(&self, request: Request<v1::AcquireRequest>) -> Result<Response<v1::AcquireResponse>, Status> {
        acquire(&self.gateway, request).await
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        match unary(&self.gateway, request, Op::Renew).await? {
            Kind::Renew(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn renew_many(
        &self,
        request: Request<v1::RenewManyRequest>,
    ) -> Result<Response<v1::RenewManyResponse>, Status> {
        let (deadline, caller) = (deadline::of_unary(request.metadata()), caller(&request));
        let v1::RenewManyRequest { leases, header } = request.into_inner();
        let count = leases.len();
        if count > BATCH_OPERATIONS_MAX {
            let message =
                format!("{count} leases are to be renewed; the most is {BATCH_OPERATIONS_MAX}. Send several requests");
            return Err(status::invalid(message).into());
        }
        let renewals = leases.into_iter().map(|mut renew| {
            renew.header = header;
            let operation = v1::Operation { kind: Some(Op::Renew(renew)) };
            self.gateway.execute(operation, deadline, caller)
        });
        let results = join_all(renewals).await.into_iter().map(|result| {
            let outcome = match result.kind {
                Some(Kind::Renew(renewed)) => v1::renew_result::Outcome::Renewed(renewed),
                Some(Kind::Error(error)) => v1::renew_result::Outcome::Error(error),
                _ => v1::renew_result::Outcome::Error(status::internal("a renewal was answered with something else")),
            };
            v1::RenewResult { outcome: Some(outcome) }
        });
        Ok(Response::new(v1::RenewManyResponse { results: results.collect() }))
    }

    async fn release(&self, request: Request<v1::ReleaseRequest>) -> Result<Response<v1::ReleaseResponse>, Status> {
        match unary(&self.gateway, request, Op::Release).await? {
            Kind::Release(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn inspect(&self, request: Request<v1::InspectRequest>) -> Result<Response<v1::InspectResponse>, Status> {
        match unary(&self.gateway, request, Op::Inspect).await? {
            Kind::Inspect(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn list_leases(
        &self,
        request: Request<v1::ListLeasesRequest>,
    ) -> Result<Response<v1::ListLeasesResponse>, Status> {
        match unary(&self.gateway, request, Op::ListLeases).await? {
            Kind::ListLeases(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }
}
