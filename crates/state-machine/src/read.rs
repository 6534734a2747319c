//! Reading one key, now or at a past revision. See [`crate::scan`] for many.

use std::ops::ControlFlow;

use bytes::Bytes;
use ringfence_shard_router::ShardDescriptor;
use ringfence_types::{Key, Revision, RingPosition, ShardId, Value};

use crate::keys::history_of;
use crate::mvcc::Place;
use crate::record::VersionRecord;
use crate::{ShardState, Space, Unreadable, View};

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Which key.
    pub key: Key,
    /// What it held.
    pub value: Value,
    /// Of the write that made this version.
    pub revision: Revision,
    /// Of the write that created the key.
    pub create_revision: Revision,
    /// How often the key was written since, including that write; 1 = created.
    pub version: u64,
    /// What is left of its ttl on the lease clock; 0 if it is due and only waits for its expiry to be applied. `None` for a
    /// key without a ttl, and for a version that is not the current one.
    pub ttl_left_ms: Option<u64>,
}

/// What was found, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer<T> {
    /// The shard clock: no change at or below it is missing.
    pub clock: Revision,
    /// What was found.
    pub value: T,
}

/// Why a read has no answer here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadRefusal {
    /// This shard does not own what was asked for.
    #[error("shard {} does not own the key; it owns {}", .descriptor.shard, .descriptor.range)]
    WrongShard {
        /// What is true of this shard.
        descriptor: ShardDescriptor,
    },
    /// The revision lies below what history is kept for.
    #[error("history below revision {floor} is gone. Read at a newer revision, or keep history for longer")]
    HistoryGone {
        /// The oldest revision that can be read.
        floor: Revision,
    },
    /// The revision is not reached yet: changes may still be given it. Advance the clock first, or wait.
    #[error("the shard has only reached revision {clock}; the revision asked for lies ahead")]
    Ahead {
        /// How far it is.
        clock: Revision,
    },
}

/// Reads a key as this replica has it, or as it was at a revision.
pub fn get(
    view: &dyn View,
    shard: ShardId,
    key: &Key,
    at: Option<Revision>,
) -> Result<Result<ReadAnswer<Option<Versioned>>, ReadRefusal>, Unreadable> {
    let state = ShardState::load_existing(view, shard)?;
    let place = Place::of(key);
    if let Err(refusal) = admit(&state, place.position, at) {
        return Ok(Err(refusal));
    }
    let found = match at {
        Some(at) => ended_after(view, place.position, key, at)?,
        None => None,
    };
    // At a past revision: what ended after it was current then, if it had begun. Otherwise the current version is meant.
    let (record, is_current) = match found {
        Some(record) => (Some(record), false),
        None => (view.get(Space::Current, &place.current)?, true),
    };
    let mut value = None;
    if let Some(record) = record {
        let version = VersionRecord::decode(&record)?;
        if at.is_none_or(|at| version.revision <= at) {
            let shared = record.slice_ref(version.value);
            value = Some(versioned(key.clone(), shared, &version, &state, is_current)?);
        }
    }
    Ok(Ok(ReadAnswer { clock: state.clock, value }))
}

/// What became of reading one key of many.
pub type KeyRead = Result<ReadAnswer<Option<Versioned>>, ReadRefusal>;

/// Reads many keys as this replica has them, in one go: one answer for each, in their order. Each is right by itself; what
/// is written meanwhile may be in some and not in others.
pub fn get_many(view: &dyn View, shard: ShardId, keys: &[Key]) -> Result<Vec<KeyRead>, Unreadable> {
    let state = ShardState::load_existing(view, shard)?;
    let places: Vec<Place> = keys.iter().map(Place::of).collect();
    let stored: Vec<Bytes> = places.iter().map(|place| place.current.clone()).collect();
    let records = view.get_many(Space::Current, &stored)?;
    assert_eq!(records.len(), keys.len(), "get_many must answer every key");
    keys.iter()
        .zip(places)
        .zip(records)
        .map(|((key, place), record)| {
            if let Err(refusal) = admit(&state, place.position, None) {
                return Ok(Err(refusal));
            }
            let value = match &record {
                None => None,
                Some(record) => {
                    let version = VersionRecord::decode(record)?;
                    Some(versioned(key.clone(), record.slice_ref(version.value), &version, &state, true)?)
                }
            };
            Ok(Ok(ReadAnswer { clock: state.clock, value }))
        })
        .collect()
}

/// Whether the shard answers reads at this position and revision.
pub(crate) fn admit(state: &ShardState, position: RingPosition, at: Option<Revision>) -> Result<(), ReadRefusal> {
    let owned = state.descriptor.shard != ShardId::META && state.descriptor.range.contains(position);
    if !owned {
        return Err(ReadRefusal::WrongShard { descriptor: state.descriptor.clone() });
    }
    match at {
        Some(at) if at < state.history_floor => Err(ReadRefusal::HistoryGone { floor: state.history_floor }),
        Some(at) if at > state.clock => Err(ReadRefusal::Ahead { clock: state.clock }),
        _ => Ok(()),
    }
}

/// The first version of the key that ended after a revision.
fn ended_after(view: &dyn View, position: RingPosition, key: &Key, at: Revision) -> Result<Option<Bytes>, Unreadable> {
    let mut from = history_of(position, key.as_ref());
    let mut to = from.clone();
    from.extend_from_slice(&at.next().0.to_be_bytes());
    to.extend_from_slice(&[0xff; 8]);
    let mut found = None;
    view.scan(Space::History, &from, &to, &mut |_, record| {
        found = Some(Bytes::copy_from_slice(record));
        ControlFlow::Break(())
    })?;
    Ok(found)
}

pub(crate) fn versioned(
    key: Key,
    value: Bytes,
    record: &VersionRecord<'_>,
    state: &ShardState,
    is_current: bool,
) -> Result<Versioned, Unreadable> {
    let deadline_ms = record.deadline_ms.filter(|_| is_current);
    Ok(Versioned {
        key,
        value: Value::new(value).map_err(|e| Unreadable::new(format!("a stored value is none: {e}")))?,
        revision: record.revision,
        create_revision: record.create_revision,
        version: record.version,
        ttl_left_ms: deadline_ms.map(|deadline_ms| deadline_ms.saturating_sub(state.lease_clock_ms)),
    })
}
