//! `ringfence.v1.Election`: leadership is an exclusive lease, and what the leader proclaims are its metadata.

use std::sync::Arc;

use ringfence_proto::v1;
use ringfence_proto::v1::election_server::Election;
use ringfence_proto::v1::operation::Kind as Op;
use ringfence_proto::v1::result::Kind;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{caller, lock, mixed_up, status, unary};
use crate::caller::Caller;
use crate::deadline;
use crate::gateway::{Gateway, retries};

/// The service.
pub(crate) struct ElectionService {
    pub gateway: Arc<Gateway>,
}

type Observed = ReceiverStream<Result<v1::ObserveResponse, Status>>;

/// Tells who leads, now and on every change, until the observer is gone or the node stops.
async fn observe(
    gateway: Arc<Gateway>,
    name: bytes::Bytes,
    caller: Caller,
    told: mpsc::Sender<Result<v1::ObserveResponse, Status>>,
) {
    let mut backoff = retries();
    let mut known = 0;
    while !told.is_closed() {
        if gateway.stopping.is_cancelled() {
            let _ = told.send(Err(status::shutting_down().into())).await;
            return;
        }
        let inspect = v1::InspectRequest { header: None, name: name.clone(), unless_state: known, within_ms: 0 };
        let operation = v1::Operation { kind: Some(Op::Inspect(inspect)) };
        let asked = gateway.execute(operation, Instant::now() + deadline::DEFAULT, caller);
        let result = tokio::select! {
            result = asked => result,
            () = told.closed() => return,
        };
        match result.kind {
            Some(Kind::Inspect(found)) => {
                backoff = retries();
                if found.state == known {
                    continue;
                }
                known = found.state;
                let news = v1::ObserveResponse { header: found.header, leader: found.leases.into_iter().next() };
                if told.send(Ok(news)).await.is_err() {
                    return;
                }
            }
            Some(Kind::Error(error)) if error.advice() == ringfence_proto::Advice::Never => {
                let _ = told.send(Err(error.into())).await;
                return;
            }
            _ => sleep(backoff.next()).await, // whoever leads the shard next knows
        }
    }
}

#[tonic::async_trait]
impl Election for ElectionService {
    type ObserveStream = Observed;

    async fn campaign(&self, request: Request<v1::AcquireRequest>) -> Result<Response<v1::AcquireResponse>, Status> {
        if request.get_ref().mode() != v1::LockMode::Exclusive {
            return Err(status::invalid("leadership is exclusive; leave `mode` out").into());
        }
        lock::acquire(&self.gateway, request).await
    }

    async fn proclaim(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        if request.get_ref().metadata.is_none() {
            return Err(status::invalid("`metadata` is missing: the value to proclaim").into());
        }
        match unary(&self.gateway, request, Op::Renew).await? {
            Kind::Renew(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn resign(&self, request: Request<v1::ReleaseRequest>) -> Result<Response<v1::ReleaseResponse>, Status> {
        match unary(&self.gateway, request, Op::Release).await? {
            Kind::Release(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn observe(&self, request: Request<v1::ObserveRequest>) -> Result<Response<Observed>, Status> {
        let caller = caller(&request);
        let name = request.into_inner().name;
        ringfence_types::LockName::new(name.clone()).map_err(status::key)?;
        let (told, observed) = mpsc::channel(1);
        tokio::spawn(observe(self.gateway.clone(), name, caller, told));
        Ok(Response::new(ReceiverStream::new(observed)))
    }
}
