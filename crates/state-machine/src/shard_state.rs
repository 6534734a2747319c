use ringfence_shard_router::ShardDescriptor;
use ringfence_types::limits::VALUE_BYTES_MAX;
use ringfence_types::{Revision, ShardId};
use serde::{Deserialize, Serialize};

use crate::keys::StoredKey;
use crate::{Limits, Space, Unreadable, View, Write, record};

/// What is true of a shard as a whole: one record, read by every `apply` and every read, and written by every `apply`.
///
/// * The clocks and the floors never fall.
/// * The history floor never passes the clock. The dedup floor stays below it, so there is always a birth to be had that
///   is not refused.
/// * No key of the shard has a revision above the clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardState {
    /// Its range, epoch and replicas.
    pub descriptor: ShardDescriptor,
    /// The highest revision that the shard has given out or heard of.
    pub clock: Revision,
    /// The replicated milliseconds that ttls are measured on.
    pub lease_clock_ms: u64,
    /// Reads below this revision are refused.
    pub history_floor: Revision,
    /// Requests born at or below this revision are refused. [`Revision::ZERO`]: nothing was forgotten yet.
    pub dedup_floor: Revision,
    /// What `apply` refuses to exceed.
    pub limits: Limits,
}

impl ShardState {
    /// What this replica has stored, or `None` if the shard was never seeded here.
    pub fn load(view: &dyn View, shard: ShardId) -> Result<Option<ShardState>, Unreadable> {
        let stored = StoredKey::ShardState { shard }.encode();
        let Some(record) = view.get(Space::Shard, &stored)? else { return Ok(None) };
        let state: ShardState = record::decode_plain(&record, "shard state")?;
        if state.descriptor.shard != shard {
            return Err(Unreadable::new(format!("the state of {shard} says that it is of {}", state.descriptor.shard)));
        }
        Ok(Some(state))
    }

    /// Like [`ShardState::load`], for those who know that the shard lives here.
    pub(crate) fn load_existing(view: &dyn View, shard: ShardId) -> Result<ShardState, Unreadable> {
        ShardState::load(view, shard)?.ok_or_else(|| Unreadable::new(format!("{shard} has no state here")))
    }

    pub(crate) fn write(&self) -> Write {
        Write {
            space: Space::Shard,
            key: StoredKey::ShardState { shard: self.descriptor.shard }.encode(),
            value: Some(record::encode_plain(self)),
        }
    }

    /// Panics if an invariant of the type does not hold. For tests, after every step.
    pub fn check(&self) {
        assert!(self.clock >= Revision::ZERO, "{}: clock {} is negative", self.descriptor.shard, self.clock);
        assert!(self.history_floor <= self.clock, "{}: history floor above the clock", self.descriptor.shard);
        let newest_birth_refused = self.dedup_floor > Revision::ZERO && self.dedup_floor >= self.clock;
        assert!(!newest_birth_refused, "{}: dedup floor not below the clock", self.descriptor.shard);
    }
}

/// The records of a newborn shard. The same on every node that bootstraps the cluster.
pub fn seed(descriptor: &ShardDescriptor, limits: Limits) -> Vec<Write> {
    let state = ShardState {
        descriptor: descriptor.clone(),
        clock: Revision::ZERO,
        lease_clock_ms: 0,
        history_floor: Revision::ZERO,
        dedup_floor: Revision::ZERO,
        limits,
    };
    vec![state.write()]
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { value_bytes_max: VALUE_BYTES_MAX as u32 }
    }
}
