//! The words of locks: names, holders, ttls, tokens.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::{
    LEASE_TTL_MS_MAX, LEASE_TTL_MS_MIN, LOCK_HOLDER_BYTES_MAX, LOCK_HOLDERS_MAX, LOCK_METADATA_BYTES_MAX,
};
use crate::{Key, KeyError, Revision, RingPosition};

/// What is locked: 1..=4096 bytes, on the ring like a key, so a lock `{user:42}:cart` lies with the data of `{user:42}`.
///
/// Locks have a space of their own: a lock and a key of the same name have nothing to do with each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LockName(Key);

impl LockName {
    /// Checks the length.
    pub fn new(bytes: impl Into<Bytes>) -> Result<LockName, KeyError> {
        Key::new(bytes).map(LockName)
    }

    /// The bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        self.0.bytes()
    }

    /// Where the lock lies on the ring.
    pub fn position(&self) -> RingPosition {
        self.0.position()
    }
}

impl AsRef<[u8]> for LockName {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The revision at which a lease was granted: of one lock, strictly increasing for ever (guarantee G4). Whoever protects
/// something by the lock refuses a token below the highest that it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FencingToken(pub Revision);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A lock and the token of a lease of it. Attached to a write: that happens only while the lease is current.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// Which lock.
    pub lock: LockName,
    /// Of which lease.
    pub token: FencingToken,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.lock, self.token)
    }
}

/// How long a lease lasts unless it is renewed, in milliseconds of the lease clock: 100 ms to 24 h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LeaseTtl(u32);

/// Why a number of milliseconds is no lease's ttl.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lease lasts from {LEASE_TTL_MS_MIN} ms to 24 h, and {ms} ms was asked for")]
pub struct LeaseTtlError {
    /// What was asked for.
    pub ms: u64,
}

impl LeaseTtl {
    /// Checks the bounds.
    pub fn from_ms(ms: u64) -> Result<LeaseTtl, LeaseTtlError> {
        match u32::try_from(ms) {
            Ok(short) if (LEASE_TTL_MS_MIN..=LEASE_TTL_MS_MAX).contains(&short) => Ok(LeaseTtl(short)),
            _ => Err(LeaseTtlError { ms }),
        }
    }

    /// In milliseconds.
    pub fn as_ms(self) -> u64 {
        u64::from(self.0)
    }
}

// A ttl read back from a log or a peer is checked like one from a user.
impl<'de> Deserialize<'de> for LeaseTtl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LeaseTtl, D::Error> {
        LeaseTtl::from_ms(u64::from(u32::deserialize(deserializer)?)).map_err(serde::de::Error::custom)
    }
}

/// Who holds a lease, in the caller's own words: 1..=256 bytes, shown to whoever finds the lock held. Whoever renews or
/// releases must give the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Holder(Bytes);

/// Why bytes do not name a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a holder is named by 1 to {LOCK_HOLDER_BYTES_MAX} bytes, and this has {bytes}. Keep what is longer in the metadata"
)]
pub struct HolderError {
    /// Its length.
    pub bytes: usize,
}

impl Holder {
    /// Checks the length.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Holder, HolderError> {
        let bytes = bytes.into();
        match bytes.len() {
            1..=LOCK_HOLDER_BYTES_MAX => Ok(Holder(bytes)),
            bytes => Err(HolderError { bytes }),
        }
    }

    /// The bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<Holder> for Bytes {
    fn from(holder: Holder) -> Bytes {
        holder.0
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl<'de> Deserialize<'de> for Holder {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Holder, D::Error> {
        Holder::new(Bytes::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What a holder wants known of its lease: an address, a job, the value that a leader proclaims. At most 4 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Metadata(Bytes);

/// Why bytes are no metadata of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata have {bytes} bytes; the most is {LOCK_METADATA_BYTES_MAX}. Put the rest under a key")]
pub struct MetadataError {
    /// Their length.
    pub bytes: usize,
}

impl Metadata {
    /// Checks the length.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Metadata, MetadataError> {
        let bytes = bytes.into();
        match bytes.len() {
            0..=LOCK_METADATA_BYTES_MAX => Ok(Metadata(bytes)),
            bytes => Err(MetadataError { bytes }),
        }
    }

    /// The bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Metadata, D::Error> {
        Metadata::new(Bytes::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// How many may hold a lock at once, and beside whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LockMode {
    /// Nobody else.
    Exclusive,
    /// Others who share it.
    Shared,
    /// Up to `of` holders, each with a numbered permit of its own: a semaphore.
    Permit {
        /// How many there are.
        of: Permits,
    },
}

/// How many permits a semaphore has: 1 to [`LOCK_HOLDERS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Permits(u32);

/// Why a semaphore cannot have so many permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a semaphore has 1 to {LOCK_HOLDERS_MAX} permits, and {of} were asked for. Spread more over several semaphores"
)]
pub struct PermitsError {
    /// What was asked for.
    pub of: u32,
}

impl Permits {
    /// Checks the bounds.
    pub fn new(of: u32) -> Result<Permits, PermitsError> {
        match of {
            1..=LOCK_HOLDERS_MAX => Ok(Permits(of)),
            of => Err(PermitsError { of }),
        }
    }

    /// The number.
    pub fn count(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl<'de> Deserialize<'de> for Permits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Permits, D::Error> {
        Permits::new(u32::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_kept_on_both_sides() {
        for ms in [0, 99, 24 * 3600 * 1000 + 1, u64::MAX, (1 << 32) + 100] {
            assert_eq!(LeaseTtl::from_ms(ms), Err(LeaseTtlError { ms }));
        }
        assert_eq!(LeaseTtl::from_ms(100).unwrap().as_ms(), 100);
        assert_eq!(LeaseTtl::from_ms(86_400_000).unwrap().as_ms(), 86_400_000);
        assert!(Holder::new("").is_err() && Holder::new(vec![0; 257]).is_err() && Holder::new(vec![0; 256]).is_ok());
        assert!(Permits::new(0).is_err() && Permits::new(1024).is_ok() && Permits::new(1025).is_err());
        assert!(Metadata::new(vec![0; 4097]).is_err() && Metadata::new(vec![0; 4096]).is_ok());
    }
}
