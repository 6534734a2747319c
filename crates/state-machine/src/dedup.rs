//! Memory of outcomes, so that a retried request takes effect at most once (guarantee G8).
//!
//! An outcome is kept at the request's home, under its client and sequence, until the shard's dedup *floor* reaches the
//! request's birth. The floor moves by a command in the log; what lies below it is deleted by each replica when it
//! likes. So a decision must never depend on whether a record below the floor is still there, and two rules see to it:
//!
//! * A request born at or below the floor is refused before anything is looked up.
//! * A record born at or below the floor counts as absent, also for a client that breaks the rules and retries with
//!   another birth than the first time.

use bytes::{BufMut, Bytes, BytesMut};
use ringfence_types::{RequestId, Revision};

use crate::overlay::Overlay;
use crate::record::{RECORD_FORMAT, payload};
use crate::{Refusal, Reply, ShardState, Space, Unreadable, decode_reply, encode_reply};

/// What is known of a request before it is run: `Some` is the answer, and nothing is run.
pub(crate) fn recall(
    overlay: &mut Overlay<'_>,
    state: &ShardState,
    stored: &Bytes,
    id: &RequestId,
) -> Result<Option<Reply>, Unreadable> {
    let too_old = Refusal::RequestTooOld { birth: id.birth, floor: state.dedup_floor, clock: state.clock };
    if is_below(id.birth, state.dedup_floor) {
        return Ok(Some(Err(too_old)));
    }
    if let Some(record) = overlay.get(Space::Dedup, stored)? {
        let (birth, reply) = split(&record)?;
        if !is_below(birth, state.dedup_floor) {
            let reply = decode_reply(reply).map_err(|e| Unreadable::new(format!("an outcome is damaged: {e}")))?;
            return Ok(Some(reply));
        }
    }
    // A birth that the shard clock may not follow could never be forgotten again: no floor would reach it.
    Ok((id.birth > state.clock).then_some(Err(too_old)))
}

/// Keeps an outcome: `format(1) | birth(8) | reply`. The birth stands in front, so that collection reads it cheaply.
pub(crate) fn remember(overlay: &mut Overlay<'_>, stored: Bytes, id: &RequestId, reply: &Reply) {
    let reply = encode_reply(reply);
    let mut record = BytesMut::with_capacity(9 + reply.len());
    record.put_u8(RECORD_FORMAT);
    record.put_i64(id.birth.0);
    record.put_slice(&reply);
    overlay.put(Space::Dedup, stored, Some(record.freeze()));
}

/// The birth of a remembered request.
pub(crate) fn birth(record: &[u8]) -> Result<Revision, Unreadable> {
    split(record).map(|(birth, _)| birth)
}

/// Whether a birth is forgotten under this floor. No floor yet forgets nothing, not even the birth of a client that has
/// seen no revision so far.
pub(crate) fn is_below(birth: Revision, floor: Revision) -> bool {
    floor > Revision::ZERO && birth <= floor
}

fn split(record: &[u8]) -> Result<(Revision, &[u8]), Unreadable> {
    let rest = payload(record, "dedup")?;
    let (birth, reply) = rest.split_first_chunk().ok_or_else(|| Unreadable::new("a dedup record is too short"))?;
    Ok((Revision(i64::from_be_bytes(*birth)), reply))
}
