use jepsen_checkers::retries::{check, requests};
use jepsen_checkers::{Enough, Model, Outcome, Settings, Verdict, judge};

use crate::history;

fn judged(lines: &str) -> Verdict {
    check(&history(lines), Enough::default()).expect("known operations")
}

const SENT: &str = "
    0  0-10 info add c 3 request=a
    1  5-20 ok   add c 3 -> [3,3] request=a revision=7
    2  9-15 fail add c 3 request=a
    3 40-50 ok   add c 3 -> [3,3] request=a revision=7";

#[test]
fn every_sending_is_told_the_same() {
    assert!(judged(SENT).is_valid());
    for other in ["[3,6] request=a revision=7", "[3,3] request=a revision=8"] {
        let verdict = judged(&format!("{SENT}\n 0 60-70 ok add c 3 -> {other}"));
        assert!(verdict.to_string().contains("request a was told [3,3] at revision 7 at 0.00002 ms, and"), "{verdict}");
    }
    let refused = judged(&format!("{SENT}\n 0 60-70 fail add c 3 request=a decided=OUT_OF_BOUNDS"));
    assert!(refused.to_string().contains("that it is refused: \"OUT_OF_BOUNDS\""), "{refused}");
    assert!(judged(&format!("{SENT}\n 0 60-70 ok add c 3 -> [3,6] request=b revision=8")).is_valid(), "another one");
}

#[test]
fn requests_that_are_told_once_are_vacuous() {
    assert_eq!(judged("0 0-10 info add c 3 request=a\n 1 5-20 ok add c 3 -> [3,3] request=a").exit_code(), 2);
}

/// It began with the first sending, and had happened when the first was told.
#[test]
fn all_sendings_are_one_operation() {
    let one = |lines: &str| requests(&history(lines)).expect("known operations").operations;
    let [op] = &one(SENT)[..] else { panic!("one request") };
    assert_eq!((op.start_ns, op.end_ns, op.outcome), (0, Some(20), Outcome::Ok));
    let [op] = &one("1 5-10 fail add c 3 request=a\n 0 7-20 info add c 3 request=a")[..] else { panic!("one request") };
    assert_eq!((op.start_ns, op.outcome), (5, Outcome::Unknown));
    let [op] = &one("1 5-10 fail add c 3 request=a\n 0 7-20 fail add c 3 request=a decided=X")[..] else {
        panic!("one")
    };
    assert_eq!((op.start_ns, op.outcome), (5, Outcome::Fail));
    let read = "9 60-70 ok read c null -> 6";
    assert_eq!(one(&format!("{SENT}\n{read}")).len(), 2, "what is no request stays");
    let history = requests(&history(&format!("{SENT}\n{read}"))).expect("known operations");
    let verdict = judge(Model::Counter { min: None }, &history, Settings::default()).expect("known operations");
    assert!(verdict.violation().is_some(), "it counted twice: {verdict}");
}
