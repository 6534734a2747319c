//! A disk that fills up (G12): writes are refused early, with the reason and what to do, while there is still room for what must
//! go on; and when another program takes that room, too, the node stops with nothing acknowledged lost.
//!
//! Each node has a disk of its own in memory, which only root can mount. Without root nothing of this is covered.

use std::time::Duration;

use ringfence_client::Client;
use ringfence_proto::Reason;
use ringfence_proto::v1::kv_client::KvClient;
use ringfence_proto::v1::{DeleteRequest, Error, GetRequest, PutRequest};
use ringfence_tests::{Cluster, Ended, Load, SmallDisk, data_dir, eventually, temporary_directory};

/// Room for what RocksDB reserves for its logs, some data, and twice the reserve.
const DISK_BYTES: u64 = 320 << 20;
const RESERVE_BYTES: u64 = 48 << 20;

/// A cluster of three with disks of their own for these nodes; `None` if there cannot be any here.
async fn start(nodes: &[u64], reserve: u64) -> Option<(Vec<SmallDisk>, Cluster)> {
    let dir = temporary_directory();
    let mut disks = Vec::new();
    for node in nodes {
        match SmallDisk::mount(&data_dir(dir.path(), *node), DISK_BYTES) {
            Ok(disk) => disks.push(disk),
            Err(why) => {
                eprintln!("NOT COVERED: full disks. {why}");
                return None;
            }
        }
    }
    let reserve = format!("--disk-reserve-bytes={reserve}");
    Some((disks, Cluster::start_in(dir, 3, &[&reserve, "--on-distrust=wait"]).await))
}

async fn leads_nothing(cluster: &Cluster, node: u64) {
    eventually(&format!("node {node} leads nothing"), async || {
        let replicas = cluster.status(node).await?.replicas;
        replicas.iter().all(|replica| replica.role != "leader").then_some(())
    })
    .await;
}

async fn says_full(cluster: &Cluster, node: u64, full: bool) {
    eventually(&format!("node {node} says whether its disk is full"), async || {
        (cluster.status(node).await?.disk?.full == full).then_some(())
    })
    .await;
}

/// Long before it is full the node hands leadership to others, so nobody notices; when nothing at all is left, it stops.
#[tokio::test(flavor = "multi_thread")]
async fn one_full_disk_of_three_is_noticed_by_nobody_but_the_operator() {
    let Some((disks, mut cluster)) = start(&[3], RESERVE_BYTES).await else { return };
    let client = cluster.client().await;
    let load = Load::start(&client, 4);
    load.goes_on(100).await;
    disks[0].fill(RESERVE_BYTES * 3 / 2);
    leads_nothing(&cluster, 3).await;
    disks[0].fill(RESERVE_BYTES / 2);
    says_full(&cluster, 3, true).await;
    let problems = cluster.problems();
    assert!(problems.iter().any(|problem| problem.contains("the disk of n3")), "{problems:?}");
    load.goes_on(300).await;
    leads_nothing(&cluster, 3).await;

    // Another program takes the rest.
    disks[0].fill(0);
    write_until(&client, || !cluster.is_running(3)).await;
    assert_says_why(&cluster.ended(3).await);
    load.goes_on(100).await;
    // It does not come up like this, and says so again.
    disks[0].fill(0);
    cluster.start_node(3);
    assert_says_why(&cluster.ended(3).await);

    disks[0].free();
    cluster.start_node(3);
    cluster.level_within(64).await;
    says_full(&cluster, 3, false).await;
    let recorded = load.stop().await;
    assert_eq!(recorded.refused, [] as [String; 0], "somebody noticed");
    recorded.check(&client).await;
    cluster.level().await;
}

/// With nowhere to go to, writes are refused at once, by every node alike, and everything else goes on.
#[tokio::test(flavor = "multi_thread")]
async fn when_all_disks_are_full_writes_are_refused_and_reads_and_deletes_go_on() {
    let Some((disks, cluster)) = start(&[1, 2, 3], RESERVE_BYTES).await else { return };
    let client = cluster.client().await;
    for n in 0..20 {
        client.put(format!("k{n}"), "v").await.unwrap();
    }
    disks.iter().for_each(|disk| disk.fill(RESERVE_BYTES / 2));
    for node in 1..=3 {
        says_full(&cluster, node, true).await;
    }
    for n in 0..20 {
        let node = n % 3 + 1;
        let mut kv = KvClient::new(cluster.channel(node));
        let put = PutRequest { key: format!("k{n}").into(), value: "w".into(), ..PutRequest::default() };
        let mut request = tonic::Request::new(put);
        request.set_timeout(Duration::from_secs(60));
        let error = Error::from(kv.put(request).await.expect_err("there is no room"));
        assert_eq!(error.reason(), Some(Reason::DiskFull), "{error:?}");
        assert!(error.message.contains("Free some space"), "{}", error.message);
        let get = GetRequest { key: format!("k{n}").into(), ..GetRequest::default() };
        assert_eq!(kv.get(get).await.unwrap().into_inner().kv.unwrap().value, "v");
        if n < 10 {
            let delete = DeleteRequest { key: format!("k{n}").into(), ..DeleteRequest::default() };
            assert!(kv.delete(delete).await.unwrap().into_inner().existed);
        }
    }
    // Many calls in one message, as the SDK sends them.
    let puts = (0..64).map(|n| client.put(format!("many/{n}"), "v"));
    for put in futures::future::join_all(puts.into_iter().map(std::future::IntoFuture::into_future)).await {
        assert!(put.unwrap_err().to_string().contains("disk"));
    }

    disks.iter().for_each(SmallDisk::free);
    eventually("writes go on by themselves", async || client.put("after", "v").await.ok()).await;
    for n in 0..20 {
        let found = client.get(format!("k{n}")).await.unwrap().map(|kv| kv.value);
        assert_eq!(found.as_deref(), (n >= 10).then_some(&b"v"[..]), "k{n}");
        client.put(format!("k{n}"), "x").await.unwrap();
    }
}

/// A node without a reserve runs into the end of its disk, and so do the others: they stop, with nothing acknowledged lost.
#[tokio::test(flavor = "multi_thread")]
async fn when_all_disks_are_full_to_the_last_byte_nothing_acknowledged_is_lost() {
    let Some((disks, mut cluster)) = start(&[1, 2, 3], 0).await else { return };
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    load.goes_on(200).await;
    disks.iter().for_each(|disk| disk.fill(0));
    write_until(&client, || (1..=3).filter(|node| !cluster.is_running(*node)).count() >= 2).await;
    for node in 1..=3 {
        let runs = cluster.is_running(node);
        let mut server = cluster.take(node);
        if runs {
            server.kill(); // alone it cannot commit anything
        } else {
            assert_says_why(&server.wait());
        }
    }
    disks.iter().for_each(SmallDisk::free);
    (1..=3).for_each(|node| cluster.start_node(node));
    cluster.led().await;
    load.goes_on(100).await;
    load.stop_and_check().await;
    cluster.level().await;
}

/// Writes what needs new room: RocksDB takes some in advance.
async fn write_until(client: &Client, mut done: impl FnMut() -> bool) {
    let value = vec![0x5a; 1 << 20];
    eventually("so much is written that there is no room for it", async || {
        let _ = tokio::time::timeout(Duration::from_secs(2), client.put("large", value.clone())).await; // it may fail
        done().then_some(())
    })
    .await;
}

/// The process has failed, and says what to do.
fn assert_says_why(ended: &Ended) {
    let last = ended.log.lines().last().unwrap_or_default();
    assert!(!ended.success && last.contains("no space is left") && last.contains("Free some"), "{last}\n{}", ended.log);
}
