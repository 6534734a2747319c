use jepsen_checkers::observers::check;
use jepsen_checkers::{Enough, Verdict};

use crate::history;

fn judged(lines: &str) -> Verdict {
    check(&history(lines), Enough::default()).expect("known operations")
}

#[track_caller]
fn broken(lines: &str, words: &str) {
    let verdict = judged(&format!("{TERMS}\n{lines}"));
    assert!(verdict.violation().is_some() && verdict.to_string().contains(words), "expected {words:?} in {verdict}");
}

#[track_caller]
fn fine(lines: &str) {
    let verdict = judged(&format!("{TERMS}\n{lines}"));
    assert!(verdict.is_valid(), "{verdict}");
}

/// Two leaders, the first of which was lost and the second of which resigned.
const TERMS: &str = "
    0  0-10 ok acquire e null token=5 until_ns=40
    1 20-60 ok acquire e null token=9 until_ns=90
    1 80-85 ok release e null token=9";

#[test]
fn nobody_sees_leaders_go_back() {
    fine("7 11-12 ok observe e null -> 0 token=5\n 7 55-58 ok observe e null -> 0 token=9");
    broken("7 50-51 ok observe e null -> 0 token=9\n 7 52-53 ok observe e null -> 0 token=5", "after it had seen");
    broken("7 11-12 ok observe e null -> 3 token=5\n 7 13-14 ok leader e null -> 2 token=5", "proclaiming 2, after");
    fine("7 50-51 ok observe e null -> 0 token=9\n 8 52-53 ok observe e null -> 0 token=5");
}

#[test]
fn nobody_sees_who_leads_no_more() {
    broken("7 61-62 ok leader e null -> 0 token=5", "had been granted the newer token 9");
    fine("7 59-62 ok leader e null -> 0 token=5");
    broken("7 86-88 ok leader e null -> 0 token=9", "had resigned before");
    fine("7 84-88 ok leader e null -> 0 token=9");
}

#[test]
fn who_leads_for_certain_is_seen() {
    broken("7 11-39 ok leader e null", "that nobody leads, while process 0 led for certain");
    broken("7 11-39 ok observe e null -> 0 token=6", "that token 6 leads, while process 0 led for certain");
    fine("7 10-39 ok leader e null");
    fine("7 11-40 ok leader e null");
    fine("7 70-80 ok leader e null");
    broken("7 70-79 ok leader e null", "while process 1 led for certain");
    fine("7 11-39 fail leader e null\n 7 41-42 ok leader e null");
}

#[test]
fn an_election_that_nobody_watched_is_vacuous() {
    assert_eq!(judged(TERMS).exit_code(), 2);
}
