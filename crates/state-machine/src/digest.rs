use std::ops::ControlFlow;

use ringfence_types::ShardId;
use xxhash_rust::xxh3::Xxh3;

use crate::{ShardState, Unreadable, View, collectable, keys};

/// A hash of everything the shard holds above its floors. Replicas that applied the same entries have the same digest,
/// whether or not they collected.
pub fn digest(view: &dyn View, shard: ShardId) -> Result<u64, Unreadable> {
    let state = ShardState::load_existing(view, shard)?;
    let mut hash = Xxh3::new();
    for (space, from, to) in keys::pieces(shard, &state.descriptor.range) {
        view.scan(space, &from, &to, &mut |key, record| {
            if !collectable(space, key, record, state.history_floor, state.dedup_floor) {
                hash.update(&[space as u8]);
                for part in [key, record] {
                    hash.update(&(part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(hash.digest())
}
