//! A server that must not start says why, in one line that says what to do, and leaves everything as it was.

use std::path::Path;

use ringfence_tests::{Cluster, Ended, Server, free_ports};

fn try_start(arguments: &[String], log: &Path) -> Ended {
    let ended = Server::start(arguments, log).wait();
    assert!(!ended.success, "{arguments:?} should not have started");
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_a_foreign_directory_and_a_taken_port_are_refused_and_nothing_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    client.put("k", "v").await.unwrap();
    let log = cluster.path("refused.log");

    // The same directory again, on another port.
    let port = free_ports(1)[0];
    let mut again = cluster.arguments(1);
    again.push(format!("--listen=127.0.0.1:{port}"));
    let ended = try_start(&again, &log);
    assert!(ended.log.contains("in use"), "{}", ended.log);

    // Another node's directory.
    cluster.kill(2);
    let mut foreign = cluster.arguments(2);
    foreign[2] = format!("--data-dir={}", cluster.data_dir(1).display());
    let ended = try_start(&foreign, &log);
    assert!(ended.log.contains("in use") || ended.log.contains("belongs to node"), "{}", ended.log);
    cluster.kill(1);
    let ended = try_start(&foreign, &log);
    assert!(ended.log.contains("belongs to node 1"), "{}", ended.log);

    // The right node, in another cluster.
    let mut other = cluster.arguments(2);
    other.push("--cluster-name=other".to_owned());
    let ended = try_start(&other, &log);
    assert!(ended.log.contains("belongs to cluster"), "{}", ended.log);

    // A port that is taken: by node 3, which runs.
    let mut taken = cluster.arguments(2);
    taken.push(format!("--listen={}", cluster.address(3)));
    let ended = try_start(&taken, &log);
    assert!(ended.log.contains(cluster.address(3)) && ended.log.contains("in use"), "{}", ended.log);

    // As it should be, all is there.
    cluster.start_node(1);
    cluster.start_node(2);
    cluster.level().await;
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_cannot_be_read_names_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let config = dir.path().join("node.toml");
    let start = |file: &Path| vec!["start".to_owned(), format!("--config={}", file.display())];

    let ended = try_start(&start(&dir.path().join("missing.toml")), &log);
    assert!(ended.log.contains("missing.toml"), "{}", ended.log);

    std::fs::write(&config, "node = 1\nshards = \"three\"\n").unwrap();
    let ended = try_start(&start(&config), &log);
    assert!(ended.log.contains("node.toml line 2"), "{}", ended.log);

    std::fs::write(&config, "node = 1\nsharts = 3\n").unwrap();
    let ended = try_start(&start(&config), &log);
    assert!(ended.log.contains("sharts"), "{}", ended.log);

    std::fs::write(&config, "node = 4\ndata_dir = \"d\"\ninitial_cluster = [\"1=127.0.0.1:1\"]\n").unwrap();
    let ended = try_start(&start(&config), &log);
    assert!(ended.log.contains("node 4 is not in the initial cluster"), "{}", ended.log);
}
