//! The operations: one file each, with its builder, its result and its errors.
//!
//! A builder checks what it can when it is awaited, before anything is sent: a request that cannot work fails at once,
//! certain to have done nothing.

mod add;
mod batch;
mod cas;
mod condition;
mod delete;
mod get;
mod put;
mod scan;
mod ttl;

pub use add::{Add, AddError, Added};
pub use batch::{Batch, BatchAnswer, BatchError};
pub use cas::{Cas, CasError};
pub use condition::Condition;
pub use delete::{Delete, DeleteError, Deleted};
pub use get::{Get, GetError, KeyValue};
pub use put::{Put, PutError, Written};
pub use scan::{Page, Scan, ScanError};
pub use ttl::TtlError;

use ringfence_proto::v1;
use ringfence_types::{Fence, FencingToken, Revision};

use crate::Reason;
use crate::errors::Rejected;

/// The revision in an answer's header. Every server sets one.
fn revision(header: &Option<v1::ResponseHeader>) -> Revision {
    Revision(header.as_ref().map(|header| header.revision).unwrap_or_default())
}

/// What a refusal says about the key.
fn key_facts(error: &v1::Error) -> (Revision, u64) {
    use ringfence_proto::metadata::{REVISION, VERSION};
    (Revision(error.fact(REVISION).unwrap_or_default()), error.fact(VERSION).unwrap_or_default())
}

/// The token of the newest lease, from a refusal by a fence.
pub(crate) fn current_token(error: &v1::Error) -> Option<FencingToken> {
    error.fact(ringfence_proto::metadata::TOKEN).map(|token| FencingToken(Revision(token)))
}

fn fenced(current: &Option<FencingToken>) -> String {
    let now = match current {
        Some(current) => format!("token {current} is the newest now"),
        None => "nobody holds the lock now".to_owned(),
    };
    format!("the lease of a fence is over ({now}), so nothing was changed. Stop, and acquire the lock again")
}

fn wire_fences(fences: Vec<Fence>) -> Vec<v1::Fence> {
    let wire = |fence: Fence| v1::Fence { lock: fence.lock.bytes().clone(), token: fence.token.0.0 };
    fences.into_iter().map(wire).collect()
}

fn invalid(message: impl Into<String>) -> Rejected {
    Rejected { reason: Some(Reason::InvalidRequest), message: message.into() }
}
