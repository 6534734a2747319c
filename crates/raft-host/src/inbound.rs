//! What a replica does with what its peers say.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, TransferLeaderRequest};
use ringfence_shard_router::ShardDescriptor;
use ringfence_types::{NodeId, ReplicaId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::confirm::is_for;
use crate::log_store::LogStore;
use crate::network::{Link, SNAPSHOT_INSTALL_SIGN};
use crate::raft::{Raft, Types, log_id, position};
use crate::snapshot::SnapshotReceiver;
use crate::wire::{AppendResult, Header, Message, SnapshotResult};

/// Appends of one session that may wait for Raft's core; the sender has fewer under way.
const SESSION_QUEUE: usize = 64;

/// Pieces of snapshots that may wait for the disk; the sender waits for each.
const SNAPSHOT_QUEUE: usize = 4;

/// When the sender of a snapshot has said nothing for so long, what it sent is dropped. It gives up by itself much earlier.
const SNAPSHOT_GIVEN_UP_AFTER: Duration = Duration::from_secs(30);

/// See the module. Messages of one peer come in the order that it sent them.
pub(crate) struct Inbound {
    raft: Raft,
    link: Link,
    log: LogStore,
    sessions: Mutex<BTreeMap<ReplicaId, Session>>,
    snapshots: mpsc::Sender<(Origin, Message)>,
}

/// Where an answer goes.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub replica: ReplicaId,
    pub node: NodeId,
}

/// A pipelined session that a peer, as leader, has begun.
struct Session {
    id: u64,
    next: u64,
    /// `None` once the session has failed; what still comes of it is dropped.
    requests: Option<mpsc::Sender<AppendEntriesRequest<Types>>>,
}

impl Inbound {
    pub(crate) fn new(raft: Raft, link: Link, log: LogStore, receiver: SnapshotReceiver) -> Inbound {
        let (snapshots, inbox) = mpsc::channel(SNAPSHOT_QUEUE);
        tokio::spawn(receive_snapshots(raft.clone(), link.clone(), receiver, inbox));
        Inbound { raft, link, log, sessions: Mutex::default(), snapshots }
    }

    /// Takes one message. Never waits.
    pub(crate) fn receive(&self, node: NodeId, header: &Header, message: Message) {
        let from = Origin { replica: header.from, node };
        match message {
            Message::AppendStream { session, sequence, request } => {
                self.append_stream(from, session, sequence, request)
            }
            Message::Append { call, request } => {
                let (raft, link) = (self.raft.clone(), self.link.clone());
                tokio::spawn(async move {
                    let last = request.entries.last().map(|e| e.log_id).or(request.prev_log_id);
                    let prev = request.prev_log_id;
                    let answer = match raft.append_entries(request).await {
                        Ok(response) => Message::AppendReply {
                            call,
                            result: match response {
                                AppendEntriesResponse::Success => AppendResult::Matching(last.as_ref().map(position)),
                                AppendEntriesResponse::PartialSuccess(upto) => {
                                    AppendResult::Matching(upto.as_ref().map(position))
                                }
                                AppendEntriesResponse::Conflict => AppendResult::Conflict(prev.as_ref().map(position)),
                                AppendEntriesResponse::HigherVote(vote) => AppendResult::HigherVote(vote),
                            },
                        },
                        Err(e) => Message::Refused { call, reason: e.to_string() },
                    };
                    answer_to(&link, from, &answer);
                });
            }
            Message::Vote { call, request } => {
                let (raft, link) = (self.raft.clone(), self.link.clone());
                tokio::spawn(async move {
                    let answer = vote_reply(call, raft.vote(request).await);
                    answer_to(&link, from, &answer);
                });
            }
            Message::PreVote { call, request } => {
                let (raft, link) = (self.raft.clone(), self.link.clone());
                tokio::spawn(async move {
                    let answer = vote_reply(call, raft.pre_vote(request).await);
                    answer_to(&link, from, &answer);
                });
            }
            Message::Confirm { call, term } => {
                let granted = is_for(self.log.vote(), from.replica, term);
                answer_to(&self.link, from, &Message::Confirmed { call, voter: self.link.from.0, granted });
            }
            Message::TransferLeader { call, from_leader, to, last } => {
                let (raft, link) = (self.raft.clone(), self.link.clone());
                tokio::spawn(async move {
                    let request = TransferLeaderRequest::new(from_leader, to, last.map(log_id));
                    let accepted = matches!(raft.handle_transfer_leader(request).await, Ok(Ok(())));
                    answer_to(&link, from, &Message::TransferLeaderReply { call, accepted });
                });
            }
            Message::SnapshotBegin { call, .. }
            | Message::SnapshotChunk { call, .. }
            | Message::SnapshotEnd { call, .. } => {
                if self.snapshots.try_send((from, message)).is_err() {
                    let reason = "another snapshot is being received".into();
                    answer_to(&self.link, from, &Message::Refused { call, reason });
                }
            }
            // Answers are handed out before they get here.
            Message::AppendReply { .. }
            | Message::AppendStreamReply { .. }
            | Message::VoteReply { .. }
            | Message::TransferLeaderReply { .. }
            | Message::SnapshotReply { .. }
            | Message::Confirmed { .. }
            | Message::Refused { .. } => {}
        }
    }

    fn append_stream(&self, from: Origin, id: u64, sequence: u64, request: AppendEntriesRequest<Types>) {
        let mut sessions = self.sessions.lock().expect("never poisoned");
        if sequence == 0 {
            let requests = self.begin_session(from, id);
            sessions.insert(from.replica, Session { id, next: 0, requests: Some(requests) });
        }
        let delivered = match sessions.get_mut(&from.replica) {
            Some(session) if session.id == id && session.next == sequence => {
                session.next += 1;
                match session.requests.as_ref().map(|requests| requests.try_send(request)) {
                    Some(Ok(())) => true,
                    // The session has ended with an answer that says why; its sender will begin another.
                    Some(Err(mpsc::error::TrySendError::Closed(_))) | None => {
                        session.requests = None;
                        true
                    }
                    Some(Err(mpsc::error::TrySendError::Full(_))) => {
                        session.requests = None;
                        false
                    }
                }
            }
            _ => false,
        };
        if !delivered {
            // Something was lost on the way.
            let reason = format!("append {sequence} of session {id} came out of turn");
            answer_to(&self.link, from, &Message::Refused { call: id, reason });
        }
    }

    /// Starts the task that feeds a session to Raft, which works on several appends at once, and sends the answers.
    fn begin_session(&self, from: Origin, session: u64) -> mpsc::Sender<AppendEntriesRequest<Types>> {
        let (requests, inbox) = mpsc::channel(SESSION_QUEUE);
        let answers = self.raft.stream_append(ReceiverStream::new(inbox));
        let link = self.link.clone();
        tokio::spawn(async move {
            let mut answers = std::pin::pin!(answers);
            let mut sequence = 0;
            while let Some(answer) = answers.next().await {
                let message = match answer {
                    Ok(result) => Message::AppendStreamReply {
                        session,
                        sequence,
                        result: match result {
                            Ok(matching) => AppendResult::Matching(matching.as_ref().map(position)),
                            Err(StreamAppendError::Conflict(at)) => AppendResult::Conflict(Some(position(&at))),
                            Err(StreamAppendError::HigherVote(vote)) => AppendResult::HigherVote(vote),
                        },
                    },
                    Err(fatal) => Message::Refused { call: session, reason: fatal.to_string() },
                };
                answer_to(&link, from, &message);
                sequence += 1;
            }
        });
        requests
    }
}

fn vote_reply<E: std::fmt::Display>(call: u64, result: Result<openraft::raft::VoteResponse<Types>, E>) -> Message {
    match result {
        Ok(response) => Message::VoteReply {
            call,
            vote: response.vote,
            granted: response.vote_granted,
            last: response.last_log_id.as_ref().map(position),
        },
        Err(e) => Message::Refused { call, reason: e.to_string() },
    }
}

/// Sends an answer. If it cannot be sent it is lost, as any message may be, and the asker's timeout tells.
fn answer_to(link: &Link, to: Origin, answer: &Message) {
    if let Err(e) = link.send(to.replica, to.node, answer) {
        tracing::debug!(group = %link.group, "an answer was not sent: {e}");
    }
}

async fn receive_snapshots(
    raft: Raft,
    link: Link,
    mut receiver: SnapshotReceiver,
    mut inbox: mpsc::Receiver<(Origin, Message)>,
) {
    loop {
        let (from, message) = match tokio::time::timeout(SNAPSHOT_GIVEN_UP_AFTER, inbox.recv()).await {
            Ok(Some(received)) => received,
            Ok(None) => return,
            Err(_) => {
                receiver.give_up();
                continue;
            }
        };
        let installs = match message {
            Message::SnapshotEnd { call, .. } => Some(call),
            _ => None,
        };
        let mut taking = std::pin::pin!(receiver.take(&raft, message));
        let answer = loop {
            tokio::select! {
                answer = &mut taking => break answer,
                () = tokio::time::sleep(SNAPSHOT_INSTALL_SIGN) => {
                    if let Some(call) = installs {
                        answer_to(&link, from, &Message::SnapshotReply { call, result: SnapshotResult::GoOn });
                    }
                }
            }
        };
        answer_to(&link, from, &answer);
    }
}

/// Whether a replica may speak to us. Replicas that were removed long ago must not disturb elections; those that we have only
/// not heard of yet must be heard, or a group could be stuck for ever whose newest voter needs the vote of a replica that
/// lags behind. So it may if
///
/// * it is in our descriptor, or we have none yet and wait to be filled, or
/// * it knows a newer membership than we do, or
/// * its id is higher than all that we know: ids rise for ever, so as far as we know it has not even begun.
pub(crate) fn may_speak(descriptor: Option<&ShardDescriptor>, header: &Header) -> bool {
    let Some(descriptor) = descriptor else { return true };
    header.epoch.membership > descriptor.epoch.membership
        || descriptor.replicas.iter().any(|r| r.id == header.from)
        || descriptor.replicas.iter().all(|r| r.id < header.from)
}

#[cfg(test)]
mod tests {
    use ringfence_shard_router::{Epoch, Replica, Role, ShardRange};
    use ringfence_types::ShardId;

    use super::*;

    #[test]
    fn only_those_who_were_removed_are_not_heard() {
        let replica = |n| Replica { id: ReplicaId(n), node: NodeId(n), role: Role::Voter };
        let epoch = Epoch { range: 1, membership: 4 };
        let replicas = [2, 3, 7].map(replica).to_vec();
        let descriptor = ShardDescriptor { shard: ShardId(1), range: ShardRange::ALL, epoch, replicas };
        let says = |from, membership| Header {
            group: ShardId(1),
            from: ReplicaId(from),
            to: ReplicaId(2),
            epoch: Epoch { range: 1, membership },
            wall_ms: 0,
        };
        assert!(may_speak(Some(&descriptor), &says(3, 1)), "a member that lags");
        assert!(may_speak(Some(&descriptor), &says(5, 5)), "one with a newer membership");
        assert!(may_speak(Some(&descriptor), &says(8, 4)), "one that we have not heard of yet");
        assert!(!may_speak(Some(&descriptor), &says(5, 4)), "one that was removed");
        assert!(may_speak(None, &says(5, 4)), "a fresh replica listens to whoever fills it");
    }
}
