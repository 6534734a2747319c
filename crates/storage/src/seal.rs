//! Our own checksum around a record.
//!
//! ```text
//! version(1) | crc32c(4, big endian) over version, key and body | body
//! ```
//!
//! RocksDB checksums its blocks, but not on the way between its cache and us, and not against itself. The key takes part,
//! so a record that turns up at another's place is found out too.
//!
//! These five bytes begin every version, for ever: so a flipped bit in the version is told from a newer release's record.

use bytes::Bytes;

use crate::StorageError;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 5;

fn checksum(version: u8, key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&[version]), key), body)
}

/// The record to store at `key`. The body comes in pieces to save a copy.
pub(crate) fn seal(key: &[u8], body: &[&[u8]]) -> Bytes {
    let mut sealed = Vec::with_capacity(HEAD_BYTES + body.iter().map(|piece| piece.len()).sum::<usize>());
    sealed.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
    for piece in body {
        sealed.extend_from_slice(piece);
    }
    let checksum = checksum(VERSION, key, &sealed[HEAD_BYTES..]);
    sealed[1..HEAD_BYTES].copy_from_slice(&checksum.to_be_bytes());
    sealed.into()
}

/// The body of a stored record. `what` names it in the error.
pub(crate) fn unseal<'a>(key: &[u8], sealed: &'a [u8], what: impl Fn() -> String) -> Result<&'a [u8], StorageError> {
    let Some((head, body)) = sealed.split_first_chunk::<HEAD_BYTES>() else {
        return Err(StorageError::corrupt(format!("{}: {} bytes are too few for a record", what(), sealed.len())));
    };
    let [version, stored @ ..] = *head;
    if u32::from_be_bytes(stored) != checksum(version, key, body) {
        return Err(StorageError::corrupt(format!("{}: the checksum does not match", what())));
    }
    if version != VERSION {
        return Err(StorageError::UnknownVersion { what: what(), found: version.into(), known: VERSION.into() });
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what() -> String {
        "record".into()
    }

    /// Every single flipped bit must be told, whether it hits version, checksum or body; and a record at another key.
    #[test]
    fn no_single_flipped_bit_goes_unnoticed() {
        let sealed = seal(b"key", &[b"bo", b"dy"]);
        assert_eq!(unseal(b"key", &sealed, what).unwrap(), b"body");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = unseal(b"key", &flipped, what);
            assert!(matches!(found, Err(StorageError::Corrupt { .. })), "bit {bit}: {found:?}");
        }
        assert!(matches!(unseal(b"kez", &sealed, what), Err(StorageError::Corrupt { .. })));
        assert!(matches!(unseal(b"key", &sealed[..4], what), Err(StorageError::Corrupt { .. })));
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let mut sealed = seal(b"key", &[b"body"]).to_vec();
        sealed[0] = 2;
        let checksum = checksum(2, b"key", b"body").to_be_bytes();
        sealed[1..HEAD_BYTES].copy_from_slice(&checksum);
        let error = unseal(b"key", &sealed, what).unwrap_err();
        assert_eq!(error, StorageError::UnknownVersion { what: "record".into(), found: 2, known: 1 });
    }
}
