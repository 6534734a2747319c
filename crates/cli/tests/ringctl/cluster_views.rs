use serde_json::{Value, json};

use crate::fake::FakeNode;
use crate::program::ringctl;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn shard_list_for_scripts_and_for_people() {
    let fake = FakeNode::start();
    let list = parsed(ringctl(&fake, ["shard", "list", "-w", "json"]).ok());
    let shard = json!({
        "shard": "1", "first_position": "0000000000000000", "last_position": "7fffffffffffffff",
        "range_epoch": "1", "membership_epoch": "1", "leader_node": "1",
        "replicas": [{"replica": "11", "node": "1", "voter": true}],
    });
    assert_eq!(list["shards"].as_array().unwrap().len(), 2);
    assert_eq!(list["shards"][0], shard);
    let lines = ringctl(&fake, ["shard", "list", "-w", "ndjson"]);
    assert_eq!(lines.ok().lines().map(parsed).next(), Some(shard));
    let table = "\
SHARD  POSITIONS                           LEADER  REPLICAS  EPOCH
s1     0000000000000000..7fffffffffffffff  n1      n1        1.1
s2     8000000000000000..ffffffffffffffff  n1      n1        1.1
";
    assert_eq!(ringctl(&fake, ["shard", "list"]).ok(), table);
}

#[test]
fn cluster_status_for_scripts() {
    let fake = FakeNode::start();
    let status = parsed(ringctl(&fake, ["cluster", "status", "-w", "json"]).ok());
    assert_eq!(status["cluster"], "65261");
    assert_eq!(status["nodes"][0]["up"], true);
    let replica = &status["nodes"][0]["replicas"][1];
    assert_eq!(
        (&replica["shard"], &replica["role"], &replica["applied_index"]),
        (&json!("1"), &json!("leader"), &json!("8"))
    );
    let leaders: Vec<&Value> = status["shards"].as_array().unwrap().iter().map(|shard| &shard["leader_node"]).collect();
    assert_eq!(leaders, [&json!("1"), &json!("1"), &Value::Null]);
    assert_eq!(status["problems"].as_array().unwrap().len(), 3, "{status}");
}

#[test]
fn cluster_status_for_people() {
    let fake = FakeNode::start();
    let shown = ringctl(&fake, ["cluster", "status"]);
    let text = shown.ok().replace(&fake.address.to_string(), "ADDR");
    for line in [
        "cluster 65261: 1 of 1 nodes up, 2 of 3 groups led, revision 7000000000000000000",
        "s1     n1      1 of 1       3     8        0      100",
        "s2     none    0 of 1",
        "  r12 of s2 on n1: its log ends early",
        "  the disk of n1 has 12 MiB left, less than its reserve of 64 MiB, so it takes no more data. Free some space there \
         or enlarge the volume",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line:?} is not in\n{text}");
    }
}

/// An operator sees which node waits, and for what; a script sees by the exit code whether there was anything to replace.
#[test]
fn a_distrusted_node_is_shown_and_replaced_when_asked_to() {
    let fake = FakeNode::start();
    assert_eq!(ringctl(&fake, ["node", "replace", "1"]).code, 4);
    assert_eq!(ringctl(&fake, ["node", "replace", "9"]).code, 4);
    fake.waits("a file is missing");
    let shown = ringctl(&fake, ["cluster", "status"]);
    assert!(shown.ok().contains("n1 is distrusted: a file is missing. It waits for you: `ringctl node replace 1`"));
    assert!(shown.ok().contains("DISTRUSTED"));
    let replaced = parsed(ringctl(&fake, ["node", "replace", "1", "-w", "json"]).ok());
    assert_eq!(replaced, json!({"node": "1", "replacing": true}));
    let status = parsed(ringctl(&fake, ["cluster", "status", "-w", "json"]).ok());
    assert_eq!(status["nodes"][0]["distrust"]["waiting"], false);
    assert_eq!(status["nodes"][0]["distrust"]["replicas"], 3);
}

/// A script that drains a node goes by the exit code: done or nothing to do, or refused with nothing done.
#[test]
fn leadership_is_moved_or_refused_with_a_reason() {
    let fake = FakeNode::start();
    let shown = ringctl(&fake, ["shard", "transfer-leader", "1"]);
    assert_eq!(shown.ok(), "Leadership of s1 transferred from n1 to n2\n");
    assert_eq!(ringctl(&fake, ["shard", "transfer-leader", "0", "--to", "1"]).ok(), "n1 leads s0 already\n");
    let moved = parsed(ringctl(&fake, ["shard", "transfer-leader", "1", "--to", "2", "-w", "json"]).ok());
    assert_eq!(moved, json!({"shard": "1", "from_node": "1", "leader_node": "2", "transferred": true}));
    let stayed = parsed(ringctl(&fake, ["shard", "transfer-leader", "1", "--to", "1", "-w", "json"]).ok());
    assert_eq!((&stayed["transferred"], &stayed["leader_node"]), (&json!(false), &json!("1")));

    ringctl(&fake, ["shard", "transfer-leader", "7"]).fails(4, "there is no such shard");
    ringctl(&fake, ["shard", "transfer-leader", "1", "--to", "3"]).fails(4, "lags by 1000 entries");
    ringctl(&fake, ["shard", "transfer-leader", "1", "--to", "9"]).fails(4, "no voter is there");
    for bad in [&["s1"][..], &["-1"], &["1", "--to", "0"], &["1", "--to"], &[]] {
        let ran = ringctl(&fake, [&["shard", "transfer-leader"], bad].concat());
        assert_eq!((ran.code, ran.text()), (3, ""), "{bad:?}: {}", ran.stderr);
    }
}

/// One line per shard, and an exit code that tells "differ" from "could not be compared".
#[test]
fn verify_says_of_each_shard_whether_its_replicas_are_equal() {
    let fake = FakeNode::start();
    let ran = ringctl(&fake, ["cluster", "verify", "--command-timeout", "200ms"]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("not all replicas could be compared: s2"), "{}", ran.stderr);
    let hash = "ab".repeat(16);
    let lines: Vec<&str> = ran.text().lines().collect();
    assert_eq!(lines[0], "SHARD  RESULT          APPLIED  KEYS  HASH");
    assert_eq!(lines[1], format!("s0     equal           8        5     n1 {hash}"));
    assert_eq!(lines[2], format!("s1     equal           8        5     n1 {hash}"));
    assert!(lines[3].starts_with("s2     not comparable") && lines[3].contains("its log ends early"), "{}", lines[3]);
    assert_eq!(lines.len(), 4);

    let ran = ringctl(&fake, ["cluster", "verify", "--command-timeout", "200ms", "-w", "json"]);
    let verified = parsed(ran.text());
    assert_eq!((ran.code, &verified["equal"]), (5, &json!(false)));
    let expected = json!({
        "shard": "1", "result": "equal", "why": null,
        "replicas": [{
            "node": "1", "replica": "11", "applied_index": "8", "applied_term": "3", "revision": "7000000000000000000",
            "hash": hash, "keys": "5", "records": "6", "bytes": "7",
        }],
    });
    assert_eq!(verified["shards"][1], expected);
    assert_eq!(verified["shards"][2]["result"], "not_comparable");
    let lines = ringctl(&fake, ["cluster", "verify", "--command-timeout", "200ms", "-w", "ndjson"]);
    assert_eq!(lines.text().lines().map(parsed).nth(1), Some(expected));
}
