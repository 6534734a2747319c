//! What a replica holds of a shard, as one number: to compare replicas without moving their data.
//!
//! Hashed are the records of a shard's [`pieces`](crate::keys::pieces), which is what a snapshot of it carries, byte for byte and in
//! the order of the store. What lies below the floors is left out: a floor is replicated, and no decision depends on what is
//! below it, but each replica removes that when it likes. Everything else is the same on all replicas that have applied the
//! same entries, or one of them is wrong.

use std::fmt;
use std::ops::ControlFlow;

use ringfence_types::ShardId;
use xxhash_rust::xxh3::Xxh3;

use crate::{ShardState, Space, Unreadable, View, collectable, keys};

/// After so many records it is asked whether to go on.
const STRIDE_RECORDS: u64 = 1024;

/// Of one replica, at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// XXH3-128 over the records, each as `space(1) | key bytes(8) | key | value bytes(8) | value`. It finds accidents: whoever
    /// wants to can make two states with one hash.
    pub hash: u128,
    /// Keys that exist.
    pub keys: u64,
    /// Records hashed.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x} of {} keys, {} records, {} bytes", self.hash, self.keys, self.records, self.bytes)
    }
}

/// A hash of everything the shard holds above its floors. Replicas that applied the same entries have the same digest,
/// whether or not they collected.
pub fn digest(view: &dyn View, shard: ShardId) -> Result<Digest, Unreadable> {
    let digest = digest_while(view, shard, &[], &mut || true)?;
    Ok(digest.expect("it was never told to stop"))
}

/// The same, and a hash of `more` as well: what is replicated, too, and kept elsewhere. `None` if `go_on` said no on the way.
pub fn digest_while(
    view: &dyn View,
    shard: ShardId,
    more: &[u8],
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Digest>, Unreadable> {
    let state = ShardState::load_existing(view, shard)?;
    let mut hash = Xxh3::new();
    let mut part = |space: &[u8], parts: [&[u8]; 2]| {
        hash.update(space);
        for part in parts {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    };
    let (mut keys, mut records, mut bytes, mut looked_at, mut stopped) = (0, 0, 0, 0_u64, false);
    for (space, from, to) in keys::pieces(shard, &state.descriptor.range) {
        view.scan(space, &from, &to, &mut |key, record| {
            looked_at += 1;
            if looked_at.is_multiple_of(STRIDE_RECORDS) && !go_on() {
                stopped = true;
                return ControlFlow::Break(());
            }
            if !collectable(space, key, record, state.history_floor, state.dedup_floor) {
                part(&[space as u8], [key, record]);
                keys += u64::from(space == Space::Current);
                records += 1;
                bytes += (key.len() + record.len()) as u64;
            }
            ControlFlow::Continue(())
        })?;
        if stopped {
            return Ok(None);
        }
    }
    if !more.is_empty() {
        part(&[0xff], [&[], more]);
    }
    Ok(Some(Digest { hash: hash.digest128(), keys, records, bytes }))
}
