//! The logs and votes of all groups of a node: one database, one writer thread, one sync for all.
//!
//! # How a write travels
//!
//! ```text
//! GroupLog::append ──► memory tail (readable at once) ──► queue ──► writer: one batch of everything queued
//!                                                                    └─► one sync ─► `done` of each, in order
//! ```
//!
//! A disk syncs a few hundred to a few thousand times a second, whatever it is given. So the writer takes all that has
//! gathered while the last sync was under way, from all groups, writes it as one batch and syncs once. It never waits to
//! fill a batch: with one writer in the cluster the batch is one record, with a thousand it is a thousand.
//!
//! Everything of one group (appends, votes, truncations, purges) goes through the queue in the order in which it was
//! asked for, and [`Durability::Synced`](crate::engine::Durability) covers everything before it. So `done` is a
//! watermark: once it was called for a write, that write and every earlier one survive a power loss.
//!
//! # What a failure means
//!
//! A failed write or sync is final. Every later call is refused, every waiting `done` gets the error, and
//! [`LogDb::on_failure`] fires so that the process can stop. Nothing is retried: see `poison.rs`.
//!
//! # Where things are
//!
//! `layout` has the stored keys, `group` one group's log with its memory tail, `writer` the queue and its thread, `load`
//! what happens when a log is opened.

mod db;
mod group;
mod layout;
mod load;
mod writer;

use bytes::Bytes;

use crate::{LogPosition, StorageError};

pub use db::LogDb;
pub use group::GroupLog;

/// Called once, on the writer's thread, when a write is durable or has failed. It must not block, and must not wait for
/// another write of the same database.
pub type Done = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Where.
    pub position: LogPosition,
    /// What, in the caller's own format.
    pub payload: Bytes,
}

/// What is known of a group's log without reading it.
///
/// * `purged ≤ last`; the log holds every index from after `purged` to `last`.
/// * It tells what was asked for; what of it is durable is known to the callers' `done`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The last one saved, in the caller's own format.
    pub vote: Option<Bytes>,
    /// The last one saved. May lag behind after a crash.
    pub committed: Option<LogPosition>,
    /// Up to here the log was purged.
    pub purged: Option<LogPosition>,
    /// The last entry, or `purged` if there is none after it.
    pub last: Option<LogPosition>,
}
