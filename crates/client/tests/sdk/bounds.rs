//! Deadlines, waits and limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringfence_client::{Client, ClientConfig, ConnectError, GetError, Outcome, PutError, Reason};
use ringfence_proto::v1;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::fake::{Cluster, Fault, answer};

#[tokio::test]
async fn a_call_ends_by_its_deadline_whatever_the_cluster_does() {
    let cluster = Cluster::start(2).await;
    let db = cluster.client().await;
    for node in [1, 2] {
        (0..50).for_each(|_| cluster.fault(node, answer(Reason::NoQuorum)));
    }
    let began = Instant::now();
    let error = db.put("k", "v").timeout(Duration::from_millis(400)).await.unwrap_err();
    let took = began.elapsed();
    let PutError::Unavailable(unavailable) = &error else { panic!("{error:?}") };
    assert_eq!((unavailable.reason, error.outcome()), (Some(Reason::NoQuorum), Outcome::Refused));
    assert!(took < Duration::from_millis(600), "{took:?}");
    assert!(unavailable.attempts >= 2 && cluster.arrivals().len() == unavailable.attempts as usize);
    assert!(cluster.arrivals().iter().all(|arrival| (1..=400).contains(&arrival.timeout_ms)));
}

#[tokio::test]
async fn a_wait_is_at_least_what_the_server_asked_for() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    let wait = Duration::from_millis(250);
    cluster.fault(1, Fault::Answer(v1::Error::new(Reason::Overloaded, "busy").retry_after(wait)));
    db.put("k", "v").await.unwrap();
    let arrivals = cluster.arrivals();
    let waited = arrivals[1].at - arrivals[0].at;
    assert!(waited >= wait && waited < wait * 3, "{waited:?}");

    // No time for such a wait: said at once, not at the deadline.
    let wait = Duration::from_secs(60);
    cluster.fault(1, Fault::Answer(v1::Error::new(Reason::Overloaded, "busy").retry_after(wait)));
    let began = Instant::now();
    let error = db.put("k", "v").await.unwrap_err();
    assert!(matches!(&error, PutError::Unavailable(u) if u.reason == Some(Reason::Overloaded)), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

/// Nobody listens: nothing was sent, so nothing is unknown.
#[tokio::test]
async fn a_change_that_reached_nobody_is_refused() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    cluster.kill(1).await;
    let error = db.put("k", "v").timeout(Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(&error, PutError::Unavailable(u) if u.attempts > 1), "{error:?}");
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(error.to_string().contains("nothing happened"), "{error}");
}

/// Over unary calls a refused connection is known for certain, too. (One that hangs is not: there the shared stream knows
/// more.)
#[tokio::test]
async fn a_unary_change_that_met_a_refused_connection_is_refused() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client_with(|config| config.unary = true).await;
    cluster.kill(1).await;
    for _ in 0..20 {
        // The connection that described the cluster may still look alive to the first call.
        let error = db.put("k", "v").timeout(Duration::from_millis(200)).await.unwrap_err();
        if error.outcome() == Outcome::Refused {
            assert!(error.to_string().contains("refused"), "{error}");
            return;
        }
    }
    panic!("every call was reported as unknown though nobody listens");
}

/// A node dies under load and comes back: no call fails, none counts twice.
#[tokio::test]
async fn calls_survive_the_death_and_return_of_every_node() {
    let cluster = Cluster::start(2).await;
    let db = cluster.client().await;
    // Until told to stop: a fixed number could be done before the last node is killed.
    let stop = Arc::new(AtomicBool::new(false));
    let adds = tokio::spawn({
        let (db, stop) = (db.clone(), Arc::clone(&stop));
        async move {
            let mut done = 0;
            while !stop.load(Ordering::Relaxed) {
                db.add("n", 1).await.unwrap();
                done += 1;
            }
            done
        }
    });
    for node in [1, 2] {
        let before = cluster.arrivals().len();
        crate::fake::eventually("some adds", || cluster.arrivals().len() >= before + 50).await;
        cluster.kill(node).await;
        let so_far = cluster.arrivals().len();
        crate::fake::eventually("adds elsewhere", || cluster.arrivals().len() > so_far).await;
        cluster.restart(node);
    }
    stop.store(true, Ordering::Relaxed);
    let done: u64 = adds.await.unwrap();
    assert_eq!(cluster.value("n").unwrap(), done.to_string());
}

/// A paused process still accepts connections. It must not eat the deadline of every call.
#[tokio::test]
async fn a_paused_leader_costs_one_attempt_not_the_call() {
    let cluster = Cluster::start(1).await;
    let _paused = cluster.add_paused_node(2).await;
    cluster.state.lock().unwrap().leader = 2;
    let db = cluster.client().await;
    cluster.state.lock().unwrap().leader = 1;
    let began = Instant::now();
    db.put("k", "v").await.unwrap();
    let first = began.elapsed();
    assert!(first >= Duration::from_millis(1000) && first < Duration::from_secs(8), "{first:?}");
    let began = Instant::now();
    db.put("k", "v").await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(1400), "asked the paused one again: an attempt is 1.5 s");
}

#[tokio::test]
async fn more_calls_than_allowed_wait_and_say_why_when_they_fail() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client_with(|config| config.max_in_flight = 1).await;
    cluster.fault(1, Fault::LoseAnswer);
    let hanging = tokio::spawn(db.put("slow", "v").timeout(Duration::from_millis(600)).into_future());
    crate::fake::eventually("the slow call is under way", || cluster.arrivals().len() == 1).await;
    let error = db.get("k").timeout(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(&error, GetError::Unavailable(u) if u.attempts == 0), "{error:?}");
    assert!(error.to_string().contains("max_in_flight"), "{error}");
    assert!(db.get("k").await.unwrap().is_none(), "room again when the slow call has ended");
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn connecting_says_what_became_of_each_endpoint() {
    assert_eq!(Client::connect(Vec::<String>::new()).await.unwrap_err(), ConnectError::NoEndpoints);
    let invalid = Client::connect(["localhost"]).await.unwrap_err();
    assert!(matches!(invalid, ConnectError::InvalidEndpoint { .. }));

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let timeout = Duration::from_millis(300);
    let config = ClientConfig { timeout, ..ClientConfig::new([free.clone()]) };
    let error = Client::with_config(config).await.unwrap_err().to_string();
    assert!(error.contains(&free) && error.contains("refused"), "{error}");

    // One that works is enough.
    let cluster = Cluster::start(1).await;
    let db = Client::connect([free, cluster.address(1)]).await.unwrap();
    db.put("k", "v").await.unwrap();
}
