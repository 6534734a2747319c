use ringfence_proto::Reason;
use ringfence_proto::v1::condition::Kind as ConditionKind;
use ringfence_proto::v1::operation::Kind as Op;
use ringfence_proto::v1::scan_request::What;
use ringfence_types::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

use super::*;

const HERE: ClusterId = ClusterId(7);

fn check(kind: Op) -> Result<Call, v1::Error> {
    Call::check(&v1::Operation { kind: Some(kind) }, HERE)
}

/// The reason for the refusal, whose text must tell something.
fn refused(kind: Op) -> Reason {
    let error = check(kind).err().expect("it is refused");
    assert!(error.message.len() > 20, "{}", error.message);
    error.reason().unwrap()
}

fn get(key: impl Into<Bytes>) -> v1::GetRequest {
    v1::GetRequest { key: key.into(), ..Default::default() }
}

fn put(value: impl Into<Bytes>, ttl_ms: Option<i64>) -> Op {
    Op::Put(v1::PutRequest { key: "k".into(), value: value.into(), ttl_ms, ..Default::default() })
}

fn cas(condition: Option<ConditionKind>, then: Option<v1::cas_request::Then>) -> v1::CasRequest {
    let condition = Some(v1::Condition { kind: condition });
    v1::CasRequest { key: "k".into(), condition, then, ..Default::default() }
}

fn scan(what: Option<What>) -> v1::ScanRequest {
    v1::ScanRequest { what, ..Default::default() }
}

fn scanned(request: v1::ScanRequest) -> Scan {
    match check(Op::Scan(request)).map(|call| call.ask) {
        Ok(Ask::Scan(scan)) => scan,
        Ok(_) => panic!("a scan is a scan"),
        Err(error) => panic!("{}", error.message),
    }
}

#[test]
fn keys_and_values_out_of_bounds_are_refused() {
    assert_eq!(refused(Op::Get(get(""))), Reason::KeyEmpty);
    assert_eq!(refused(Op::Get(get(vec![0; KEY_BYTES_MAX + 1]))), Reason::KeyTooLarge);
    assert!(check(Op::Get(get(vec![0xff; KEY_BYTES_MAX]))).is_ok());
    assert_eq!(refused(put(vec![0; VALUE_BYTES_MAX + 1], None)), Reason::ValueTooLarge);
    assert!(check(put(vec![0; VALUE_BYTES_MAX], None)).is_ok());
}

#[test]
fn a_ttl_must_be_positive_and_not_endless() {
    for ttl_ms in [0, -1, i64::MIN, i64::MAX, TTL_MS_MAX as i64 + 1] {
        assert_eq!(refused(put("v", Some(ttl_ms))), Reason::InvalidTtl, "{ttl_ms}");
    }
    assert!(check(put("v", Some(1))).is_ok());
    assert!(check(put("v", Some(TTL_MS_MAX as i64))).is_ok());
}

#[test]
fn a_cas_needs_one_known_condition_and_something_to_do() {
    let put = || Some(v1::cas_request::Then::Put("v".into()));
    let delete = || Some(v1::cas_request::Then::Delete(true));
    assert_eq!(refused(Op::Cas(cas(None, put()))), Reason::InvalidCondition);
    assert_eq!(refused(Op::Cas(v1::CasRequest { condition: None, ..cas(None, put()) })), Reason::InvalidCondition);
    assert_eq!(refused(Op::Cas(cas(Some(ConditionKind::Absent(true)), None))), Reason::InvalidRequest);
    let with_ttl = v1::CasRequest { ttl_ms: Some(5), ..cas(Some(ConditionKind::Exists(true)), delete()) };
    assert_eq!(refused(Op::Cas(with_ttl)), Reason::InvalidRequest);
    for condition in [
        ConditionKind::Absent(false), // which of the fields is set counts, not its value
        ConditionKind::RevisionIs(3),
        ConditionKind::VersionIs(0),
        ConditionKind::ValueIs(Bytes::new()),
    ] {
        assert!(check(Op::Cas(cas(Some(condition), put()))).is_ok());
    }
}

#[test]
fn an_addition_whose_bounds_exclude_every_sum_is_refused() {
    let add = |min, max| Op::Add(v1::AddRequest { key: "k".into(), delta: 1, min, max, ..Default::default() });
    assert_eq!(refused(add(Some(2), Some(1))), Reason::InvalidRequest);
    assert!(check(add(Some(1), Some(1))).is_ok());
    assert!(check(add(None, None)).is_ok());
}

#[test]
fn a_header_that_cannot_be_is_refused() {
    let with = |header| Op::Get(v1::GetRequest { header: Some(header), ..get("k") });
    let default = v1::RequestHeader::default;
    assert_eq!(refused(with(v1::RequestHeader { cluster: 8, ..default() })), Reason::WrongCluster);
    assert!(check(with(v1::RequestHeader { cluster: 7, ..default() })).is_ok());
    assert_eq!(refused(with(v1::RequestHeader { seen: -1, ..default() })), Reason::InvalidRequest);
    let id = |client, birth| Some(v1::RequestId { client, sequence: 1, birth });
    assert_eq!(refused(with(v1::RequestHeader { id: id(0, 0), ..default() })), Reason::InvalidRequest);
    assert_eq!(refused(with(v1::RequestHeader { id: id(1, -1), ..default() })), Reason::InvalidRequest);
    assert_eq!(refused(Op::Get(v1::GetRequest { at_revision: -1, ..get("k") })), Reason::InvalidRequest);
    let nothing = Call::check(&v1::Operation { kind: None }, HERE).err().unwrap();
    assert_eq!(nothing.reason(), Some(Reason::InvalidRequest));
}

#[test]
fn a_malformed_tag_or_page_is_refused() {
    assert_eq!(refused(Op::Scan(scan(Some(What::Tag("".into()))))), Reason::InvalidTag);
    assert_eq!(refused(Op::Scan(scan(Some(What::Tag("a}b".into()))))), Reason::InvalidTag);
    assert_eq!(refused(Op::Scan(scan(Some(What::Tag(vec![b'a'; KEY_BYTES_MAX].into()))))), Reason::InvalidTag);
    assert_eq!(refused(Op::Scan(v1::ScanRequest { limit: 10_001, ..scan(None) })), Reason::InvalidRequest);
    let started = v1::ScanRequest { start: "a".into(), ..scan(Some(What::Prefix("p".into()))) };
    assert_eq!(refused(Op::Scan(started)), Reason::InvalidRequest);
    let cursor = v1::ScanRequest { cursor: "nonsense".into(), ..scan(None) };
    assert_eq!(refused(Op::Scan(cursor)), Reason::InvalidRequest);
}

/// Whether a scan is one ordered read or a walk over everything decides its cost, and must follow the hash-tag rule.
#[test]
fn a_complete_tag_makes_a_scan_stay_at_one_position() {
    let position = Key::new("{user:42}:cart").unwrap().position();
    let tagged =
        scanned(v1::ScanRequest { start: "a".into(), end: "b".into(), ..scan(Some(What::Tag("user:42".into()))) });
    assert_eq!(tagged.position, Some(position));
    assert_eq!(tagged.prefix, "{user:42}");
    assert_eq!((tagged.from, tagged.to), ("{user:42}a".into(), Some("{user:42}b".into())));
    let prefix = |prefix: &'static str| scanned(scan(Some(What::Prefix(prefix.into())))).position;
    assert_eq!(prefix("{user:42}:c"), Some(position));
    assert_eq!(prefix("x{user:42}"), Some(position));
    for open in ["{user:42", "user:42", "{}user", "}{"] {
        assert_eq!(prefix(open), None, "{open}");
    }
    assert_eq!(scanned(scan(None)).position, None);
    assert_eq!(prefix(""), None);
}
