//! A follower that takes nothing must cost its leader nothing: what it misses stays in the log on the disk, not in memory.

use futures::future::join_all;
use ringfence_client::Client;
use ringfence_tests::{Cluster, eventually, noise};

const NODE: u64 = 3;

/// Values of 256 KiB: what every node writes to both of its databases in one part of the test.
const VALUES: usize = 1024; // 256 MiB
const VALUE_BYTES: usize = 256 << 10;
const WRITERS: usize = 8;

/// What a leader may hold for a follower is 64 MiB of messages; the rest is what memory is worth on another day: allocator,
/// block cache, tables being merged. All of the values would be far more.
const MORE_MIB_MAX: u64 = 160;

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_takes_nothing_does_not_fill_the_memory_of_the_leader() {
    let cluster = Cluster::start_with(3, &["--shards=1"]).await;
    let client = cluster.client().await;
    let leader = cluster.leader(1).await;
    let paused = if leader == NODE { NODE - 1 } else { NODE };

    // What memory is used by nothing but writing so much.
    let before = highest_resident_mib(&cluster, leader, write(&client, 0)).await;
    cluster.server(paused).pause(true);
    let during = highest_resident_mib(&cluster, leader, write(&client, 1)).await;
    println!("{before} MiB with all followers, {during} MiB with one that takes nothing");
    assert_eq!(cluster.leader(1).await, leader, "the leader was another one, so nothing was shown");
    assert!(during <= before + MORE_MIB_MAX, "{during} MiB after {before} MiB");

    cluster.server(paused).pause(false);
    cluster.level().await;
    for n in [0, VALUES - 1] {
        for part in 0..2 {
            let found = client.get(key(part, n)).await.unwrap().unwrap();
            assert!(found.value == value(part, n), "{n} of part {part} is another value");
        }
    }
}

/// The highest memory of a node, while something is done.
async fn highest_resident_mib(cluster: &Cluster, node: u64, work: impl Future<Output = ()>) -> u64 {
    let mut highest = 0;
    let mut work = std::pin::pin!(work);
    let mut look = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tokio::select! {
            () = &mut work => return highest,
            _ = look.tick() => highest = highest.max(resident_mib(cluster.server(node).pid())),
        }
    }
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says how much it holds");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number of KiB") >> 10
}

async fn write(client: &Client, part: usize) {
    let writers = (0..WRITERS).map(|writer| async move {
        for n in (writer..VALUES).step_by(WRITERS) {
            let put = async || client.put(key(part, n), value(part, n)).await.ok();
            eventually("a value is written", put).await;
        }
    });
    join_all(writers).await;
}

fn key(part: usize, n: usize) -> String {
    format!("{part}/{n}")
}

fn value(part: usize, n: usize) -> Vec<u8> {
    noise((part * VALUES + n) as u64, VALUE_BYTES)
}
