use jepsen_checkers::final_read::{counters, registers};
use jepsen_checkers::{Enough, Verdict};

use crate::history;

fn register(lines: &str) -> Verdict {
    registers(&history(lines), Enough::default()).expect("known operations")
}

fn counter(lines: &str) -> Verdict {
    counters(&history(lines), Enough::default()).expect("known operations")
}

#[test]
fn the_last_acknowledged_write_is_there() {
    let writes = "
        0  0-10 ok   write x 1
        0 11-30 ok   write x 2
        1 15-25 ok   write x 3
        2 12-40 fail write x 4
        3  5-99 info write x 5";
    for (value, valid) in
        [("1", false), ("2", true), ("3", true), ("4", false), ("5", true), ("6", false), ("null", false)]
    {
        let verdict = register(&format!("{writes}\n 7 100-110 ok read x null -> {value}"));
        assert_eq!((verdict.is_valid(), verdict.violation().is_some()), (valid, !valid), "{value}: {verdict}");
    }
    let refused = register(&format!("{writes}\n 7 100-110 ok read x null -> 4"));
    assert!(refused.to_string().contains("which process 2 had been refused to write"), "{refused}");
    let lost = register(&format!("{writes}\n 7 100-110 ok read x null -> 1"));
    assert!(lost.to_string().contains("lost is process 1's write of 3"), "{lost}");
}

#[test]
fn deletes_and_compare_and_sets_count() {
    let lines = "0 0-10 ok cas x [null,1]\n 0 11-20 ok delete x null\n 7 100-110 ok read x null -> ";
    assert!(register(&format!("{lines}null")).is_valid());
    assert!(register(&format!("{lines}1")).violation().is_some());
    assert!(register("7 100-110 ok read x null -> null").is_valid(), "never written");
}

#[test]
fn a_key_without_final_read_is_a_gap() {
    let verdict = register("0 0-10 ok write x 1\n 1 5-15 ok read x null -> 1\n 2 20-30 ok read y null");
    assert_eq!(verdict.exit_code(), 2, "{verdict}");
    assert!(verdict.to_string().contains("no read of x was asked for after the last change of x"), "{verdict}");
}

#[test]
fn counters_hold_what_was_acknowledged_and_perhaps_what_is_unknown() {
    let adds = "0 0-10 ok add c 3\n 1 0-10 info add c 2\n 2 0-10 info add c -1\n 3 0-10 fail add c 50";
    for (value, valid) in [(1, false), (2, true), (3, true), (5, true), (6, false), (53, false)] {
        let verdict = counter(&format!("{adds}\n 7 100-110 ok read c null -> {value}"));
        assert_eq!((verdict.is_valid(), verdict.violation().is_some()), (valid, !valid), "{value}: {verdict}");
    }
    assert_eq!(counter(adds).exit_code(), 2, "no final read");
}
