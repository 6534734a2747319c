//! What a lock service is sent by mistake, or twice, or by somebody who then vanishes: each gets a clear answer, harms nobody else, and
//! leaves nothing behind. In plain gRPC where the SDK would not let it through, and through every node in turn, since most forward.

use std::collections::BTreeSet;
use std::future::IntoFuture;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::join_all;
use ringfence_client::{
    AcquireError, Client, DeleteError, Fence, FencingToken, LockInfo, LockName, PutError, Reason, Revision,
};
use ringfence_proto::metadata;
use ringfence_proto::v1::kv_client::KvClient;
use ringfence_proto::v1::lock_client::LockClient;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::v1::{
    self, AcquireRequest, BatchRequest, Error, GiveUpRequest, LockMode, Operation, PutRequest, ReleaseRequest,
    RenewRequest, RequestHeader, RequestId, WaitRequest, acquire_response,
};
use ringfence_tests::{Cluster, Program, eventually, in_time};
use tonic::transport::Channel;

const HOUR_MS: i64 = 3_600_000;
const HOUR: Duration = Duration::from_secs(3600);

/// A cluster, and its nodes in turn.
struct Setting {
    cluster: Cluster,
    next: std::cell::Cell<u64>,
}

impl Setting {
    async fn start() -> Setting {
        Setting { cluster: Cluster::start(3).await, next: std::cell::Cell::new(0) }
    }

    fn node(&self) -> u64 {
        self.next.set(self.next.get() % 3 + 1);
        self.next.get()
    }

    fn locks(&self) -> LockClient<Channel> {
        LockClient::new(self.cluster.channel(self.node()))
    }

    async fn acquire(&self, acquire: AcquireRequest) -> Result<i64, Error> {
        let answer = self.locks().acquire(acquire).await?.into_inner();
        match answer.outcome.expect("an answer says something") {
            acquire_response::Outcome::Granted(granted) => Ok(granted.token),
            acquire_response::Outcome::Queued(queued) => panic!("a call that waits is never answered with {queued:?}"),
        }
    }

    async fn renew(&self, name: &str, holder: &str, token: i64, ttl_ms: i64) -> Result<u64, Error> {
        let (name, holder) = (name.to_owned().into(), holder.to_owned().into());
        let renew = RenewRequest { name, holder, token, ttl_ms: Some(ttl_ms), ..RenewRequest::default() };
        Ok(self.locks().renew(renew).await?.into_inner().ttl_left_ms)
    }

    async fn release(&self, name: &str, holder: &str, token: i64) -> Result<(), Error> {
        let (name, holder) = (name.to_owned().into(), holder.to_owned().into());
        let release = ReleaseRequest { name, holder, token, ..ReleaseRequest::default() };
        self.locks().release(release).await?;
        Ok(())
    }

    /// One operation as the SDK's streams carry it.
    async fn batch(&self, operations: Vec<Ask>) -> Vec<Told> {
        let operations = operations.into_iter().map(|kind| Operation { kind: Some(kind) }).collect();
        let batch = BatchRequest { operations, ..BatchRequest::default() };
        let answer = KvClient::new(self.cluster.channel(self.node())).batch(batch).await.unwrap().into_inner();
        answer.results.into_iter().map(|result| result.kind.expect("an answer says something")).collect()
    }
}

/// Does not wait, and lasts for an hour.
fn wants(name: &str, holder: &str) -> AcquireRequest {
    let (name, holder) = (name.to_owned().into(), holder.to_owned().into());
    AcquireRequest { name, holder, ttl_ms: HOUR_MS, ..AcquireRequest::default() }
}

fn with_id(request: AcquireRequest, sequence: u64, birth: i64) -> AcquireRequest {
    let id = Some(RequestId { client: 77, sequence, birth });
    AcquireRequest { header: Some(RequestHeader { id, ..RequestHeader::default() }), ..request }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Error>, reason: Reason) -> Error {
    let error = answer.expect_err("it must be refused");
    assert_eq!(error.reason(), Some(reason), "{error:?}");
    assert_eq!(error.code, reason.code() as i32);
    assert!(!error.message.is_empty());
    error
}

async fn inspect(client: &Client, name: impl AsRef<[u8]>) -> LockInfo {
    client.inspect_lock(name).await.expect("a lock can be looked at")
}

async fn waiters(client: &Client, name: &str) -> Vec<String> {
    let waiters = inspect(client, name).await.waiters;
    waiters.iter().map(|waiter| String::from_utf8_lossy(waiter.holder.bytes()).into_owned()).collect()
}

async fn queue_is(client: &Client, name: &str, expected: &[&str]) {
    eventually(&format!("{expected:?} wait for {name}"), async || {
        (waiters(client, name).await == expected).then_some(())
    })
    .await;
}

async fn leases(client: &Client) -> Vec<String> {
    let (mut pages, mut names) = (client.leases(), Vec::new());
    while let Some(page) = pages.next_page().await.expect("leases can be listed") {
        names.extend(page.iter().map(|lease| lease.name.to_string()));
    }
    names
}

/// What a renewal shows with the lease is set once, however late it is sent again: it must not undo what was set since. Nor may its
/// holder be told of more time than is left. (An observer of an election saw what its leader proclaims go back, when all nodes had
/// been killed and the SDK had asked again: found by jepsen-lite.)
#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_are_sent_again_do_not_undo_later_ones() {
    let setting = Setting::start().await;
    let client = setting.cluster.client().await;
    let token = setting.acquire(wants("a", "alice")).await.unwrap();
    let birth = client.revision_seen().0;
    let shows = |metadata: &'static str, sequence, ttl_ms| {
        let id = Some(RequestId { client: 78, sequence, birth });
        let header = Some(RequestHeader { id, ..RequestHeader::default() });
        let (name, holder) = (Bytes::from_static(b"a"), Bytes::from_static(b"alice"));
        let metadata = Some(Bytes::from_static(metadata.as_bytes()));
        RenewRequest { header, name, holder, token, ttl_ms: Some(ttl_ms), metadata }
    };
    setting.locks().renew(shows("first", 1, HOUR_MS)).await.unwrap();
    setting.locks().renew(shows("second", 2, HOUR_MS / 2)).await.unwrap();
    for _ in 0..6 {
        let again = setting.locks().renew(shows("first", 1, HOUR_MS)).await.unwrap().into_inner();
        assert!(again.ttl_left_ms <= HOUR_MS as u64 / 2, "{} ms", again.ttl_left_ms);
        assert_eq!(inspect(&client, "a").await.leases[0].metadata.bytes(), "second");
    }
    setting.release("a", "alice", token).await.unwrap();
    assert!(setting.locks().renew(shows("first", 1, HOUR_MS)).await.is_err(), "the lease is over");
}

/// A lease belongs to who has its holder's name *and* its token. Old, future, and made up tokens are nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_and_released_by_its_holder_with_its_token_only() {
    let setting = Setting::start().await;
    let client = setting.cluster.client().await;
    let old = setting.acquire(wants("a", "alice")).await.unwrap();
    setting.release("a", "alice", old).await.unwrap();
    let token = setting.acquire(wants("a", "alice")).await.unwrap();
    assert!(token > old);
    for wrong in [old, token - 1, token + 1, token + (1 << 40), i64::MAX, 1] {
        // Twice as often as there are nodes: each is asked for both.
        let error = refused(setting.renew("a", "alice", wrong, HOUR_MS).await, Reason::Fenced);
        assert_eq!(error.fact(metadata::TOKEN), Some(token), "it names the current one: {error:?}");
        let error = refused(setting.release("a", "alice", wrong).await, Reason::Fenced);
        assert_eq!(error.fact(metadata::TOKEN), Some(token), "it names the current one: {error:?}");
    }
    for no_token in [0, -1, i64::MIN] {
        assert!(setting.renew("a", "alice", no_token, HOUR_MS).await.is_err());
        assert!(setting.release("a", "alice", no_token).await.is_err());
    }
    for other in ["bob", "Alice", "alice "] {
        refused(setting.renew("a", other, token, HOUR_MS).await, Reason::NotTheHolder);
        refused(setting.release("a", other, token).await, Reason::NotTheHolder);
    }
    refused(setting.renew("b", "alice", token, HOUR_MS).await, Reason::Fenced); // another lock
    refused(setting.release("b", "alice", token).await, Reason::Fenced);
    for ttl_ms in [0, -1, 99, 24 * HOUR_MS + 1, i64::MAX, i64::MIN] {
        refused(setting.renew("a", "alice", token, ttl_ms).await, Reason::InvalidTtl);
    }
    // After all that it is as it was.
    let lease = &inspect(&client, "a").await.leases[0];
    assert_eq!((lease.token, lease.holder.bytes()), (FencingToken(Revision(token)), &"alice".into()));
    assert!(lease.ttl_left > HOUR / 2);
    assert!(setting.renew("a", "alice", token, 2 * HOUR_MS).await.unwrap() > HOUR_MS as u64);

    setting.release("a", "alice", token).await.unwrap();
    let error = refused(setting.release("a", "alice", token).await, Reason::Fenced);
    assert_eq!(error.fact::<i64>(metadata::TOKEN), None, "nobody has it: {error:?}");
    refused(setting.renew("a", "alice", token, HOUR_MS).await, Reason::Fenced);
    assert_eq!(leases(&client).await, [] as [String; 0]);
}

/// Through the SDK it is the type that refuses, without asking anybody; whoever has no SDK is told the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_acquire_that_makes_no_sense_is_refused() {
    let setting = Setting::start().await;
    let semaphore = |permits| AcquireRequest { mode: LockMode::Permit as i32, permits, ..wants("a", "alice") };
    let ttl = |ttl_ms| AcquireRequest { ttl_ms, ..wants("a", "alice") };
    let long = "x".repeat(5000);
    for (request, reason) in [
        (ttl(0), Reason::InvalidTtl),
        (ttl(-1), Reason::InvalidTtl),
        (ttl(i64::MIN), Reason::InvalidTtl),
        (ttl(99), Reason::InvalidTtl),
        (ttl(24 * HOUR_MS + 1), Reason::InvalidTtl),
        (ttl(i64::MAX), Reason::InvalidTtl),
        (ttl((1 << 32) + 1000), Reason::InvalidTtl),
        (wants("", "alice"), Reason::KeyEmpty),
        (wants(&long, "alice"), Reason::KeyTooLarge),
        (wants("a", ""), Reason::InvalidRequest),
        (wants("a", &long[..257]), Reason::InvalidRequest),
        (AcquireRequest { metadata: long[..4097].to_owned().into(), ..wants("a", "alice") }, Reason::InvalidRequest),
        (semaphore(0), Reason::InvalidRequest),
        (semaphore(1025), Reason::InvalidRequest),
        (AcquireRequest { mode: 3, ..wants("a", "alice") }, Reason::InvalidRequest),
        (AcquireRequest { mode: -1, ..wants("a", "alice") }, Reason::InvalidRequest),
        (with_id(wants("a", "alice"), 1, -1), Reason::InvalidRequest),
    ] {
        for _node in 1..=3 {
            refused(setting.acquire(request.clone()).await, reason);
        }
        // In a batch, too: what is wrong with one says nothing of the others.
        let told = setting.batch(vec![Ask::Acquire(request), Ask::Acquire(wants("{b}", "bob"))]).await;
        let [Told::Error(error), Told::Acquire(_) | Told::Error(_)] = &told[..] else { panic!("{told:?}") };
        refused::<()>(Err(error.clone()), reason);
    }
    let client = setting.cluster.client().await;
    let lock = || client.lock("a");
    let ttl = async |ttl| lock().ttl(ttl).await;
    for bad in [Duration::ZERO, Duration::from_millis(99), 25 * HOUR, Duration::MAX] {
        assert!(matches!(ttl(bad).await, Err(AcquireError::InvalidTtl(_))), "{bad:?}");
    }
    for bad in [String::new(), long[..257].to_owned()] {
        assert!(matches!(lock().holder(bad).await, Err(AcquireError::InvalidHolder(_))));
    }
    for bad in [String::new(), long.clone()] {
        assert!(matches!(client.lock(bad).await, Err(AcquireError::InvalidName(_))));
    }
    assert!(matches!(lock().metadata(long[..4097].to_owned()).await, Err(AcquireError::InvalidMetadata(_))));
    for bad in [0, 1025] {
        assert!(matches!(client.semaphore("a", bad).acquire().await, Err(AcquireError::InvalidPermits(_))));
    }
    assert_eq!(leases(&client).await, ["{b}"], "nothing of all that happened, and what was well did");
    // At the bounds it works.
    let lease = client.lock(&long[..4096]).holder(long[..256].to_owned()).metadata(long[..4096].to_owned());
    lease.ttl(24 * HOUR).await.unwrap().release().await.unwrap();
    drop(client.lock("a").ttl(Duration::from_millis(100)).await.unwrap());
}

/// A lost answer must cost nobody the lock's ttl (G8): whoever asks again, anywhere, with the same id, has the same lease.
#[tokio::test(flavor = "multi_thread")]
async fn an_acquire_sent_again_is_the_same_and_another_one_is_another() {
    let mut setting = Setting::start().await;
    let client = setting.cluster.client().await;
    let birth = setting.cluster.describe(1).await.unwrap().revision;
    let again = |sequence| with_id(wants("a", "alice"), sequence, birth);
    let sent = join_all((0..6).map(|_| setting.acquire(again(1)))).await;
    let tokens: BTreeSet<i64> =
        sent.into_iter().map(|token| token.expect("the lock is free, or already mine")).collect();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    let token = tokens.into_iter().next().unwrap();
    // Another request is another one, also from the same holder.
    let error = refused(setting.acquire(again(2)).await, Reason::LockHeld);
    assert_eq!(error.fact(metadata::TOKEN), Some(token));
    assert!(error.fact::<u64>(metadata::TTL_LEFT_MS).is_some_and(|left| left > HOUR_MS as u64 / 2), "{error:?}");
    refused(setting.acquire(again(2)).await, Reason::LockHeld);

    // One that queues has one place, however often it is sent.
    let waits = |sequence| AcquireRequest { wait_ms: 1, holder: "bob".into(), ..again(sequence) };
    let mut tickets = BTreeSet::new();
    for _ in 0..4 {
        let told = setting.batch(vec![Ask::Acquire(waits(3))]).await;
        tickets.insert(ticket(&told[0]));
    }
    assert_eq!(tickets.len(), 1, "{tickets:?}");
    queue_is(&client, "a", &["bob"]).await;
    let bobs = tickets.into_iter().next().unwrap();
    let told = setting.batch(vec![Ask::Acquire(waits(4))]).await;
    assert!(ticket(&told[0]) > bobs, "another request queues behind");
    queue_is(&client, "a", &["bob", "bob"]).await;

    // The leader that knew all this dies.
    let leader = leader_of(&setting.cluster, "a").await;
    setting.cluster.kill(leader);
    setting.cluster.led().await;
    setting.cluster.start_node(leader);
    setting.cluster.level().await; // so all of them answer
    for _node in 1..=3 {
        let acquired = eventually("a node answers", async || setting.acquire(again(1)).await.ok()).await;
        assert_eq!(acquired, token);
    }
    let told = setting.batch(vec![Ask::Acquire(waits(3))]).await;
    assert_eq!(ticket(&told[0]), bobs);

    // What has ended since does not come back.
    setting.release("a", "alice", token).await.unwrap();
    refused(setting.acquire(again(1)).await, Reason::LeaseOver);
    let told = setting.batch(vec![Ask::Acquire(waits(3))]).await;
    let granted = granted(&told[0]);
    assert!(granted > token);
    setting.release("a", "bob", granted).await.unwrap();
    let told = setting.batch(vec![Ask::Acquire(waits(3))]).await;
    let [Told::Error(error)] = &told[..] else { panic!("{told:?}") };
    refused::<()>(Err(error.clone()), Reason::LeaseOver);
}

/// Nobody can wait, or give up, in another's name by mistake.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_the_queue_belongs_to_its_holder() {
    let setting = Setting::start().await;
    let client = setting.cluster.client().await;
    let token = setting.acquire(wants("a", "alice")).await.unwrap();
    let queue = |holder| Ask::Acquire(AcquireRequest { wait_ms: 1, ..wants("a", holder) });
    let bobs = ticket(&setting.batch(vec![queue("bob")]).await[0]);
    let carols = ticket(&setting.batch(vec![queue("carol")]).await[0]);
    assert!(carols > bobs);
    let wait = |holder: &'static str, ticket| {
        let (name, holder) = ("a".into(), holder.into());
        Ask::Wait(WaitRequest { name, holder, ticket, within_ms: 1, ..WaitRequest::default() })
    };
    let give_up = |holder: &'static str, ticket| {
        Ask::GiveUp(GiveUpRequest { name: "a".into(), holder: holder.into(), ticket, ..GiveUpRequest::default() })
    };
    for (ask, reason) in [
        (wait("mallory", bobs), Reason::NotTheHolder),
        (give_up("mallory", bobs), Reason::NotTheHolder),
        (give_up("bob", carols), Reason::NotTheHolder),
        (give_up("mallory", token), Reason::NotTheHolder), // a ticket that was granted at once
        (wait("bob", bobs + 1), Reason::LeaseOver),        // nobody's
        (wait("bob", carols + (1 << 40)), Reason::LeaseOver),
    ] {
        let told = setting.batch(vec![ask]).await;
        let [Told::Error(error)] = &told[..] else { panic!("{told:?}") };
        refused::<()>(Err(error.clone()), reason);
    }
    queue_is(&client, "a", &["bob", "carol"]).await;
    for _ in 0..2 {
        let told = setting.batch(vec![give_up("bob", bobs)]).await; // harmless to repeat
        assert!(matches!(told[..], [Told::GiveUp(_)]), "{told:?}");
    }
    queue_is(&client, "a", &["carol"]).await;
    let told = setting.batch(vec![wait("bob", bobs)]).await;
    let [Told::Error(error)] = &told[..] else { panic!("{told:?}") };
    refused::<()>(Err(error.clone()), Reason::LeaseOver);
    setting.release("a", "alice", token).await.unwrap();
    let told = setting.batch(vec![wait("carol", carols)]).await;
    assert!(granted(&told[0]) > token);
    // Giving up what was granted meanwhile gives it back.
    setting.batch(vec![give_up("carol", carols)]).await;
    assert_eq!(leases(&client).await, [] as [String; 0]);
}

/// Memory and the log are finite (G12): the queue says so, and is not disturbed by whoever does not fit.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_full_says_so() {
    let setting = Setting::start().await;
    let (one, two) = (setting.cluster.client().await, setting.cluster.client().await);
    let first = one.lock("a").ttl(HOUR).await.unwrap();
    let most = ringfence_client::limits::LOCK_WAITERS_MAX as usize;
    let waiting = (0..most).map(|n| {
        let client = [&one, &two][n % 2];
        tokio::spawn(client.lock("a").ttl(HOUR).holder(format!("w{n}")).into_future())
    });
    let mut waiting: Vec<_> = waiting.collect();
    eventually("all wait", async || (waiters(&one, "a").await.len() == most).then_some(())).await;
    match one.lock("a").ttl(HOUR).wait_at_most(Duration::from_secs(5)).await {
        Err(AcquireError::QueueFull { waiting }) => assert_eq!(waiting, most as u64),
        other => panic!("{other:?}"),
    }
    let error =
        refused(setting.acquire(AcquireRequest { wait_ms: 5_000, ..wants("a", "raw") }).await, Reason::LockQueueFull);
    assert_eq!(error.fact(metadata::WAITING), Some(most), "{error:?}");
    assert!(matches!(one.lock("a").without_waiting().await, Err(AcquireError::Held(_))), "held, not full");
    // The lock beside it has a queue of its own, also if it lies on the same shard.
    two.lock("{a}b").ttl(HOUR).await.unwrap().release().await.unwrap();

    // One leaves, and there is room for one.
    waiting.swap_remove(most / 2).abort();
    eventually("one has left", async || (waiters(&one, "a").await.len() < most).then_some(())).await;
    let last = tokio::spawn(two.lock("a").ttl(HOUR).holder("last").into_future());
    eventually("the last is in the queue", async || {
        let waiters = waiters(&one, "a").await;
        (waiters.len() == most && waiters.last().is_some_and(|last| last == "last")).then_some(())
    })
    .await;

    // All but the last leave, without being granted anything.
    waiting.iter().for_each(|waiting| waiting.abort());
    queue_is(&one, "a", &["last"]).await;
    assert_eq!(inspect(&one, "a").await.leases[0].token, first.token());
    first.release().await.unwrap();
    let last = in_time("the only one is granted the lock", last).await.unwrap().unwrap();
    last.release().await.unwrap();
    assert_eq!(leases(&one).await, [] as [String; 0]);
}

/// Locks have a space of their own.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_named_like_a_key_has_nothing_to_do_with_it() {
    let setting = Setting::start().await;
    let client = setting.cluster.client().await;
    let names: [&[u8]; 6] = [b"a", b"{a}", b"{a}b", b"\0", b"\0\xff\0", &[0xff; 4096]];
    let mut held_locks = Vec::new();
    for name in names {
        let put = client.put(name, "data").await.unwrap();
        let lease = client.lock(name).ttl(HOUR).metadata("not data").await.unwrap();
        let fenced = client.put(name, "more data").fence(&lease).await.unwrap();
        assert_eq!(fenced.version, put.version + 1);
        assert!(client.delete(name).await.unwrap().existed);
        let held = inspect(&client, name).await.leases;
        assert_eq!(
            held.iter().map(|held| held.token).collect::<Vec<_>>(),
            [lease.token()],
            "deleting a key frees no lock"
        );
        held_locks.push(lease);
    }
    for name in names {
        assert!(client.get(name).await.unwrap().is_none(), "a lock is no key");
    }
    let found: Vec<_> = client.scan_prefix("").stream().try_collect().await.unwrap();
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(leases(&client).await.len(), names.len());
}

/// A fence is checked in the same step as the write, so its lock must lie where the key lies (until there are transactions).
#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_does_not_hold_stops_the_write() {
    let setting = Setting::start().await;
    let client = setting.cluster.client().await;
    let lease = client.lock("{a}lock").ttl(HOUR).await.unwrap();
    let token = lease.token();
    let elsewhere = elsewhere(&setting.cluster, "a").await;
    let far = client.lock(&elsewhere).ttl(HOUR).await.unwrap();

    let rejected = client.put("{a}x", "no").fence(&far).await;
    assert!(
        matches!(&rejected, Err(PutError::Rejected(e)) if e.reason == Some(Reason::FenceElsewhere)),
        "{rejected:?}"
    );
    let rejected = client.put("{a}x", "no").fence(&lease).fence(&far).await;
    assert!(
        matches!(&rejected, Err(PutError::Rejected(e)) if e.reason == Some(Reason::FenceElsewhere)),
        "{rejected:?}"
    );
    let rejected = client.delete("{a}x").fence(&far).await;
    assert!(
        matches!(&rejected, Err(DeleteError::Rejected(e)) if e.reason == Some(Reason::FenceElsewhere)),
        "{rejected:?}"
    );

    let of = |lock: &str, token: i64| Fence {
        lock: LockName::new(lock.to_owned()).unwrap(),
        token: FencingToken(Revision(token)),
    };
    for (fence, current) in [
        (of("{a}lock", token.0.0 - 1), Some(token)),
        (of("{a}lock", token.0.0 + 1), Some(token)),
        (of("{a}lock", i64::MAX), Some(token)),
        (of("{a}never", token.0.0), None),
    ] {
        let fenced = client.put("{a}x", "no").fence(fence.clone()).await;
        assert!(matches!(&fenced, Err(PutError::Fenced { current: c }) if *c == current), "{fence}: {fenced:?}");
        let fenced = client.put("{a}x", "no").fence(&lease).fence(fence.clone()).await;
        assert!(matches!(&fenced, Err(PutError::Fenced { .. })), "all must hold: {fenced:?}");
    }
    // What no SDK sends.
    for _node in 1..=3 {
        refused(put_raw(&setting, vec![raw("", 1)]).await, Reason::KeyEmpty);
        for no_token in [0, -1] {
            refused(put_raw(&setting, vec![raw("{a}lock", no_token)]).await, Reason::InvalidRequest);
        }
        refused(put_raw(&setting, vec![raw("{a}lock", token.0.0); 17]).await, Reason::InvalidRequest);
        let error = refused(put_raw(&setting, vec![raw("{a}lock", 7)]).await, Reason::Fenced);
        assert_eq!(error.fact(metadata::TOKEN), Some(token.0.0));
    }
    assert!(client.get("{a}x").await.unwrap().is_none(), "none of all that happened");
    put_raw(&setting, vec![raw("{a}lock", token.0.0); 16]).await.unwrap();
    assert_eq!(client.get("{a}x").await.unwrap().unwrap().value, "raw");
}

fn raw(lock: &str, token: i64) -> v1::Fence {
    v1::Fence { lock: lock.to_owned().into(), token }
}

async fn put_raw(setting: &Setting, fences: Vec<v1::Fence>) -> Result<(), Error> {
    let mut kv = KvClient::new(setting.cluster.channel(setting.node()));
    kv.put(PutRequest { key: "{a}x".into(), value: "raw".into(), fences, ..PutRequest::default() }).await?;
    Ok(())
}

/// Whoever drops its future gives up: nobody is granted a lock that nobody waits for.
#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_leaves_no_place_in_the_queue() {
    let setting = Setting::start().await;
    let client = setting.cluster.client().await;
    let first = client.lock("a").ttl(HOUR).await.unwrap();
    let waiter = |holder: &'static str| tokio::spawn(client.lock("a").holder(holder).ttl(HOUR).into_future());
    let dropped = waiter("dropped");
    queue_is(&client, "a", &["dropped"]).await;
    // A plain call without a request id ends when its connection does.
    let mut locks = setting.locks();
    let raw = AcquireRequest { wait_ms: 60_000, ..wants("a", "raw") };
    let hung_up = tokio::spawn(async move { locks.acquire(raw).await });
    queue_is(&client, "a", &["dropped", "raw"]).await;
    let timed_out = client.lock("a").holder("timed out").ttl(HOUR).wait_at_most(Duration::from_millis(300)).await;
    assert!(matches!(timed_out, Err(AcquireError::TimedOut { .. })), "{timed_out:?}");
    let patient = waiter("patient");
    queue_is(&client, "a", &["dropped", "raw", "patient"]).await;
    dropped.abort();
    queue_is(&client, "a", &["raw", "patient"]).await;
    hung_up.abort();
    queue_is(&client, "a", &["patient"]).await;
    // One that had a time of its own.
    refused(setting.acquire(AcquireRequest { wait_ms: 100, ..wants("a", "raw") }).await, Reason::LockHeld);
    queue_is(&client, "a", &["patient"]).await;
    first.release().await.unwrap();
    let patient = in_time("the one who stayed is granted the lock", patient).await.unwrap().unwrap();
    patient.release().await.unwrap();
    assert_eq!(leases(&client).await, [] as [String; 0]);
}

/// A process that is killed says nothing. Its place is kept for a while, in case its machine comes back, and then passed over: it
/// is never granted the lock, whose ttl the next would have to wait for.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_that_vanished_is_passed_over() {
    let setting = Setting::start().await;
    let client = setting.cluster.client().await;
    let first = client.lock("a").ttl(HOUR).await.unwrap();
    let endpoints = setting.cluster.endpoints().join(",");
    let vanished = Program::start("lock_holder", &[&endpoints, "vanished", "a", &HOUR_MS.to_string(), "{a}key"]);
    queue_is(&client, "a", &["vanished"]).await;
    let next = tokio::spawn(client.lock("a").holder("next").ttl(HOUR).into_future());
    queue_is(&client, "a", &["vanished", "next"]).await;
    vanished.kill();
    eventually("the one that was killed is silent, and only that one", async || {
        let waiters = inspect(&client, "a").await.waiters;
        assert!(waiters.iter().all(|waiter| !waiter.is_silent || waiter.holder.bytes() == "vanished"), "{waiters:?}");
        waiters.iter().any(|waiter| waiter.is_silent).then_some(())
    })
    .await;
    first.release().await.unwrap();
    let next = in_time("the one is granted the lock who is next but for one that is silent", next).await;
    let next = next.unwrap().unwrap();
    assert_eq!(inspect(&client, "a").await.waiters, []);
    next.release().await.unwrap();
    assert_eq!(leases(&client).await, [] as [String; 0]);
}

fn ticket(told: &Told) -> i64 {
    match told {
        Told::Acquire(answer) => match answer.outcome {
            Some(acquire_response::Outcome::Queued(queued)) => queued.ticket,
            _ => panic!("not queued: {told:?}"),
        },
        _ => panic!("not queued: {told:?}"),
    }
}

fn granted(told: &Told) -> i64 {
    match told {
        Told::Acquire(answer) | Told::Wait(answer) => match answer.outcome {
            Some(acquire_response::Outcome::Granted(granted)) => granted.token,
            _ => panic!("not granted: {told:?}"),
        },
        _ => panic!("not granted: {told:?}"),
    }
}

async fn leader_of(cluster: &Cluster, lock: &str) -> u64 {
    let shard = shard_of(cluster, lock).await;
    cluster.leader(shard).await
}

async fn shard_of(cluster: &Cluster, name: &str) -> u64 {
    let position = LockName::new(name.to_owned()).unwrap().position().0;
    let described = eventually("a node describes the cluster", async || cluster.describe(1).await).await;
    let owner = described.shards.iter().find(|s| s.first_position <= position && position <= s.last_position);
    owner.expect("the ring has no gaps").shard
}

/// The name of a lock on another shard than this one's.
async fn elsewhere(cluster: &Cluster, name: &str) -> String {
    let here = shard_of(cluster, name).await;
    for n in 0.. {
        let other = format!("elsewhere/{n}");
        if shard_of(cluster, &other).await != here {
            return other;
        }
    }
    unreachable!("there are several shards")
}
