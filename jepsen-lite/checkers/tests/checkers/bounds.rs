use jepsen_checkers::bounds::{as_reads, check};
use jepsen_checkers::{Enough, Model, Settings, Verdict, judge};

use crate::history;

fn judged(lines: &str) -> Verdict {
    check(&history(lines), Enough::default()).expect("known operations")
}

#[test]
fn a_sum_lies_within_its_bounds() {
    for (sum, valid) in [(-1, false), (0, true), (9, true), (10, false)] {
        let verdict = judged(&format!("0 0-10 ok add c 3 -> [3,{sum}] min=0 max=9"));
        assert_eq!((verdict.is_valid(), verdict.violation().is_some()), (valid, !valid), "{sum}: {verdict}");
    }
}

#[test]
fn nothing_is_refused_that_would_fit() {
    let refused =
        |current: i64| judged(&format!("0 0-1 ok add c 3 -> [3,3] max=9\n 0 2-9 fail add c 3 max=9 current={current}"));
    assert!(refused(7).is_valid());
    assert!(refused(6).to_string().contains("was refused to add 3 to 6"), "{}", refused(6));
    assert!(judged("0 0-1 ok add c 3 -> [3,3] max=9\n 0 2-9 fail add c 3 max=9").is_valid(), "nobody answered");
}

#[test]
fn adds_without_bounds_are_vacuous() {
    assert_eq!(judged("0 0-10 ok add c 3 -> [3,3]").exit_code(), 2);
}

/// Whoever is refused has looked, and must have seen what there was.
#[test]
fn a_refusal_is_a_read() {
    let lines = |current: i64| format!("0 0-10 ok add c 3 -> [3,3]\n 1 20-30 fail add c -9 min=0 current={current}");
    let counter = |lines: &str| judge(Model::Counter { min: Some(0) }, &as_reads(&history(lines)), Settings::default());
    assert!(counter(&lines(3)).expect("known").is_valid());
    assert!(counter(&lines(0)).expect("known").violation().is_some());
}
