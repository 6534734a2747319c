//! Nodes over real sockets and real disks, spoken to with nothing but the generated client: what any language can do.

mod any_node;
mod bad_calls;
mod bad_start;
mod harness;
mod locks;
mod node_to_node;
mod restart;
mod sessions;
