//! Where a scan's page ended, as opaque bytes in the client's hands.
//!
//! `version(1) | query hash(8) | position(8) | key…`, numbers big-endian. The next page begins after `key` at `position`; an
//! empty key begins at the position itself. The hash is that of everything in the query that must not change between
//! pages, so a cursor cannot be used for another scan by mistake.

use bytes::{BufMut, Bytes, BytesMut};
use ringfence_types::{Key, RingPosition};
use xxhash_rust::xxh3::xxh3_64;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 8 + 8;

/// A place between two keys of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Where on the ring.
    pub position: RingPosition,
    /// The last key that was looked at there; empty if none.
    pub key: Bytes,
}

/// Why bytes are not a cursor of this scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CursorError {
    /// Cut off, or made up.
    #[error("the cursor is malformed; pass back `next_cursor` unchanged, or leave it empty to begin anew")]
    Malformed,
    /// By another release.
    #[error("the cursor is of version {0}, which this node does not know. Begin the scan anew")]
    UnknownVersion(u8),
    /// Of another scan.
    #[error("the cursor belongs to another scan; repeat tag, prefix, start and end as they were")]
    OtherQuery,
}

impl Cursor {
    /// For the client. `query` is everything that must not change between pages.
    pub(crate) fn encode(&self, query: &[&[u8]]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES + self.key.len());
        bytes.put_u8(VERSION);
        bytes.put_u64(hash(query));
        bytes.put_u64(self.position.0);
        bytes.put_slice(&self.key);
        bytes.freeze()
    }

    /// From the client.
    pub(crate) fn decode(bytes: &Bytes, query: &[&[u8]]) -> Result<Cursor, CursorError> {
        let lies_there = |key: &Bytes, position| Key::new(key.clone()).map(|key: Key| key.position()) == Ok(position);
        Cursor::decode_with(bytes, query, lies_there)
    }

    /// From the client, where what stands in the place of the key has its own shape.
    pub(crate) fn decode_with(
        bytes: &Bytes,
        query: &[&[u8]],
        is_sound: impl Fn(&Bytes, RingPosition) -> bool,
    ) -> Result<Cursor, CursorError> {
        match bytes.first() {
            None => return Err(CursorError::Malformed),
            Some(&VERSION) => {}
            Some(&version) => return Err(CursorError::UnknownVersion(version)),
        }
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let query_hash = number(1).ok_or(CursorError::Malformed)?;
        let position = RingPosition(number(9).ok_or(CursorError::Malformed)?);
        if query_hash != hash(query) {
            return Err(CursorError::OtherQuery);
        }
        let key = bytes.slice(HEAD_BYTES..);
        if !key.is_empty() && !is_sound(&key, position) {
            return Err(CursorError::Malformed);
        }
        Ok(Cursor { position, key })
    }
}

fn hash(query: &[&[u8]]) -> u64 {
    let mut bytes = Vec::new();
    for part in query {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes()); // so that ["ab", ""] is not ["a", "b"]
        bytes.extend_from_slice(part);
    }
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[&[u8]] = &[b"prefix", b"a"];

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let key = Key::new("{a}b").unwrap();
        for cursor in [
            Cursor { position: key.position(), key: key.bytes().clone() },
            Cursor { position: RingPosition(7), key: Bytes::new() },
        ] {
            assert_eq!(Cursor::decode(&cursor.encode(QUERY), QUERY), Ok(cursor));
        }
    }

    #[test]
    fn a_cursor_that_was_cut_changed_or_taken_from_another_scan_is_refused() {
        let key = Key::new("{a}b").unwrap();
        let bytes = Cursor { position: key.position(), key: key.bytes().clone() }.encode(QUERY);
        assert_eq!(Cursor::decode(&Bytes::new(), QUERY), Err(CursorError::Malformed));
        for cut in 1..HEAD_BYTES {
            assert_eq!(Cursor::decode(&bytes.slice(..cut), QUERY), Err(CursorError::Malformed), "cut at {cut}");
        }
        let mut other_position = bytes.to_vec();
        other_position[10] ^= 1;
        assert_eq!(Cursor::decode(&other_position.into(), QUERY), Err(CursorError::Malformed));
        let mut newer = bytes.to_vec();
        newer[0] = 9;
        assert_eq!(Cursor::decode(&newer.into(), QUERY), Err(CursorError::UnknownVersion(9)));
        assert_eq!(Cursor::decode(&bytes, &[b"prefix", b"b"]), Err(CursorError::OtherQuery));
        assert_eq!(Cursor::decode(&bytes, &[b"prefixa", b""]), Err(CursorError::OtherQuery));
    }
}
