//! The wire: code generated from `proto/**`, and conversions to and from the words of the other crates.
//!
//! Only this crate and the two edges (server, client) see protobuf types. Conversions stand in one file per noun. The
//! [`Reason`] table is the one place that says, for every error of the wire, which gRPC code it has, whether the sending
//! that got it did anything, and what to do next: the server only picks a reason, the client only asks the table.

mod error;
pub mod metadata;
mod reason;
mod request_id;
mod shard;

pub use error::ERROR_DOMAIN;
pub use reason::{Advice, Outcome, Reason};
pub use request_id::InvalidRequestId;
pub use shard::InvalidShard;

/// The public API: package `ringfence.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated; the documentation of every item stands in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("ringfence.v1");
}

/// Node to node; may change with every version.
pub mod internal {
    /// Package `ringfence.internal.v1`.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        reason = "generated; the documentation of every item stands in the .proto files"
    )]
    pub mod v1 {
        tonic::include_proto!("ringfence.internal.v1");
    }
}

/// Every message and service of `proto/**` as an encoded `FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
