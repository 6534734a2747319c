//! The stream that many calls share.

use std::collections::BTreeMap;

use ringfence_proto::v1;
use ringfence_proto::v1::operation::Kind as Op;
use ringfence_proto::v1::result::Kind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::harness::{Cluster, add, get, op, put, reason};

struct Session {
    calls: mpsc::Sender<v1::SessionRequest>,
    answers: Streaming<v1::SessionResponse>,
}

impl Session {
    async fn open(cluster: &Cluster, id: usize) -> Session {
        let (calls, outbound) = mpsc::channel(16);
        let answers = cluster.kv(id).await.session(ReceiverStream::new(outbound)).await.unwrap().into_inner();
        Session { calls, answers }
    }

    async fn send(&self, calls: impl IntoIterator<Item = (u64, Op)>) {
        let calls = calls.into_iter().map(|(call, kind)| v1::Call { call, operation: Some(op(kind)), timeout_ms: 0 });
        self.calls.send(v1::SessionRequest { calls: calls.collect() }).await.unwrap();
    }

    /// Waits until so many calls are answered.
    async fn receive(&mut self, count: usize) -> BTreeMap<u64, Kind> {
        let mut answers = BTreeMap::new();
        while answers.len() < count {
            let response = self.answers.message().await.unwrap().expect("the session lives");
            for answer in response.answers {
                let again = answers.insert(answer.call, answer.result.unwrap().kind.unwrap());
                assert!(again.is_none(), "call {} was answered twice", answer.call);
            }
        }
        answers
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_calls_share_a_stream_and_each_gets_its_own_answer() {
    let cluster = Cluster::start(3).await;
    for id in 1..=3 {
        let mut session = Session::open(&cluster, id).await;
        for message in 0..10 {
            let calls = (0..300).map(|i| message * 300 + i).map(|call| {
                let value = format!("{id} {call}");
                (call, Op::Put(put(format!("k{call}"), value)))
            });
            session.send(calls).await;
        }
        let written = session.receive(3000).await;
        assert!(written.values().all(|kind| matches!(kind, Kind::Put(_))));

        session.send((0..3000).map(|call| (call, Op::Get(get(format!("k{call}")))))).await;
        for (call, kind) in session.receive(3000).await {
            let Kind::Get(found) = kind else { panic!("{kind:?}") };
            assert_eq!(found.kv.unwrap().value, format!("{id} {call}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_call_does_not_disturb_its_neighbours() {
    let cluster = Cluster::start(1).await;
    let mut session = Session::open(&cluster, 1).await;
    session.send([(1, Op::Put(put("", "v"))), (2, Op::Add(add("n", 4)))]).await;
    session
        .calls
        .send(v1::SessionRequest { calls: vec![v1::Call { call: 3, operation: None, timeout_ms: 0 }] })
        .await
        .unwrap();
    let answers = session.receive(3).await;
    assert!(matches!(&answers[&1], Kind::Error(error) if error.reason == "KEY_EMPTY"));
    assert!(matches!(&answers[&2], Kind::Add(add) if add.value == 4));
    assert!(matches!(&answers[&3], Kind::Error(error) if error.reason == "INVALID_REQUEST"));
}

/// A client that closes its half gets what it asked for, and then the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_closed_is_answered_to_the_end() {
    let cluster = Cluster::start(3).await;
    let mut session = Session::open(&cluster, 2).await;
    session.send((0..500).map(|call| (call, Op::Put(put(format!("k{call}"), "v"))))).await;
    let (closed, _) = mpsc::channel(1);
    session.calls = closed;
    session.receive(500).await;
    assert!(session.answers.message().await.unwrap().is_none());
}

/// A stopping node tells its sessions, so that clients go elsewhere instead of guessing.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_node_ends_its_sessions_with_a_reason() {
    let mut cluster = Cluster::start(3).await;
    let mut session = Session::open(&cluster, 1).await;
    session.send([(1, Op::Put(put("k", "v")))]).await;
    session.receive(1).await;
    cluster.stop(1).await;
    let end = session.answers.message().await.unwrap_err();
    assert_eq!(reason(&end), "SHUTTING_DOWN");
}
