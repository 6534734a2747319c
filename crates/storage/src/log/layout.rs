//! Stored keys of the log DB. Every value is sealed (see `seal.rs`).
//!
//! ```text
//! replica(8) | 0              → vote, as given
//! replica(8) | 1              → term(8) index(8): committed
//! replica(8) | 2              → term(8) index(8): purged
//! replica(8) | 3              → index(8): the first index, of a log that was never purged
//! replica(8) | 4 | index(8)   → term(8), payload: an entry
//! ```

use bytes::Bytes;
use ringfence_types::ReplicaId;

use crate::engine::Table;
use crate::seal::{seal, unseal};
use crate::{LogPosition, LogRecord, StorageError};

/// The only table.
pub(super) const LOG: Table = Table(0);
/// Its name.
pub(super) const TABLES: &[&str] = &["log"];

const VOTE: u8 = 0;
const COMMITTED: u8 = 1;
const PURGED: u8 = 2;
const START: u8 = 3;
const ENTRY: u8 = 4;
const END: u8 = 5;

pub(super) fn vote(replica: ReplicaId) -> Bytes {
    key(replica, VOTE)
}

pub(super) fn committed(replica: ReplicaId) -> Bytes {
    key(replica, COMMITTED)
}

pub(super) fn purged(replica: ReplicaId) -> Bytes {
    key(replica, PURGED)
}

pub(super) fn start(replica: ReplicaId) -> Bytes {
    key(replica, START)
}

pub(super) fn entry(replica: ReplicaId, index: u64) -> Bytes {
    let mut key = Vec::with_capacity(17);
    key.extend_from_slice(&replica.0.to_be_bytes());
    key.push(ENTRY);
    key.extend_from_slice(&index.to_be_bytes());
    key.into()
}

/// Before everything of a replica.
pub(super) fn first(replica: ReplicaId) -> Bytes {
    key(replica, VOTE)
}

/// After everything of a replica.
pub(super) fn end(replica: ReplicaId) -> Bytes {
    key(replica, END)
}

fn key(replica: ReplicaId, kind: u8) -> Bytes {
    let mut key = replica.0.to_be_bytes().to_vec();
    key.push(kind);
    key.into()
}

pub(super) fn position_value(key: &[u8], position: LogPosition) -> Bytes {
    seal(key, &[&position.term.to_be_bytes(), &position.index.to_be_bytes()])
}

pub(super) fn start_value(key: &[u8], index: u64) -> Bytes {
    seal(key, &[&index.to_be_bytes()])
}

pub(super) fn entry_value(key: &[u8], record: &LogRecord) -> Bytes {
    seal(key, &[&record.position.term.to_be_bytes(), &record.payload])
}

/// A stored record, checked.
pub(super) enum Stored {
    Vote(Bytes),
    Committed(LogPosition),
    Purged(LogPosition),
    Start(u64),
    Entry(LogRecord),
}

/// Which replica a stored key belongs to.
pub(super) fn replica_of(key: &[u8]) -> Result<ReplicaId, StorageError> {
    match key.first_chunk() {
        Some(id) => Ok(ReplicaId(u64::from_be_bytes(*id))),
        None => Err(StorageError::corrupt(format!("log DB: a key of {} bytes", key.len()))),
    }
}

/// Checks and decodes one record.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Stored, StorageError> {
    let what = || format!("log DB, record at {}", key.escape_ascii());
    let malformed = || StorageError::corrupt(format!("{}: not of a known layout", what()));
    let body = unseal(key, value, what)?;
    match *key.get(8..).ok_or_else(malformed)? {
        [VOTE] => Ok(Stored::Vote(Bytes::copy_from_slice(body))),
        [COMMITTED] => Ok(Stored::Committed(position(body).ok_or_else(malformed)?)),
        [PURGED] => Ok(Stored::Purged(position(body).ok_or_else(malformed)?)),
        [START] => Ok(Stored::Start(u64::from_be_bytes(body.try_into().map_err(|_| malformed())?))),
        [ENTRY, ref index @ ..] => {
            let index = u64::from_be_bytes(index.try_into().map_err(|_| malformed())?);
            let (term, payload) = body.split_first_chunk().ok_or_else(malformed)?;
            let position = LogPosition { term: u64::from_be_bytes(*term), index };
            Ok(Stored::Entry(LogRecord { position, payload: Bytes::copy_from_slice(payload) }))
        }
        _ => Err(malformed()),
    }
}

fn position(body: &[u8]) -> Option<LogPosition> {
    let (term, rest) = body.split_first_chunk()?;
    let index = rest.try_into().ok()?;
    Some(LogPosition { term: u64::from_be_bytes(*term), index: u64::from_be_bytes(index) })
}
