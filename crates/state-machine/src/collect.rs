use ringfence_types::Revision;

use crate::keys::StoredKey;
use crate::{Space, dedup};

/// Whether a record may be removed physically, given floors that have been *applied*: nothing can read it any more.
///
/// Each replica does this when it likes (in compaction, say). What cannot be understood is kept.
pub fn collectable(
    space: Space,
    stored_key: &[u8],
    record: &[u8],
    history_floor: Revision,
    dedup_floor: Revision,
) -> bool {
    match space {
        Space::History => match StoredKey::decode(space, stored_key) {
            Ok(StoredKey::History { ended, .. }) => ended <= history_floor,
            _ => false,
        },
        Space::Dedup => dedup::birth(record).is_ok_and(|birth| dedup::is_below(birth, dedup_floor)),
        Space::Current | Space::Deadlines | Space::Shard | Space::Locks => false,
    }
}
