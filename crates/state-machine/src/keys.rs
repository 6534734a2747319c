//! Every kind of stored key, each with its layout beside it. Numbers are big-endian, so keys sort like what they name.
//!
//! Keys of data begin with a ring position: a shard is one contiguous piece of each such space, and a split moves
//! nothing. The few records about a shard itself stand in [`Space::Shard`], by shard id.
//!
//! The layouts are a disk format. A kind's byte and layout never change; a new layout gets a new byte.

use std::borrow::Cow;

use bytes::Bytes;
use ringfence_shard_router::ShardRange;
use ringfence_types::{ClientId, FencingToken, NodeId, RequestId, Revision, RingPosition, ShardId};

use crate::{Space, Unreadable};

/// What a stored key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredKey<'a> {
    /// `position(8) | 'K' | key` in [`Space::Current`] → the key's current version. Absent if the key is.
    Current {
        /// Of the key.
        position: RingPosition,
        /// The key.
        key: Cow<'a, [u8]>,
    },
    /// `position(8) | 'H' | key, escaped | ended(8)` in [`Space::History`] → a version that was replaced or deleted.
    ///
    /// It stands under the revision at which it *ended*. A read at revision R seeks the first record of the key that ended
    /// after R: if that one began at or before R it is the answer, otherwise the key was absent at R. So deletions need
    /// no tombstones. Each `0x00` of the key is written `0x00 0xff`, and `0x00 0x01` ends it: no key's records are mixed
    /// with those of a longer key, and keys keep their order.
    History {
        /// Of the key.
        position: RingPosition,
        /// The key, not escaped.
        key: Cow<'a, [u8]>,
        /// Revision of the change that ended this version.
        ended: Revision,
    },
    /// `home position(8) | 'D' | client(8) | sequence(8)` in [`Space::Dedup`] → a request's birth and outcome.
    Dedup {
        /// Where the request's first mutated key lies.
        home: RingPosition,
        /// Who asked.
        client: ClientId,
        /// Which of its requests.
        sequence: u64,
    },
    /// `position(8) | 'T' | key` in [`Space::Deadlines`] → when a key with a ttl is due, on the lease clock.
    Deadline {
        /// Of the key.
        position: RingPosition,
        /// The key.
        key: Cow<'a, [u8]>,
    },
    /// `position(8) | 'L' | name, escaped | part` in [`Space::Locks`] → what is kept of a lock, all parts together. The name
    /// is escaped and ended like the key of a [`StoredKey::History`].
    Lock {
        /// Of the name.
        position: RingPosition,
        /// The name, not escaped.
        name: Cow<'a, [u8]>,
        /// Which part.
        part: LockPart,
    },
    /// `shard(8) | 'S'` in [`Space::Shard`] → [`crate::ShardState`]: descriptor, clocks, floors, limits.
    ShardState {
        /// Which shard, or the meta group.
        shard: ShardId,
    },
    /// `0(8) | 'N' | node(8)` in [`Space::Shard`] → [`crate::NodeInfo`], in the meta group.
    Node {
        /// Which node.
        node: NodeId,
    },
    /// `0(8) | 'M' | shard(8)` in [`Space::Shard`] → the descriptor that a shard reported, in the meta group.
    MapEntry {
        /// Which shard.
        shard: ShardId,
    },
    /// `0(8) | 'R'` in [`Space::Shard`] → the next replica id to be allotted, in the meta group. Absent until the first is.
    NextReplica,
}

/// What a record about a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockPart {
    /// `0` → how it is held, and how many wait.
    Lock,
    /// `1 | token(8)` → a lease.
    Tenure(FencingToken),
    /// `2 | ticket(8)` → a request that waits.
    Waiter(Revision),
}

const CURRENT: u8 = b'K';
const HISTORY: u8 = b'H';
const DEDUP: u8 = b'D';
const DEADLINE: u8 = b'T';
const LOCK: u8 = b'L';
const SHARD_STATE: u8 = b'S';
const NODE: u8 = b'N';
const MAP_ENTRY: u8 = b'M';
const NEXT_REPLICA: u8 = b'R';

const PART_LOCK: u8 = 0;
const PART_TENURE: u8 = 1;
const PART_WAITER: u8 = 2;

/// Above every stored key: no kind is 0xff, so nothing sorts after eight 0xff and a kind.
const ABOVE_ALL: [u8; 9] = [0xff; 9];

impl<'a> StoredKey<'a> {
    /// The space it lives in.
    pub fn space(&self) -> Space {
        match self {
            StoredKey::Current { .. } => Space::Current,
            StoredKey::History { .. } => Space::History,
            StoredKey::Dedup { .. } => Space::Dedup,
            StoredKey::Deadline { .. } => Space::Deadlines,
            StoredKey::Lock { .. } => Space::Locks,
            StoredKey::ShardState { .. }
            | StoredKey::Node { .. }
            | StoredKey::MapEntry { .. }
            | StoredKey::NextReplica => Space::Shard,
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        Bytes::from(match self {
            StoredKey::Current { position, key } => by_position(*position, CURRENT, key),
            StoredKey::History { position, key, ended } => {
                let mut bytes = history_of(*position, key);
                bytes.extend_from_slice(&ended.0.to_be_bytes());
                bytes
            }
            StoredKey::Dedup { home, client, sequence } => {
                let mut rest = [0; 16];
                rest[..8].copy_from_slice(&client.0.to_be_bytes());
                rest[8..].copy_from_slice(&sequence.to_be_bytes());
                by_position(*home, DEDUP, &rest)
            }
            StoredKey::Deadline { position, key } => by_position(*position, DEADLINE, key),
            StoredKey::Lock { position, name, part } => lock_part(&lock_stem(*position, name), *part),
            StoredKey::ShardState { shard } => of_shard(*shard, SHARD_STATE, &[]),
            StoredKey::Node { node } => of_shard(ShardId::META, NODE, &node.0.to_be_bytes()),
            StoredKey::MapEntry { shard } => of_shard(ShardId::META, MAP_ENTRY, &shard.0.to_be_bytes()),
            StoredKey::NextReplica => of_shard(ShardId::META, NEXT_REPLICA, &[]),
        })
    }

    /// Reads back what [`StoredKey::encode`] wrote.
    pub fn decode(space: Space, stored: &'a [u8]) -> Result<StoredKey<'a>, Unreadable> {
        let strange = || Unreadable::new(format!("a stored key of {space:?} is none: {}", stored.escape_ascii()));
        let (head, rest) = stored.split_first_chunk::<8>().ok_or_else(strange)?;
        let head = u64::from_be_bytes(*head);
        let (kind, rest) = rest.split_first().ok_or_else(strange)?;
        let position = RingPosition(head);
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| strange());
        Ok(match (space, *kind) {
            (Space::Current, CURRENT) => StoredKey::Current { position, key: rest.into() },
            (Space::History, HISTORY) => {
                let (key, ended) = unescape(rest).ok_or_else(strange)?;
                StoredKey::History { position, key, ended: Revision(number(ended)? as i64) }
            }
            (Space::Dedup, DEDUP) if rest.len() == 16 => {
                let (client, sequence) = (ClientId(number(&rest[..8])?), number(&rest[8..])?);
                StoredKey::Dedup { home: position, client, sequence }
            }
            (Space::Deadlines, DEADLINE) => StoredKey::Deadline { position, key: rest.into() },
            (Space::Locks, LOCK) => {
                let (name, part) = unescape(rest).ok_or_else(strange)?;
                let part = match part.split_first().ok_or_else(strange)? {
                    (&PART_LOCK, []) => LockPart::Lock,
                    (&PART_TENURE, token) => LockPart::Tenure(FencingToken(Revision(number(token)? as i64))),
                    (&PART_WAITER, ticket) => LockPart::Waiter(Revision(number(ticket)? as i64)),
                    _ => return Err(strange()),
                };
                StoredKey::Lock { position, name, part }
            }
            (Space::Shard, SHARD_STATE) if rest.is_empty() => StoredKey::ShardState { shard: ShardId(head) },
            (Space::Shard, NODE) if head == ShardId::META.0 => StoredKey::Node { node: NodeId(number(rest)?) },
            (Space::Shard, MAP_ENTRY) if head == ShardId::META.0 => {
                StoredKey::MapEntry { shard: ShardId(number(rest)?) }
            }
            (Space::Shard, NEXT_REPLICA) if head == ShardId::META.0 && rest.is_empty() => StoredKey::NextReplica,
            _ => return Err(strange()),
        })
    }
}

/// All stored keys of a piece of the ring, in a space of [`Space::BY_POSITION`]: from the first, up to but not including
/// the second.
pub fn space_range(space: Space, range: &ShardRange) -> (Vec<u8>, Vec<u8>) {
    assert!(Space::BY_POSITION.contains(&space), "{space:?} is not kept by ring position; see `shard_records`");
    let to = match range.last.0.checked_add(1) {
        Some(end) => end.to_be_bytes().to_vec(),
        None => ABOVE_ALL.to_vec(),
    };
    (range.first.0.to_be_bytes().to_vec(), to)
}

/// All records about one shard in [`Space::Shard`]: from the first, up to but not including the second. For the meta group
/// that includes its tables.
pub fn shard_records(shard: ShardId) -> (Vec<u8>, Vec<u8>) {
    let to = match shard.0.checked_add(1) {
        Some(end) => end.to_be_bytes().to_vec(),
        None => ABOVE_ALL.to_vec(),
    };
    (shard.0.to_be_bytes().to_vec(), to)
}

/// Everything that is stored for a shard: what a snapshot of it holds, and what is deleted with it. The meta group owns
/// nothing of the ring, so only its own records.
pub fn pieces(shard: ShardId, range: &ShardRange) -> Vec<(Space, Vec<u8>, Vec<u8>)> {
    let (from, to) = shard_records(shard);
    let mut pieces = vec![(Space::Shard, from, to)];
    if shard != ShardId::META {
        pieces.extend(Space::BY_POSITION.into_iter().map(|space| {
            let (from, to) = space_range(space, range);
            (space, from, to)
        }));
    }
    pieces
}

/// All nodes in the meta group's table.
pub(crate) fn node_table() -> (Vec<u8>, Vec<u8>) {
    (of_shard(ShardId::META, NODE, &[]), of_shard(ShardId::META, NODE + 1, &[]))
}

/// All shards in the meta group's table.
pub(crate) fn map_table() -> (Vec<u8>, Vec<u8>) {
    (of_shard(ShardId::META, MAP_ENTRY, &[]), of_shard(ShardId::META, MAP_ENTRY + 1, &[]))
}

/// A key's place in [`Space::Current`].
pub(crate) fn current(position: RingPosition, key: &[u8]) -> Vec<u8> {
    by_position(position, CURRENT, key)
}

/// A request's place in [`Space::Dedup`].
pub(crate) fn dedup(home: RingPosition, id: &RequestId) -> Bytes {
    StoredKey::Dedup { home, client: id.client, sequence: id.sequence }.encode()
}

/// What all records of a lock begin with.
pub(crate) fn lock_stem(position: RingPosition, name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + 1 + name.len() + 2 + 9);
    bytes.extend_from_slice(&position.0.to_be_bytes());
    bytes.push(LOCK);
    escape_into(name, &mut bytes);
    bytes.extend_from_slice(&[0x00, 0x01]);
    bytes
}

/// One of the records of a lock.
pub(crate) fn lock_part(stem: &[u8], part: LockPart) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(stem.len() + 9);
    bytes.extend_from_slice(stem);
    match part {
        LockPart::Lock => bytes.push(PART_LOCK),
        LockPart::Tenure(token) => {
            bytes.push(PART_TENURE);
            bytes.extend_from_slice(&token.0.0.to_be_bytes());
        }
        LockPart::Waiter(ticket) => {
            bytes.push(PART_WAITER);
            bytes.extend_from_slice(&ticket.0.to_be_bytes());
        }
    }
    bytes
}

/// All leases of a lock, by token.
pub(crate) fn lock_tenures(stem: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([stem, &[PART_TENURE]].concat(), [stem, &[PART_TENURE + 1]].concat())
}

/// All who wait for a lock, by ticket.
pub(crate) fn lock_waiters(stem: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([stem, &[PART_WAITER]].concat(), [stem, &[PART_WAITER + 1]].concat())
}

/// What a key's records in [`Space::History`] begin with, before `ended`.
pub(crate) fn history_of(position: RingPosition, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + 1 + key.len() + 2 + 8);
    bytes.extend_from_slice(&position.0.to_be_bytes());
    bytes.push(HISTORY);
    escape_into(key, &mut bytes);
    bytes.extend_from_slice(&[0x00, 0x01]);
    bytes
}

/// Where the records of a key, and of those after it at its position, begin in [`Space::History`]. Also for bytes that
/// are only the beginning of keys.
pub(crate) fn history_from(position: RingPosition, key: &[u8]) -> Vec<u8> {
    let mut bytes = by_position(position, HISTORY, &[]);
    escape_into(key, &mut bytes);
    bytes
}

fn escape_into(key: &[u8], bytes: &mut Vec<u8>) {
    for byte in key {
        bytes.push(*byte);
        if *byte == 0x00 {
            bytes.push(0xff);
        }
    }
}

/// The key, and what follows its end mark.
fn unescape(escaped: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let zero = escaped.iter().position(|b| *b == 0)?;
    if escaped.get(zero + 1) == Some(&0x01) {
        return Some((Cow::Borrowed(&escaped[..zero]), &escaped[zero + 2..])); // nearly every key: no zero in it
    }
    let mut key = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    loop {
        let zero = rest.iter().position(|b| *b == 0)?;
        key.extend_from_slice(&rest[..zero]);
        match rest.get(zero + 1)? {
            0x01 => return Some((Cow::Owned(key), &rest[zero + 2..])),
            0xff => key.push(0),
            _ => return None,
        }
        rest = &rest[zero + 2..];
    }
}

fn by_position(position: RingPosition, kind: u8, rest: &[u8]) -> Vec<u8> {
    headed(position.0, kind, rest)
}

fn of_shard(shard: ShardId, kind: u8, rest: &[u8]) -> Vec<u8> {
    headed(shard.0, kind, rest)
}

fn headed(head: u64, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + 1 + rest.len());
    bytes.extend_from_slice(&head.to_be_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(rest);
    bytes
}
