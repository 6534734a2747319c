//! What two planted bugs do to locks when a shard gets a new leader: with the first entry of its term, so that all
//! replicas do the same. Nothing else happens to locks then.

use std::ops::ControlFlow;

use bytes::Bytes;
use ringfence_planted::{Bug, planted};
use ringfence_types::ShardId;

use super::record::{LockRecord, Tenure};
use crate::keys::{self, LockPart, StoredKey};
use crate::{ShardState, Space, Unreadable, View, Write, record};

/// What is to be written when the first entry of a new leader is applied.
pub fn new_leader(view: &dyn View, shard: ShardId) -> Result<Vec<Write>, Unreadable> {
    let mut writes = Vec::new();
    if !planted(Bug::TokenReused) && !planted(Bug::TtlCutOnFailover) {
        return Ok(writes);
    }
    let Some(state) = ShardState::load(view, shard)?.filter(|_| shard != ShardId::META) else { return Ok(writes) };
    let (from, to) = keys::space_range(Space::Locks, &state.descriptor.range);
    let mut outcome = Ok(());
    view.scan(Space::Locks, &from, &to, &mut |stored, value| {
        outcome = change(&state, stored, value).map(|write| writes.extend(write));
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome.map(|()| writes)
}

fn change(state: &ShardState, stored: &[u8], value: &[u8]) -> Result<Option<Write>, Unreadable> {
    let StoredKey::Lock { part, .. } = StoredKey::decode(Space::Locks, stored)? else { return Ok(None) };
    let value = match part {
        // Planted: of a lock that nobody wants not even its last token is remembered.
        LockPart::Lock if planted(Bug::TokenReused) => {
            if LockRecord::read(Some(Bytes::copy_from_slice(value)))?.is_wanted() {
                return Ok(None);
            }
            None
        }
        // Planted: a tenth of what is left.
        LockPart::Tenure(_) if planted(Bug::TtlCutOnFailover) => {
            let mut tenure: Tenure = record::decode_plain(value, "lease")?;
            tenure.deadline_ms = state.lease_clock_ms + tenure.ttl_left_ms(state.lease_clock_ms) / 10;
            Some(record::encode_plain(&tenure))
        }
        _ => return Ok(None),
    };
    Ok(Some(Write { space: Space::Locks, key: Bytes::copy_from_slice(stored), value }))
}
