//! Replicas that have applied the same entries hold the same, byte for byte: what every other promise quietly relies on, and what no
//! client can see. Each replica hashes itself, and the hashes are compared while everything goes on that could drive them apart.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ringfence_client::{Agreement, Client, NodeId, ReplicaHashError, ShardAgreement, ShardId};
use ringfence_storage::StateDb;
use ringfence_storage::engine::{Batch, Durability, Engine, RocksEngine, RocksProfile, Table};
use ringfence_tests::{Cluster, Load, binary, cuts, eventually};
use tokio::task::JoinHandle;

/// Long enough for the slowest machine: it is waited for a position, not for a time.
const LONG: Duration = Duration::from_secs(60);

/// Where current versions are.
const CURRENT: Table = Table(0);

/// Changes of every kind, beside the puts and additions of [`Load`]: deletes, ttls that run out, locks that are held, queued for,
/// released and left to expire.
struct Mix {
    stop: Arc<AtomicBool>,
    /// Rounds of all tasks.
    rounds: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Mix {
    fn start(client: &Client) -> Mix {
        let (stop, rounds): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let tasks = (0..4).map(|who| {
            let (client, stop, rounds) = (client.clone(), Arc::clone(&stop), Arc::clone(&rounds));
            tokio::spawn(async move {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    mix(who, n, &client).await;
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let tasks = tasks.collect();
        Mix { stop, rounds, tasks }
    }

    /// Waits until so much more has happened.
    async fn goes_on(&self, more: u64) {
        let goal = self.rounds.load(Ordering::Relaxed) + more;
        eventually("the mix goes on", async || (self.rounds.load(Ordering::Relaxed) >= goal).then_some(())).await;
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("it does not panic");
        }
    }
}

async fn mix(who: u64, n: u64, client: &Client) {
    let second = Duration::from_secs(1);
    let key = format!("mix/{}", n % 13);
    // Whatever comes of it: what counts is that it is the same everywhere.
    let _ = client.put(&key, format!("{who} {n}")).ttl(second * (1 + n as u32 % 3)).await;
    let _ = client.add(format!("sum/{}", n % 5), who as i64).await;
    if n % 4 == who {
        let _ = client.delete(&key).await;
    }
    let lease = client.lock(format!("lock/{}", n % 3)).ttl(second).wait_at_most(second / 2).await;
    if let Ok(lease) = lease {
        let _ = client.put(format!("held/{}", n % 3), "x").fence(&lease).await;
        match n % 2 {
            0 => drop(lease.release().await),
            _ => lease.abandon(), // it expires
        }
    }
}

fn say(compared: &[ShardAgreement]) -> String {
    compared.iter().map(|shard| format!("{}: {:?}\n", shard.shard, shard.agreement)).collect()
}

/// Everything is comparable and equal. Replicas that lag may need another try; ones that differ never get one.
async fn all_equal(client: &Client, shards: usize) {
    eventually("all replicas were seen at one position", async || {
        let compared = client.compare_replicas(LONG).await.ok()?;
        let differ = compared.iter().any(|shard| matches!(shard.agreement, Agreement::Differ { .. }));
        assert!(!differ, "replicas differ:\n{}", say(&compared));
        let equal = compared.iter().filter(|shard| match &shard.agreement {
            Agreement::Equal { replicas } => replicas.len() == 3,
            _ => false,
        });
        if equal.count() < shards {
            println!("not all were comparable:\n{}", say(&compared));
            return None;
        }
        Some(())
    })
    .await;
}

async fn verify(cluster: &Cluster, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(binary("ringctl"));
    command.env("RINGCTL_ENDPOINTS", cluster.endpoints().join(",")).args(["cluster", "verify"]).args(args);
    let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let Output { status, stdout, stderr } = ran.expect("a program can be started");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().expect("it ends by itself"), text(stdout), text(stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happened_to_them_replicas_are_equal() {
    let extra = ["--log-keep-entries=100", "--history-window-s=60", "--dedup-window-s=60"];
    let mut cluster = Cluster::start_telling_cuts(&extra).await;
    let client = cluster.client().await;
    let shards = cluster.shards().await;
    let groups = shards.len() + 1;
    let (load, mix) = (Load::start(&client, 8), Mix::start(&client));
    load.goes_on(200).await;
    mix.goes_on(20).await;
    all_equal(&client, groups).await; // in the middle of it

    // A leader dies with no warning, and stays away until the others have cut their logs.
    let away = cluster.leader(shards[0]).await;
    cluster.kill(away);
    load.goes_on(50).await;
    let (code, out, err) = verify(&cluster, &["--command-timeout", "1s"]).await;
    assert_eq!(code, 5, "{out}{err}");
    assert!(out.contains("not comparable") && !out.contains("DIFFER"), "{out}");
    let others = cluster.running();
    let (one, other) = (cluster.applied(others[0]).await, cluster.applied(others[1]).await);
    eventually("the others have cut their logs", async || {
        let beyond = |shard: &u64| one[shard].max(other[shard]) + 100;
        let cut = |node: u64, shard| cuts(&cluster.server(node).log(), shard).any(|upto| upto > beyond(&shard));
        shards.iter().all(|shard| others.iter().all(|node| cut(*node, *shard))).then_some(())
    })
    .await;
    cluster.start_node(away);
    for shard in &shards {
        let installed = format!("installed a snapshot shard=s{shard}");
        eventually(&installed, async || cluster.server(away).log().contains(&installed).then_some(())).await;
    }
    all_equal(&client, groups).await;

    // Restarted from their disks, all at once.
    let all = cluster.running();
    cluster.kill_together(&all);
    cluster.start_all().await;
    load.goes_on(100).await;
    mix.goes_on(20).await;
    all_equal(&client, groups).await;

    mix.stop().await;
    let recorded = load.stop().await;
    assert!(recorded.puts.len() > 200, "the load was real: {}", recorded.puts.len());
    all_equal(&client, groups).await;
    let (code, out, err) = verify(&cluster, &[]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(out.lines().filter(|line| line.contains(" equal ")).count(), groups, "one line per shard:\n{out}");
}

/// The check can fail: one byte of one value of one replica, changed behind everybody's back.
#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_in_one_replica_is_found() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    for n in 0..30 {
        client.put(format!("k{n}"), format!("value {n}")).await.unwrap();
    }
    let groups = cluster.shards().await.len() + 1;
    all_equal(&client, groups).await;

    cluster.take(2).stop();
    let key = change_a_value(&cluster.data_dir(2));
    cluster.start_node(2);
    cluster.led().await;
    let (code, out, err) = verify(&cluster, &["-w", "json"]).await;
    assert_eq!(code, 1, "{key}: {out}{err}");
    assert!(err.contains("replicas differ"), "{err}");
    assert!(out.contains(r#""equal":false"#) && out.matches(r#""result":"differ""#).count() == 1, "{out}");
    let (code, out, _) = verify(&cluster, &[]).await;
    assert_eq!(code, 1);
    let differs = out.lines().find(|line| line.contains("DIFFER")).unwrap();
    assert!(differs.contains("n1,n3 ") && differs.contains("n2 "), "who agrees with whom: {differs}");
}

/// Changes the last byte of some value in the state of a node that does not run. Gives the stored key.
fn change_a_value(data_dir: &Path) -> String {
    let engine = RocksEngine::open(&data_dir.join("state"), StateDb::TABLES, RocksProfile::State).unwrap();
    let mut found = None;
    engine
        .scan(CURRENT, &[], &[0xff; 9], &mut |key, value| {
            found = Some((key.to_vec(), value.to_vec()));
            ControlFlow::Break(())
        })
        .unwrap();
    let (key, mut value) = found.expect("the node holds keys");
    *value.last_mut().unwrap() ^= 1;
    let mut batch = Batch::new();
    batch.put(CURRENT, key.clone(), value);
    engine.write(batch, Durability::Synced).unwrap();
    key.escape_ascii().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_answer_says_why() {
    let mut cluster = Cluster::start(4).await; // so that each shard is missing on one node
    let client = cluster.client().await;
    let described = cluster.describe(1).await.unwrap();
    let shard = &described.shards[0];
    let without = (1..=4).find(|node| shard.replicas.iter().all(|replica| replica.node != *node)).unwrap();
    let id = ShardId(shard.shard);
    let unknown = |asked| matches!(asked, Err(ReplicaHashError::UnknownShard { .. }));
    assert!(unknown(client.replica_hash(NodeId(without), id).await));
    assert!(unknown(client.replica_hash(NodeId(1), ShardId(99)).await));
    let nobody = client.replica_hash(NodeId(99), id).await;
    assert!(matches!(nobody, Err(ReplicaHashError::UnknownNode { .. })), "{nobody:?}");

    let with = shard.replicas[0].node;
    let hash = client.replica_hash(NodeId(with), id).await.unwrap();
    assert_eq!((hash.node, hash.shard), (NodeId(with), id));
    cluster.kill(with);
    let down = client.replica_hash(NodeId(with), id).await;
    assert!(matches!(down, Err(ReplicaHashError::Unavailable(_))), "{down:?}");
}
