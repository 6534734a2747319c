//! A request sent again, by anyone, however often and wherever, counts once (G8), also across the death of the leader that
//! took it first. Spoken in plain gRPC, so that the id on the wire is in the test's hand.

use ringfence_proto::v1::kv_client::KvClient;
use ringfence_proto::v1::{AddRequest, RequestHeader, RequestId};
use ringfence_tests::{Cluster, eventually};

fn add(key: &str, id: RequestId) -> AddRequest {
    AddRequest {
        header: Some(RequestHeader { id: Some(id), ..RequestHeader::default() }),
        key: key.to_owned().into(),
        delta: 1,
        min: None,
        max: None,
        fences: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_sent_again_and_again_counts_once() {
    let mut cluster = Cluster::start(3).await;
    let birth = cluster.describe(1).await.unwrap().revision;
    let ids: Vec<RequestId> = (0..30).map(|sequence| RequestId { client: 77, sequence, birth }).collect();
    for (n, id) in ids.iter().enumerate() {
        let key = format!("counter{}", n % 3);
        // Sent to all nodes at once, before anyone has answered.
        let sent = (1..=3).filter(|node| cluster.running().contains(node)).map(|node| {
            let mut kv = KvClient::new(cluster.channel(node));
            let request = add(&key, *id);
            async move { kv.add(request).await }
        });
        let answers = futures::future::join_all(sent).await;
        if n == 10 {
            let shard = 1;
            let leader = cluster.leader(shard).await;
            cluster.kill(leader);
            cluster.start_node(leader);
        }
        // And again, until somebody tells what became of it.
        let told = eventually("someone knows what became of it", async || {
            for node in cluster.running() {
                let mut kv = KvClient::new(cluster.channel(node));
                if let Ok(answer) = kv.add(add(&key, *id)).await {
                    return Some(answer.into_inner().value);
                }
            }
            None
        })
        .await;
        assert_eq!(told, n as i64 / 3 + 1, "request {n}");
        for answer in answers.into_iter().flatten() {
            assert_eq!(answer.into_inner().value, told, "the same id was told something else");
        }
    }
    let client = cluster.client().await;
    for key in ["counter0", "counter1", "counter2"] {
        assert_eq!(client.get(key).await.unwrap().unwrap().value, "10");
    }
}
