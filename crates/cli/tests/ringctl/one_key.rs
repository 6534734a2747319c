use crate::fake::FakeNode;
use crate::program::{ringctl, ringctl_with_stdin};

#[test]
fn put_then_get_then_del() {
    let fake = FakeNode::start();
    assert_eq!(ringctl(&fake, ["put", "a", "one"]).ok(), "OK  revision 7000000000000000001  version 1\n");
    assert_eq!(
        ringctl(&fake, ["put", "a", "-1", "-w", "json"]).ok(),
        "{\"revision\":\"7000000000000000002\",\"version\":\"2\"}\n"
    );
    assert_eq!(ringctl(&fake, ["get", "a"]).ok(), "-1\n");
    assert_eq!(
        ringctl(&fake, ["get", "a", "-w", "json"]).ok(),
        "{\"key\":\"a\",\"value\":\"-1\",\"revision\":\"7000000000000000002\",\
         \"create_revision\":\"7000000000000000001\",\"version\":\"2\"}\n"
    );
    assert_eq!(ringctl(&fake, ["del", "a"]).ok(), "deleted  revision 7000000000000000003\n");
    assert_eq!(
        ringctl(&fake, ["del", "a", "-w", "ndjson"]).ok(),
        "{\"revision\":\"7000000000000000004\",\"existed\":false}\n"
    );
    ringctl(&fake, ["get", "a"]).fails(4, "there is no key a");
}

/// Scripts tell "absent" from "empty" by the exit code alone.
#[test]
fn an_empty_value_is_not_an_absent_key() {
    let fake = FakeNode::start();
    ringctl(&fake, ["put", "empty", ""]).ok();
    assert_eq!(ringctl(&fake, ["get", "empty"]).ok(), "\n");
    ringctl(&fake, ["get", "absent", "-w", "json"]).fails(4, "there is no key absent");
}

#[test]
fn every_byte_goes_through_hex_files_and_pipes() {
    let fake = FakeNode::start();
    let all: Vec<u8> = (0..=255).collect();
    let hex: String = all.iter().map(|b| format!("{b:02x}")).collect();
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("in"), dir.path().join("out"));
    std::fs::write(&input, &all).unwrap();

    ringctl(&fake, ["put", "--hex", "ff00", &hex]).ok();
    assert_eq!(fake.contents()[&b"\xff\0"[..]], all);
    assert_eq!(ringctl(&fake, ["get", "--hex", "FF00"]).ok(), format!("{hex}\n"));
    assert!(
        ringctl(&fake, ["get", "--hex", "ff00", "-w", "json"])
            .ok()
            .starts_with(&format!("{{\"key_hex\":\"ff00\",\"value_hex\":\"{hex}\""))
    );

    ringctl(&fake, ["put", "from-file", "--file", input.to_str().unwrap()]).ok();
    assert_eq!(fake.contents()[&b"from-file"[..]], all);
    assert_eq!(ringctl(&fake, ["get", "from-file", "--file", output.to_str().unwrap()]).ok(), "");
    assert_eq!(std::fs::read(&output).unwrap(), all);

    ringctl_with_stdin(&fake, ["put", "from-pipe", "--file", "-"], &all).ok();
    assert_eq!(ringctl(&fake, ["get", "from-pipe", "--file", "-"]).stdout, all);
}

/// Arguments are bytes too on Unix; they must not become U+FFFD on the way.
#[cfg(unix)]
#[test]
fn arguments_that_are_not_utf8_arrive_as_they_are() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let fake = FakeNode::start();
    ringctl(&fake, [OsStr::new("put"), OsStr::from_bytes(b"k\xff"), OsStr::from_bytes(b"\xfe")]).ok();
    assert_eq!(fake.contents()[&b"k\xff"[..]], b"\xfe");
}

#[test]
fn a_ttl_is_sent_in_milliseconds() {
    let fake = FakeNode::start();
    ringctl(&fake, ["put", "a", "1", "--ttl", "90s"]).ok();
    assert!(ringctl(&fake, ["get", "a", "-w", "json"]).ok().contains("\"ttl_ms\":\"90000\""));
    ringctl(&fake, ["cas", "a", "--exists", "--put", "2", "--ttl", "500ms"]).ok();
    assert!(ringctl(&fake, ["get", "a", "-w", "json"]).ok().contains("\"ttl_ms\":\"500\""));
}

#[test]
fn cas_writes_only_if_its_condition_holds() {
    let fake = FakeNode::start();
    ringctl(&fake, ["cas", "a", "--exists", "--put", "1"]).fails(4, "condition");
    ringctl(&fake, ["cas", "a", "--version", "0", "--put", "1"]).ok();
    ringctl(&fake, ["cas", "a", "--absent", "--put", "2"]).fails(4, "condition");
    let revision = "7000000000000000001";
    ringctl(&fake, ["cas", "a", "--revision", revision, "--put", "2"]).ok();
    ringctl(&fake, ["cas", "a", "--revision", revision, "--put", "3"]).fails(4, "condition");
    ringctl(&fake, ["cas", "a", "--value", "1", "--delete"]).fails(4, "condition");
    let deleted = ringctl(&fake, ["cas", "a", "--value", "2", "--delete", "-w", "json"]);
    assert_eq!(deleted.ok(), "{\"revision\":\"7000000000000000003\",\"existed\":true}\n");
    assert!(fake.contents().is_empty());
}

#[test]
fn incr_prints_the_sum_and_keeps_its_bounds() {
    let fake = FakeNode::start();
    assert_eq!(ringctl(&fake, ["incr", "n", "--max", "1"]).ok(), "1\n");
    assert_eq!(ringctl(&fake, ["incr", "n", "-3", "--min", "-2"]).ok(), "-2\n");
    ringctl(&fake, ["incr", "n", "-1", "--min", "-2"]).fails(4, "-2");
    ringctl(&fake, ["incr", "n", "5", "--max", "2"]).fails(4, "bounds");
    assert_eq!(
        ringctl(&fake, ["incr", "n", "9", "-w", "json"]).ok(),
        "{\"value\":\"7\",\"revision\":\"7000000000000000003\",\"version\":\"3\"}\n"
    );
    fake.set(b"word", b"seven");
    ringctl(&fake, ["incr", "word"]).fails(4, "integer");
}

/// The SDK sends again with the same id; the fake answers from its memory, like a shard.
#[test]
fn an_overloaded_cluster_is_asked_again_and_the_change_counts_once() {
    let fake = FakeNode::start();
    assert_eq!(ringctl(&fake, ["incr", "busy:n", "5"]).ok(), "5\n");
}

#[test]
fn a_lost_answer_is_exit_code_5() {
    let fake = FakeNode::start();
    ringctl(&fake, ["put", "lost:a", "1", "--command-timeout", "300ms"]).fails(5, "may have happened");
}
