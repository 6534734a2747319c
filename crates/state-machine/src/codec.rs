//! Entries, requests and replies as bytes: one byte of format version, then postcard.
//!
//! Logs are written by one build and read by the next, and during a rolling restart by the one before. A reader that
//! meets a newer version says so and stops; it never guesses.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Action, Command, Condition, Entry, LeaseRef, LockCommand, MetaCommand, Mutation, Reply, Request};

/// The format that this build writes, and the newest that it reads.
pub const FORMAT_VERSION: u8 = 1;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not even a version.
    #[error("nothing to decode: not even the format version")]
    Empty,
    /// Written by a newer build (or by something else altogether).
    #[error(
        "written in format {version}; this build reads up to {FORMAT_VERSION}. Start the newer build that wrote it"
    )]
    UnknownVersion {
        /// What the bytes say.
        version: u8,
    },
    /// Cut off, or damaged.
    #[error("the bytes are cut off or damaged: {reason}")]
    Malformed {
        /// What was found.
        reason: String,
    },
    /// There is more than there should be.
    #[error("{bytes} bytes follow after the end")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
}

impl Entry {
    /// As it stands in the log.
    pub fn encode(&self) -> Bytes {
        encode(self, 16 + self.requests.iter().map(Request::encoded_len_estimate).sum::<usize>())
    }

    /// Reads back what [`Entry::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Entry, DecodeError> {
        decode(bytes)
    }
}

impl Request {
    /// For the way from the node that took the request to the shard's leader.
    pub fn encode(&self) -> Bytes {
        encode(self, self.encoded_len_estimate())
    }

    /// Reads back what [`Request::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Request, DecodeError> {
        decode(bytes)
    }

    /// How many bytes it takes in an entry at the most, and seldom much less. Cheap: nothing is encoded.
    pub fn encoded_len_estimate(&self) -> usize {
        const FIXED: usize = 80; // id, seen, tags, lengths and numbers, at their longest
        FIXED
            + match &self.command {
                Command::Mutate(mutation) => mutation_len(mutation),
                Command::Fenced { fences, mutation } => {
                    mutation_len(mutation) + fences.iter().map(|fence| fence.lock.as_ref().len() + 14).sum::<usize>()
                }
                Command::Lock(command) => lock_len(command),
                Command::ExpireKeys(keys) => keys.iter().map(|key| key.as_ref().len() + 2).sum(),
                Command::Collect { .. } | Command::Advance(_) | Command::SetLimits(_) => 0,
                Command::Meta(MetaCommand::RegisterNode(node)) => node.address.len() + node.labels.len(),
                Command::Meta(MetaCommand::ReviveNode { info, forgotten }) => {
                    info.address.len() + info.labels.len() + 10 * forgotten.len()
                }
                Command::Meta(MetaCommand::AllotReplica) => 0,
                Command::Meta(MetaCommand::ReportShard(descriptor)) => 32 + 24 * descriptor.replicas.len(),
            }
    }
}

fn mutation_len(mutation: &Mutation) -> usize {
    let condition = match &mutation.condition {
        Condition::ValueIs(value) => value.len() + 4,
        _ => 0,
    };
    let action = match &mutation.action {
        Action::Put { value, .. } => value.as_ref().len(),
        Action::Delete => 0,
        Action::Add { .. } => 30,
    };
    mutation.key.as_ref().len() + condition + action
}

fn lock_len(command: &LockCommand) -> usize {
    let lease = |lease: &LeaseRef| lease.name.as_ref().len() + lease.holder.bytes().len();
    match command {
        LockCommand::Acquire(acquire) => {
            acquire.name.as_ref().len() + acquire.holder.bytes().len() + acquire.metadata.bytes().len()
        }
        LockCommand::Renew { lease: renewed, metadata, .. } => {
            lease(renewed) + metadata.as_ref().map_or(0, |metadata| metadata.bytes().len())
        }
        LockCommand::Release(released) => lease(released),
        LockCommand::Wait(waiter) | LockCommand::GiveUp(waiter) => {
            waiter.name.as_ref().len() + waiter.holder.bytes().len()
        }
        LockCommand::Expire(leases) => leases.iter().map(|(name, _)| name.as_ref().len() + 12).sum(),
    }
}

/// For the way back from the shard's leader, and for dedup memory.
pub fn encode_reply(reply: &Reply) -> Bytes {
    encode(reply, 64)
}

/// Reads back what [`encode_reply`] wrote.
pub fn decode_reply(bytes: &[u8]) -> Result<Reply, DecodeError> {
    decode(bytes)
}

fn encode<T: Serialize>(value: &T, len_estimate: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(1 + len_estimate);
    bytes.push(FORMAT_VERSION);
    postcard::to_extend(value, bytes).expect("plain data in memory can be written").into()
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&FORMAT_VERSION, payload)) => match postcard::take_from_bytes(payload) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(DecodeError::TrailingBytes { bytes: rest.len() }),
            Err(error) => Err(DecodeError::Malformed { reason: error.to_string() }),
        },
        Some((&version, _)) => Err(DecodeError::UnknownVersion { version }),
    }
}
