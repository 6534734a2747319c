use jepsen_checkers::elements::{Elements, check};
use jepsen_checkers::{Enough, Verdict};
use serde_json::json;

use crate::history;

fn judged(lines: &str) -> (Verdict, Elements) {
    check(&history(lines), Enough::default()).expect("known operations")
}

const ADDS: &str = "
    0 0-10 ok   add s 1
    1 0-10 ok   add s 2
    2 0-10 info add s 3
    3 0-10 fail add s 4
    4 0-90 ok   add s 5";

#[test]
fn what_was_acknowledged_is_there_and_nothing_else() {
    for list in ["[1,2]", "[2,1,3]", "[1,2,5]", "[5,1,3,2]"] {
        let (verdict, elements) = judged(&format!("{ADDS}\n 9 20-30 ok read s null -> {list}"));
        assert!(verdict.is_valid(), "{list}: {verdict}");
        assert_eq!(elements.dubious.contains(&json!(3)), list.contains('3'), "{list}");
    }
}

#[test]
fn lost_phantom_refused_and_doubled_elements_are_found() {
    let cases = [
        ("[1]", "without 2, acknowledged to process 1"),
        ("[1,2,7]", "found 7, which nobody ever added"),
        ("[1,2,4]", "found 4, which was refused, or added only later"),
        ("[1,2,2]", "found 2 twice"),
    ];
    for (list, words) in cases {
        let (verdict, _) = judged(&format!("{ADDS}\n 9 20-30 ok read s null -> {list}"));
        assert!(verdict.to_string().contains(words), "{list}: {verdict}");
    }
    let (_, all) = judged(&format!("{ADDS}\n 9 20-30 ok read s null -> [7,7,4]"));
    assert_eq!(all.lost, [json!(1), json!(2)]);
    assert_eq!((all.phantom, all.twice), (vec![json!(7), json!(4)], vec![json!(7)]));
}

#[test]
fn adds_that_nobody_read_are_vacuous() {
    assert_eq!(judged(ADDS).0.exit_code(), 2);
}
