//! Fences: a write that happens only while a lease is current.
//!
//! The check stands in the same entry, and in the same step, as the write (guarantee G5). It asks whether the lease is in the
//! table, and nothing else: no clock, neither of the writer nor of ours. A lease past its deadline whose end was not applied
//! yet is still the only one, so its write harms nobody.

use ringfence_planted::{Bug, planted};
use ringfence_types::{Fence, FencingToken, LockName};

use super::record::LockRecord;
use super::{HeldAs, Place};
use crate::keys::{LockPart, StoredKey};
use crate::overlay::Overlay;
use crate::{Refusal, ShardState, Space, Unreadable};

/// The first fence whose lock is not this shard's, as a refusal that is never remembered.
pub(crate) fn elsewhere(state: &ShardState, fences: &[Fence]) -> Option<Refusal> {
    let stranger = fences.iter().find(|fence| !state.descriptor.range.contains(fence.lock.position()))?;
    Some(Refusal::FenceElsewhere { lock: stranger.lock.clone(), shard: state.descriptor.shard })
}

/// The first fence whose lease is not current.
pub(crate) fn broken(
    overlay: &mut Overlay<'_>,
    state: &ShardState,
    fences: &[Fence],
) -> Result<Option<Refusal>, Unreadable> {
    for Fence { lock, token } in fences {
        let place = Place::of(lock);
        let is_current = overlay.get(Space::Locks, &place.tenure(*token))?.is_some();
        // Planted: any token will do.
        if !is_current && !planted(Bug::TokenIgnored) {
            return refusal(overlay, state, &place, lock, *token).map(Some);
        }
    }
    Ok(None)
}

/// What whoever shows a token is told that is not current.
pub(super) fn refusal(
    overlay: &mut Overlay<'_>,
    state: &ShardState,
    place: &Place,
    lock: &LockName,
    token: FencingToken,
) -> Result<Refusal, Unreadable> {
    let current = newest(overlay, place)?;
    Ok(Refusal::Fenced { lock: lock.clone(), token, current, clock: state.clock })
}

fn newest(overlay: &mut Overlay<'_>, place: &Place) -> Result<Option<FencingToken>, Unreadable> {
    let lock = LockRecord::read(overlay.get(Space::Locks, &place.lock())?)?;
    if lock.held == HeldAs::Free {
        return Ok(None);
    }
    let (from, to) = place.tenures(&lock);
    let Some((stored, _)) = overlay.range(Space::Locks, &from, &to)?.pop_last() else { return Ok(None) };
    match StoredKey::decode(Space::Locks, &stored)? {
        StoredKey::Lock { part: LockPart::Tenure(token), .. } => Ok(Some(token)),
        other => Err(Unreadable::new(format!("not a lease: {other:?}"))),
    }
}
