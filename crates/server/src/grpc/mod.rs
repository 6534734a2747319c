//! The gRPC services, one file each, and the one file that maps errors.

use std::net::SocketAddr;

use ringfence_proto::v1;
use ringfence_proto::v1::operation::Kind as Op;
use ringfence_proto::v1::result::Kind;
use tonic::{Request, Status};

use crate::caller::Caller;
use crate::deadline;
use crate::gateway::Gateway;

pub(crate) mod cluster;
pub(crate) mod election;
pub(crate) mod kv;
pub(crate) mod lock;
pub(crate) mod node;
pub(crate) mod status;

/// One operation in a call of its own.
async fn unary<T>(gateway: &Gateway, request: Request<T>, operation: fn(T) -> Op) -> Result<Kind, Status> {
    let (deadline, caller) = (deadline::of_unary(request.metadata()), caller(&request));
    let operation = v1::Operation { kind: Some(operation(request.into_inner())) };
    match gateway.execute(operation, deadline, caller).await.kind {
        Some(Kind::Error(error)) => Err(error.into()),
        Some(kind) => Ok(kind),
        None => Err(status::internal("an operation was answered with nothing").into()),
    }
}

fn caller<T>(request: &Request<T>) -> Caller {
    Caller::of_connection(request.extensions().get::<Option<SocketAddr>>().copied().flatten())
}

/// The answer to an operation of another kind never comes back, but the types cannot say so.
fn mixed_up() -> Status {
    status::internal("an operation was answered with another one's answer").into()
}
