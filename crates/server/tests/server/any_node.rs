//! Any node takes any request, and all nodes give the same answers.

use std::collections::BTreeSet;

use ringfence_proto::v1;
use ringfence_proto::v1::operation::Kind as Op;
use ringfence_proto::v1::result::Kind;
use ringfence_proto::v1::scan_request::What;

use crate::harness::{Cluster, add, get, op, put, reason};

#[tokio::test(flavor = "multi_thread")]
async fn every_node_puts_gets_changes_and_scans() {
    let cluster = Cluster::start(3).await;
    for id in 1..=3 {
        let mut kv = cluster.kv(id).await;
        for i in 0..20 {
            let response = kv.put(put(format!("k{i}"), format!("{id}"))).await.unwrap().into_inner();
            assert_eq!(response.version, id as u64, "each node overwrites what the one before wrote");
        }
        for reader in 1..=3 {
            let found = cluster.kv(reader).await.get(get("k7")).await.unwrap().into_inner();
            assert_eq!(found.kv.unwrap().value, id.to_string(), "written at {id}, read at {reader}");
        }
    }
    let mut kv = cluster.kv(2).await;
    let found = kv.get(get("k7")).await.unwrap().into_inner().kv.unwrap();
    let cas = v1::CasRequest {
        key: "k7".into(),
        condition: Some(v1::Condition { kind: Some(v1::condition::Kind::RevisionIs(found.revision)) }),
        then: Some(v1::cas_request::Then::Put("new".into())),
        ..Default::default()
    };
    assert_eq!(kv.cas(cas.clone()).await.unwrap().into_inner().version, 4);
    let lost = cluster.kv(3).await.cas(cas).await.unwrap_err();
    assert_eq!((reason(&lost).as_str(), lost.code()), ("CONDITION_FAILED", tonic::Code::FailedPrecondition));
    let error = v1::Error::from(&lost);
    assert_eq!(error.fact::<u64>("version"), Some(4));

    assert_eq!(kv.add(add("stock", 5)).await.unwrap().into_inner().value, 5);
    let oversold = kv.add(v1::AddRequest { min: Some(0), ..add("stock", -6) }).await.unwrap_err();
    assert_eq!(reason(&oversold), "OUT_OF_BOUNDS");
    assert!(
        kv.delete(v1::DeleteRequest { key: "k0".into(), ..Default::default() }).await.unwrap().into_inner().existed
    );
    assert_eq!(kv.get(get("k0")).await.unwrap().into_inner().kv, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_of_everything_finds_each_key_once_and_one_of_a_tag_is_sorted() {
    let cluster = Cluster::start(3).await;
    let mut kv = cluster.kv(1).await;
    let operations: Vec<_> = (0..200).map(|i| op(Op::Put(put(format!("k{i}"), "v")))).collect();
    let tagged = (0..50).rev().map(|i| op(Op::Put(put(format!("{{t}}{i:02}"), "v"))));
    let operations = operations.into_iter().chain(tagged).collect();
    let written = kv.batch(v1::BatchRequest { operations, fences: Vec::new() }).await.unwrap().into_inner();
    assert!(written.results.iter().all(|result| matches!(result.kind, Some(Kind::Put(_)))));

    for id in 1..=3 {
        let mut kv = cluster.kv(id).await;
        let mut found = Vec::new();
        let mut request = v1::ScanRequest { limit: 30, ..Default::default() };
        loop {
            let page = kv.scan(request.clone()).await.unwrap().into_inner();
            assert!(page.kvs.len() <= 30 && page.filtered);
            found.extend(page.kvs.into_iter().map(|kv| kv.key));
            if page.next_cursor.is_empty() {
                break;
            }
            request.cursor = page.next_cursor;
        }
        assert_eq!(found.len(), 250);
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 250, "none twice");

        let tagged = v1::ScanRequest {
            what: Some(What::Tag("t".into())),
            start: "10".into(),
            end: "20".into(),
            ..Default::default()
        };
        let page = kv.scan(tagged).await.unwrap().into_inner();
        let keys: Vec<_> = page.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect();
        let expected: Vec<_> = (10..20).map(|i| format!("{{t}}{i}")).collect();
        assert_eq!(keys, expected);
        assert!(!page.filtered && page.next_cursor.is_empty());
    }
    let other_scan = {
        let page = kv.scan(v1::ScanRequest { limit: 1, ..Default::default() }).await.unwrap().into_inner();
        let what = Some(What::Prefix("k".into()));
        kv.scan(v1::ScanRequest { what, cursor: page.next_cursor, ..Default::default() }).await.unwrap_err()
    };
    assert_eq!(reason(&other_scan), "INVALID_REQUEST");
}

/// The promise of Batch: mutations of one shard take effect in the order given, at whichever node they arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_the_order_of_mutations() {
    let cluster = Cluster::start(3).await;
    for id in 1..=3 {
        let operations = (0..100).map(|i| op(Op::Put(put("counted", i.to_string())))).collect();
        let mut kv = cluster.kv(id).await;
        let results = kv.batch(v1::BatchRequest { operations, fences: Vec::new() }).await.unwrap().into_inner().results;
        let revisions: Vec<i64> = results
            .into_iter()
            .map(|result| match result.kind {
                Some(Kind::Put(put)) => put.header.unwrap().revision,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(revisions.is_sorted_by(|a, b| a < b), "at node {id}");
        let last = kv.get(get("counted")).await.unwrap().into_inner().kv.unwrap();
        assert_eq!(last.value, "99");
    }
}

/// A client that does its own routing wants to be told, not served.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_must_not_be_forwarded_names_the_leader() {
    let cluster = Cluster::start(3).await;
    let described = cluster.describe(1).await;
    assert_eq!(described.shards.len(), 3);
    let shard = &described.shards[0];
    let key = (0..).map(|i| format!("k{i}")).find(|key| {
        let position = ringfence_types::Key::new(key.clone()).unwrap().position().0;
        (shard.first_position..=shard.last_position).contains(&position)
    });
    let key = key.unwrap();
    let leader = cluster.leader(shard.shard).unwrap();
    let header = Some(v1::RequestHeader { no_forward: true, ..Default::default() });
    let elsewhere = leader % 3 + 1;
    let request = v1::GetRequest { header, ..get(key) };
    let refused = cluster.kv(elsewhere).await.get(request.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_LEADER");
    let error = v1::Error::from(&refused);
    assert_eq!(error.fact::<usize>("leader_node"), Some(leader));
    assert_eq!(error.metadata["leader_address"], cluster.addresses[leader - 1]);
    cluster.kv(leader).await.get(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_addition_is_counted_once_at_whichever_node_it_arrives() {
    let cluster = Cluster::start(3).await;
    let described = cluster.describe(1).await;
    let id = Some(v1::RequestId { client: 77, sequence: 1, birth: described.revision });
    let header = Some(v1::RequestHeader { id, ..Default::default() });
    let request = v1::AddRequest { header, ..add("once", 1) };
    let mut answers = BTreeSet::new();
    for node in [1, 2, 3, 1] {
        let answer = cluster.kv(node).await.add(request.clone()).await.unwrap().into_inner();
        answers.insert((answer.value, answer.version, answer.header.unwrap().revision));
    }
    assert_eq!(answers.len(), 1, "the same answer word for word: {answers:?}");
    assert_eq!(answers.first().unwrap().0, 1);
    // The same id for something else is an error of the caller's, and changes nothing.
    let header = request.header;
    let mixed_up = cluster.kv(2).await.put(v1::PutRequest { header, ..put("once", "9") }).await.unwrap_err();
    assert_eq!(reason(&mixed_up), "INVALID_REQUEST");
}

/// A key lives for its ttl on the shard's lease clock, and is gone soon after.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_a_ttl_goes_away() {
    let cluster = Cluster::start(1).await;
    let mut kv = cluster.kv(1).await;
    kv.put(v1::PutRequest { ttl_ms: Some(300), ..put("short", "v") }).await.unwrap();
    let found = kv.get(get("short")).await.unwrap().into_inner().kv.unwrap();
    assert!(found.ttl_ms.is_some_and(|left| left <= 300));
    crate::harness::until("the key has expired", async || {
        cluster.kv(1).await.get(get("short")).await.unwrap().into_inner().kv.is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_revision_can_be_read_and_one_far_ahead_cannot() {
    let cluster = Cluster::start(3).await;
    let mut kv = cluster.kv(1).await;
    let first = kv.put(put("k", "1")).await.unwrap().into_inner().header.unwrap().revision;
    kv.put(put("k", "2")).await.unwrap();
    for id in 1..=3 {
        let mut kv = cluster.kv(id).await;
        let at = |at_revision| v1::GetRequest { at_revision, ..get("k") };
        assert_eq!(kv.get(at(first)).await.unwrap().into_inner().kv.unwrap().value, "1");
        assert_eq!(kv.get(at(first - 1)).await.unwrap().into_inner().kv, None);
        let refused = kv.get(at(i64::MAX)).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_REQUEST");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_answer() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    let cluster = Cluster::start(1).await;
    let channel = crate::harness::connect(&cluster.addresses[0]).await;
    for service in ["", "ringfence.v1.Kv"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.into() };
        let health = HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner();
        assert_eq!(health.status(), tonic_health::pb::health_check_response::ServingStatus::Serving, "{service:?}");
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices("*".into())),
    };
    let mut client = ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
    let answer: ServerReflectionResponse = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let names: BTreeSet<_> = list.service.into_iter().map(|service| service.name).collect();
    for service in ["ringfence.v1.Kv", "ringfence.v1.ClusterService", "grpc.health.v1.Health"] {
        assert!(names.contains(service), "{names:?}");
    }
}
