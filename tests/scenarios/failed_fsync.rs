//! A sync that fails once and then works again is the worst of all: the operating system has dropped what was to be synced, and
//! says that all is well from then on. So the process stops at the first failure, with nothing acknowledged that was not
//! synced, and finds out at its next start what the disk really has.

use std::time::Duration;

use ringfence_client::Outcome;
use ringfence_tests::{Cluster, Ended, Fault, Load, SyncFaults, eventually, temporary_directory};

/// The process has failed, and says what did.
fn assert_says_why(ended: &Ended) {
    assert!(!ended.success);
    let last = ended.log.lines().last().unwrap_or_default();
    assert!(last.starts_with("ringfence: ") && last.contains("Input/output error"), "{last}\n{}", ended.log);
}

/// With one node every acknowledgement stands on its own sync, so the write whose sync fails must not get one.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_sync_failed_is_not_acknowledged_and_the_node_stops() {
    let (mut cluster, faults) = SyncFaults::start_cluster(1, &[]).await;
    let client = cluster.client().await;
    client.put("before", "1").await.unwrap();
    for round in 0..3 {
        let key = format!("during/{round}");
        faults.order(Fault::Fails, &["/log/", ".log"]);
        let put = {
            let (client, key) = (client.clone(), key.clone());
            tokio::spawn(async move { tokio::time::timeout(Duration::from_secs(5), client.put(&key, "2")).await })
        };
        let bitten = faults.bitten().await;
        assert!(bitten.extension().is_some_and(|ending| ending == "log"), "{}", bitten.display());
        assert_says_why(&cluster.ended(1).await);
        if let Ok(Ok(_)) = put.await.unwrap() {
            panic!("{key} was acknowledged, and its sync had failed");
        }
        // The first sync of the next start is that of the vote: a vote that may not be there is not given.
        faults.order(Fault::Fails, &["/log/", ".log"]);
        let offices = |log: &str| log.matches("took office").count();
        let before = offices(&std::fs::read_to_string(cluster.path("node-1.log")).unwrap());
        cluster.start_node(1);
        faults.bitten().await;
        let ended = cluster.ended(1).await;
        assert_says_why(&ended);
        assert_eq!(offices(&ended.log), before, "a leader was elected by a vote that was not synced");

        cluster.start_node(1);
        cluster.led().await;
        assert_eq!(client.get("before").await.unwrap().unwrap().value, "1");
        client.put(format!("after/{round}"), "3").await.unwrap();
    }
}

/// The others go on, and everything acknowledged is there; the node that stopped goes on when it is started again.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_stops_at_a_failed_sync_of_its_log_and_comes_back() {
    let (mut cluster, faults) = SyncFaults::start_cluster(3, &["--on-distrust=wait"]).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    for node in 1..=3 {
        load.goes_on(100).await;
        faults.order(Fault::Fails, &[&format!("/node-{node}/log/"), ".log"]);
        faults.bitten().await;
        assert_says_why(&cluster.ended(node).await);
        load.goes_on(100).await;
        cluster.start_node(node);
        cluster.level_within(64).await;
    }
    load.stop_and_check().await;
    cluster.level().await;
}

/// The state DB's log is synced before a log is cut: if that fails, the cut must not happen.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_of_the_state_stops_the_node_before_its_log_is_cut() {
    let (mut cluster, faults) = SyncFaults::start_cluster(3, &["--log-keep-entries=100", "--on-distrust=wait"]).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    load.goes_on(100).await;
    faults.order(Fault::Fails, &["/node-2/state/", ".log"]);
    faults.bitten().await;
    assert_says_why(&cluster.ended(2).await);
    load.goes_on(100).await;
    cluster.start_node(2);
    cluster.level_within(64).await;
    load.stop_and_check().await;
    cluster.level().await;
}

/// RocksDB writes its tables in the background. One that is not on the disk must not take the place of the log that it was
/// made of.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_of_a_table_stops_the_node() {
    let (mut cluster, faults) = SyncFaults::start_cluster(3, &["--shards=1", "--on-distrust=wait"]).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 2);
    load.goes_on(20).await;
    let node = cluster.leader(1).await;
    faults.order(Fault::Fails, &[&format!("/node-{node}/state/"), ".sst"]);
    // More than the state DB keeps in memory. What is put after the table has failed may meet a leader that stops.
    let value = vec![0x5a; 1 << 20];
    eventually("the state DB writes a table", async || {
        let put = client.put("large", value.clone()).await;
        assert!(put.is_ok() || put.as_ref().is_err_and(|e| e.outcome() != Outcome::Refused), "{put:?}");
        faults.bite()
    })
    .await;
    load.goes_on(20).await;
    assert_says_why(&cluster.ended(node).await);
    cluster.start_node(node);
    cluster.level_within(64).await;
    assert_eq!(client.get("large").await.unwrap().unwrap().value, value);
    load.stop_and_check().await;
    cluster.level().await;
}

/// What a start writes: the files that say whose the directory is, and those with which a database begins. A start that fails
/// at any of them says so, and the next one succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_sync_fails_says_so_and_the_next_one_goes_on() {
    let mut cluster = Cluster::prepare(temporary_directory(), 1, &[]);
    let faults = SyncFaults::new(&cluster.path("faults"));
    cluster.environment(faults.environment());
    let dir = cluster.data_dir(1);
    let first = [
        "/identity.new".to_owned(),
        format!("={}", dir.display()),
        "/founding.json.new".to_owned(),
        "/log/MANIFEST".to_owned(),
        "/state/MANIFEST".to_owned(),
        "/state/ .log".to_owned(), // the seed
    ];
    for file in &first {
        faults.order(Fault::Fails, &[file]);
        cluster.start_node(1);
        faults.bitten().await;
        let ended = cluster.ended(1).await;
        assert_says_why(&ended);
    }
    faults.withdraw();
    cluster.start_node(1);
    cluster.led().await;
    let client = cluster.client().await;
    client.put("k", "v").await.unwrap();
    for file in ["/log/MANIFEST", "/state/MANIFEST", "/log/ .sst", "/state/ .sst", "/log/ .dbtmp"] {
        cluster.kill(1);
        faults.order(Fault::Fails, &[file]);
        cluster.start_node(1);
        faults.bitten().await;
        assert_says_why(&cluster.ended(1).await);
        faults.withdraw();
        cluster.start_node(1);
        cluster.led().await;
        assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
        client.put("k", "v").await.unwrap(); // so that the next start finds something in the logs
    }
}
