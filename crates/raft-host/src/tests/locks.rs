//! Leases on real groups: they end in time, never early, whoever leads. What a lock decides is tested in `state-machine`.

use std::time::{Duration, Instant};

use ringfence_state_machine::{
    Acquire, Command, Done, LeaseRef, LockCommand, Reply, Request, ShardState, WaiterRef, inspect,
};
use ringfence_types::{FencingToken, Holder, LeaseTtl, LockMode, LockName, Metadata, NodeId, Revision};

use super::cluster::{Cluster, SHARD, eventually};
use crate::Compaction;

fn name() -> LockName {
    LockName::new("backup").unwrap()
}

fn holder(holder: &str) -> Holder {
    Holder::new(holder.to_owned()).unwrap()
}

async fn ask(cluster: &Cluster, command: LockCommand) -> Reply {
    cluster.decide(&Request { id: None, seen: Revision::ZERO, command: Command::Lock(command) }).await
}

async fn acquire(cluster: &mut Cluster, who: &str, ttl_ms: u64, waits: bool) -> Reply {
    let acquire = Acquire {
        name: name(),
        holder: holder(who),
        mode: LockMode::Exclusive,
        ttl: LeaseTtl::from_ms(ttl_ms).unwrap(),
        metadata: Metadata::default(),
        waits,
    };
    let request = cluster.request_of(Command::Lock(LockCommand::Acquire(acquire)));
    cluster.decide(&request).await
}

async fn granted(cluster: &mut Cluster, who: &str, ttl_ms: u64) -> FencingToken {
    match acquire(cluster, who, ttl_ms, false).await {
        Ok(Done::Granted { token, .. }) => token,
        other => panic!("the lock is free: {other:?}"),
    }
}

async fn queued(cluster: &mut Cluster, who: &str, ttl_ms: u64) -> WaiterRef {
    match acquire(cluster, who, ttl_ms, true).await {
        Ok(Done::Queued { ticket, .. }) => WaiterRef { name: name(), holder: holder(who), ticket },
        other => panic!("the lock is held: {other:?}"),
    }
}

fn lease_clock_ms(cluster: &Cluster, node: NodeId) -> u64 {
    ShardState::load(&cluster.shard(node).view(), SHARD).unwrap().unwrap().lease_clock_ms
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_not_renewed_goes_to_who_waits_and_that_call_is_woken() {
    let mut cluster = Cluster::start(Compaction::default()).await;
    cluster.put("warm", "up").await;
    let begun = Instant::now();
    let first = granted(&mut cluster, "a", 500).await;
    let (b, c) = (queued(&mut cluster, "b", 60_000).await, queued(&mut cluster, "c", 60_000).await);

    // Whoever leads when the grant is applied calls; so does every other replica, at whose door nobody sits but us.
    let seats: Vec<_> = cluster
        .nodes()
        .into_iter()
        .map(|node| {
            let sit = |waiter: &WaiterRef| cluster.shard(node).sit(name(), waiter.ticket).unwrap();
            (sit(&b), sit(&c))
        })
        .collect();
    for (of_b, _) in &seats {
        tokio::time::timeout(Duration::from_secs(60), of_b.called()).await.expect("the turn of b comes");
    }
    assert!(begun.elapsed() >= Duration::from_millis(500), "no lease ends early");
    for (_, of_c) in &seats {
        assert!(tokio::time::timeout(Duration::ZERO, of_c.called()).await.is_err(), "nobody else is woken");
    }
    match ask(&cluster, LockCommand::Wait(b)).await {
        Ok(Done::Granted { token, .. }) => assert!(token > first, "{token} after {first}"),
        other => panic!("b has the lock: {other:?}"),
    }
    assert!(matches!(ask(&cluster, LockCommand::Wait(c)).await, Ok(Done::Queued { .. })));
}

/// The time that a lease has left goes over to a new leader: it is neither cut nor begun anew, and the new leader ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_goes_on_with_the_time_that_a_lease_has_left() {
    let mut cluster = Cluster::start(Compaction::default()).await;
    cluster.put("warm", "up").await;
    let begun = Instant::now();
    let first = granted(&mut cluster, "a", 3_000).await;
    let old = cluster.leader().await;
    let at_grant_ms = lease_clock_ms(&cluster, old);
    let waiter = queued(&mut cluster, "b", 60_000).await;

    // Nobody asks for anything: the leader itself keeps the lease clock going in the log, on all replicas.
    eventually("the lease clock has gone on everywhere", async || {
        let goes_on = |node| lease_clock_ms(&cluster, node) >= at_grant_ms + 1_000;
        cluster.nodes().into_iter().all(goes_on).then_some(())
    })
    .await;
    cluster.stop_node(old).await;

    // The old leader had counted 1 s at the least, which is not counted again.
    let new = cluster.leader().await;
    cluster.put("a", "write by the new leader").await;
    let found = inspect(&cluster.shard(new).view(), SHARD, &name()).unwrap().unwrap().value;
    if let Some(lease) = found.leases.iter().find(|lease| lease.token == first) {
        assert!(lease.ttl_left_ms <= 2_000, "begun anew: {lease:?}");
    }
    let token = eventually("b has the lock", async || match ask(&cluster, LockCommand::Wait(waiter.clone())).await {
        Ok(Done::Granted { token, .. }) => Some(token),
        _ => None,
    })
    .await;
    assert!(token > first);
    assert!(begun.elapsed() >= Duration::from_millis(3_000), "cut short: {:?}", begun.elapsed());
}

/// A leader that is cut off goes on believing that it leads, and its task finds the lease due. What it proposes then is never
/// committed: the lease was renewed with the others meanwhile, and stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_leader_with_an_expiry_in_its_hand_ends_nothing() {
    const TTL_MS: u64 = 4_000;
    let mut cluster = Cluster::start(Compaction::default()).await;
    cluster.put("warm", "up").await;
    let begun = Instant::now();
    let token = granted(&mut cluster, "a", TTL_MS).await;
    let old = cluster.leader().await;
    cluster.isolate(old, true);
    eventually("the others have a leader", async || {
        cluster.nodes().into_iter().find(|node| *node != old && cluster.shard(*node).is_leader())
    })
    .await;
    let lease = LeaseRef { name: name(), holder: holder("a"), token };
    let renew = LockCommand::Renew { lease, ttl: LeaseTtl::from_ms(3_600_000).ok(), metadata: None };
    let renewed = ask(&cluster, renew).await;
    assert!(renewed.is_ok(), "the election did not count against the lease, and 4 s are enough: {renewed:?}");

    eventually("the lease is due by the clock of the old leader", async || {
        (begun.elapsed() > Duration::from_millis(TTL_MS + 500)).then_some(())
    })
    .await;
    assert!(cluster.shard(old).is_leader(), "nobody has told it yet");
    // What its task does, with an answer that can be looked at.
    let expire = Command::Lock(LockCommand::Expire(vec![(name(), token)]));
    let (stale, request) = (cluster.shard(old), Request { id: None, seen: Revision::ZERO, command: expire });
    let proposed = tokio::spawn(async move { stale.propose(request, crate::Lane(1)).await });
    cluster.isolate(old, false);
    cluster.put("after", "healing").await;
    assert!(proposed.await.unwrap().is_err(), "it was not committed");
    eventually("the old leader follows", async || (!cluster.shard(old).is_leader()).then_some(())).await;
    let leader = cluster.leader().await;
    let found = inspect(&cluster.shard(leader).view(), SHARD, &name()).unwrap().unwrap().value;
    assert_eq!(found.leases.iter().map(|lease| lease.token).collect::<Vec<_>>(), [token], "{found:?}");
}
