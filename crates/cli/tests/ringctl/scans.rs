use std::io::Read;
use std::process::Stdio;

use crate::fake::FakeNode;
use crate::program::{command, ringctl};

fn fake_with_keys() -> FakeNode {
    let fake = FakeNode::start();
    for (key, value) in [("{u}a", "1"), ("{u}b", "two\nlines"), ("{u}c", ""), ("v", "x"), ("w", "y")] {
        fake.set(key.as_bytes(), value.as_bytes());
    }
    fake.set(b"z\xff", b"\x00");
    fake
}

/// The fake gives two records a page: columns widen from page to page and never get narrower.
#[test]
fn a_table_lines_up_and_keeps_each_record_on_its_line() {
    let fake = fake_with_keys();
    let table = "\
KEY  VALUE  REVISION             VERSION  TTL
v    x      7000000000000000004  1
w    y      7000000000000000005  1
z\\xff  \\u{0}  7000000000000000006  1
{u}a   1      7000000000000000001  1
{u}b   two\\nlines  7000000000000000002  1
{u}c               7000000000000000003  1
";
    let shown = ringctl(&fake, ["scan"]);
    assert_eq!(shown.ok(), table);
}

#[test]
fn ndjson_has_a_record_on_each_line_and_json_is_one_array() {
    let fake = fake_with_keys();
    let lines = ringctl(&fake, ["scan", "--prefix", "z", "-w", "ndjson"]);
    assert_eq!(
        lines.ok(),
        "{\"key_hex\":\"7aff\",\"value\":\"\\u0000\",\"revision\":\"7000000000000000006\",\
         \"create_revision\":\"7000000000000000006\",\"version\":\"1\"}\n"
    );
    let array = ringctl(&fake, ["scan", "-w", "json"]);
    let records: Vec<serde_json::Value> = serde_json::from_str(array.ok()).unwrap();
    assert_eq!(records.len(), 6);
    let none = ringctl(&fake, ["scan", "--prefix", "nothing", "-w", "json"]);
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(none.ok()).unwrap(), [] as [serde_json::Value; 0]);
    assert_eq!(ringctl(&fake, ["scan", "--prefix", "nothing", "-w", "ndjson"]).ok(), "");
}

#[test]
fn tag_limit_hex_and_keys_only() {
    let fake = fake_with_keys();
    let keys = |args: &[&str]| -> Vec<String> {
        let args = [&["scan", "-w", "ndjson"], args].concat();
        let ran = ringctl(&fake, args);
        let record = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        ran.ok().lines().map(|line| record(line)["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(&["--tag", "u"]), ["{u}a", "{u}b", "{u}c"]);
    assert_eq!(keys(&["--tag", "u", "--limit", "3"]), ["{u}a", "{u}b", "{u}c"]);
    assert_eq!(keys(&["--limit", "1"]), ["v"]);
    assert_eq!(keys(&["--prefix", "{u}b"]), ["{u}b"]);
    let shown = ringctl(&fake, ["scan", "--tag", "u", "--limit", "1", "--keys-only", "-w", "ndjson"]);
    assert!(!shown.ok().contains("value"), "{}", shown.text());
    assert!(!ringctl(&fake, ["scan", "--keys-only"]).ok().contains("VALUE"));
    // Under --hex the prefix is hex as well: 7b75 is {u.
    let shown = ringctl(&fake, ["scan", "--prefix", "7b75", "--hex", "--limit", "1", "-w", "ndjson"]);
    assert!(shown.ok().starts_with("{\"key_hex\":\"7b757d61\",\"value_hex\":\"31\""), "{}", shown.text());
}

/// `ringctl scan | head` ends quietly: no panic, no message, no error code.
#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let fake = FakeNode::start();
    for n in 0..200 {
        fake.set(format!("key{n:04}").as_bytes(), &[b'x'; 1000]);
    }
    for format in ["table", "json", "ndjson"] {
        let mut command = command();
        command.env("RINGCTL_ENDPOINTS", fake.address.to_string()).args(["scan", "-w", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 10]).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{format}");
    }
}
