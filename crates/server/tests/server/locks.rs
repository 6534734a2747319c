//! The services Lock and Election, as a client in any language has them.

use std::time::Duration;

use ringfence_proto::v1;
use ringfence_proto::v1::acquire_response::Outcome;
use ringfence_proto::v1::election_client::ElectionClient;
use ringfence_proto::v1::lock_client::LockClient;
use ringfence_proto::v1::operation::Kind as Op;
use ringfence_proto::v1::result::Kind;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;

use crate::harness::{Cluster, connect, op, put, reason, until};

const MINUTE_MS: i64 = 60_000;

async fn lock_at(cluster: &Cluster, id: usize) -> LockClient<Channel> {
    LockClient::new(connect(&cluster.addresses[id - 1]).await)
}

fn acquire(name: &str, holder: &str, wait_ms: u32) -> v1::AcquireRequest {
    let (name, holder) = (name.to_owned().into(), holder.to_owned().into());
    v1::AcquireRequest { name, holder, ttl_ms: MINUTE_MS, wait_ms, ..Default::default() }
}

fn release(name: &str, holder: &str, token: i64) -> v1::ReleaseRequest {
    v1::ReleaseRequest { name: name.to_owned().into(), holder: holder.to_owned().into(), token, header: None }
}

fn token(acquired: v1::AcquireResponse) -> i64 {
    match acquired.outcome {
        Some(Outcome::Granted(granted)) => granted.token,
        other => panic!("not granted: {other:?}"),
    }
}

async fn waiting(lock: &mut LockClient<Channel>, name: &str) -> usize {
    let inspect = v1::InspectRequest { name: name.to_owned().into(), ..Default::default() };
    lock.inspect(inspect).await.unwrap().into_inner().waiters.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_waits_until_the_lock_is_granted_whichever_node_has_it() {
    let cluster = Cluster::start(3).await;
    for (n, id) in [(1, 1), (2, 2), (3, 3)] {
        let name = format!("lock {n}");
        let mut first = lock_at(&cluster, id).await;
        let held = token(first.acquire(acquire(&name, "a", 0)).await.unwrap().into_inner());
        let refused = first.acquire(acquire(&name, "b", 0)).await.unwrap_err();
        assert_eq!(reason(&refused), "LOCK_HELD");

        let mut second = lock_at(&cluster, id % 3 + 1).await;
        let waits = tokio::spawn({
            let name = name.clone();
            async move { second.acquire(acquire(&name, "b", 60_000)).await }
        });
        until("it waits", async || waiting(&mut first.clone(), &name).await == 1).await;
        let begun = Instant::now();
        first.release(release(&name, "a", held)).await.unwrap();
        let next = token(waits.await.unwrap().unwrap().into_inner());
        assert!(next > held);
        assert!(begun.elapsed() < Duration::from_secs(4), "it was woken, and did not ask by itself");
        assert_eq!(reason(&first.release(release(&name, "a", held)).await.unwrap_err()), "FENCED");
        assert_eq!(reason(&first.release(release(&name, "a", next)).await.unwrap_err()), "NOT_THE_HOLDER");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_the_queue_is_given_up_with_the_call_unless_its_client_can_come_back() {
    let cluster = Cluster::start(1).await;
    let mut lock = lock_at(&cluster, 1).await;
    let held = token(lock.acquire(acquire("a", "holder", 0)).await.unwrap().into_inner());

    let mut other = lock_at(&cluster, 1).await;
    let nameless = timeout(Duration::from_millis(300), other.acquire(acquire("a", "nameless", 60_000)));
    let (nameless, ()) = tokio::join!(nameless, async {
        until("it waits", async || waiting(&mut lock.clone(), "a").await == 1).await;
    });
    assert!(nameless.is_err(), "dropped while it waited");
    until("its place is given up", async || waiting(&mut lock.clone(), "a").await == 0).await;

    let impatient = lock.acquire(acquire("a", "impatient", 50)).await.unwrap_err();
    assert_eq!(reason(&impatient), "LOCK_HELD");
    until("its place is given up, too", async || waiting(&mut lock.clone(), "a").await == 0).await;

    let id = v1::RequestId { client: 7, sequence: 1, birth: held };
    let header = Some(v1::RequestHeader { id: Some(id), ..Default::default() });
    let named = v1::AcquireRequest { header, ..acquire("a", "named", 60_000) };
    assert!(timeout(Duration::from_millis(300), other.acquire(named.clone())).await.is_err());
    assert_eq!(waiting(&mut lock, "a").await, 1);
    let comes_back = tokio::spawn(async move { other.acquire(named).await });
    lock.release(release("a", "holder", held)).await.unwrap();
    assert!(token(comes_back.await.unwrap().unwrap().into_inner()) > held);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_leases_are_renewed_at_once_each_with_its_own_answer() {
    let cluster = Cluster::start(3).await;
    let mut lock = lock_at(&cluster, 2).await;
    let mut leases = Vec::new();
    for n in 0..20 {
        let (name, holder) = (format!("lock {n}"), "h");
        let token = token(lock.acquire(acquire(&name, holder, 0)).await.unwrap().into_inner());
        let token = if n % 5 == 0 { token + 1 } else { token };
        leases.push(v1::RenewRequest {
            name: name.into(),
            holder: holder.into(),
            token,
            ttl_ms: Some(2 * MINUTE_MS),
            ..Default::default()
        });
    }
    let results = lock.renew_many(v1::RenewManyRequest { leases, header: None }).await.unwrap().into_inner().results;
    for (n, result) in results.into_iter().enumerate() {
        match result.outcome.unwrap() {
            v1::renew_result::Outcome::Renewed(renewed) => assert_eq!(renewed.ttl_left_ms, 2 * MINUTE_MS as u64),
            v1::renew_result::Outcome::Error(error) => assert_eq!((n % 5, error.reason.as_str()), (0, "FENCED")),
        }
    }
    let mut tokens = Vec::new();
    let mut cursor = bytes::Bytes::new();
    loop {
        let list = v1::ListLeasesRequest { prefix: "lock 1".into(), limit: 3, cursor, ..Default::default() };
        let page = lock.list_leases(list).await.unwrap().into_inner();
        assert!(page.leases.iter().all(|lease| lease.name.starts_with(b"lock 1") && lease.holder == "h"));
        tokens.extend(page.leases.into_iter().map(|lease| lease.token));
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 11, "lock 1 and lock 10 to 19");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_can_carry_fences_and_each_mutation_is_held_to_them() {
    let cluster = Cluster::start(3).await;
    let mut lock = lock_at(&cluster, 1).await;
    let held = token(lock.acquire(acquire("{t}lock", "h", 0)).await.unwrap().into_inner());
    let batch = |token| v1::BatchRequest {
        operations: vec![op(Op::Put(put("{t}a", "1"))), op(Op::Put(put("{t}b", "2")))],
        fences: vec![v1::Fence { lock: "{t}lock".into(), token }],
    };
    let mut kv = cluster.kv(2).await;
    let answers = async |kv: &mut ringfence_proto::v1::kv_client::KvClient<Channel>, token| {
        let results = kv.batch(batch(token)).await.unwrap().into_inner().results;
        let said = results.into_iter().map(|result| match result.kind.unwrap() {
            Kind::Error(error) => error.reason,
            _ => "ok".to_owned(),
        });
        said.collect::<Vec<_>>()
    };
    assert_eq!(answers(&mut kv, held).await, ["ok", "ok"]);
    assert_eq!(answers(&mut kv, held + 1).await, ["FENCED", "FENCED"]);
    lock.release(release("{t}lock", "h", held)).await.unwrap();
    assert_eq!(answers(&mut kv, held).await, ["FENCED", "FENCED"]);
    let elsewhere = (0..).map(|n| format!("elsewhere {n}"));
    for name in elsewhere.take(20) {
        let held = token(lock.acquire(acquire(&name, "h", 0)).await.unwrap().into_inner());
        let fences = vec![v1::Fence { lock: name.clone().into(), token: held }];
        if let Err(error) = kv.put(v1::PutRequest { fences, ..put("{t}a", "3") }).await {
            assert_eq!(reason(&error), "FENCE_ELSEWHERE");
            return;
        }
    }
    panic!("twenty locks on the shard of one key, of three");
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_are_elected_proclaim_and_are_observed_through_any_node() {
    let mut cluster = Cluster::start(3).await;
    let mut first = ElectionClient::new(connect(&cluster.addresses[0]).await);
    let second = ElectionClient::new(connect(&cluster.addresses[1]).await);
    let observe = v1::ObserveRequest { name: "boss".into() };
    let mut news = second.clone().observe(observe).await.unwrap().into_inner();
    let mut next = async || news.message().await.unwrap().unwrap().leader.map(|leader| leader.metadata);
    assert_eq!(next().await, None);

    let campaign =
        |who: &'static str, wait_ms| v1::AcquireRequest { metadata: who.into(), ..acquire("boss", who, wait_ms) };
    let held = token(first.campaign(campaign("a", 1)).await.unwrap().into_inner());
    assert_eq!(next().await, Some("a".into()));
    let waits = tokio::spawn({
        let mut second = second.clone();
        async move { second.campaign(campaign("b", 60_000)).await }
    });
    let proclaim = |token, metadata: Option<&'static str>| v1::RenewRequest {
        name: "boss".into(),
        holder: "a".into(),
        token,
        metadata: metadata.map(Into::into),
        ..Default::default()
    };
    first.proclaim(proclaim(held, Some("a at work"))).await.unwrap();
    assert_eq!(next().await, Some("a at work".into()));
    assert_eq!(reason(&first.proclaim(proclaim(held, None)).await.unwrap_err()), "INVALID_REQUEST");

    // What the queue and the observer hang on may change meanwhile.
    let mut lock = lock_at(&cluster, 2).await;
    until("b waits", async || waiting(&mut lock.clone(), "boss").await == 1).await;
    let shard = lock.inspect(v1::InspectRequest { name: "boss".into(), ..Default::default() }).await.unwrap();
    let leader = cluster.leader(shard.into_inner().header.unwrap().shard).unwrap();
    if leader == 3 {
        cluster.stop(3).await;
        cluster.until_led().await;
    }
    let resigned = async || first.clone().resign(release("boss", "a", held)).await;
    while let Err(error) = resigned().await {
        if reason(&error) == "FENCED" {
            break; // an earlier one was
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(token(waits.await.unwrap().unwrap().into_inner()) > held);
    // Steps that were overtaken may be left out.
    while next().await != Some("b".into()) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_lock_can_do_is_refused_with_a_reason() {
    let cluster = Cluster::start(1).await;
    let mut lock = lock_at(&cluster, 1).await;
    let mut refused = async |request: v1::AcquireRequest| reason(&lock.acquire(request).await.unwrap_err());
    for ttl_ms in [0, -1, 99, 86_400_001, i64::MIN, i64::MAX] {
        assert_eq!(refused(v1::AcquireRequest { ttl_ms, ..acquire("a", "h", 0) }).await, "INVALID_TTL", "{ttl_ms}");
    }
    assert_eq!(refused(acquire("", "h", 0)).await, "KEY_EMPTY");
    assert_eq!(refused(acquire(&"n".repeat(4097), "h", 0)).await, "KEY_TOO_LARGE");
    assert_eq!(refused(acquire("a", "", 0)).await, "INVALID_REQUEST");
    assert_eq!(refused(acquire("a", &"h".repeat(257), 0)).await, "INVALID_REQUEST");
    let metadata = vec![0; 4097].into();
    assert_eq!(refused(v1::AcquireRequest { metadata, ..acquire("a", "h", 0) }).await, "INVALID_REQUEST");
    for (mode, permits) in [(0, 1), (1, 1), (2, 0), (2, 1025), (3, 0), (-1, 0)] {
        let request = v1::AcquireRequest { mode, permits, ..acquire("a", "h", 0) };
        assert_eq!(refused(request).await, "INVALID_REQUEST", "{mode} {permits}");
    }
    for token in [0, -1, i64::MIN] {
        assert_eq!(reason(&lock.release(release("a", "h", token)).await.unwrap_err()), "INVALID_REQUEST");
    }
    assert_eq!(reason(&lock.release(release("a", "h", i64::MAX)).await.unwrap_err()), "FENCED");
    let fences = vec![v1::Fence { lock: "a".into(), token: 1 }; 17];
    let put = v1::PutRequest { fences, ..put("a", "v") };
    assert_eq!(reason(&cluster.kv(1).await.put(put).await.unwrap_err()), "INVALID_REQUEST");
    let list = v1::ListLeasesRequest { cursor: "made up".into(), ..Default::default() };
    assert_eq!(reason(&lock.list_leases(list).await.unwrap_err()), "INVALID_REQUEST");
    let many = v1::RenewManyRequest { leases: vec![v1::RenewRequest::default(); 4097], header: None };
    assert_eq!(reason(&lock.renew_many(many).await.unwrap_err()), "INVALID_REQUEST");
}
