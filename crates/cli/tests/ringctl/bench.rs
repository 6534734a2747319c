//! `ringctl bench` as a script sees it. Whether its figures are right is tested in `ringfence-bench`.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fake::FakeNode;
use crate::program::{Ran, command, ringctl};

const SHORT: [&str; 6] = ["--duration", "200ms", "--warm-up", "20ms", "--keys", "100"];

fn bench<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["bench"], &SHORT[..], args].concat()
}

/// It must have ended with 0. Stderr is not looked at: on a slow machine there are signs of life.
#[track_caller]
fn ok(ran: &Ran) -> &str {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.text()
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every workload runs, over both paths, does something, and cleans up behind itself.
#[test]
fn every_workload_has_a_row_and_no_key_stays() {
    let fake = FakeNode::start();
    fake.set(b"mine", b"1");
    for path in ["sdk", "unary"] {
        let ran = ringctl(&fake, bench(&["--workload", "all", "--clients", "1,8", "--path", path, "-w", "ndjson"]));
        let rows = rows(ok(&ran));
        let names: Vec<_> = rows.iter().map(|row| row["workload"].as_str().unwrap()).collect();
        let expected = ["put", "get", "cas-many", "cas-hot", "mixed-50", "mixed-95"].map(|name| [name, name]);
        assert_eq!(names, expected.as_flattened());
        for row in rows {
            assert_eq!(row["path"], path);
            // The rate of a fifth of a second can be 0 on a busy machine; latencies are there all the same.
            assert!(row["p50_us"].as_f64().unwrap() > 0.0 && row["p50_us"].as_f64() <= row["p99_us"].as_f64(), "{row}");
            assert_eq!(row["errors"], serde_json::json!({}), "{row}");
        }
        assert_eq!(fake.contents().into_keys().collect::<Vec<_>>(), [b"mine".to_vec()], "{path}");
    }
}

#[test]
fn keys_and_values_are_as_long_as_asked_for() {
    let fake = FakeNode::start();
    let args = bench(&["--workload", "mixed-50", "--clients", "2", "--key-size", "50", "--value-size", "7", "--keep"]);
    assert_eq!(ringctl(&fake, args).code, 0);
    assert_eq!(fake.contents().len(), 100);
    assert!(fake.contents().iter().all(|(key, value)| (key.len(), value.len()) == (50, 7)));
}

/// What a killed bench leaves behind can be removed, and nothing else goes with it.
#[test]
fn keys_that_were_kept_are_found_again_and_removed() {
    let fake = FakeNode::start();
    fake.set(b"ringfence-benchmark", b"not one of them");
    let ran = ringctl(&fake, bench(&["--workload", "get", "--clients", "1", "--keep"]));
    assert!(ran.stderr.contains("ringctl bench --clean"), "{}", ran.stderr);
    assert_eq!(fake.contents().len(), 101);
    let ran = ringctl(&fake, ["bench", "--clean"]);
    assert_eq!((ran.code, ran.text(), ran.stderr.as_str()), (0, "", "100 keys removed\n"));
    assert_eq!(fake.contents().len(), 1);
}

#[test]
fn a_table_for_people_and_one_array_for_json() {
    let fake = FakeNode::start();
    let shown = ringctl(&fake, bench(&["--clients", "1"]));
    let lines: Vec<&str> = ok(&shown).lines().collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(
        lines[0].starts_with("WORKLOAD  CLIENTS  PATH  OPS/S") && lines[1].starts_with("put       1        sdk   ")
    );
    let array = ringctl(&fake, bench(&["--clients", "1", "--rounds", "3", "-w", "json"]));
    let rows: Vec<Value> = serde_json::from_str(ok(&array)).unwrap();
    assert_eq!(rows.len(), 2, "a row is the median of its rounds");
    assert!(rows.iter().all(|row| row["rounds"] == 3));
}

/// A figure of a cluster that refuses everything must not look like a slow cluster.
#[test]
fn errors_are_shown_by_kind_and_the_exit_code_is_1() {
    let fake = FakeNode::start();
    fake.refuse_puts();
    let ran = ringctl(&fake, bench(&["--workload", "put", "--clients", "2", "--path", "unary", "-w", "ndjson"]));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("DISK_FULL") && ran.stderr.contains("no result"), "{}", ran.stderr);
    let row = &rows(ran.text())[0];
    assert_eq!(row["ops"], 0.0);
    assert!(row["errors"]["DISK_FULL"].as_u64().unwrap() > 0, "{row}");
}

/// The CPU time of a server on this machine; here the test's own process, in which the fake runs.
#[cfg(target_os = "linux")]
#[test]
fn cpu_of_servers_is_measured_beside_that_of_the_clients() {
    let fake = FakeNode::start();
    let pid = std::process::id().to_string();
    let args =
        ["bench", "--workload", "put", "--clients", "8", "--duration", "1s", "-w", "ndjson", "--server-pids", &pid];
    let row = &rows(ok(&ringctl(&fake, args)))[0];
    for member in ["client_cores", "server_cores", "client_us_per_op", "server_us_per_op"] {
        assert!(row[member].as_f64().unwrap() > 0.0, "{member}: {row}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_bench_removes_its_keys() {
    use rustix::process::{Pid, Signal, kill_process};
    let fake = FakeNode::start();
    let mut command = command();
    command.env("RINGCTL_ENDPOINTS", fake.address.to_string());
    command.args(["bench", "--workload", "get", "--clients", "2", "--duration", "10m"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while fake.contents().len() < 10_000 {
        assert!(Instant::now() < deadline, "{} keys are there", fake.contents().len());
        std::thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
    let code = child.wait().unwrap().code();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("interrupted"), "{stderr}");
    assert!(fake.contents().is_empty(), "{} keys are left", fake.contents().len());
}
