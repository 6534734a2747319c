//! Leaders that move because an operator wants them elsewhere. Nothing may be lost by it (G9), the shard should hardly notice, and a
//! wish that cannot be granted must not cost it a leader.

use std::process::{Command, Output};
use std::time::Duration;

use ringfence_client::{Client, ClientConfig, NodeId, Outcome, Reason, ShardId, TransferLeaderError};
use ringfence_proto::metadata;
use ringfence_proto::v1::cluster_service_client::ClusterServiceClient;
use ringfence_proto::v1::{Error, TransferLeaderRequest, TransferLeaderResponse};
use ringfence_tests::{Cluster, Load, binary, eventually};

async fn ask(cluster: &Cluster, node: u64, request: TransferLeaderRequest) -> Result<TransferLeaderResponse, Error> {
    let mut service = ClusterServiceClient::new(cluster.channel(node));
    Ok(service.transfer_leader(request).await?.into_inner())
}

fn wish(shard: u64, to_node: u64) -> TransferLeaderRequest {
    TransferLeaderRequest { shard, to_node, ..TransferLeaderRequest::default() }
}

async fn ringctl(cluster: &Cluster, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(binary("ringctl"));
    command.env("RINGCTL_ENDPOINTS", cluster.endpoints().join(",")).args(args);
    let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let Output { status, stdout, stderr } = ran.expect("a program can be started");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().expect("it ends by itself"), text(stdout), text(stderr))
}

/// A busy machine may elect somebody else at any moment, so what is asked for may have to be asked for again.
async fn transfer(client: &Client, shard: u64, to: Option<u64>) -> (u64, u64) {
    eventually(&format!("shard {shard} is handed to {to:?}"), async || {
        match client.transfer_leader(ShardId(shard), to.map(NodeId)).await {
            Ok(moved) => Some((moved.from.0, moved.leader.0)),
            Err(error) => {
                println!("asked again: {error}");
                None
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn back_and_forth_under_load_nothing_is_lost() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    let mut groups = cluster.shards().await;
    groups.push(0);
    let mut moved = 0;
    for round in 0..6 {
        for group in &groups {
            let to = round % 3 + 1;
            let (from, leader) = transfer(&client, *group, Some(to)).await;
            assert_eq!(leader, to);
            moved += u64::from(from != leader);
        }
        load.goes_on(100).await;
    }
    assert!(moved >= groups.len() as u64 * 3, "leaders moved: {moved}");
    for group in &groups {
        let (from, leader) = transfer(&client, *group, None).await;
        assert_ne!(from, leader, "to whoever is best of the others");
    }
    load.goes_on(100).await;
    let acknowledged = load.stop_and_check().await;
    assert!(acknowledged > 600, "the load was real: {acknowledged}");
    cluster.level().await;
}

/// Whichever node is asked, it knows who leads when it answers, and so does `ringctl`.
#[tokio::test(flavor = "multi_thread")]
async fn any_node_takes_it_and_knows_the_leader_when_it_answers() {
    let cluster = Cluster::start(5).await; // three of five have a replica: two have to ask around
    let client = cluster.client().await;
    client.put("k", "before").await.unwrap();
    for shard in cluster.shards().await {
        let described = cluster.describe(1).await.unwrap();
        let shard_there = described.shards.iter().find(|s| s.shard == shard).unwrap();
        let voters: Vec<u64> = shard_there.replicas.iter().map(|replica| replica.node).collect();
        assert_eq!(voters.len(), 3);
        for node in 1..=5 {
            eventually(&format!("node {node} has it handed over, and knows"), async || {
                let before = cluster.leader(shard).await;
                let to = *voters.iter().find(|voter| **voter != before).unwrap();
                let moved = ask(&cluster, node, wish(shard, to)).await.ok()?;
                assert_eq!((moved.shard, moved.leader_node), (shard, to));
                let described = cluster.describe(node).await?;
                let known = described.shards.iter().find(|s| s.shard == shard)?.leader_node;
                (moved.from_node == before && known == to).then_some(())
            })
            .await;
        }
        // No replica of it is there.
        let stranger = (1..=5).find(|node| !voters.contains(node)).unwrap();
        let refused = ask(&cluster, 1, wish(shard, stranger)).await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::InvalidRequest), "{}", refused.message);
        let shard = shard.to_string();
        let (code, out, err) =
            ringctl(&cluster, &["shard", "transfer-leader", &shard, "--to", &stranger.to_string()]).await;
        assert_eq!((code, out.as_str()), (4, ""), "{err}");
    }
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "before");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_granted_is_refused_and_the_leader_stays() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let reason = |error: Error| error.reason().unwrap_or_else(|| panic!("a reason of ours: {}", error.message));

    for node in 1..=3 {
        assert_eq!(reason(ask(&cluster, node, wish(99, 1)).await.unwrap_err()), Reason::UnknownShard);
        assert_eq!(reason(ask(&cluster, node, wish(1, 99)).await.unwrap_err()), Reason::UnknownNode);
        let elsewhere = TransferLeaderRequest { cluster: 0xbad, ..wish(1, 1) };
        assert_eq!(reason(ask(&cluster, node, elsewhere).await.unwrap_err()), Reason::WrongCluster);
    }
    let refused = client.transfer_leader(ShardId(99), None).await.unwrap_err();
    assert!(matches!(refused, TransferLeaderError::UnknownShard { .. }), "{refused}");
    assert_eq!(refused.outcome(), Outcome::Refused);
    let (code, out, err) = ringctl(&cluster, &["shard", "transfer-leader", "99"]).await;
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert_eq!(ringctl(&cluster, &["shard", "transfer-leader", "x"]).await.0, 3);
    assert_eq!(ringctl(&cluster, &["shard", "transfer-leader", "1", "--to", "0"]).await.0, 3);

    // Not to be forwarded: told where to go.
    eventually("a follower names the leader", async || {
        let leader = cluster.leader(1).await;
        let follower = leader % 3 + 1;
        let request = TransferLeaderRequest { no_forward: true, ..wish(1, follower) };
        let refused = ask(&cluster, follower, request).await.err()?;
        let named = refused.fact::<u64>(metadata::LEADER_NODE) == Some(leader);
        (refused.reason() == Some(Reason::NotLeader) && named).then_some(())
    })
    .await;

    // To whoever leads already: done, and nothing changes.
    eventually("a leader that leads already stays", async || {
        let leader = cluster.leader(1).await;
        let before = term(&cluster, leader).await?;
        let (code, out, err) = ringctl(&cluster, &["shard", "transfer-leader", "1", "--to", &leader.to_string()]).await;
        let stays = (code, out) == (0, format!("n{leader} leads s1 already\n")) && err.is_empty();
        (stays && term(&cluster, leader).await? == before).then_some(())
    })
    .await;

    // A node that is down: refused in time, and the shard does not lose its leader over it.
    let load = Load::start(&client, 4);
    load.goes_on(50).await;
    let down = cluster.leader(1).await % 3 + 1;
    cluster.kill(down);
    load.goes_on(50).await;
    eventually("the leader hears nothing of it, and stays", async || {
        let leader = cluster.leader(1).await;
        let before = term(&cluster, leader).await?;
        let refused = client.transfer_leader(ShardId(1), Some(NodeId(down))).await.unwrap_err();
        let (code, _, err) = ringctl(&cluster, &["shard", "transfer-leader", "1", "--to", &down.to_string()]).await;
        let behind =
            matches!(refused, TransferLeaderError::Behind { .. }) && code == 4 && err.contains("hears nothing");
        (behind && term(&cluster, leader).await? == before).then_some(())
    })
    .await;
    let (_, leader) = transfer(&client, 1, None).await;
    assert_ne!(leader, down);
    load.goes_on(50).await;
    load.stop_and_check().await;

    // Without a majority nobody leads.
    let alone = cluster.running()[0];
    cluster.kill(cluster.running()[1]);
    let mut config = ClientConfig::new(cluster.endpoints());
    config.timeout = Duration::from_secs(4);
    let impatient = Client::with_config(config).await.unwrap();
    let refused = impatient.transfer_leader(ShardId(1), Some(NodeId(alone))).await.unwrap_err();
    match refused {
        TransferLeaderError::Unavailable(error) => {
            assert!(error.reason.is_none_or(|reason| reason == Reason::NoQuorum), "{error}");
        }
        // A leader that had not noticed yet may have begun.
        TransferLeaderError::Unknown { .. } | TransferLeaderError::Behind { .. } => {}
        other => panic!("{other}"),
    }
    eventually("it is said that there is no majority", async || {
        let mut request = tonic::Request::new(wish(1, alone));
        request.set_timeout(Duration::from_secs(2));
        let refused = ClusterServiceClient::new(cluster.channel(alone)).transfer_leader(request).await.unwrap_err();
        (Error::from(&refused).reason() == Some(Reason::NoQuorum)).then_some(())
    })
    .await;
}

/// Of a node's replica of shard 1.
async fn term(cluster: &Cluster, node: u64) -> Option<u64> {
    let replicas = cluster.status(node).await?.replicas;
    replicas.iter().find(|replica| replica.shard.as_ref().is_some_and(|s| s.shard == 1)).map(|replica| replica.term)
}
