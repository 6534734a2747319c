//! How much a shard holds, roughly.

use ringfence_state_machine::{Space, keys};
use ringfence_types::ShardId;

use super::StateDb;
use super::view::table;
use crate::StorageError;
use crate::engine::Estimate;

impl StateDb {
    /// Keys and bytes of the shard's current versions, as the engine estimates them without reading them. What was
    /// written lately may be missing from it.
    pub fn estimate(
        &self,
        shard: ShardId,
        range: &ringfence_shard_router::ShardRange,
    ) -> Result<Estimate, StorageError> {
        let current = keys::pieces(shard, range).into_iter().find(|(space, ..)| *space == Space::Current);
        let Some((space, from, to)) = current else { return Ok(Estimate::default()) };
        self.shared.engine.estimate(table(space), &from, &to)
    }
}
