//! The bytes of stored records. Each begins with a format version; an unknown one is refused, never guessed.
//!
//! Versions of keys and deadlines have a fixed layout, written by hand: they are read and written most, and the value can
//! be shared instead of copied. Rare records are postcard.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ringfence_types::Revision;
use serde::{Serialize, de::DeserializeOwned};

use crate::Unreadable;

/// The format that this build writes, and the only one so far that it reads.
pub(crate) const RECORD_FORMAT: u8 = 1;

/// One version of a key, current or past:
/// `format(1) | flags(1) | revision(8) | create_revision(8) | version(8) | [deadline_ms(8)] | value`.
///
/// * `create_revision <= revision`, and `version` is 1 exactly when they are equal.
/// * A version that goes into history keeps its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VersionRecord<'a> {
    pub(crate) revision: Revision,
    pub(crate) create_revision: Revision,
    pub(crate) version: u64,
    /// When the key is due, on the lease clock.
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) value: &'a [u8],
}

const FLAG_DEADLINE: u8 = 1;

impl<'a> VersionRecord<'a> {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(34 + self.value.len());
        bytes.put_u8(RECORD_FORMAT);
        bytes.put_u8(if self.deadline_ms.is_some() { FLAG_DEADLINE } else { 0 });
        bytes.put_i64(self.revision.0);
        bytes.put_i64(self.create_revision.0);
        bytes.put_u64(self.version);
        if let Some(deadline_ms) = self.deadline_ms {
            bytes.put_u64(deadline_ms);
        }
        bytes.put_slice(self.value);
        bytes.freeze()
    }

    pub(crate) fn decode(record: &'a [u8]) -> Result<VersionRecord<'a>, Unreadable> {
        let mut rest = payload(record, "version")?;
        let short = |_| Unreadable::new("a version record is too short");
        let flags = rest.try_get_u8().map_err(short)?;
        if flags & !FLAG_DEADLINE != 0 {
            return Err(Unreadable::new(format!("a version record has unknown flags {flags:#x}")));
        }
        let revision = Revision(rest.try_get_i64().map_err(short)?);
        let create_revision = Revision(rest.try_get_i64().map_err(short)?);
        let version = rest.try_get_u64().map_err(short)?;
        let deadline_ms = match flags & FLAG_DEADLINE {
            0 => None,
            _ => Some(rest.try_get_u64().map_err(short)?),
        };
        Ok(VersionRecord { revision, create_revision, version, deadline_ms, value: rest })
    }
}

/// `format(1) | deadline_ms(8)`.
pub(crate) fn encode_deadline(deadline_ms: u64) -> Bytes {
    let mut bytes = BytesMut::with_capacity(9);
    bytes.put_u8(RECORD_FORMAT);
    bytes.put_u64(deadline_ms);
    bytes.freeze()
}

pub(crate) fn decode_deadline(record: &[u8]) -> Result<u64, Unreadable> {
    let bytes = payload(record, "deadline")?;
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| Unreadable::new("a deadline record has a wrong length"))
}

/// `format(1) | postcard`.
pub(crate) fn encode_plain<T: Serialize>(value: &T) -> Bytes {
    postcard::to_extend(value, vec![RECORD_FORMAT]).expect("plain data in memory can be written").into()
}

pub(crate) fn decode_plain<T: DeserializeOwned>(record: &[u8], what: &str) -> Result<T, Unreadable> {
    match postcard::take_from_bytes(payload(record, what)?) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(Unreadable::new(format!("a {what} record has bytes after its end"))),
        Err(error) => Err(Unreadable::new(format!("a {what} record is damaged: {error}"))),
    }
}

/// What follows the format version.
pub(crate) fn payload<'a>(record: &'a [u8], what: &str) -> Result<&'a [u8], Unreadable> {
    match record.split_first() {
        Some((&RECORD_FORMAT, rest)) => Ok(rest),
        Some((format, _)) => Err(Unreadable::new(format!(
            "a {what} record has format {format}, and this build knows {RECORD_FORMAT}. Start the newer build that wrote it"
        ))),
        None => Err(Unreadable::new(format!("a {what} record is empty"))),
    }
}
