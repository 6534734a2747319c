//! The leader's side of a pipelined session, with time and the follower in the test's hand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::AppendEntriesRequest;
use ringfence_storage::{LogPosition, NodeStorage};
use ringfence_types::{NodeId, ReplicaId, ShardId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::calls::Calls;
use crate::descriptor_cell::DescriptorCell;
use crate::network::{Link, Peer};
use crate::raft::{Placement, Types, Vote, log_id};
use crate::wire::{AppendResult, Message, decode};
use crate::{SystemClock, Transport, Undeliverable};

/// Keeps what is sent.
#[derive(Default)]
struct Sent(Mutex<Vec<Bytes>>);

impl Transport for Sent {
    fn send(&self, _to: NodeId, envelope: Bytes) -> Result<(), Undeliverable> {
        self.0.lock().unwrap().push(envelope);
        Ok(())
    }
}

fn append(index: u64) -> AppendEntriesRequest<Types> {
    AppendEntriesRequest {
        vote: Vote::new_committed(1, 1),
        prev_log_id: Some(log_id(LogPosition { term: 1, index })),
        entries: Vec::new(),
        leader_commit: None,
    }
}

async fn peer() -> (Peer, Arc<Sent>, Arc<Calls>) {
    let (sent, calls) = (Arc::new(Sent::default()), Calls::new(1));
    let mut link = Link {
        group: ShardId(1),
        from: ReplicaId(1),
        descriptor: DescriptorCell::default(),
        transport: sent.clone(),
        calls: calls.clone(),
        clock: Arc::new(SystemClock::default()),
        state: NodeStorage::memory().unwrap().state,
        holds: Default::default(),
    };
    (link.new_client(2, &Placement(NodeId(2))).await, sent, calls)
}

/// What was sent `n`-th, as the follower sees it.
fn sent_append(sent: &Sent, n: usize) -> (u64, u64) {
    let envelope = sent.0.lock().unwrap()[n].clone();
    match decode(envelope).unwrap().1 {
        Message::AppendStream { session, sequence, .. } => (session, sequence),
        other => panic!("not an append of a session: {other:?}"),
    }
}

fn reply(session: u64, sequence: u64) -> Message {
    let matching = Some(LogPosition { term: 1, index: 9 });
    Message::AppendStreamReply { session, sequence, result: AppendResult::Matching(matching) }
}

/// A session may have nothing to say for hours. The first append after that must have as long for its answer as any other:
/// measured from the last answer, every write after a pause would have broken all sessions of its shard.
#[tokio::test(start_paused = true)]
async fn silence_counts_from_the_first_append_that_waits() {
    let (mut peer, sent, calls) = peer().await;
    let (requests, inbox) = mpsc::unbounded_channel();
    let option = RPCOption::new(Duration::from_millis(200));
    let mut answers = peer.stream_append(UnboundedReceiverStream::new(inbox), option).await.unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        requests.send(append(7)).unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let (session, sequence) = sent_append(&sent, 0);
        calls.answered(session, reply(session, sequence));
        // And now one that is never answered.
        requests.send(append(8)).unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        drop(requests);
    });
    answers.next().await.unwrap().expect("an answer within the time that there is").unwrap();
    let began = tokio::time::Instant::now();
    answers.next().await.unwrap().expect_err("a follower that never answers");
    assert_eq!(began.elapsed().as_secs(), 2);
    assert!(answers.next().await.is_none(), "a session ends at the first trouble");
}

/// An answer out of turn means that one was lost. Taken for the next one, it would acknowledge entries that the follower may
/// not have.
#[tokio::test(start_paused = true)]
async fn an_answer_out_of_turn_ends_the_session() {
    let (mut peer, sent, calls) = peer().await;
    let (requests, inbox) = mpsc::unbounded_channel();
    requests.send(append(7)).unwrap();
    requests.send(append(8)).unwrap();
    let option = RPCOption::new(Duration::from_millis(200));
    let mut answers = peer.stream_append(UnboundedReceiverStream::new(inbox), option).await.unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let (session, second) = sent_append(&sent, 1);
        assert_eq!(second, 1, "the second is sent before the first is answered");
        calls.answered(session, reply(session, second));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        drop(requests);
    });
    answers.next().await.unwrap().expect_err("the first answer is missing");
    assert!(answers.next().await.is_none());
}
