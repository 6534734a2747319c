//! The keys and values of a run, made before it begins: formatting them would cost as much as sending them.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;

use crate::random::Random;

/// All keys of all runs begin so. Whoever finds such a key knows whose it is and that it may go.
pub const KEYS_PREFIX: &str = "ringfence-bench/";

/// How many different values there are. More than one, so that no store profits from all of them being equal.
const VALUES: usize = 256;

/// Keys and values of one run.
///
/// * No other run has a key of it, because a random word is part of each; unless both were given the same name.
/// * Every key has the same length, and so has every value.
/// * Values are noise, so compression helps no peer.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
    /// The last one is the hot key; it is none of the others.
    keys: Vec<Bytes>,
    values: Vec<Bytes>,
}

/// Why there are no such keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// It becomes a part of keys that people read.
    #[error("{name:?} is no name for a run: give 1 to 32 of a-z, A-Z, 0-9, - and _")]
    Name {
        /// What was given.
        name: String,
    },
    /// There must be one at least.
    #[error("there must be a key at least")]
    None,
    /// Prefix and number don't fit.
    #[error(
        "a key of {bytes} bytes is too short for the prefix and the number of one of {keys} keys; the least is {least}"
    )]
    TooShort {
        /// What was asked for.
        bytes: usize,
        /// How many keys.
        keys: usize,
        /// What would do.
        least: usize,
    },
}

impl Keys {
    /// So many keys and a hot one, of so many bytes, with values of so many bytes. Runs of one name have the same keys.
    pub fn new(name: Option<&str>, count: usize, key_bytes: usize, value_bytes: usize) -> Result<Keys, KeysError> {
        if count == 0 {
            return Err(KeysError::None);
        }
        let random_word = RandomState::new().hash_one(count); // std's only source of randomness
        let name = name.map_or_else(|| format!("{random_word:016x}"), str::to_owned);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !(1..=32).contains(&name.len()) || !name.chars().all(is_plain) {
            return Err(KeysError::Name { name });
        }
        let prefix = format!("{KEYS_PREFIX}{name}/");
        let least = prefix.len() + count.to_string().len();
        if key_bytes < least {
            return Err(KeysError::TooShort { bytes: key_bytes, keys: count, least });
        }
        let width = key_bytes - prefix.len();
        let keys = (0..=count).map(|number| Bytes::from(format!("{prefix}{number:0width$}"))).collect();
        let mut random = Random::new(random_word);
        let mut value = || -> Bytes { (0..value_bytes).map(|_| random.next() as u8).collect() };
        let values = (0..VALUES).map(|_| value()).collect();
        Ok(Keys { prefix, keys, values })
    }

    /// What every key of this run begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The keys that are drawn from.
    pub(crate) fn drawn(&self) -> &[Bytes] {
        &self.keys[..self.keys.len() - 1]
    }

    /// The key that all clients set in `cas-hot`.
    pub(crate) fn hot(&self) -> &Bytes {
        &self.keys[self.keys.len() - 1]
    }

    /// All of them, the hot one too.
    pub(crate) fn all(&self) -> &[Bytes] {
        &self.keys
    }

    pub(crate) fn value(&self, number: u64) -> &Bytes {
        &self.values[number as usize % VALUES]
    }

    pub(crate) fn key_bytes(&self) -> usize {
        self.keys[0].len()
    }

    pub(crate) fn value_bytes(&self) -> usize {
        self.values[0].len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_differ_and_have_the_length_asked_for() {
        let keys = Keys::new(None, 1000, 64, 256).unwrap();
        let distinct: BTreeSet<&Bytes> = keys.all().iter().collect();
        assert_eq!((distinct.len(), keys.drawn().len()), (1001, 1000));
        assert!(keys.all().iter().all(|key| key.len() == 64 && key.starts_with(keys.prefix().as_bytes())));
        assert!(!keys.drawn().contains(keys.hot()));
        assert!(keys.values.iter().all(|value| value.len() == 256));
        assert_ne!(Keys::new(None, 1, 64, 0).unwrap().prefix(), keys.prefix(), "runs side by side must not meet");
    }

    #[test]
    fn a_key_too_short_for_its_number_is_refused_with_what_would_do() {
        let Err(KeysError::TooShort { least, .. }) = Keys::new(None, 1000, 20, 1) else {
            panic!("20 bytes are too few")
        };
        assert_eq!(Keys::new(None, 1000, least, 1).unwrap().key_bytes(), least);
        assert!(Keys::new(None, 1000, least - 1, 1).is_err());
        assert_eq!(Keys::new(None, 0, 64, 1).unwrap_err(), KeysError::None);
    }
    #[test]
    fn runs_of_one_name_share_their_keys() {
        let keys = |name| Keys::new(Some(name), 10, 64, 1);
        assert_eq!(keys("a-1").unwrap().all(), keys("a-1").unwrap().all());
        for name in ["", "a/b", "ä", &"x".repeat(33)] {
            assert!(matches!(keys(name), Err(KeysError::Name { .. })), "{name:?}");
        }
    }
}
