//! The gRPC services, one file each, and the one file that maps errors.

pub(crate) mod cluster;
pub(crate) mod kv;
pub(crate) mod node;
pub(crate) mod status;
