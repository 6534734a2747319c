//! Envelopes: what replicas say to each other, as bytes.
//!
//! ```text
//! version(1) | group(8) | from replica(8) | to replica(8) | range epoch(8) | membership epoch(8) | wall ms(8) | message
//! ```
//!
//! All integers are big-endian. A message is a tag byte and its fields. Entries are decoded without copying: each payload
//! is a slice of the envelope.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use ringfence_shard_router::Epoch;
use ringfence_storage::{LogPosition, LogRecord};
use ringfence_types::{ReplicaId, ShardId};

use crate::raft::{Types, Unreadable, Vote, from_record, log_id, position, to_record};

const VERSION: u8 = 1;

/// Who says something, to whom, and as of which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub group: ShardId,
    pub from: ReplicaId,
    pub to: ReplicaId,
    /// The sender's, of this group.
    pub epoch: Epoch,
    /// The sender's wall clock.
    pub wall_ms: u64,
}

/// What replicas say to each other. `call` names an exchange, so that the answer finds who asked.
#[derive(Debug)]
pub(crate) enum Message {
    /// One append outside a session: a heartbeat, or a confirmation by openraft.
    Append {
        call: u64,
        request: AppendEntriesRequest<Types>,
    },
    /// The `sequence`-th append of a pipelined session. Answered in order, by the same numbers.
    AppendStream {
        session: u64,
        sequence: u64,
        request: AppendEntriesRequest<Types>,
    },
    AppendReply {
        call: u64,
        result: AppendResult,
    },
    AppendStreamReply {
        session: u64,
        sequence: u64,
        result: AppendResult,
    },
    Vote {
        call: u64,
        request: VoteRequest<Types>,
    },
    PreVote {
        call: u64,
        request: VoteRequest<Types>,
    },
    VoteReply {
        call: u64,
        vote: Vote,
        granted: bool,
        last: Option<LogPosition>,
    },
    TransferLeader {
        call: u64,
        from_leader: Vote,
        to: u64,
        last: Option<LogPosition>,
    },
    TransferLeaderReply {
        call: u64,
        accepted: bool,
    },
    /// Begins a snapshot, named `begun`. `manifest` is the storage crate's.
    SnapshotBegin {
        call: u64,
        begun: u64,
        vote: Vote,
        manifest: Bytes,
    },
    /// The `sequence`-th piece of the snapshot named `begun`.
    SnapshotChunk {
        call: u64,
        begun: u64,
        sequence: u64,
        bytes: Bytes,
    },
    /// All pieces were sent: install it.
    SnapshotEnd {
        call: u64,
        begun: u64,
        chunks: u64,
    },
    SnapshotReply {
        call: u64,
        result: SnapshotResult,
    },
    /// The sender leads in this term, and asks whether the receiver's vote is still for it.
    Confirm {
        call: u64,
        term: u64,
    },
    Confirmed {
        call: u64,
        /// Who answers.
        voter: u64,
        granted: bool,
    },
    /// The receiver cannot take a message of this call now (no such replica, stopped, unexpected piece).
    Refused {
        call: u64,
        reason: String,
    },
}

/// How an append went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AppendResult {
    Matching(Option<LogPosition>),
    Conflict(Option<LogPosition>),
    HigherVote(Vote),
}

/// How a piece of a snapshot went. `GoOn` after the last one: it is being installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotResult {
    GoOn,
    Installed(Vote),
}

impl Message {
    /// The exchange that this asks an answer of, if it is a question.
    pub(crate) fn asks(&self) -> Option<u64> {
        match self {
            Message::Append { call, .. }
            | Message::Vote { call, .. }
            | Message::PreVote { call, .. }
            | Message::TransferLeader { call, .. }
            | Message::SnapshotBegin { call, .. }
            | Message::SnapshotChunk { call, .. }
            | Message::SnapshotEnd { call, .. }
            | Message::Confirm { call, .. } => Some(*call),
            Message::AppendStream { session, .. } => Some(*session),
            _ => None,
        }
    }

    /// The exchange that this is an answer of, if it is one.
    pub(crate) fn answers(&self) -> Option<u64> {
        match self {
            Message::AppendReply { call, .. }
            | Message::VoteReply { call, .. }
            | Message::TransferLeaderReply { call, .. }
            | Message::SnapshotReply { call, .. }
            | Message::Confirmed { call, .. }
            | Message::Refused { call, .. } => Some(*call),
            Message::AppendStreamReply { session, .. } => Some(*session),
            _ => None,
        }
    }
}

/// Puts a message into its envelope.
pub(crate) fn encode(header: &Header, message: &Message) -> Bytes {
    let mut out = BytesMut::with_capacity(64 + message_bytes(message));
    out.put_u8(VERSION);
    out.put_u64(header.group.0);
    out.put_u64(header.from.0);
    out.put_u64(header.to.0);
    out.put_u64(header.epoch.range);
    out.put_u64(header.epoch.membership);
    out.put_u64(header.wall_ms);
    match message {
        Message::Append { call, request } => {
            out.put_u8(1);
            out.put_u64(*call);
            put_append(&mut out, request);
        }
        Message::AppendStream { session, sequence, request } => {
            out.put_u8(2);
            out.put_u64(*session);
            out.put_u64(*sequence);
            put_append(&mut out, request);
        }
        Message::AppendReply { call, result } => {
            out.put_u8(3);
            out.put_u64(*call);
            put_append_result(&mut out, result);
        }
        Message::AppendStreamReply { session, sequence, result } => {
            out.put_u8(4);
            out.put_u64(*session);
            out.put_u64(*sequence);
            put_append_result(&mut out, result);
        }
        Message::Vote { call, request } => {
            out.put_u8(5);
            out.put_u64(*call);
            put_vote_request(&mut out, request);
        }
        Message::PreVote { call, request } => {
            out.put_u8(6);
            out.put_u64(*call);
            put_vote_request(&mut out, request);
        }
        Message::VoteReply { call, vote, granted, last } => {
            out.put_u8(7);
            out.put_u64(*call);
            put_vote(&mut out, vote);
            out.put_u8(u8::from(*granted));
            put_position(&mut out, *last);
        }
        Message::TransferLeader { call, from_leader, to, last } => {
            out.put_u8(8);
            out.put_u64(*call);
            put_vote(&mut out, from_leader);
            out.put_u64(*to);
            put_position(&mut out, *last);
        }
        Message::TransferLeaderReply { call, accepted } => {
            out.put_u8(9);
            out.put_u64(*call);
            out.put_u8(u8::from(*accepted));
        }
        Message::SnapshotBegin { call, begun, vote, manifest } => {
            out.put_u8(10);
            out.put_u64(*call);
            out.put_u64(*begun);
            put_vote(&mut out, vote);
            put_bytes(&mut out, manifest);
        }
        Message::SnapshotChunk { call, begun, sequence, bytes } => {
            out.put_u8(11);
            out.put_u64(*call);
            out.put_u64(*begun);
            out.put_u64(*sequence);
            put_bytes(&mut out, bytes);
        }
        Message::SnapshotEnd { call, begun, chunks } => {
            out.put_u8(12);
            out.put_u64(*call);
            out.put_u64(*begun);
            out.put_u64(*chunks);
        }
        Message::SnapshotReply { call, result } => {
            out.put_u8(13);
            out.put_u64(*call);
            match result {
                SnapshotResult::GoOn => out.put_u8(0),
                SnapshotResult::Installed(vote) => {
                    out.put_u8(1);
                    put_vote(&mut out, vote);
                }
            }
        }
        Message::Refused { call, reason } => {
            out.put_u8(14);
            out.put_u64(*call);
            put_bytes(&mut out, reason.as_bytes());
        }
        Message::Confirm { call, term } => {
            out.put_u8(15);
            out.put_u64(*call);
            out.put_u64(*term);
        }
        Message::Confirmed { call, voter, granted } => {
            out.put_u8(16);
            out.put_u64(*call);
            out.put_u64(*voter);
            out.put_u8(u8::from(*granted));
        }
    }
    out.freeze()
}

/// Takes a message out of its envelope. Never panics, whatever the bytes.
pub(crate) fn decode(envelope: Bytes) -> Result<(Header, Message), Unreadable> {
    let mut reader = Reader { rest: envelope };
    let version = reader.u8()?;
    if version != VERSION {
        return Err(unreadable(format!("it has version {version}, this program speaks {VERSION}")));
    }
    let header = Header {
        group: ShardId(reader.u64()?),
        from: ReplicaId(reader.u64()?),
        to: ReplicaId(reader.u64()?),
        epoch: Epoch { range: reader.u64()?, membership: reader.u64()? },
        wall_ms: reader.u64()?,
    };
    let message = match reader.u8()? {
        1 => Message::Append { call: reader.u64()?, request: reader.append()? },
        2 => Message::AppendStream { session: reader.u64()?, sequence: reader.u64()?, request: reader.append()? },
        3 => Message::AppendReply { call: reader.u64()?, result: reader.append_result()? },
        4 => Message::AppendStreamReply {
            session: reader.u64()?,
            sequence: reader.u64()?,
            result: reader.append_result()?,
        },
        5 => Message::Vote { call: reader.u64()?, request: reader.vote_request()? },
        6 => Message::PreVote { call: reader.u64()?, request: reader.vote_request()? },
        7 => Message::VoteReply {
            call: reader.u64()?,
            vote: reader.vote()?,
            granted: reader.bool()?,
            last: reader.position()?,
        },
        8 => Message::TransferLeader {
            call: reader.u64()?,
            from_leader: reader.vote()?,
            to: reader.u64()?,
            last: reader.position()?,
        },
        9 => Message::TransferLeaderReply { call: reader.u64()?, accepted: reader.bool()? },
        10 => Message::SnapshotBegin {
            call: reader.u64()?,
            begun: reader.u64()?,
            vote: reader.vote()?,
            manifest: reader.bytes()?,
        },
        11 => Message::SnapshotChunk {
            call: reader.u64()?,
            begun: reader.u64()?,
            sequence: reader.u64()?,
            bytes: reader.bytes()?,
        },
        12 => Message::SnapshotEnd { call: reader.u64()?, begun: reader.u64()?, chunks: reader.u64()? },
        13 => Message::SnapshotReply {
            call: reader.u64()?,
            result: match reader.u8()? {
                0 => SnapshotResult::GoOn,
                1 => SnapshotResult::Installed(reader.vote()?),
                other => return Err(unreadable(format!("unknown snapshot result {other}"))),
            },
        },
        14 => Message::Refused { call: reader.u64()?, reason: String::from_utf8_lossy(&reader.bytes()?).into_owned() },
        15 => Message::Confirm { call: reader.u64()?, term: reader.u64()? },
        16 => Message::Confirmed { call: reader.u64()?, voter: reader.u64()?, granted: reader.bool()? },
        tag => return Err(unreadable(format!("unknown message tag {tag}"))),
    };
    if reader.rest.has_remaining() {
        return Err(unreadable(format!("{} bytes follow the message", reader.rest.remaining())));
    }
    Ok((header, message))
}

fn message_bytes(message: &Message) -> usize {
    match message {
        Message::Append { request, .. } | Message::AppendStream { request, .. } => {
            64 + request
                .entries
                .iter()
                .map(|e| match &e.payload {
                    openraft::EntryPayload::Normal(p) => 24 + p.bytes.len(),
                    _ => 256,
                })
                .sum::<usize>()
        }
        Message::SnapshotBegin { manifest: bytes, .. } | Message::SnapshotChunk { bytes, .. } => 64 + bytes.len(),
        _ => 64,
    }
}

fn put_position(out: &mut BytesMut, position: Option<LogPosition>) {
    match position {
        None => out.put_u8(0),
        Some(p) => {
            out.put_u8(1);
            out.put_u64(p.term);
            out.put_u64(p.index);
        }
    }
}

fn put_vote(out: &mut BytesMut, vote: &Vote) {
    out.put_u64(vote.leader_id.term);
    out.put_u64(vote.leader_id.voted_for);
    out.put_u8(u8::from(vote.committed));
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).expect("pieces are far below 4 GiB"));
    out.put_slice(bytes);
}

fn put_append(out: &mut BytesMut, request: &AppendEntriesRequest<Types>) {
    put_vote(out, &request.vote);
    put_position(out, request.prev_log_id.as_ref().map(position));
    put_position(out, request.leader_commit.as_ref().map(position));
    out.put_u32(u32::try_from(request.entries.len()).expect("max_payload_entries is small"));
    for entry in &request.entries {
        let record = to_record(entry);
        out.put_u64(record.position.term);
        out.put_u64(record.position.index);
        put_bytes(out, &record.payload);
    }
}

fn put_append_result(out: &mut BytesMut, result: &AppendResult) {
    match result {
        AppendResult::Matching(p) => {
            out.put_u8(0);
            put_position(out, *p);
        }
        AppendResult::Conflict(p) => {
            out.put_u8(1);
            put_position(out, *p);
        }
        AppendResult::HigherVote(vote) => {
            out.put_u8(2);
            put_vote(out, vote);
        }
    }
}

fn put_vote_request(out: &mut BytesMut, request: &VoteRequest<Types>) {
    put_vote(out, &request.vote);
    put_position(out, request.last_log_id.as_ref().map(position));
    out.put_u8(u8::from(request.leadership_transfer));
}

fn unreadable(reason: impl Into<String>) -> Unreadable {
    Unreadable { what: "Raft envelope", reason: reason.into() }
}

/// Reads fields off the front, checking each length first.
struct Reader {
    rest: Bytes,
}

impl Reader {
    fn need(&self, bytes: usize) -> Result<(), Unreadable> {
        if self.rest.remaining() < bytes { Err(unreadable("it ends too early")) } else { Ok(()) }
    }

    fn u8(&mut self) -> Result<u8, Unreadable> {
        self.need(1)?;
        Ok(self.rest.get_u8())
    }

    fn bool(&mut self) -> Result<bool, Unreadable> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(unreadable(format!("{other} is no boolean"))),
        }
    }

    fn u32(&mut self) -> Result<u32, Unreadable> {
        self.need(4)?;
        Ok(self.rest.get_u32())
    }

    fn u64(&mut self) -> Result<u64, Unreadable> {
        self.need(8)?;
        Ok(self.rest.get_u64())
    }

    fn bytes(&mut self) -> Result<Bytes, Unreadable> {
        let length = self.u32()? as usize;
        self.need(length)?;
        Ok(self.rest.split_to(length))
    }

    fn position(&mut self) -> Result<Option<LogPosition>, Unreadable> {
        Ok(if self.bool()? { Some(LogPosition { term: self.u64()?, index: self.u64()? }) } else { None })
    }

    fn vote(&mut self) -> Result<Vote, Unreadable> {
        let mut vote = Vote::new(self.u64()?, self.u64()?);
        vote.committed = self.bool()?;
        Ok(vote)
    }

    fn append(&mut self) -> Result<AppendEntriesRequest<Types>, Unreadable> {
        let vote = self.vote()?;
        let prev_log_id = self.position()?.map(log_id);
        let leader_commit = self.position()?.map(log_id);
        let count = self.u32()? as usize;
        // Each entry takes 20 bytes at least, so a forged count cannot make us reserve more than was sent.
        let mut entries = Vec::with_capacity(count.min(self.rest.remaining() / 20 + 1));
        for _ in 0..count {
            let position = LogPosition { term: self.u64()?, index: self.u64()? };
            entries.push(from_record(LogRecord { position, payload: self.bytes()? })?);
        }
        Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
    }

    fn append_result(&mut self) -> Result<AppendResult, Unreadable> {
        Ok(match self.u8()? {
            0 => AppendResult::Matching(self.position()?),
            1 => AppendResult::Conflict(self.position()?),
            2 => AppendResult::HigherVote(self.vote()?),
            other => return Err(unreadable(format!("unknown append result {other}"))),
        })
    }

    fn vote_request(&mut self) -> Result<VoteRequest<Types>, Unreadable> {
        let mut request = VoteRequest::new(self.vote()?, self.position()?.map(log_id));
        request.leadership_transfer = self.bool()?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;

    use super::*;
    use crate::raft::{Proposal, RaftEntry};

    fn header() -> Header {
        Header {
            group: ShardId(3),
            from: ReplicaId(10),
            to: ReplicaId(11),
            epoch: Epoch { range: 1, membership: 2 },
            wall_ms: 77,
        }
    }

    fn append() -> AppendEntriesRequest<Types> {
        AppendEntriesRequest {
            vote: Vote::new_committed(4, 10),
            prev_log_id: Some(log_id(LogPosition { term: 3, index: 8 })),
            leader_commit: None,
            entries: vec![
                RaftEntry { log_id: log_id(LogPosition { term: 4, index: 9 }), payload: EntryPayload::Blank },
                RaftEntry {
                    log_id: log_id(LogPosition { term: 4, index: 10 }),
                    payload: EntryPayload::Normal(Proposal { bytes: Bytes::from_static(&[1, 2, 3]), parsed: None }),
                },
            ],
        }
    }

    fn every_message() -> Vec<Message> {
        let vote = Vote::new(5, 2);
        let last = Some(LogPosition { term: 1, index: 2 });
        vec![
            Message::Append { call: 1, request: append() },
            Message::AppendStream { session: 1, sequence: 2, request: append() },
            Message::AppendReply { call: 1, result: AppendResult::Matching(last) },
            Message::AppendStreamReply { session: 1, sequence: 2, result: AppendResult::Conflict(None) },
            Message::AppendReply { call: 1, result: AppendResult::HigherVote(vote) },
            Message::Vote { call: 1, request: VoteRequest::new(vote, last.map(log_id)) },
            Message::PreVote { call: 1, request: VoteRequest::new(vote, None) },
            Message::VoteReply { call: 1, vote, granted: true, last },
            Message::TransferLeader { call: 1, from_leader: vote, to: 3, last },
            Message::TransferLeaderReply { call: 1, accepted: false },
            Message::SnapshotBegin { call: 1, begun: 9, vote, manifest: Bytes::from_static(b"m") },
            Message::SnapshotChunk { call: 2, begun: 1, sequence: 0, bytes: Bytes::from_static(b"chunk") },
            Message::SnapshotEnd { call: 3, begun: 1, chunks: 1 },
            Message::SnapshotReply { call: 3, result: SnapshotResult::Installed(vote) },
            Message::SnapshotReply { call: 3, result: SnapshotResult::GoOn },
            Message::Refused { call: 3, reason: "no such replica".into() },
            Message::Confirm { call: 4, term: 7 },
            Message::Confirmed { call: 4, voter: 11, granted: true },
        ]
    }

    /// Both ends of a stream must mean the same, for every kind of message.
    #[test]
    fn every_message_reads_back_as_it_was_written() {
        for message in every_message() {
            let (read_header, read) = decode(encode(&header(), &message)).unwrap();
            assert_eq!(read_header, header());
            assert_eq!(format!("{read:?}"), format!("{message:?}"));
        }
    }

    /// A peer's bytes are input: cut off anywhere, or with any byte changed, they are an error or another message, never
    /// a panic and never a huge allocation.
    #[test]
    fn damaged_envelopes_are_errors_not_panics() {
        for message in every_message() {
            let whole = encode(&header(), &message);
            for cut in 0..whole.len() {
                assert!(decode(whole.slice(..cut)).is_err(), "cut at {cut} of {message:?}");
            }
            for at in 0..whole.len() {
                let mut bytes = whole.to_vec();
                bytes[at] ^= 0xff;
                let _ = decode(bytes.into());
            }
            let mut longer = whole.to_vec();
            longer.push(0);
            assert!(decode(longer.into()).is_err());
        }
    }
}
