//! Services in other languages have nothing but the `.proto` files. So this speaks plain unary gRPC, without the SDK, to
//! every node in turn, whichever leads.

use ringfence_proto::v1::kv_client::KvClient;
use ringfence_proto::v1::{
    AddRequest, CasRequest, Condition, DeleteRequest, GetRequest, PutRequest, ScanRequest, cas_request, condition,
    scan_request,
};
use ringfence_tests::Cluster;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn every_node_takes_every_request_of_a_plain_client() {
    let cluster = Cluster::start(3).await;
    for node in cluster.running() {
        let mut kv = KvClient::new(cluster.channel(node));
        // Several keys, so that most are led by another node than the one asked.
        for n in 0..12 {
            let key = format!("plain/{node}/{n}");
            let put = PutRequest { key: key.clone().into(), value: "1".into(), ..PutRequest::default() };
            let written = kv.put(put).await.unwrap().into_inner();
            assert_eq!(written.version, 1);
            let revision = written.header.unwrap().revision;

            let cas = |revision| CasRequest {
                key: key.clone().into(),
                condition: Some(Condition { kind: Some(condition::Kind::RevisionIs(revision)) }),
                then: Some(cas_request::Then::Put("2".into())),
                ..CasRequest::default()
            };
            assert_eq!(kv.cas(cas(revision)).await.unwrap().into_inner().version, 2);
            let lost = kv.cas(cas(revision)).await.unwrap_err();
            assert_eq!(lost.code(), Code::FailedPrecondition, "{lost}");
            assert!(lost.message().contains("condition"), "{lost}");

            let add = AddRequest { key: key.clone().into(), delta: 40, ..AddRequest::default() };
            assert_eq!(kv.add(add).await.unwrap().into_inner().value, 42);

            // Read from the next node: whatever was acknowledged is seen everywhere.
            let other = node % 3 + 1;
            let get = GetRequest { key: key.clone().into(), ..GetRequest::default() };
            let read = KvClient::new(cluster.channel(other)).get(get).await.unwrap().into_inner();
            assert_eq!(read.kv.unwrap().value, "42");
        }
        let delete = DeleteRequest { key: format!("plain/{node}/0").into(), ..DeleteRequest::default() };
        assert!(kv.delete(delete).await.unwrap().into_inner().existed);

        // Everything with a prefix, over all shards, page by page.
        let mut found = Vec::new();
        let mut cursor = Default::default();
        loop {
            let scan = ScanRequest {
                what: Some(scan_request::What::Prefix(format!("plain/{node}/").into())),
                limit: 5,
                cursor,
                ..ScanRequest::default()
            };
            let page = kv.scan(scan).await.unwrap().into_inner();
            assert!(page.filtered, "a prefix without a tag reads everything, and says so");
            found.extend(page.kvs.into_iter().map(|kv| kv.key));
            cursor = page.next_cursor;
            if cursor.is_empty() {
                break;
            }
        }
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 11);
    }
}

/// Bad input is refused with a reason that a program can read and a message that says what to do, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_a_reason() {
    let cluster = Cluster::start(1).await;
    let mut kv = KvClient::new(cluster.channel(1));
    let put = |key: Vec<u8>, value: Vec<u8>, ttl_ms: Option<i64>| PutRequest {
        key: key.into(),
        value: value.into(),
        ttl_ms,
        fences: Vec::new(),
        header: None,
    };
    for (request, reason) in [
        (put(vec![], vec![], None), "KEY_EMPTY"),
        (put(vec![b'k'; 4097], vec![], None), "KEY_TOO_LARGE"),
        (put(b"k".to_vec(), vec![0; (1 << 20) + 1], None), "VALUE_TOO_LARGE"),
        (put(b"k".to_vec(), vec![], Some(0)), "INVALID_TTL"),
        (put(b"k".to_vec(), vec![], Some(-5)), "INVALID_TTL"),
        (put(b"k".to_vec(), vec![], Some(i64::MAX)), "INVALID_TTL"),
    ] {
        assert_eq!(reason_of(&kv.put(request).await.unwrap_err()), reason);
    }
    let no_condition = CasRequest { key: "k".into(), ..CasRequest::default() };
    assert_eq!(reason_of(&kv.cas(no_condition).await.unwrap_err()), "INVALID_CONDITION");
    for tag in ["", "a}b"] {
        let scan = ScanRequest { what: Some(scan_request::What::Tag(tag.into())), ..ScanRequest::default() };
        assert_eq!(reason_of(&kv.scan(scan).await.unwrap_err()), "INVALID_TAG");
    }
    let get = GetRequest { key: "k".into(), ..GetRequest::default() };
    assert_eq!(kv.get(get).await.unwrap().into_inner().kv, None, "nothing of all that happened");

    // The wrong type, with the right bytes kept.
    kv.put(put(b"text".to_vec(), b"seven".to_vec(), None)).await.unwrap();
    let add = AddRequest { key: "text".into(), delta: 1, ..AddRequest::default() };
    assert_eq!(reason_of(&kv.add(add).await.unwrap_err()), "NOT_AN_INTEGER");
    // Below a bound.
    let take = AddRequest { key: "stock".into(), delta: -1, min: Some(0), ..AddRequest::default() };
    assert_eq!(reason_of(&kv.add(take).await.unwrap_err()), "OUT_OF_BOUNDS");
    // Meant for another cluster.
    let header = ringfence_proto::v1::RequestHeader { cluster: 12345, ..Default::default() };
    let elsewhere = PutRequest { header: Some(header), ..put(b"k".to_vec(), vec![], None) };
    assert_eq!(reason_of(&kv.put(elsewhere).await.unwrap_err()), "WRONG_CLUSTER");
}

fn reason_of(status: &tonic::Status) -> String {
    ringfence_proto::v1::Error::from(status.clone()).reason
}
