//! The pieces in which a shard's state travels.
//!
//! ```text
//! sealed: sequence(8) | last(1) | { space(1) | key bytes(4) | key | value bytes(4) | value }*
//! ```
//!
//! Chunks are numbered from 0 and the last one says so: a missing, doubled or cut-off transfer is noticed.

use bytes::Bytes;
use ringfence_state_machine::{Space, Write};

use crate::StorageError;
use crate::seal::{seal, unseal};

/// Takes the place of a key in the checksum, so that no other sealed record passes for a chunk.
const NAME: &[u8] = b"chunk of a shard";

/// A decoded chunk.
pub(super) struct Chunk {
    pub(super) sequence: u64,
    pub(super) last: bool,
    pub(super) records: Vec<Write>,
}

/// Appends one record to a chunk's body.
pub(super) fn push(body: &mut Vec<u8>, space: Space, key: &[u8], value: &[u8]) {
    body.push(space as u8);
    for part in [key, value] {
        let length = u32::try_from(part.len()).expect("keys and values are far below 4 GiB");
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(part);
    }
}

pub(super) fn encode(sequence: u64, last: bool, body: &[u8]) -> Bytes {
    seal(NAME, &[&sequence.to_be_bytes(), &[u8::from(last)], body])
}

/// Checks and decodes. The records share the memory of the chunk.
pub(super) fn decode(chunk: &Bytes) -> Result<Chunk, StorageError> {
    let body = unseal(NAME, chunk, || "chunk of a snapshot".into())?;
    parse(chunk, body).ok_or_else(|| StorageError::corrupt("chunk of a snapshot: it does not divide into records"))
}

fn parse(chunk: &Bytes, body: &[u8]) -> Option<Chunk> {
    let (sequence, rest) = body.split_first_chunk()?;
    let (last, mut rest) = rest.split_first()?;
    let mut records = Vec::new();
    while let Some((space, after)) = rest.split_first() {
        let space = *Space::ALL.get(usize::from(*space))?;
        let (key, after) = part(after)?;
        let (value, after) = part(after)?;
        records.push(Write { space, key: chunk.slice_ref(key), value: Some(chunk.slice_ref(value)) });
        rest = after;
    }
    let last = match last {
        0 => false,
        1 => true,
        _ => return None,
    };
    Some(Chunk { sequence: u64::from_be_bytes(*sequence), last, records })
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}
