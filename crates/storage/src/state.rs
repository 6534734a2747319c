//! The state DB: what the applied entries of all local replicas led to.
//!
//! Each [`Space`](ringfence_state_machine::Space) of the state machine is a table; one more holds a [`ReplicaRecord`] per
//! local replica. What an entry changed, the position it was applied at and a membership it brought go into one batch,
//! so the state is always exactly the state after some entry, whatever crash came.
//!
//! Batches are not synced: the log has them. Before a log is purged [`StateDb::make_durable`] is called.

mod chunk;
mod collect;
mod db;
mod estimate;
mod export;
mod hash;
mod install;
mod replica;
mod view;

pub use collect::Collection;
pub use db::StateDb;
pub use export::ShardExport;
pub use hash::ReplicaHash;
pub use install::Install;
pub use replica::ReplicaRecord;
pub use view::{SnapshotView, StateView};
