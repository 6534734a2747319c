//! What every engine promises, run on all of them.

use std::ops::ControlFlow;

use bytes::Bytes;
use ringfence_storage::engine::{Batch, Durability, Engine, Table};

use crate::fixture::engines;

const A: Table = Table(0);
const B: Table = Table(1);

fn check(property: fn(&dyn Engine)) {
    for (name, engine, _dir) in engines(&["a", "b"]) {
        println!("on {name}");
        property(&*engine);
    }
}

fn put(engine: &dyn Engine, table: Table, pairs: &[(&'static str, &'static str)]) {
    let mut batch = Batch::new();
    for (key, value) in pairs {
        batch.put(table, *key, *value);
    }
    engine.write(batch, Durability::Buffered).unwrap();
}

fn scan(engine: &dyn Engine, table: Table, from: &str, to: &str) -> Vec<String> {
    let mut found = Vec::new();
    engine
        .scan(table, from.as_bytes(), to.as_bytes(), &mut |key, value| {
            found.push(format!("{}={}", key.escape_ascii(), value.escape_ascii()));
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

#[test]
fn a_read_sees_every_write_that_returned() {
    check(|engine| {
        assert_eq!(engine.get(A, b"k").unwrap(), None);
        put(engine, A, &[("k", "1")]);
        assert_eq!(engine.get(A, b"k").unwrap(), Some("1".into()));
        put(engine, A, &[("k", ""), ("l", "2")]);
        assert_eq!(engine.get(A, b"k").unwrap(), Some(Bytes::new()), "an empty value is a value");
        assert_eq!(engine.get(B, b"k").unwrap(), None, "tables are apart");
        let many = engine.get_many(A, &["l".into(), "absent".into(), "k".into(), "l".into()]).unwrap();
        assert_eq!(many, [Some("2".into()), None, Some(Bytes::new()), Some("2".into())]);
    });
}

#[test]
fn a_scan_is_ordered_by_bytes_and_leaves_out_its_end() {
    check(|engine| {
        put(engine, A, &[("b", "2"), ("a", "1"), ("c", "3"), ("ab", "x"), ("", "empty")]);
        assert_eq!(scan(engine, A, "", "\u{7f}"), ["=empty", "a=1", "ab=x", "b=2", "c=3"]);
        assert_eq!(scan(engine, A, "a", "b"), ["a=1", "ab=x"]);
        assert_eq!(scan(engine, A, "a\0", "c"), ["ab=x", "b=2"]);
        assert!(scan(engine, A, "b", "b").is_empty());
        assert!(scan(engine, A, "c", "a").is_empty(), "an inverted range holds nothing");
        assert!(scan(engine, A, "a", "").is_empty());
    });
}

#[test]
fn a_scan_ends_when_the_visitor_breaks() {
    check(|engine| {
        put(engine, A, &[("a", "1"), ("b", "2"), ("c", "3")]);
        let mut visited = 0;
        let visit = &mut |_: &[u8], _: &[u8]| {
            visited += 1;
            if visited == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        engine.scan(A, b"", b"z", visit).unwrap();
        assert_eq!(visited, 2);
    });
}

/// A visitor that reads or writes must not meet a lock that the scan holds.
#[test]
fn a_visitor_may_use_the_engine() {
    check(|engine| {
        put(engine, A, &[("a", "1"), ("b", "2")]);
        let visit = &mut |key: &[u8], value: &[u8]| {
            assert_eq!(engine.get(A, key).unwrap().unwrap(), value);
            let mut batch = Batch::new();
            batch.put(B, Bytes::copy_from_slice(key), "seen");
            engine.write(batch, Durability::Buffered).unwrap();
            ControlFlow::Continue(())
        };
        engine.scan(A, b"", b"z", visit).unwrap();
        assert_eq!(scan(engine, B, "", "z"), ["a=seen", "b=seen"]);
    });
}

#[test]
fn changes_of_a_batch_happen_in_order() {
    check(|engine| {
        put(engine, A, &[("a", "old"), ("b", "old"), ("c", "old")]);
        let mut batch = Batch::new();
        batch.put(A, "a", "lost");
        batch.delete_range(A, "a", "c");
        batch.put(A, "b", "new");
        batch.put(A, "d", "lost");
        batch.delete(A, "d");
        batch.delete(A, "never there");
        batch.delete_range(A, "z", "a");
        engine.write(batch, Durability::Synced).unwrap();
        assert_eq!(scan(engine, A, "", "zz"), ["b=new", "c=old"]);
    });
}

#[test]
fn a_range_deletion_takes_its_range_and_no_other_table() {
    check(|engine| {
        put(engine, A, &[("a", "1"), ("b", "2"), ("ba", "3"), ("c", "4")]);
        put(engine, B, &[("b", "2")]);
        let mut batch = Batch::new();
        batch.delete_range(A, "b", "c");
        engine.write(batch, Durability::Buffered).unwrap();
        assert_eq!(scan(engine, A, "", "z"), ["a=1", "c=4"]);
        assert_eq!(scan(engine, B, "", "z"), ["b=2"]);
        put(engine, A, &[("b", "again")]);
        assert_eq!(engine.get(A, b"b").unwrap(), Some("again".into()), "a deletion is not a ban");
    });
}

#[test]
fn a_snapshot_shows_one_moment_of_all_tables() {
    check(|engine| {
        put(engine, A, &[("a", "1")]);
        put(engine, B, &[("b", "1")]);
        let snapshot = engine.snapshot().unwrap();
        put(engine, A, &[("a", "2"), ("c", "2")]);
        let mut batch = Batch::new();
        batch.delete_range(B, "", "z");
        engine.write(batch, Durability::Synced).unwrap();
        assert_eq!(snapshot.get(A, b"a").unwrap(), Some("1".into()));
        assert_eq!(snapshot.get(A, b"c").unwrap(), None);
        let mut found = Vec::new();
        let visit = &mut |key: &[u8], _: &[u8]| {
            found.push(key.to_vec());
            ControlFlow::Continue(())
        };
        snapshot.scan(B, b"", b"z", visit).unwrap();
        assert_eq!(found, [b"b".to_vec()]);
        assert_eq!(engine.get(A, b"a").unwrap(), Some("2".into()), "the engine has gone on");
    });
}

#[test]
fn an_estimate_of_nothing_is_nothing() {
    check(|engine| {
        put(engine, A, &[("a", "1")]);
        engine.sync().unwrap();
        let estimate = engine.estimate(A, b"x", b"z").unwrap();
        assert_eq!((estimate.keys, estimate.bytes), (0, 0));
        let inverted = engine.estimate(A, b"z", b"a").unwrap();
        assert_eq!((inverted.keys, inverted.bytes), (0, 0));
    });
}
