use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::VALUE_BYTES_MAX;

/// What a key holds: 0..=1 MiB of bytes, never assumed to be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Value(Bytes);

/// Why bytes are not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The value is longer than [`VALUE_BYTES_MAX`].
    #[error(
        "the value has {bytes} bytes; the most is {VALUE_BYTES_MAX}. Split it, or store it elsewhere and keep a reference"
    )]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
}

impl Value {
    /// Checks the length.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Value, ValueError> {
        let bytes = bytes.into();
        if bytes.len() > VALUE_BYTES_MAX {
            return Err(ValueError::TooLarge { bytes: bytes.len() });
        }
        Ok(Value(bytes))
    }

    /// The bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

// A value read back from a log or a peer is checked like one from a user.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        Value::new(Bytes::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest value is allowed, one byte more is not, and the message says what to do instead.
    #[test]
    fn a_value_that_is_too_large_is_refused() {
        assert!(Value::new("").is_ok());
        assert!(Value::new(vec![0; VALUE_BYTES_MAX]).is_ok());
        let error = Value::new(vec![0; VALUE_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(error, ValueError::TooLarge { bytes: VALUE_BYTES_MAX + 1 });
        assert!(error.to_string().contains("Split it"));
    }
}
