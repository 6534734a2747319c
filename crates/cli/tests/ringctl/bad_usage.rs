use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::fake::FakeNode;
use crate::program::{command, ringctl, run};

/// Bad usage is 3 whether the parser or the cluster finds it, and the cluster must not have been changed.
#[test]
fn bad_usage_is_exit_code_3() {
    let fake = FakeNode::start();
    for args in [
        &["frobnicate"][..],
        &[],
        &["put", "a"],
        &["put", "a", "1", "2"],
        &["put", "a", "1", "--file", "f"],
        &["put", "a", "1", "--ttl", "10"],
        &["put", "a", "1", "--ttl", "-5s"],
        &["put", "a", "1", "--ttl", "0s"],
        &["put", "a", "1", "--ttl", "99999d"],
        &["put", "--hex", "xx", "00"],
        &["put", "--hex", "00", "0"],
        &["put", "", "1"],
        &["get", ""],
        &["get", "a", "-w", "xml"],
        &["get", "a", "--file", "f", "-w", "json"],
        &["get", "a", "--endpoints", "no-port"],
        &["get", "a", "--command-timeout", "10"],
        &["cas", "a", "--put", "1"],
        &["cas", "a", "--absent"],
        &["cas", "a", "--absent", "--exists", "--put", "1"],
        &["cas", "a", "--absent", "--put", "1", "--delete"],
        &["cas", "a", "--exists", "--delete", "--ttl", "1s"],
        &["cas", "a", "--revision", "soon", "--put", "1"],
        &["incr", "a", "1.5"],
        &["incr", "a", "9223372036854775808"],
        &["incr", "a", "1", "--min", "2", "--max", "1"],
        &["scan", "--tag", "a", "--prefix", "b"],
        &["scan", "--tag", ""],
        &["scan", "--tag", "a}b"],
        &["scan", "--limit", "0"],
        &["import"],
        &["import", "/nonexistent/file"],
        &["import", "/"],
        &["import", "-", "--hex"],
        &["import", "-", "--concurrency", "0"],
        &["bench", "--workload", "cas"],
        &["bench", "--clients", "0"],
        &["bench", "--clients", "513"],
        &["bench", "--clients", "1,,2"],
        &["bench", "--duration", "10"],
        &["bench", "--path", "http"],
        &["bench", "--key-size", "20"],
        &["bench", "--value-size", "1048577"],
        &["bench", "--keys", "0"],
        &["bench", "--workload", "cas-many", "--clients", "64", "--keys", "63"],
        &["bench", "--server-pids", "4294967295"],
        &["bench", "--name", "a/b"],
        &["bench", "--clean", "--keep"],
        &["lock", "a"],
        &["lock", "a", "--"],
        &["lock", "a", "true"],
        &["lock", "--", "true"],
        &["lock", "", "--", "true"],
        &["lock", "a", "--ttl", "10", "--", "true"],
        &["lock", "a", "--ttl", "99ms", "--", "true"],
        &["lock", "a", "--ttl", "25h", "--", "true"],
        &["lock", "a", "--ttl", "4s", "--grace", "2001ms", "--", "true"],
        &["lock", "a", "--shared", "--permits", "2", "--", "true"],
        &["lock", "a", "--permits", "0", "--", "true"],
        &["lock", "a", "--permits", "1025", "--", "true"],
        &["lock", "a", "--wait", "1s", "--no-wait", "--", "true"],
        &["lock", "a", "--holder", "", "--", "true"],
        &["elect", "a"],
        &["elect", "a", "v", "w", "--", "true"],
        &["elect", "a", "--observe", "--", "true"],
        &["elect", "a", "v", "--observe"],
        &["elect", "a", "--observe", "--ttl", "1s"],
        &["elect", "", "--observe"],
        &["lease"],
        &["lease", "inspect"],
        &["lease", "inspect", ""],
        &["lease", "inspect", "--hex", "x"],
        &["lease", "release", "a", "--holder", "b"],
        &["lease", "release", "a", "--token", "1"],
        &["lease", "release", "a", "--holder", "b", "--token", "0"],
        &["lease", "release", "a", "--holder", "", "--token", "1"],
        &["completions", "tcsh"],
        &["cluster"],
    ] {
        let ran = ringctl(&fake, args);
        assert_eq!((ran.code, ran.text()), (3, ""), "{args:?}: {}", ran.stderr);
        assert!(!ran.stderr.is_empty(), "{args:?} says nothing");
    }
    assert!(fake.contents().is_empty());
}

#[test]
fn keys_and_values_that_are_too_long_are_exit_code_3() {
    let fake = FakeNode::start();
    ringctl(&fake, ["put", &"k".repeat(4097), "1"]).fails(3, "4096");
    ringctl(&fake, ["get", &"k".repeat(4097)]).fails(3, "4096");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large");
    std::fs::write(&file, vec![0; (1 << 20) + 1]).unwrap();
    ringctl(&fake, ["put", "a", "--file", file.to_str().unwrap()]).fails(3, "1048576");
    ringctl(&fake, ["put", "large:a", "1"]).fails(3, "larger");
    assert!(fake.contents().is_empty());
}

#[test]
fn help_version_and_completions_need_no_cluster() {
    for args in
        [&["--help"][..], &["--version"], &["import", "--help"], &["cluster", "status", "-h"], &["completions", "bash"]]
    {
        let mut command = command();
        command.args(args);
        assert!(run(command, b"").ok().contains("ringctl"), "{args:?}");
    }
}

#[test]
fn no_node_is_exit_code_2() {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for args in [
        &["get", "a"][..],
        &["put", "a", "1"],
        &["import", "-"],
        &["cluster", "status"],
        &["shard", "list"],
        &["lock", "a", "--", "true"],
        &["elect", "a", "--observe"],
        &["lease", "list"],
        &["bench"],
    ] {
        let mut command = command();
        command.args(["--endpoints", &address.to_string(), "--command-timeout", "300ms"]).args(args);
        run(command, b"").fails(2, &address.to_string());
    }
}

/// Something listens but never answers: a firewall, a stopped process. The deadline holds all the same.
#[test]
fn a_silent_node_is_given_up_at_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = command();
    command.args(["--endpoints", &silent.local_addr().unwrap().to_string(), "--command-timeout", "300ms", "get", "a"]);
    let started = Instant::now();
    run(command, b"").fails(2, "no node answered");
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Flags beat the environment.
#[test]
fn endpoints_on_the_command_line_count() {
    let fake = FakeNode::start();
    let mut command = command();
    let endpoints = format!("127.0.0.1:1,{}", fake.address);
    command.env("RINGCTL_ENDPOINTS", "nonsense").args(["--endpoints", &endpoints, "put", "a", "1"]);
    run(command, b"").ok();
    assert_eq!(fake.contents().len(), 1);
}
