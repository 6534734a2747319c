//! Times to live, on the shard's lease clock.
//!
//! A key with a ttl has a deadline in its current record and an index entry in [`Space::Deadlines`]. The leader's expiry
//! task keeps the index in memory (from [`deadlines`] when it starts, from [`deadline_of_write`] afterwards) and proposes
//! [`crate::Command::ExpireKeys`] for what is due. A key lives until that command is *applied*: no read ever looks at a
//! clock. And the command removes nothing that is not due by the entry's lease clock, so a key that was written again
//! meanwhile stays.

use std::ops::ControlFlow;

use ringfence_shard_router::ShardRange;
use ringfence_types::{Key, RingPosition};

use crate::keys::{StoredKey, space_range};
use crate::overlay::Overlay;
use crate::{Space, Unreadable, View, Write, record};

/// Of a write to [`Space::Deadlines`]: the key, and its new deadline or `None` if it has none any more. `None` for writes
/// to other spaces.
pub fn deadline_of_write(write: &Write) -> Option<(Key, Option<u64>)> {
    if write.space != Space::Deadlines {
        return None;
    }
    let key = key_of(&write.key).ok()?;
    match &write.value {
        None => Some((key, None)),
        Some(record) => Some((key, Some(record::decode_deadline(record).ok()?))),
    }
}

/// Visits every key with a deadline, in ring order.
pub fn deadlines(view: &dyn View, range: &ShardRange, visit: &mut dyn FnMut(Key, u64)) -> Result<(), Unreadable> {
    let (from, to) = space_range(Space::Deadlines, range);
    let mut outcome = Ok(());
    view.scan(Space::Deadlines, &from, &to, &mut |stored, record| match key_of(stored)
        .and_then(|key| Ok((key, record::decode_deadline(record)?)))
    {
        Ok((key, deadline_ms)) => {
            visit(key, deadline_ms);
            ControlFlow::Continue(())
        }
        Err(error) => {
            outcome = Err(error);
            ControlFlow::Break(())
        }
    })?;
    outcome
}

/// Keeps the index in step with a key's record.
pub(crate) fn index(
    overlay: &mut Overlay<'_>,
    position: RingPosition,
    key: &Key,
    before: Option<u64>,
    after: Option<u64>,
) {
    if before != after {
        let stored = StoredKey::Deadline { position, key: key.as_ref().into() }.encode();
        overlay.put(Space::Deadlines, stored, after.map(record::encode_deadline));
    }
}

fn key_of(stored: &[u8]) -> Result<Key, Unreadable> {
    match StoredKey::decode(Space::Deadlines, stored)? {
        StoredKey::Deadline { key, .. } => {
            Key::new(key.into_owned()).map_err(|e| Unreadable::new(format!("a deadline of no key: {e}")))
        }
        other => Err(Unreadable::new(format!("not a deadline: {other:?}"))),
    }
}
