//! A disk that gives back something else than what was written to it: the node notices, takes no part with what it has there,
//! and is filled anew by the others. Afterwards its replicas count like any other's.

use std::path::{Path, PathBuf};

use ringfence_tests::{Cluster, Load, eventually, noise};

/// The largest file of a database with this ending.
fn largest(database: &Path, ending: &str) -> PathBuf {
    let files = std::fs::read_dir(database).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|found| found == ending));
    let size = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
    files.max_by_key(size).unwrap_or_else(|| panic!("there is no .{ending} file in {}", database.display()))
}

/// Flips bits in a third of the file, from its first third on.
fn flip(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let third = bytes.len() / 3;
    bytes[third..2 * third].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(file, bytes).unwrap();
}

/// A node may be damaged in many ways: a bad stretch in the middle of the log DB's newest file, a table file of the state DB
/// cut short, and a file without which RocksDB would make a new, empty database and say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_nodes_are_filled_anew_one_after_the_other_and_count_again() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 4);
    load.goes_on(500).await;
    let log_cut_in_the_middle: fn(&Path) = |dir| flip(&largest(&dir.join("log"), "log"));
    let table_cut_short: fn(&Path) = |dir| {
        let table = std::fs::File::options().write(true).open(largest(&dir.join("state"), "sst")).unwrap();
        table.set_len(table.metadata().unwrap().len() / 2).unwrap();
    };
    let state_forgotten: fn(&Path) = |dir| std::fs::remove_file(dir.join("state").join("CURRENT")).unwrap();
    let faults = [(1, log_cut_in_the_middle), (2, table_cut_short), (3, state_forgotten)];
    for (node, damage) in faults {
        // Opening writes what is in the state DB's log into tables.
        cluster.kill(node);
        cluster.start_node(node);
        cluster.level_within(64).await;
        load.goes_on(200).await;
        cluster.kill(node);
        let dir = cluster.data_dir(node);
        damage(&dir);
        cluster.start_node(node);
        cluster.replaced(node).await;
        let aside = dir.join("distrusted-1");
        assert!(aside.join("state").is_dir() && aside.join("log").is_dir(), "the damaged databases are kept");
        let reason = std::fs::read_to_string(aside.join("reason")).unwrap();
        assert!(cluster.server(node).log().contains(reason.trim()), "the log says why: {reason}");
        load.goes_on(200).await;
    }
    cluster.kill(1);
    load.goes_on(200).await;
    load.stop_and_check().await;
    cluster.level().await;
}

/// Damage that nobody met at the start: whoever reads it stops the process, and the next start does not believe the rest.
#[tokio::test(flavor = "multi_thread")]
async fn damage_that_is_found_while_running_stops_the_node_and_it_is_filled_anew() {
    let mut cluster = Cluster::start_with(3, &["--shards=1"]).await;
    let client = cluster.client().await;
    // More than the state DB keeps in memory, even compressed, so that there are tables to be damaged.
    let value = |n: u64| noise(n, 1 << 20);
    for n in 0..40 {
        client.put(format!("large/{n}"), value(n)).await.unwrap();
    }
    let leader = cluster.leader(1).await;
    let state = cluster.data_dir(leader).join("state");
    eventually("the state DB has written a table", async || {
        let files = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
        let tables = files.filter(|path| path.extension().is_some_and(|ending| ending == "sst"));
        tables.into_iter().any(|table| table.metadata().is_ok_and(|m| m.len() > 8 << 20)).then_some(())
    })
    .await;
    let tables = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    for table in tables.filter(|path| path.extension().is_some_and(|ending| ending == "sst")) {
        // In place: the server has it open.
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::options().write(true).open(&table).unwrap();
        let length = file.metadata().unwrap().len();
        file.write_all_at(&vec![0x55; (length * 9 / 10) as usize], 0).unwrap();
    }
    for n in 0..40 {
        // Whoever leads by then answers with what was written, or not at all: never with something else.
        if let Ok(found) = client.get(format!("large/{n}")).await {
            assert_eq!(found.expect("it was acknowledged").value, value(n));
        }
    }
    eventually("the node has stopped and says why", async || {
        cluster.server(leader).log().contains("Start it again").then_some(())
    })
    .await;
    assert!(!cluster.take(leader).wait().success);
    cluster.start_node(leader);
    cluster.replaced(leader).await;
    let other = cluster.running().into_iter().find(|node| *node != leader).unwrap();
    cluster.kill(other);
    for n in 0..40 {
        assert_eq!(client.get(format!("large/{n}")).await.unwrap().unwrap().value, value(n));
    }
}

/// There is nobody to fill it from, so nothing is moved or given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_says_that_only_a_copy_can_help() {
    let mut cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    client.put("a", "1").await.unwrap();
    cluster.kill(1);
    let dir = cluster.data_dir(1);
    let current = dir.join("log").join("CURRENT");
    let kept = std::fs::read(&current).unwrap();
    std::fs::remove_file(&current).unwrap();
    cluster.start_node(1);
    eventually("it says what can help", async || {
        cluster.server(1).log().contains("Restore the directory from a copy").then_some(())
    })
    .await;
    assert!(!cluster.take(1).wait().success);
    assert!(!dir.join("distrusted-1").exists());
    // The copy helps.
    std::fs::write(&current, kept).unwrap();
    cluster.start_node(1);
    cluster.led().await;
    assert_eq!(client.get("a").await.unwrap().unwrap().value, "1".as_bytes());
}
