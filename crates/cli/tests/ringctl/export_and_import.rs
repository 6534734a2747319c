use std::collections::BTreeMap;

use crate::fake::FakeNode;
use crate::program::{ringctl, ringctl_with_stdin};

/// Every byte, in keys and in values, alone and among text.
fn odd_records() -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut records: BTreeMap<Vec<u8>, Vec<u8>> = (0..=255u8).map(|b| (vec![b], vec![b, b'x'])).collect();
    records.insert(b"all".to_vec(), (0..=255).collect());
    records.insert("grün\t\r\n\"\\\u{2028}".into(), "\u{1f980}".into());
    records.insert(vec![b'k'; 4096], vec![1; 1 << 20]);
    records.insert(vec![0xff; 4096], vec![0xff; 1 << 20]);
    records.insert(b"empty".to_vec(), vec![]);
    records
}

#[test]
fn export_then_import_brings_back_every_byte() {
    let records = odd_records();
    let fake = FakeNode::start();
    let dir = tempfile::tempdir().unwrap();
    for hex in [&[][..], &["--hex"]] {
        records.iter().for_each(|(key, value)| fake.set(key, value));
        let file = dir.path().join("export.ndjson");
        let file = file.to_str().unwrap();
        let exported = ringctl(&fake, [&["export", file], hex].concat());
        assert_eq!((exported.code, exported.text()), (0, ""), "{}", exported.stderr);
        fake.clear();
        let imported = ringctl(&fake, ["import", file]);
        assert_eq!(imported.code, 0, "{}", imported.stderr);
        assert!(imported.stderr.starts_with(&format!("{} records acknowledged", records.len())), "{}", imported.stderr);
        assert!(fake.contents() == records, "a byte got lost");
        fake.clear();
    }
}

/// The same through a pipe; a ttl comes along.
#[test]
fn export_to_stdout_is_import_from_stdin() {
    let fake = FakeNode::start();
    ringctl(&fake, ["put", "{u}a", "1", "--ttl", "1h"]).ok();
    ringctl(&fake, ["put", "b", "2"]).ok();
    let exported = ringctl(&fake, ["export", "--tag", "u"]);
    assert_eq!(exported.text().lines().count(), 1);
    fake.clear();
    assert_eq!(ringctl_with_stdin(&fake, ["import", "-"], &exported.stdout).code, 0);
    assert!(ringctl(&fake, ["get", "{u}a", "-w", "json"]).ok().contains("\"ttl_ms\":\"3600000\""));
    assert_eq!(fake.contents().len(), 1);
}

#[test]
fn tsv_is_known_by_its_name_or_by_the_flag() {
    let fake = FakeNode::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("words.TSV");
    std::fs::write(&file, "a\t1\r\nb\t2\t3\n\nc\t").unwrap();
    assert_eq!(ringctl(&fake, ["import", file.to_str().unwrap()]).code, 0);
    assert_eq!(ringctl_with_stdin(&fake, ["import", "-", "--format", "tsv", "--hex"], b"ff\t00\n").code, 0);
    let expected: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"b", b"2\t3"), (b"c", b""), (b"\xff", b"\0")];
    assert_eq!(fake.contents(), expected.map(|(key, value)| (key.to_vec(), value.to_vec())).into());
}

/// Records are sent together, but those of one key one after the other.
#[test]
fn the_last_line_of_a_key_wins() {
    let fake = FakeNode::start();
    let mut lines = String::new();
    for n in 0..500 {
        lines
            .push_str(&format!("{{\"key\":\"same\",\"value\":\"{n}\"}}\n{{\"key\":\"busy:{n}\",\"value\":\"{n}\"}}\n"));
    }
    assert_eq!(ringctl_with_stdin(&fake, ["import", "-"], lines.as_bytes()).code, 0);
    assert_eq!(fake.contents()[&b"same"[..]], b"499");
    assert_eq!(fake.contents().len(), 501);
}

#[test]
fn if_absent_leaves_keys_alone_and_says_how_many() {
    let fake = FakeNode::start();
    fake.set(b"a", b"old");
    let dir = tempfile::tempdir().unwrap();
    let acked = dir.path().join("acked");
    let ran = ringctl_with_stdin(
        &fake,
        ["import", "-", "--if-absent", "--acked", acked.to_str().unwrap()],
        b"{\"key\":\"a\",\"value\":\"new\"}\n{\"key\":\"b\",\"value\":\"new\"}\n",
    );
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("1 records acknowledged") && ran.stderr.contains("1 there already"), "{}", ran.stderr);
    assert_eq!(fake.contents()[&b"a"[..]], b"old");
    assert_eq!(std::fs::read_to_string(acked).unwrap(), "\"b\"\n");
}

/// Scripts read stdout and stderr; a progress bar in a log file is noise.
#[test]
fn nothing_but_the_summary_is_printed_when_stderr_is_no_terminal() {
    let fake = FakeNode::start();
    let ran = ringctl_with_stdin(&fake, ["import", "-"], b"");
    assert_eq!((ran.code, ran.text()), (0, ""));
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("0 records acknowledged in "), "{}", ran.stderr);
}
