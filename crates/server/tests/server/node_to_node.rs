//! What a node refuses from others that say they are nodes.

use ringfence_proto::internal::v1 as internal;
use ringfence_proto::internal::v1::node_service_client::NodeServiceClient;
use ringfence_state_machine::{Command, MetaCommand, NodeInfo, Request, decode_reply};
use ringfence_types::{NodeId, Revision};

use crate::harness::{Cluster, connect, reason, until};

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_another_cluster_or_for_another_node_are_refused() {
    let cluster = Cluster::start(1).await;
    let described = cluster.describe(1).await;
    let client = NodeServiceClient::new(connect(&cluster.addresses[0]).await);
    let frame = |cluster, from_node, to_node| internal::RaftFrame { cluster, from_node, to_node, ..Default::default() };
    for (frame, expected) in [
        (frame(1, 2, 1), "WRONG_CLUSTER"),
        (frame(described.cluster, 2, 3), "UNKNOWN_NODE"),
        (frame(described.cluster, 2, 1), "UNKNOWN_NODE"), // nobody knows a node 2
        (frame(described.cluster, 1, 1), "UNKNOWN_NODE"), // we do not send to ourselves
    ] {
        let text = format!("{frame:?}");
        let refused = client.clone().raft(futures::stream::iter([frame])).await.unwrap_err();
        assert_eq!(reason(&refused), expected, "{text}");
    }
}

/// A directory that was founded anew must not speak for the replicas of the one that is lost; one that has given that up may.
#[tokio::test(flavor = "multi_thread")]
async fn frames_of_another_incarnation_are_not_taken() {
    let cluster = Cluster::start(3).await;
    until("node 1 knows the incarnation of node 2", async || {
        cluster.describe(1).await.nodes.iter().any(|node| node.node == 2 && node.incarnation != 0)
    })
    .await;
    let described = cluster.describe(1).await;
    let registered = described.nodes.iter().find(|node| node.node == 2).unwrap().incarnation;
    let client = NodeServiceClient::new(connect(&cluster.addresses[0]).await);
    for (incarnation, given_up, told) in [
        (registered, vec![], 0),
        (registered ^ 1, vec![], registered),
        (registered ^ 1, vec![7, registered], 0),
        (0, vec![], registered),
    ] {
        let cluster = described.cluster;
        let hello =
            internal::RaftFrame { cluster, from_node: 2, to_node: 1, incarnation, given_up, ..Default::default() };
        let closed = client.clone().raft(futures::stream::iter([hello])).await.unwrap();
        assert_eq!(closed.into_inner().registered, told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_meta_group_takes_its_own_commands_only() {
    let cluster = Cluster::start(1).await;
    let described = cluster.describe(1).await;
    let mut client = NodeServiceClient::new(connect(&cluster.addresses[0]).await);
    let mut propose = async |cluster, request: bytes::Bytes| {
        let response = client.propose_meta(internal::ProposeMetaRequest { cluster, request }).await;
        response.map(|response| response.into_inner().reply).map_err(|status| reason(&status))
    };
    let request = |command| Request { id: None, seen: Revision::ZERO, command }.encode();
    let info = NodeInfo { node: NodeId(9), address: "127.0.0.1:9".into(), labels: String::new(), incarnation: 7 };
    let register = request(Command::Meta(MetaCommand::RegisterNode(info)));
    assert_eq!(propose(1, register.clone()).await.unwrap_err(), "WRONG_CLUSTER");
    assert_eq!(propose(described.cluster, "nonsense".into()).await.unwrap_err(), "INVALID_REQUEST");
    let advance = request(Command::Advance(Revision(1)));
    assert_eq!(propose(described.cluster, advance).await.unwrap_err(), "INVALID_REQUEST");
    let reply = propose(described.cluster, register).await.unwrap();
    assert!(decode_reply(&reply).unwrap().is_ok());
}

/// A node that was started with another address tells the registry, and every node learns it.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_address_spreads() {
    let mut cluster = Cluster::start(3).await;
    cluster.stop(2).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let new = listener.local_addr().unwrap().to_string();
    let raw = ringfence_server::RawConfig { advertise: Some(new.clone()), ..cluster.raw_config(2) };
    let moved =
        ringfence_server::Node::start(ringfence_server::Config::from_raw(raw).unwrap(), listener).await.unwrap();
    for id in [1, 3] {
        until("the other nodes know the new address", async || {
            let described = cluster.describe(id).await;
            described.nodes.iter().any(|node| node.node == 2 && node.address == new)
        })
        .await;
    }
    moved.stop().await;
}
