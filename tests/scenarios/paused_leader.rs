//! A leader that is paused believes, when it wakes, that it still leads. It must not answer with what it had.

use ringfence_tests::{Cluster, eventually};

use ringfence_proto::v1::kv_client::KvClient;
use ringfence_proto::v1::{GetRequest, RequestHeader};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_wakes_from_a_pause_does_not_serve_what_is_old() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    client.put("x", "old").await.unwrap();
    let shard = client.get("x").await.unwrap().map(|_| ()).and(Some(shard_of(&cluster, "x").await)).unwrap();
    let paused = cluster.leader(shard).await;
    cluster.server(paused).pause(true);
    // The others elect a leader and go on; the SDK finds it by itself.
    client.put("x", "new").await.unwrap();
    cluster.server(paused).pause(false);
    // Asked directly, the old leader forwards, fails, or tells the new value; never the old one.
    let mut kv = KvClient::new(cluster.channel(paused));
    for _ in 0..200 {
        let request = GetRequest { header: Some(RequestHeader::default()), key: "x".into(), at_revision: 0 };
        if let Ok(answer) = kv.get(request).await {
            assert_eq!(answer.into_inner().kv.unwrap().value, "new");
        }
    }
    eventually("the node that was paused answers again", async || {
        let request = GetRequest { header: Some(RequestHeader::default()), key: "x".into(), at_revision: 0 };
        kv.get(request).await.ok()
    })
    .await;
}

async fn shard_of(cluster: &Cluster, key: &str) -> u64 {
    let position = ringfence_client::Key::new(key.to_owned()).unwrap().position().0;
    let described = cluster.describe(1).await.unwrap();
    let owner = described.shards.iter().find(|s| s.first_position <= position && position <= s.last_position);
    owner.unwrap().shard
}
