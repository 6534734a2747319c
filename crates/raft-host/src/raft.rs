//! How our words map to openraft's. Nothing outside this crate names openraft.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::impls::leader_id_std;
use openraft::{EntryPayload, Membership};
use ringfence_shard_router::{Replica, Role, ShardDescriptor};
use ringfence_state_machine::{Entry, Reply};
use ringfence_storage::{LogPosition, LogRecord};
use ringfence_types::{NodeId, ReplicaId};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::snapshot::SnapshotSource;

openraft::declare_raft_types!(
    /// Raft as Ringfence uses it: replica ids as Raft node ids, one leader per term.
    pub(crate) Types:
        D = Proposal,
        R = Replies,
        NodeId = u64,
        Node = Placement,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
);

pub(crate) type Raft = openraft::Raft<Types, Machine>;
pub(crate) type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<Types>;
pub(crate) type RaftEntry = openraft::type_config::alias::EntryOf<Types>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
/// Of a snapshot: its last entry and membership.
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;
/// As the state machine builds and installs it.
pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<Types, SnapshotSource>;
pub(crate) type CommittedLeaderId = openraft::type_config::alias::CommittedLeaderIdOf<Types>;

/// A log entry's payload: a [`ringfence_state_machine::Entry`], encoded.
#[derive(Clone)]
pub(crate) struct Proposal {
    /// As it stands in the log and on the wire.
    pub bytes: Bytes,
    /// What the bytes say, where this process made them: saves the leader decoding its own entries.
    pub parsed: Option<Arc<Entry>>,
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proposal of {} bytes", self.bytes.len())
    }
}

/// The answers to the requests of one entry, in their order. Empty for blank and membership entries.
#[derive(Debug, Default)]
pub(crate) struct Replies(pub Vec<Reply>);

impl fmt::Display for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} replies", self.0.len())
    }
}

/// Which node a replica is on. Addresses are looked up by node, so that a node may move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement(pub NodeId);

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

pub(crate) fn log_id(position: LogPosition) -> LogId {
    LogId { leader_id: CommittedLeaderId::new(position.term), index: position.index }
}

pub(crate) fn position(id: &LogId) -> LogPosition {
    LogPosition { term: id.leader_id.term, index: id.index }
}

/// The Raft membership that a descriptor describes.
pub(crate) fn membership_of(descriptor: &ShardDescriptor) -> Membership<u64, Placement> {
    let voters = descriptor.replicas.iter().filter(|r| r.role == Role::Voter).map(|r| r.id.0).collect();
    let nodes: std::collections::BTreeMap<u64, Placement> =
        descriptor.replicas.iter().map(|r| (r.id.0, Placement(r.node))).collect();
    Membership::new(vec![voters], nodes).expect("a descriptor's voters are among its replicas")
}

/// The inverse: whoever votes in any half of a joint membership is a voter.
pub(crate) fn replicas_of(membership: &Membership<u64, Placement>) -> Vec<Replica> {
    let voters: std::collections::BTreeSet<u64> = membership.voter_ids().collect();
    let role = |id: &u64| if voters.contains(id) { Role::Voter } else { Role::Learner };
    let replica =
        |(id, placement): (&u64, &Placement)| Replica { id: ReplicaId(*id), node: placement.0, role: role(id) };
    membership.nodes().map(replica).collect()
}

/// Bytes that this crate wrote and cannot read: damage, or a newer version.
#[derive(Debug, thiserror::Error)]
#[error("cannot read a {what}: {reason}")]
pub(crate) struct Unreadable {
    pub what: &'static str,
    pub reason: String,
}

impl From<Unreadable> for std::io::Error {
    fn from(e: Unreadable) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, e)
    }
}

/// Version byte of the vote, membership and log payload formats below.
const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct StoredVote {
    term: u64,
    voted_for: u64,
    committed: bool,
}

#[derive(Serialize, Deserialize)]
struct MembershipRecord {
    log_id: Option<LogPosition>,
    configs: Vec<std::collections::BTreeSet<u64>>,
    nodes: std::collections::BTreeMap<u64, Placement>,
}

fn write_versioned(value: &impl Serialize) -> Bytes {
    let out = postcard::to_extend(value, vec![FORMAT]).expect("plain data always encodes");
    Bytes::from(out)
}

fn read_versioned<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, Unreadable> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|e| Unreadable { what, reason: e.to_string() }),
        Some((version, _)) => Err(Unreadable {
            what,
            reason: format!("it has format version {version}, this program knows {FORMAT}; start a newer program"),
        }),
        None => Err(Unreadable { what, reason: "it is empty".into() }),
    }
}

pub(crate) fn encode_vote(vote: &Vote) -> Bytes {
    write_versioned(&StoredVote {
        term: vote.leader_id.term,
        voted_for: vote.leader_id.voted_for,
        committed: vote.committed,
    })
}

pub(crate) fn decode_vote(bytes: &[u8]) -> Result<Vote, Unreadable> {
    let stored: StoredVote = read_versioned("vote", bytes)?;
    let mut vote = Vote::new(stored.term, stored.voted_for);
    vote.committed = stored.committed;
    Ok(vote)
}

fn membership_record(log_id: Option<LogPosition>, membership: &Membership<u64, Placement>) -> MembershipRecord {
    MembershipRecord {
        log_id,
        configs: membership.get_joint_config().clone(),
        nodes: membership.nodes().map(|(id, node)| (*id, *node)).collect(),
    }
}

fn membership_from(record: &MembershipRecord) -> Result<Membership<u64, Placement>, Unreadable> {
    Membership::new(record.configs.clone(), record.nodes.clone())
        .map_err(|e| Unreadable { what: "membership", reason: e.to_string() })
}

pub(crate) fn encode_membership(stored: &StoredMembership) -> Bytes {
    write_versioned(&membership_record(stored.log_id().as_ref().map(position), stored.membership()))
}

pub(crate) fn decode_membership(bytes: &[u8]) -> Result<StoredMembership, Unreadable> {
    let record: MembershipRecord = read_versioned("membership", bytes)?;
    Ok(StoredMembership::new(record.log_id.map(log_id), membership_from(&record)?))
}

/// First byte of a membership entry's payload. The first byte of every other payload is the format version of the
/// state machine's entries, which counts up from 1 and will not get here.
const MEMBERSHIP: u8 = 0xff;

/// An entry's payload as it stands in the log and on the wire: nothing for a blank entry, [`MEMBERSHIP`] and a membership,
/// or an encoded [`Entry`] as it is, so that the hot path copies nothing.
pub(crate) fn encode_payload(payload: &EntryPayload<Proposal, u64, Placement>) -> Bytes {
    match payload {
        EntryPayload::Blank => Bytes::new(),
        EntryPayload::Normal(proposal) => proposal.bytes.clone(),
        EntryPayload::Membership(m) => {
            let mut out = vec![MEMBERSHIP];
            out.extend_from_slice(&write_versioned(&membership_record(None, m)));
            out.into()
        }
    }
}

/// The inverse of [`encode_payload`].
pub(crate) fn decode_payload(bytes: Bytes) -> Result<EntryPayload<Proposal, u64, Placement>, Unreadable> {
    match bytes.first() {
        None => Ok(EntryPayload::Blank),
        Some(&MEMBERSHIP) => {
            let record: MembershipRecord = read_versioned("membership entry", &bytes[1..])?;
            Ok(EntryPayload::Membership(membership_from(&record)?))
        }
        Some(_) => Ok(EntryPayload::Normal(Proposal { bytes, parsed: None })),
    }
}

pub(crate) fn to_record(entry: &RaftEntry) -> LogRecord {
    LogRecord { position: position(&entry.log_id), payload: encode_payload(&entry.payload) }
}

pub(crate) fn from_record(record: LogRecord) -> Result<RaftEntry, Unreadable> {
    Ok(RaftEntry { log_id: log_id(record.position), payload: decode_payload(record.payload)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vote that reads back as another is a double vote.
    #[test]
    fn votes_and_memberships_read_back_as_they_were_written() {
        for committed in [false, true] {
            let mut vote = Vote::new(7, 3);
            vote.committed = committed;
            assert_eq!(decode_vote(&encode_vote(&vote)).unwrap(), vote);
        }
        let membership = Membership::new(
            vec![[1, 2].into(), [2, 3].into()],
            [(1, Placement(NodeId(1))), (2, Placement(NodeId(2))), (3, Placement(NodeId(9)))]
                .into_iter()
                .collect::<std::collections::BTreeMap<_, _>>(),
        )
        .unwrap();
        let stored = StoredMembership::new(Some(log_id(LogPosition { term: 2, index: 9 })), membership);
        assert_eq!(decode_membership(&encode_membership(&stored)).unwrap(), stored);
    }

    #[test]
    fn a_newer_format_is_refused_not_guessed() {
        let mut newer = encode_vote(&Vote::new(1, 1)).to_vec();
        newer[0] = FORMAT + 1;
        assert!(decode_vote(&newer).unwrap_err().to_string().contains("newer program"));
        assert!(decode_vote(&[]).is_err());
        assert!(decode_payload(Bytes::from_static(&[MEMBERSHIP, FORMAT + 1, 0])).is_err());
    }
}
