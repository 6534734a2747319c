use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::fake::FakeNode;
use crate::program::{command, ringctl_with_stdin};

fn lines(records: impl IntoIterator<Item = (String, usize)>) -> String {
    records.into_iter().map(|(key, n)| format!("{{\"key\":\"{key}\",\"value\":\"{n}\"}}\n")).collect()
}

fn acked_keys(path: &std::path::Path) -> BTreeSet<Vec<u8>> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str::<String>(line).unwrap().into_bytes()).collect()
}

/// What stands before the bad line is written and listed; what stands behind it is never sent.
#[test]
fn a_malformed_line_ends_the_import_with_its_number() {
    let fake = FakeNode::start();
    let dir = tempfile::tempdir().unwrap();
    let acked = dir.path().join("acked");
    let good = |from: usize| lines((from..from + 100).map(|n| (format!("k{n}"), n)));
    let input = format!("{}\n{{\"key\":\"cut-off\",\"val\n{}", good(0), good(100));
    let ran = ringctl_with_stdin(&fake, ["import", "-", "--acked", acked.to_str().unwrap()], input.as_bytes());
    assert_eq!((ran.code, ran.text()), (3, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("stdin, line 102:"), "{}", ran.stderr);
    assert!(ran.stderr.contains("100 records acknowledged"), "{}", ran.stderr);
    let written: BTreeSet<Vec<u8>> = fake.contents().into_keys().collect();
    assert_eq!(written, (0..100).map(|n| format!("k{n}").into_bytes()).collect());
    assert_eq!(acked_keys(&acked), written);
}

/// `cat /dev/zero | ringctl import -` must end, and not by filling the memory.
#[test]
fn an_endless_line_ends_the_import() {
    let fake = FakeNode::start();
    let mut input = lines([("a".to_owned(), 1)]).into_bytes();
    input.resize(9 << 20, b'x');
    let ran = ringctl_with_stdin(&fake, ["import", "-"], &input);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("line 2: the line is longer"), "{}", ran.stderr);
    assert_eq!(fake.contents().len(), 1);
}

/// One record that the cluster will not have is no reason to keep the others from it.
#[test]
fn refused_records_are_listed_and_the_others_are_written() {
    let fake = FakeNode::start();
    let records = (0..50).map(|n| (if n % 5 == 0 { format!("large:{n}") } else { format!("k{n}") }, n));
    let ran = ringctl_with_stdin(&fake, ["import", "-"], lines(records).as_bytes());
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("40 records acknowledged") && ran.stderr.contains("10 failed"), "{}", ran.stderr);
    let listed = ran.stderr.lines().filter(|line| line.starts_with("  line ")).count();
    assert_eq!(listed, 5, "{}", ran.stderr);
    assert_eq!(fake.contents().len(), 40);
}

/// A lost answer may be a write: the code says so, and the key is not among the acknowledged ones.
#[test]
fn a_record_with_unknown_outcome_is_exit_code_5_and_not_acknowledged() {
    let fake = FakeNode::start();
    let dir = tempfile::tempdir().unwrap();
    let acked = dir.path().join("acked");
    let input = lines([("a".to_owned(), 1), ("lost:b".to_owned(), 2), ("c".to_owned(), 3)]);
    let args = ["import", "-", "--command-timeout", "500ms", "--acked", acked.to_str().unwrap()];
    let ran = ringctl_with_stdin(&fake, args, input.as_bytes());
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("1 with unknown outcome") && ran.stderr.contains("line 2: "), "{}", ran.stderr);
    assert_eq!(acked_keys(&acked), [b"a".to_vec(), b"c".to_vec()].into());
}

/// After the first record without an answer nothing new is sent: sixty seconds times fifty thousand is a month.
#[test]
fn an_import_into_a_dead_cluster_ends_after_one_deadline() {
    let fake = FakeNode::start();
    let input = lines((0..10_000).map(|n| (format!("lost:{n}"), n)));
    let args = ["import", "-", "--command-timeout", "500ms", "--concurrency", "4"];
    let started = Instant::now();
    let ran = ringctl_with_stdin(&fake, args, input.as_bytes());
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(fake.contents().len() < 100, "{} records were sent", fake.contents().len());
}

#[test]
fn acknowledged_keys_that_cannot_be_written_down_end_the_import() {
    let fake = FakeNode::start();
    let ran = ringctl_with_stdin(
        &fake,
        ["import", "-", "--acked", "/nonexistent/acked"],
        lines([("a".to_owned(), 1)]).as_bytes(),
    );
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("/nonexistent/acked"), "{}", ran.stderr);
    assert!(fake.contents().is_empty());
}

/// Both rely on the file while the import still runs: whoever follows it, and whoever kills it and looks what was done.
#[cfg(unix)]
#[test]
fn acknowledged_keys_are_there_at_once_and_an_interrupt_ends_the_import_in_order() {
    let fake = FakeNode::start();
    let dir = tempfile::tempdir().unwrap();
    let acked = dir.path().join("acked");
    let mut command = command();
    command.env("RINGCTL_ENDPOINTS", fake.address.to_string()).args(["import", "-", "--acked"]).arg(&acked);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines((0..100).map(|n| (format!("k{n}"), n))).as_bytes()).unwrap();

    // The input stays open: the import cannot be at its end.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !std::fs::read_to_string(&acked).is_ok_and(|text| text.lines().count() == 100) {
        assert!(Instant::now() < deadline, "the acknowledged keys are not in the file");
        std::thread::yield_now();
    }
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
    let code = child.wait().unwrap().code();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.starts_with("100 records acknowledged") && stderr.contains("error: interrupted"), "{stderr}");
}
