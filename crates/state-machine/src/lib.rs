//! What a shard and the meta group decide, as plain functions over plain state.
//!
//! The leader of a shard gathers requests into an [`Entry`]; once the entry is committed, every replica hands it to
//! [`apply`] together with a [`View`] of its own state, and gets back the writes to make and the replies to give. Reads
//! ([`get`], [`scan`]) look at the same view. Storage, network and clocks are someone else's business.
//!
//! > **Invariant:** this crate has no clock, disk, network, thread, randomness or hash-map iteration order. Time and
//! > randomness arrive inside the [`Entry`]. All replicas that apply the same entries hold the same state: byte for byte,
//! > but for what lies below the floors, which each collects when it likes.
//!
//! A worked example, from request to read:
//!
//! ```
//! use ringfence_shard_router::{Epoch, ShardDescriptor, ShardRange};
//! use ringfence_state_machine::*;
//! use ringfence_types::{Key, Revision, ShardId, Value};
//!
//! // A newborn shard that owns the whole ring.
//! let shard = ShardId(1);
//! let descriptor =
//!     ShardDescriptor { shard, range: ShardRange::ALL, epoch: Epoch::default(), replicas: Vec::new() };
//! let mut store = MemoryView::default();
//! store.apply_writes(&seed(&descriptor, Limits::default()));
//!
//! // The leader stamps its clocks on an entry; every replica applies it.
//! let key = Key::new("stock").unwrap();
//! let action = Action::Put { value: Value::new("7").unwrap(), ttl_ms: None };
//! let mutation = Mutation { key: key.clone(), condition: Condition::Absent, action };
//! let request = Request { id: None, seen: Revision::ZERO, command: Command::Mutate(mutation) };
//! let entry = Entry { now_ms: 5, lease_clock_ms: 1, requests: vec![request] };
//! let applied = apply(&store, shard, &entry).unwrap();
//! store.apply_writes(&applied.writes);
//! assert_eq!(applied.replies, [Ok(Done::Put { revision: Revision(5 << 18), version: 1 })]);
//!
//! let answer = get(&store, shard, &key, None).unwrap().unwrap();
//! assert_eq!(answer.value.unwrap().value.as_ref(), b"7");
//! ```

mod apply;
mod codec;
mod collect;
mod command;
mod dedup;
mod digest;
pub mod keys;
mod lock;
mod membership;
mod memory;
mod meta;
mod mvcc;
mod overlay;
mod read;
mod record;
mod reply;
mod scan;
mod shard_state;
#[cfg(test)]
mod tests;
mod ttl;
mod view;

pub use apply::{Applied, apply};
pub use codec::{DecodeError, FORMAT_VERSION, decode_reply, encode_reply};
pub use collect::collectable;
pub use command::{Action, Command, Condition, Entry, Limits, MetaCommand, Mutation, NodeInfo, Request};
pub use digest::{Digest, digest, digest_while};
pub use keys::{shard_records, space_range};
pub use lock::{
    Acquire, HeldAs, LeasePage, LeaseQuery, LeaseRef, LeaseTimes, LeaseView, LockCommand, LockView, TicketView,
    WaiterRef, WaiterView, Wake, inspect, lease_of_write, lease_times, list_leases, look_up_ticket, new_leader,
};
pub use membership::membership_changed;
pub use memory::MemoryView;
pub use meta::{nodes, seed_meta, shards};
pub use read::{KeyRead, ReadAnswer, ReadRefusal, Versioned, get, get_many};
pub use reply::{Done, Refusal, Reply};
pub use scan::{ScanPage, ScanQuery, scan};
pub use shard_state::{ShardState, seed};
pub use ttl::{deadline_of_write, deadlines};
pub use view::{Space, Unreadable, View, Write};
