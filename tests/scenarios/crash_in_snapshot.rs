//! A snapshot takes many steps on two nodes, and either may die at any of them. Whatever is left, the receiver has its old
//! state or the whole new one afterwards, and never shows anything between.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use ringfence_client::Client;
use ringfence_tests::{Cluster, Load, Recorded, cuts, eventually, noise};

const KEEP: u64 = 100;

/// The shard's data: enough that every step takes a while.
const VALUES: u64 = 96;
const VALUE_BYTES: usize = 256 << 10;

/// The receiver, always the same node.
const RECEIVER: u64 = 3;

/// Who is killed, and when.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// A line of its log.
    SenderSays(&'static str),
    ReceiverSays(&'static str),
    /// So many bytes of the snapshot have arrived.
    SenderHasSent(u64),
    ReceiverHasGot(u64),
    /// So long after the snapshot has begun.
    Sender(Duration),
    Receiver(Duration),
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_snapshot_is_received() {
    crash_at(&[
        Moment::ReceiverSays("receiving a snapshot"),
        Moment::ReceiverHasGot(1 << 20),
        Moment::ReceiverHasGot(16 << 20),
        Moment::ReceiverSays("installing a snapshot"),
        Moment::ReceiverSays("installed a snapshot"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_snapshot_is_sent() {
    crash_at(&[
        Moment::SenderSays("sending a snapshot"),
        Moment::SenderHasSent(1 << 20),
        Moment::SenderHasSent(16 << 20),
        Moment::SenderSays("sent a snapshot"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_at_random_moments_of_a_snapshot() {
    let seed = std::env::var("RINGFENCE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("RINGFENCE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let moments: Vec<Moment> = (0..3)
        .map(|n| {
            let after = Duration::from_millis(random.random_range(0..800));
            if n % 2 == 0 { Moment::Receiver(after) } else { Moment::Sender(after) }
        })
        .collect();
    crash_at(&moments).await;
}

/// The one moment at which there is no whole state on the disk: the old one is gone, the new one not in its place yet. The
/// next start must finish what was begun before anybody may look.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_the_new_state_takes_the_place_of_the_old() {
    let mut shard = Shard::start().await;
    for _ in 0..10 {
        shard.crash_at(Moment::ReceiverSays("the old state is gone")).await;
        let log = shard.cluster.server(RECEIVER).log();
        if log.contains("finishing the installation of a snapshot that a stop interrupted") {
            shard.receiver_has_everything().await;
            return;
        }
    }
    panic!("ten kills, and none hit the moment");
}

async fn crash_at(moments: &[Moment]) {
    let mut shard = Shard::start().await;
    for moment in moments {
        shard.crash_at(*moment).await;
    }
    shard.receiver_has_everything().await;
}

/// One shard on three nodes, with data, under load.
struct Shard {
    cluster: Cluster,
    client: Client,
    load: Load,
}

impl Shard {
    async fn start() -> Shard {
        let keep = format!("--log-keep-entries={KEEP}");
        let cluster = Cluster::start_telling_cuts(&["--shards=1", &keep]).await;
        let client = cluster.client().await;
        for n in 0..VALUES {
            client.put(format!("large/{n}"), value(n)).await.unwrap();
        }
        cluster.level().await;
        let load = Load::start(&client, 4);
        Shard { cluster, client, load }
    }

    /// Lets the receiver need a snapshot, and kills it or the sender at this moment; then all is well again.
    async fn crash_at(&mut self, moment: Moment) {
        let cluster = &mut self.cluster;
        cluster.kill(RECEIVER);
        // It has no entry that a leader had not written before; what is under way is a few entries at most.
        let had = cluster.applied(1).await[&1].max(cluster.applied(2).await[&1]) + 100;
        eventually("the others have cut their logs", async || {
            let cut = |node| cuts(&cluster.server(node).log(), 1).any(|upto| upto > had);
            (cut(1) && cut(2)).then_some(())
        })
        .await;
        let said: Vec<usize> = (1..=3).map(|node| self.log_of(node).len()).collect();
        self.cluster.start_node(RECEIVER);

        let deadline = Instant::now() + Duration::from_secs(60);
        let mut begun = None;
        let (victim, exact) = loop {
            assert!(Instant::now() < deadline, "{moment:?} did not come");
            let new = |node: u64| self.log_of(node)[said[node as usize - 1]..].to_owned();
            let sender = (1..RECEIVER).rev().find(|node| new(*node).contains("sending a snapshot"));
            if sender.is_some() {
                begun.get_or_insert_with(Instant::now);
            }
            let has_gone_on = |after: Duration| begun.is_some_and(|begun: Instant| begun.elapsed() >= after);
            let now = match moment {
                Moment::SenderSays(line) => sender.filter(|node| new(*node).contains(line)),
                Moment::ReceiverSays(line) => new(RECEIVER).contains(line).then_some(RECEIVER),
                Moment::SenderHasSent(bytes) => sender.filter(|_| self.staged() >= bytes),
                Moment::ReceiverHasGot(bytes) => (self.staged() >= bytes).then_some(RECEIVER),
                Moment::Sender(after) => sender.filter(|_| has_gone_on(after)),
                Moment::Receiver(after) => has_gone_on(after).then_some(RECEIVER),
            };
            // One that was missed because it was over too quickly is as good as the next moment.
            let missed = new(RECEIVER).contains("installed a snapshot");
            match now.or_else(|| sender.filter(|_| missed)) {
                Some(node) => break (node, now.is_some()),
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        println!("killing node {victim} at {moment:?}{}", if exact { "" } else { ", just missed" });
        self.cluster.kill(victim);
        self.load.goes_on(20).await;
        self.cluster.start_node(victim);
        self.cluster.led().await;
        self.cluster.level_within(16).await;
    }

    fn log_of(&self, node: u64) -> String {
        std::fs::read_to_string(self.cluster.path(&format!("node-{node}.log"))).unwrap_or_default()
    }

    /// Bytes of a snapshot that have arrived.
    fn staged(&self) -> u64 {
        let files = std::fs::read_dir(self.cluster.data_dir(RECEIVER).join("staging"));
        let sizes = files.into_iter().flatten().filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
        sizes.sum()
    }

    /// Read from the receiver's own state, while it leads.
    async fn receiver_has_everything(self) {
        let Shard { mut cluster, client, load } = self;
        let recorded = load.stop().await;
        loop {
            cluster.let_lead(RECEIVER).await;
            cluster.level().await;
            check(&client, &recorded).await;
            if cluster.leads_all(RECEIVER).await {
                break;
            }
        }
        let staging = cluster.data_dir(RECEIVER).join("staging");
        // A part of one whose sender was killed is given up after a while.
        eventually("nothing of the snapshots is left lying about", async || {
            (std::fs::read_dir(&staging).unwrap().count() == 0).then_some(())
        })
        .await;
    }
}

async fn check(client: &Client, recorded: &Recorded) {
    recorded.check(client).await;
    for n in 0..VALUES {
        let found = client.get(format!("large/{n}")).await.unwrap().unwrap_or_else(|| panic!("large/{n} is gone"));
        assert!(found.value == value(n), "large/{n} is another value");
    }
}

fn value(n: u64) -> Vec<u8> {
    noise(n, VALUE_BYTES)
}
