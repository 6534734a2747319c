//! Versions of keys: what a mutation does to its key.
//!
//! The current version is one record. Whoever replaces or deletes it moves it into history under the revision that ended
//! it (see [`StoredKey::History`]), so at every revision a key has at most one version: the intervals
//! `revision ..< ended` of its versions do not overlap, and the current one has not ended.

use bytes::Bytes;
use ringfence_types::{Key, Revision, RingPosition};

use crate::keys::StoredKey;
use crate::overlay::Overlay;
use crate::record::VersionRecord;
use crate::{Action, Condition, Done, Mutation, Refusal, Reply, ShardState, Space, Unreadable, ttl};

/// Where a key lives. Computed once per request.
pub(crate) struct Place {
    pub(crate) position: RingPosition,
    /// In [`Space::Current`].
    pub(crate) current: Bytes,
}

impl Place {
    pub(crate) fn of(key: &Key) -> Place {
        let position = key.position();
        Place { position, current: crate::keys::current(position, key.as_ref()).into() }
    }
}

/// Checks the condition and changes the key. Takes a revision from the clock only if something changes.
pub(crate) fn mutate(
    overlay: &mut Overlay<'_>,
    state: &mut ShardState,
    now: Revision,
    place: &Place,
    mutation: &Mutation,
) -> Result<Reply, Unreadable> {
    let stored = overlay.get(Space::Current, &place.current)?;
    let before = stored.as_deref().map(VersionRecord::decode).transpose()?;
    if !holds(&mutation.condition, before.as_ref()) {
        return Ok(Err(Refusal::ConditionFailed {
            revision: before.map_or(Revision::ZERO, |b| b.revision),
            version: before.map_or(0, |b| b.version),
            clock: state.clock,
        }));
    }

    let sum;
    let (value, deadline_ms) = match &mutation.action {
        Action::Put { value, ttl_ms } => {
            let value = value.as_ref();
            if value.len() > state.limits.value_bytes_max as usize {
                let (bytes, bytes_max) = (value.len() as u32, state.limits.value_bytes_max);
                return Ok(Err(Refusal::ValueTooLarge { bytes, bytes_max }));
            }
            (value, ttl_ms.map(|ttl_ms| state.lease_clock_ms.saturating_add(ttl_ms)))
        }
        Action::Add { delta, min, max } => {
            let Some(current) = before.map_or(Some(0), |b| parse_integer(b.value)) else {
                return Ok(Err(Refusal::NotAnInteger { clock: state.clock }));
            };
            match current.checked_add(*delta) {
                Some(value) if (*min..=*max).contains(&value) => sum = (value, value.to_string()),
                _ => return Ok(Err(Refusal::OutOfBounds { current, clock: state.clock })),
            }
            (sum.1.as_bytes(), before.and_then(|b| b.deadline_ms))
        }
        Action::Delete => {
            let existed = before.is_some();
            if existed {
                remove(overlay, state, now, place, &mutation.key)?;
            }
            return Ok(Ok(Done::Deleted { revision: state.clock, existed }));
        }
    };

    let revision = next_revision(state, now);
    let version = before.map_or(1, |b| b.version + 1);
    let create_revision = before.map_or(revision, |b| b.create_revision);
    let after = VersionRecord { revision, create_revision, version, deadline_ms, value };
    overlay.put(Space::Current, place.current.clone(), Some(after.encode()));
    ttl::index(overlay, place.position, &mutation.key, before.and_then(|b| b.deadline_ms), deadline_ms);
    if let Some(stored) = &stored {
        end(overlay, place.position, &mutation.key, stored.clone(), revision);
    }
    Ok(Ok(match &mutation.action {
        Action::Add { .. } => {
            let value = parse_integer(value).expect("the sum was just written as an integer");
            Done::Added { revision, version, value }
        }
        _ => Done::Put { revision, version },
    }))
}

/// Removes a key whose deadline the lease clock has reached; leaves any other alone.
pub(crate) fn expire(
    overlay: &mut Overlay<'_>,
    state: &mut ShardState,
    now: Revision,
    place: &Place,
    key: &Key,
) -> Result<(), Unreadable> {
    let Some(stored) = overlay.get(Space::Current, &place.current)? else { return Ok(()) };
    match VersionRecord::decode(&stored)?.deadline_ms {
        Some(deadline_ms) if deadline_ms <= state.lease_clock_ms => remove(overlay, state, now, place, key),
        _ => Ok(()),
    }
}

fn remove(
    overlay: &mut Overlay<'_>,
    state: &mut ShardState,
    now: Revision,
    place: &Place,
    key: &Key,
) -> Result<(), Unreadable> {
    let stored = overlay.get(Space::Current, &place.current)?.expect("only a key that exists is removed");
    let deadline_ms = VersionRecord::decode(&stored)?.deadline_ms;
    let revision = next_revision(state, now);
    overlay.put(Space::Current, place.current.clone(), None);
    ttl::index(overlay, place.position, key, deadline_ms, None);
    end(overlay, place.position, key, stored, revision);
    Ok(())
}

/// Moves a version into history: the record as it is, under the revision that ended it.
fn end(overlay: &mut Overlay<'_>, position: RingPosition, key: &Key, record: Bytes, ended: Revision) {
    let stored = StoredKey::History { position, key: key.as_ref().into(), ended }.encode();
    overlay.put(Space::History, stored, Some(record));
}

/// Takes the revision of a change from the shard clock.
pub(crate) fn next_revision(state: &mut ShardState, now: Revision) -> Revision {
    state.clock = state.clock.next().max(now);
    state.clock
}

fn holds(condition: &Condition, key: Option<&VersionRecord<'_>>) -> bool {
    match condition {
        Condition::None => true,
        Condition::Absent => key.is_none(),
        Condition::Exists => key.is_some(),
        Condition::RevisionIs(revision) => key.is_some_and(|k| k.revision == *revision),
        Condition::VersionIs(version) => key.map_or(0, |k| k.version) == *version,
        Condition::ValueIs(value) => key.is_some_and(|k| k.value == value),
    }
}

/// An integer as [`Action::Add`] writes it, and nothing else: no `+`, no leading zeros, no spaces, no `-0`. One number
/// has one text, so a value that was not written as a counter is not taken for one.
fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits {
        [b'0'] if digits.len() == text.len() => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_integer_has_one_text() {
        for (text, integer) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            (" 1", None),
            ("1 ", None),
            ("1_0", None),
            ("", None),
            ("-", None),
            ("1e3", None),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), integer, "{text:?}");
        }
    }
}
