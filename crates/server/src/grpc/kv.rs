//! `ringfence.v1.Kv`: the messages in and out of the gateway.

use std::sync::Arc;

use ringfence_proto::v1;
use ringfence_proto::v1::kv_server::Kv;
use ringfence_proto::v1::operation::Kind as Op;
use ringfence_proto::v1::result::Kind;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{caller, mixed_up, status, unary};
use crate::caller::Origin;
use crate::deadline;
use crate::gateway::Gateway;
use crate::session;

/// The service.
pub(crate) struct KvService {
    pub gateway: Arc<Gateway>,
    pub stopping: CancellationToken,
}

#[tonic::async_trait]
impl Kv for KvService {
    type SessionStream = session::Outbound;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        match unary(&self.gateway, request, Op::Get).await? {
            Kind::Get(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        match unary(&self.gateway, request, Op::Put).await? {
            Kind::Put(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        match unary(&self.gateway, request, Op::Delete).await? {
            Kind::Delete(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn cas(&self, request: Request<v1::CasRequest>) -> Result<Response<v1::CasResponse>, Status> {
        match unary(&self.gateway, request, Op::Cas).await? {
            Kind::Cas(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn add(&self, request: Request<v1::AddRequest>) -> Result<Response<v1::AddResponse>, Status> {
        match unary(&self.gateway, request, Op::Add).await? {
            Kind::Add(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<v1::ScanResponse>, Status> {
        match unary(&self.gateway, request, Op::Scan).await? {
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
