//! What a shard and the meta group decide, as plain functions over plain state. See `apply`.
//!
//! > **Invariant:** this crate has no clock, disk, network, thread, randomness or hash-map iteration order. Time and
//! > randomness arrive inside the [`Entry`]. All replicas that apply the same entries hold the same state, byte for byte.

mod command;
mod reply;
mod view;

pub use command::{Action, Command, Condition, Entry, Limits, MetaCommand, Mutation, NodeInfo, Request};
pub use reply::{Done, Refusal, Reply};
pub use view::{Space, Unreadable, View, Write};
