//! Bad input over the wire: each a clear error with a reason, and nothing lost.

use ringfence_proto::v1;
use ringfence_proto::v1::operation::Kind as Op;
use ringfence_proto::v1::result::Kind;
use ringfence_types::limits::{BATCH_OPERATIONS_MAX, GRPC_MESSAGE_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use tonic::Code;

use crate::harness::{Cluster, get, op, put, reason};

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_a_reason_and_leaves_everything_as_it_was() {
    let cluster = Cluster::start(1).await;
    let mut kv = cluster.kv(1).await;
    kv.put(put("k", "v")).await.unwrap();

    let refused = |result: Result<tonic::Response<v1::PutResponse>, tonic::Status>| {
        let status = result.unwrap_err();
        (reason(&status), status.code())
    };
    let invalid = |reason: &str| (reason.to_owned(), Code::InvalidArgument);
    assert_eq!(refused(kv.put(put("", "v")).await), invalid("KEY_EMPTY"));
    assert_eq!(refused(kv.put(put(vec![b'k'; KEY_BYTES_MAX + 1], "v")).await), invalid("KEY_TOO_LARGE"));
    assert_eq!(refused(kv.put(put("k", vec![0; VALUE_BYTES_MAX + 1])).await), invalid("VALUE_TOO_LARGE"));
    let ttl = |ttl_ms| v1::PutRequest { ttl_ms: Some(ttl_ms), ..put("k", "w") };
    assert_eq!(refused(kv.put(ttl(-1)).await), invalid("INVALID_TTL"));
    assert_eq!(refused(kv.put(ttl(0)).await), invalid("INVALID_TTL"));
    let header = Some(v1::RequestHeader { cluster: 1, ..Default::default() });
    assert_eq!(
        refused(kv.put(v1::PutRequest { header, ..put("k", "w") }).await),
        ("WRONG_CLUSTER".into(), Code::FailedPrecondition)
    );
    let no_condition =
        v1::CasRequest { key: "k".into(), then: Some(v1::cas_request::Then::Put("w".into())), ..Default::default() };
    assert_eq!(reason(&kv.cas(no_condition).await.unwrap_err()), "INVALID_CONDITION");
    kv.put(put("text", "many")).await.unwrap();
    let not_a_number = kv.add(v1::AddRequest { key: "text".into(), delta: 1, ..Default::default() }).await.unwrap_err();
    assert_eq!(reason(&not_a_number), "NOT_AN_INTEGER");

    let found = kv.get(get("k")).await.unwrap().into_inner().kv.unwrap();
    assert_eq!((found.value.as_ref(), found.version), (b"v".as_ref(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_shard_is_told_so() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.cluster(1).await;
    let status = client.status(v1::StatusRequest { shard: Some(99) }).await.unwrap_err();
    assert_eq!((reason(&status).as_str(), status.code()), ("UNKNOWN_SHARD", Code::NotFound));
    let known = client.status(v1::StatusRequest { shard: Some(1) }).await.unwrap().into_inner();
    assert_eq!(known.replicas.len(), 1);
    assert_eq!((known.replicas[0].role.as_str(), known.replicas[0].problem.as_str()), ("leader", ""));
    let all = client.status(v1::StatusRequest { shard: None }).await.unwrap().into_inner();
    assert_eq!(all.replicas.len(), 4, "three shards and the meta group");
}

/// One bad operation does not spoil the others of its batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answers_each_operation_and_refuses_only_when_it_is_too_long() {
    let cluster = Cluster::start(1).await;
    let mut kv = cluster.kv(1).await;
    let operations = vec![op(Op::Put(put("", "v"))), op(Op::Put(put("k", "v"))), v1::Operation { kind: None }];
    let results = kv.batch(v1::BatchRequest { operations, fences: Vec::new() }).await.unwrap().into_inner().results;
    let reasons: Vec<_> = results
        .iter()
        .map(|result| match &result.kind {
            Some(Kind::Error(error)) => error.reason.as_str(),
            _ => "",
        })
        .collect();
    assert_eq!(reasons, ["KEY_EMPTY", "", "INVALID_REQUEST"]);

    let operations = vec![op(Op::Get(get("k"))); BATCH_OPERATIONS_MAX + 1];
    let refused = kv.batch(v1::BatchRequest { operations, fences: Vec::new() }).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_REQUEST");
    let none = kv.batch(v1::BatchRequest::default()).await.unwrap().into_inner();
    assert!(none.results.is_empty());
}

/// Answers that would not fit into one message are refused one by one; the message itself always arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_large_values_never_outgrows_a_message() {
    let cluster = Cluster::start(1).await;
    let mut kv = cluster.kv(1).await;
    kv.put(put("large", vec![7; VALUE_BYTES_MAX])).await.unwrap();
    let operations = vec![op(Op::Get(get("large"))); 40];
    let results = kv.batch(v1::BatchRequest { operations, fences: Vec::new() }).await.unwrap().into_inner().results;
    let read = results.iter().filter(|result| matches!(result.kind, Some(Kind::Get(_)))).count();
    assert!((1..40).contains(&read), "{read} were read");
    for result in &results {
        if let Some(Kind::Error(error)) = &result.kind {
            assert_eq!(error.reason, "INVALID_REQUEST");
        }
    }
}

/// Refused by size before anything is decoded; the connection and the node go on.
#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_message_is_refused() {
    let cluster = Cluster::start(1).await;
    let mut kv = cluster.kv(1).await;
    let refused = kv.put(put("k", vec![0; GRPC_MESSAGE_BYTES_MAX + 1])).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    kv.put(put("k", "v")).await.unwrap();
}

/// Bytes that are no message at all, as a broken client or a port scanner would send them.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_message_is_refused_and_the_node_goes_on() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let cluster = Cluster::start(1).await;
    let mut nonsense = tokio::net::TcpStream::connect(&cluster.addresses[0]).await.unwrap();
    nonsense.write_all(b"GET / HTTP/1.1\r\n\r\n\xff\xff\xff").await.unwrap();
    let mut rest = Vec::new();
    let _ = nonsense.read_to_end(&mut rest).await; // the node ends the connection, one way or another

    // A gRPC frame that promises more than it holds, over a proper HTTP/2 connection.
    let channel = crate::harness::connect(&cluster.addresses[0]).await;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/ringfence.v1.Kv/Put");
    let cut_off = tonic::Request::new(bytes::Bytes::from_static(b"\x0a\x7fk")); // key of 127 bytes, of which one came
    let refused = client.unary(cut_off, path, raw::Codec).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Internal | Code::InvalidArgument), "{refused}");
    cluster.kv(1).await.put(put("k", "v")).await.unwrap();
}

/// Sends bytes as they are.
mod raw {
    use bytes::{Buf, BufMut, Bytes};
    use tonic::Status;
    use tonic::codec::{DecodeBuf, Decoder, EncodeBuf, Encoder};

    pub(super) struct Codec;

    impl tonic::codec::Codec for Codec {
        type Encode = Bytes;
        type Decode = Bytes;
        type Encoder = Codec;
        type Decoder = Codec;

        fn encoder(&mut self) -> Codec {
            Codec
        }

        fn decoder(&mut self) -> Codec {
            Codec
        }
    }

    impl Encoder for Codec {
        type Item = Bytes;
        type Error = Status;

        fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
            dst.put(item);
            Ok(())
        }
    }

    impl Decoder for Codec {
        type Item = Bytes;
        type Error = Status;

        fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
            Ok(Some(src.copy_to_bytes(src.remaining())))
        }
    }
}
