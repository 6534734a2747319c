//! What the SDK does for a holder of locks: renews, notices, gives back.

use std::time::Duration;

use futures::future::join_all;
use ringfence_client::{AcquireError, Client, Lease, PutError, RenewError};
use ringfence_proto::{Reason, metadata, v1};
use tokio::time::Instant;

use crate::fake::{Cluster, Fault, answer};

/// Waits until a look at the fake's locks says yes.
async fn until(cluster: &Cluster, what: &str, holds: impl Fn(&crate::fake_locks::Locks) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds(&cluster.state.lock().unwrap().locks) {
        assert!(Instant::now() < deadline, "it never came that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn lock(client: &Client, name: &str, ttl_ms: u64) -> Lease {
    client.lock(name).ttl(Duration::from_millis(ttl_ms)).await.unwrap()
}

#[tokio::test]
async fn a_lease_is_lost_before_its_ttl_has_passed_at_the_server() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    let asked = Instant::now();
    let lease = client.lock("a").ttl(Duration::from_millis(400)).fixed_term().await.unwrap();
    assert!(!lease.is_lost() && lease.remaining() < Duration::from_millis(400));
    lease.lost().await;
    assert!(lease.is_lost() && lease.remaining().is_zero());
    assert!(asked.elapsed() > Duration::from_millis(350), "not long before, either");
    assert_eq!(lease.renew().await, Err(RenewError::TooLate), "what was told to be lost stays lost");
}

#[tokio::test]
async fn leases_are_kept_as_long_as_they_live_and_many_go_in_one_message() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    let leases = join_all((0..50).map(|n| lock(&client, Box::leak(format!("lock {n}").into_boxed_str()), 2_000))).await;
    let messages = cluster.state.lock().unwrap().messages;
    until(&cluster, "each is renewed twice", |locks| locks.renewals >= 100).await;
    let messages = cluster.state.lock().unwrap().messages - messages;
    assert!(messages <= 50, "{messages} messages for 100 renewals");
    assert!(leases.iter().all(|lease| !lease.is_lost()));
    drop(leases);
    until(&cluster, "all are released", |locks| locks.leases().is_empty()).await;
}

#[tokio::test]
async fn without_answers_a_lease_is_lost_and_a_refusal_tells_at_once() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    let ended = lock(&client, "ended", 60_000).await;
    cluster.state.lock().unwrap().locks.clear();
    assert_eq!(ended.renew().await, Err(RenewError::Over { current: None }));
    assert!(ended.is_lost());
    ended.lost().await; // though its ttl is a minute

    let orphan = lock(&client, "orphan", 300).await;
    cluster.kill(1).await;
    orphan.lost().await;
    assert!(orphan.is_lost());
}

#[tokio::test]
async fn a_lost_answer_costs_no_lock_its_ttl() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    cluster.fault(1, Fault::BreakAfter);
    let lease = lock(&client, "a", 60_000).await;
    assert_eq!(cluster.state.lock().unwrap().locks.leases(), [lease.token().0.0], "one grant, found again");
    lease.release().await.unwrap();
    assert_eq!(cluster.state.lock().unwrap().locks.leases(), [0; 0]);
}

/// As when the process is frozen between the grant and its answer, for longer than the ttl.
#[tokio::test]
async fn a_grant_that_is_over_before_it_is_heard_of_is_asked_for_anew() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    for patience in [Some(Duration::ZERO), Some(Duration::from_secs(60)), None] {
        cluster.fault(1, answer(Reason::LeaseOver));
        let lock = client.lock("a");
        let lock = patience.map_or(lock.clone(), |patience| lock.wait_at_most(patience));
        lock.await.unwrap().release().await.unwrap();
    }
}

#[tokio::test]
async fn whoever_does_not_wait_any_more_leaves_nothing_behind() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;

    // Its acquire is granted after it has gone.
    cluster.fault(1, Fault::BreakAfter);
    let mut asked = Box::pin(std::future::IntoFuture::into_future(client.lock("a")));
    assert!(futures::poll!(&mut asked).is_pending());
    tokio::task::yield_now().await;
    drop(asked);
    until(&cluster, "the grant is given back", |locks| locks.leases().is_empty()).await;

    // It stands in the queue.
    let holder = lock(&client, "b", 60_000).await;
    let timed_out = client.lock("b").wait_at_most(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(timed_out, AcquireError::TimedOut { .. }), "{timed_out}");
    until(&cluster, "its place is given up", |locks| locks.waiting() == 0).await;
    let held = client.lock("b").without_waiting().await.unwrap_err();
    assert!(matches!(&held, AcquireError::Held(held) if held.token == holder.token()), "{held}");

    holder.abandon();
    let token = lock(&client, "c", 60_000).await.token(); // dropped at once
    until(&cluster, "a dropped lease is released", |locks| !locks.leases().contains(&token.0.0)).await;
    assert_eq!(cluster.state.lock().unwrap().locks.leases().len(), 1, "one that is abandoned is not");
}

#[tokio::test]
async fn a_fence_that_does_not_hold_is_told_as_such() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    let lease = lock(&client, "{t}lock", 60_000).await;
    let fenced = v1::Error::new(Reason::Fenced, "over").with(metadata::TOKEN, 4711);
    cluster.fault(1, Fault::Answer(fenced));
    match client.put("{t}key", "v").fence(&lease).await {
        Err(PutError::Fenced { current: Some(current) }) => assert_eq!(current.0.0, 4711),
        other => panic!("{other:?}"),
    }
    cluster.fault(1, answer(Reason::FenceElsewhere));
    let error = client.put("elsewhere", "v").fence(&lease).await.unwrap_err();
    assert!(matches!(&error, PutError::Rejected(rejected) if rejected.reason == Some(Reason::FenceElsewhere)));
}

#[tokio::test]
async fn what_cannot_be_a_lock_is_refused_before_anything_is_sent() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    let before = cluster.arrivals().len();
    for ttl in [Duration::ZERO, Duration::from_millis(99), Duration::from_secs(86_401), Duration::MAX] {
        let error = client.lock("a").ttl(ttl).await.unwrap_err();
        assert!(matches!(error, AcquireError::InvalidTtl(_)), "{error}");
    }
    assert!(matches!(client.lock("").await.unwrap_err(), AcquireError::InvalidName(_)));
    assert!(matches!(client.lock("a").holder("").await.unwrap_err(), AcquireError::InvalidHolder(_)));
    assert!(matches!(client.lock("a").holder(vec![b'h'; 257]).await.unwrap_err(), AcquireError::InvalidHolder(_)));
    let metadata = vec![0; 4097];
    assert!(matches!(client.lock("a").metadata(metadata).await.unwrap_err(), AcquireError::InvalidMetadata(_)));
    for permits in [0, 1025] {
        let error = client.semaphore("a", permits).acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::InvalidPermits(_)), "{error}");
    }
    assert_eq!(cluster.arrivals().len(), before);
}
