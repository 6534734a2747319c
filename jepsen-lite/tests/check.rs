//! `jepsen-lite check` as a program: its exit codes are what scripts go by.

use std::io::Write;
use std::process::{Command, Stdio};

fn check(model: &str, history: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jepsen-lite"));
    command.args(["check", "-", "--model", model]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(history.as_bytes()); // it may have refused before reading
    let ended = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ended.status.code().unwrap(), text(ended.stdout), text(ended.stderr))
}

fn event(time: u32, process: u32, kind: &str, f: &str, value: &str) -> String {
    format!(r#"{{"time":{time},"process":{process},"type":"{kind}","f":"{f}","key":"x","value":{value}}}"#) + "\n"
}

/// Write 1, then read this, many times over, so that it is enough.
fn history(read: &str) -> String {
    let mut events = event(0, 0, "invoke", "write", "1") + &event(5, 0, "ok", "write", "1");
    for n in 1..200 {
        let value = if n == 150 { read } else { "1" };
        events += &event(10 * n, 1, "invoke", "read", "null");
        events += &event(10 * n + 5, 1, "ok", "read", value);
    }
    events
}

#[test]
fn the_exit_code_tells_the_verdict() {
    let (code, out, err) = check("register", &history("1"));
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let (code, out, _) = check("register", &history("null"));
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("process 1 read x = null"), "it says what is wrong: {out}");
    let (code, out, _) = check("register", "");
    assert_eq!(code, 2, "nothing is not enough: {out}");
}

#[test]
fn what_is_no_history_is_no_verdict_and_names_its_line() {
    let broken = history("1").replacen("\"invoke\"", "\"begin\"", 2).replacen("\"begin\"", "\"invoke\"", 1);
    let (code, out, err) = check("register", &broken);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("line 3"), "{err}");
    let (code, _, err) = check("registre", &history("1"));
    assert_eq!(code, 3);
    assert!(err.contains("register, counter, set"), "{err}");
    let mut missing = Command::new(env!("CARGO_BIN_EXE_jepsen-lite"));
    let missing = missing.args(["check", "/nonexistent", "--model", "set"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(3));
}
