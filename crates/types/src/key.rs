//! Keys, hash tags and ring positions.
//!
//! A key's place on the ring is the xxh3 hash of its *routing part*: what stands between the first `{` and the next `}`
//! if that is not empty, else the whole key. It is the rule of Redis Cluster, odd cases included:
//!
//! | key | routing part |
//! |---|---|
//! | `user:42` | `user:42` |
//! | `{user:42}:cart` | `user:42` |
//! | `{}:cart` | `{}:cart` (an empty tag is no tag) |
//! | `a{b}{c}` | `b` (the first tag counts) |
//! | `a{{b}}` | `{b` (from the first `{` to the next `}`) |
//! | `a{b` | `a{b` (never closed) |
//! | `a}{b}` | `b` (a `}` before the first `{` means nothing) |

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::limits::KEY_BYTES_MAX;

/// A point of the ring, `0 ..= u64::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RingPosition(pub u64);

impl RingPosition {
    /// The first position.
    pub const MIN: RingPosition = RingPosition(0);
    /// The last position.
    pub const MAX: RingPosition = RingPosition(u64::MAX);

    /// Where a routing part lies.
    pub fn of_routing_part(part: &[u8]) -> RingPosition {
        RingPosition(xxh3_64(part))
    }
}

impl fmt::Display for RingPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The part of a key that decides its ring position. See the module's table.
pub fn routing_part(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|b| *b == b'{') else { return key };
    let inner = &key[open + 1..];
    match inner.iter().position(|b| *b == b'}') {
        None | Some(0) => key,
        Some(close) => &inner[..close],
    }
}

/// A key: 1..=4096 bytes, never assumed to be UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key(Bytes);

/// Why bytes are not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key has no bytes.
    #[error("the key is empty; a key has 1 to {KEY_BYTES_MAX} bytes")]
    Empty,
    /// The key is longer than [`KEY_BYTES_MAX`].
    #[error("the key has {bytes} bytes; the most is {KEY_BYTES_MAX}. Hash the long part, or move it into the value")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
}

impl Key {
    /// Checks the length.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Key, KeyError> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(KeyError::Empty),
            n if n > KEY_BYTES_MAX => Err(KeyError::TooLarge { bytes: n }),
            _ => Ok(Key(bytes)),
        }
    }

    /// The bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Where the key lies on the ring.
    pub fn position(&self) -> RingPosition {
        RingPosition::of_routing_part(routing_part(&self.0))
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

// A key read back from a log or a disk is checked like one from a user.
impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        Key::new(Bytes::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A complete hash tag without its braces: every key that begins `{tag}` lies at one ring position, sorted, on one shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HashTag(Bytes);

/// Why bytes are not a hash tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// `{}` is no tag: such keys hash as a whole.
    #[error("the hash tag is empty; give the text between the braces, as in `user:42` for `{{user:42}}:cart`")]
    Empty,
    /// A tag ends at its first `}`, so it cannot contain one.
    #[error("a hash tag cannot contain `}}`: it ends there. Give the text between the braces, without them")]
    ContainsClosingBrace,
    /// `{tag}` must fit in a key.
    #[error("the hash tag has {bytes} bytes; with its braces it must fit in a key of {KEY_BYTES_MAX}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
}

impl HashTag {
    /// Checks that keys beginning `{tag}` really have this routing part.
    pub fn new(tag: impl Into<Bytes>) -> Result<HashTag, TagError> {
        let tag = tag.into();
        if tag.is_empty() {
            return Err(TagError::Empty);
        }
        if tag.contains(&b'}') {
            return Err(TagError::ContainsClosingBrace);
        }
        if tag.len() + 2 > KEY_BYTES_MAX {
            return Err(TagError::TooLarge { bytes: tag.len() });
        }
        Ok(HashTag(tag))
    }

    /// The one position of all its keys.
    pub fn position(&self) -> RingPosition {
        RingPosition::of_routing_part(&self.0)
    }

    /// `{tag}`: what its keys begin with.
    pub fn prefix(&self) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(self.0.len() + 2);
        prefix.push(b'{');
        prefix.extend_from_slice(&self.0);
        prefix.push(b'}');
        prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients in other languages compute positions too; the odd cases decide whether they agree with us.
    #[test]
    fn routing_part_follows_redis_cluster_in_its_odd_cases() {
        for (key, part) in [
            ("user:42", "user:42"),
            ("{user:42}:cart", "user:42"),
            ("{}:cart", "{}:cart"),
            ("{}{a}", "{}{a}"),
            ("a{b}{c}", "b"),
            ("a{{b}}", "{b"),
            ("a{b", "a{b"),
            ("a}{b}", "b"),
            ("{", "{"),
            ("}", "}"),
            ("{\0}", "\0"),
        ] {
            assert_eq!(routing_part(key.as_bytes()), part.as_bytes(), "{key}");
        }
    }

    /// The hash is part of the on-disk format: a change would lose every key. The vector of the empty string is that of the
    /// reference xxHash; the other pins what stands in every state DB.
    #[test]
    fn positions_never_change() {
        assert_eq!(RingPosition::of_routing_part(b""), RingPosition(0x2d06800538d394c2));
        assert_eq!(RingPosition::of_routing_part(b"user:42"), RingPosition(0x9fc1e605fa7174aa));
        assert_eq!(Key::new("{user:42}:cart").unwrap().position(), Key::new("{user:42}:orders").unwrap().position());
        assert_eq!(HashTag::new("user:42").unwrap().position(), Key::new("user:42").unwrap().position());
    }

    #[test]
    fn keys_and_tags_that_cannot_be_are_refused() {
        assert_eq!(Key::new(""), Err(KeyError::Empty));
        assert!(Key::new(vec![0xff; KEY_BYTES_MAX]).is_ok());
        assert_eq!(Key::new(vec![0; KEY_BYTES_MAX + 1]), Err(KeyError::TooLarge { bytes: KEY_BYTES_MAX + 1 }));
        assert_eq!(HashTag::new(""), Err(TagError::Empty));
        assert_eq!(HashTag::new("a}b"), Err(TagError::ContainsClosingBrace));
        assert!(HashTag::new("a{b").is_ok());
        assert!(HashTag::new(vec![b'a'; KEY_BYTES_MAX - 2]).is_ok());
        let too_large = vec![b'a'; KEY_BYTES_MAX - 1];
        assert_eq!(HashTag::new(too_large), Err(TagError::TooLarge { bytes: KEY_BYTES_MAX - 1 }));
    }

    /// A scan by tag asks one position. If some tag and its keys did not agree on it, keys would be missing from the scan.
    #[test]
    fn every_tag_lies_where_its_keys_lie() {
        for tag in ["user:42", "a{b", "{", "{{", "\0"] {
            let tag = HashTag::new(tag).unwrap();
            let key = Key::new([tag.prefix(), b":cart".to_vec()].concat()).unwrap();
            assert_eq!(tag.position(), key.position(), "{key}");
        }
    }
}
