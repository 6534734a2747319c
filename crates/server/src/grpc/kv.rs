//! `ringfence.v1.Kv`: the messages in and out of the gateway.

use std::net::SocketAddr;
use std::sync::Arc;

use ringfence_proto::v1;
use ringfence_proto::v1::kv_server::Kv;
use ringfence_proto::v1::operation::Kind as Op;
use ringfence_proto::v1::result::Kind;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::status;
use crate::caller::{Caller, Origin};
use crate::deadline;
use crate::gateway::Gateway;
use crate::session;

/// The service.
pub(crate) struct KvService {
    pub gateway: Arc<Gateway>,
    pub stopping: CancellationToken,
}

impl KvService {
    async fn unary<T>(&self, request: Request<T>, operation: fn(T) -> Op) -> Result<Kind, Status> {
        let (deadline, caller) = (deadline::of_unary(request.metadata()), caller(&request));
        let operation = v1::Operation { kind: Some(operation(request.into_inner())) };
        match self.gateway.execute(operation, deadline, caller).await.kind {
            Some(Kind::Error(error)) => Err(error.into()),
            Some(kind) => Ok(kind),
            None => Err(status::internal("an operation was answered with nothing").into()),
        }
    }
}

fn caller<T>(request: &Request<T>) -> Caller {
    Caller::of_connection(request.extensions().get::<Option<SocketAddr>>().copied().flatten())
}

/// The answer to an operation of another kind never comes back, but the types cannot say so.
fn mixed_up() -> Status {
    status::internal("an operation was answered with another one's answer").into()
}

#[tonic::async_trait]
impl Kv for KvService {
    type SessionStream = session::Outbound;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        match self.unary(request, Op::Get).await? {
            Kind::Get(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        match self.unary(request, Op::Put).await? {
            Kind::Put(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        match self.unary(request, Op::Delete).await? {
            Kind::Delete(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn cas(&self, request: Request<v1::CasRequest>) -> Result<Response<v1::CasResponse>, Status> {
        match self.unary(request, Op::Cas).await? {
            Kind::Cas(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn add(&self, request: Request<v1::AddRequest>) -> Result<Response<v1::AddResponse>, Status> {
        match self.unary(request, Op::Add).await? {
            Kind::Add(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<v1::ScanResponse>, Status> {
        match self.unary(request, Op::Scan).await? {
            Kind::Scan(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn batch(&self, request: Request<v1::BatchRequest>) -> Result<Response<v1::BatchResponse>, Status> {
        let (deadline, caller) = (deadline::of_unary(request.metadata()), caller(&request));
        Ok(Response::new(self.gateway.batch(request.into_inner(), deadline, caller).await?))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<session::Outbound>, Status> {
        if self.stopping.is_cancelled() {
            return Err(status::shutting_down().into());
        }
        let (gateway, stopping) = (self.gateway.clone(), self.stopping.clone());
        Ok(Response::new(session::start(gateway, Origin::Client, request.into_inner(), stopping)))
    }
}
