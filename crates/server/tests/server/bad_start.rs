//! Starts that must fail, with one line that says what to do.

use ringfence_server::{Config, Node, RawConfig, StartError, bind};
use ringfence_storage::StorageError;
use tokio::net::TcpListener;

use crate::harness::{Cluster, get, put};

async fn anywhere() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn refused(config: Config) -> StartError {
    let error = Node::start(config, anywhere().await).await.err().expect("it does not start");
    let text = error.to_string();
    assert!(!text.contains('\n') && text.len() > 30, "{text:?}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let taken = anywhere().await;
    let address = taken.local_addr().unwrap().to_string();
    let raw = RawConfig {
        node: Some(1),
        data_dir: Some("/nonexistent".into()),
        initial_cluster: Some(vec![format!("1={address}")]),
        ..RawConfig::default()
    };
    let error = bind(&Config::from_raw(raw).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains(&address) && error.to_string().contains("--listen"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let cluster = Cluster::start(1).await;
    let error = refused(cluster.config(1)).await;
    assert!(matches!(error, StartError::Storage(StorageError::InUse { .. })), "{error}");
    cluster.kv(1).await.put(put("k", "v")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_node_or_cluster_is_refused_and_left_alone() {
    let mut cluster = Cluster::start(3).await;
    cluster.kv(1).await.put(put("k", "v")).await.unwrap();
    cluster.stop(3).await;

    let own = cluster.raw_config(3);
    let other_node = RawConfig { node: Some(2), ..own.clone() };
    let other_name = RawConfig { cluster_name: Some("other".into()), ..own.clone() };
    let mut other_founders = own.clone();
    other_founders.initial_cluster.as_mut().unwrap().push("4=127.0.0.1:9".into());
    for raw in [other_node, other_name, other_founders] {
        let error = refused(Config::from_raw(raw.clone()).unwrap()).await;
        assert!(matches!(error, StartError::Storage(StorageError::Foreign { .. })), "{raw:?}: {error}");
    }

    cluster.restart(3).await;
    cluster.until_led().await;
    assert_eq!(cluster.kv(3).await.get(get("k")).await.unwrap().into_inner().kv.unwrap().value, "v");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_something_else_in_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.odt"), "years of work").unwrap();
    let raw = RawConfig {
        node: Some(1),
        data_dir: Some(dir.path().into()),
        initial_cluster: Some(vec!["1=127.0.0.1:7401".into()]),
        ..RawConfig::default()
    };
    let error = refused(Config::from_raw(raw).unwrap()).await;
    assert!(error.to_string().contains("thesis.odt"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was made in it");
}

/// The record of the founding decides what a restart believes; a damaged one must not be guessed around.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_founding_record_is_refused() {
    let mut cluster = Cluster::start(1).await;
    cluster.stop(1).await;
    let file = cluster.dir.path().join("node-1/founding.json");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let error = refused(cluster.config(1)).await;
    assert!(matches!(error, StartError::Founding { .. }), "{error}");
    let format = |format: u32| {
        let text = String::from_utf8(whole.clone()).unwrap();
        assert!(text.contains("\"format\": 2"), "{text}");
        std::fs::write(&file, text.replace("\"format\": 2", &format!("\"format\": {format}"))).unwrap();
    };
    format(3);
    let error = refused(cluster.config(1)).await;
    assert!(matches!(error, StartError::Storage(StorageError::UnknownVersion { .. })), "{error}");
    format(1); // an older release wrote it
    cluster.restart(1).await;
}

/// The program itself: exit code 1 and one line on stderr.
#[test]
fn the_program_says_in_one_line_why_it_does_not_start() {
    let start = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringfence"));
        let output = command.arg("start").args(args).env_clear().output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = start(&["--config", "/nonexistent/node.toml"]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("/nonexistent/node.toml"), "{text}");

    let (code, text) = start(&["--node", "4", "--data-dir", "/nonexistent", "--initial-cluster", "1=a:1,2=a:2"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("node 4 is not in the initial cluster"), "{text}");

    let (code, text) = start(&["--node", "one"]);
    assert_eq!(code, Some(2), "bad usage: {text}");
}
