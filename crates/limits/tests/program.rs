//! The program as `cargo xtask bench` sees it.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};

fn limits() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ringfence-limits"))
}

/// Every limit prints a row that says which it is and how much it was; nothing else goes to stdout.
#[test]
fn every_limit_has_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let output = limits()
        .args(["--clients", "1,8", "--duration-ms", "200", "--warm-up-ms", "20", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<(&str, u64)> =
        rows.iter().map(|row| (row["limit"].as_str().unwrap(), row["clients"].as_u64().unwrap())).collect();
    let expected = [
        ("echo-unary", 1),
        ("echo-unary", 8),
        ("echo-stream", 1),
        ("echo-stream", 8),
        ("echo-sdk", 1),
        ("echo-sdk", 8),
        ("rocksdb", 1),
        ("fdatasync", 1),
    ];
    assert_eq!(names, expected);
    for row in &rows {
        assert!(row["p50_us"].as_f64().unwrap() > 0.0 && row["p99_us"].as_f64() >= row["p50_us"].as_f64(), "{row}");
    }
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "it cleans up");
}

#[test]
fn bad_usage_is_exit_code_3_and_a_directory_that_is_not_there_1() {
    for args in [&["--limits", "speed-of-light"][..], &["--clients", "many"], &["--fast"]] {
        let output = limits().args(args).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b""[..]), "{args:?}");
    }
    let output = limits().args(["--limits", "fdatasync", "--dir", "/nonexistent"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent"));
}

/// Whoever measures may be killed at any moment. The server that it started must not stay behind.
#[test]
fn the_echo_server_ends_when_nobody_holds_its_stdin() {
    let mut command = limits();
    command.args(["echo-server", "--value-size", "1"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut address = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut address).unwrap();
    TcpStream::connect(address.trim()).unwrap();
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
    assert!(TcpStream::connect(address.trim()).is_err());
}
