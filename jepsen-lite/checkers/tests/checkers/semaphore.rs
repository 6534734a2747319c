use jepsen_checkers::semaphore::check;
use jepsen_checkers::{Enough, Verdict};

use crate::history;

fn judged(lines: &str, permits: usize) -> Verdict {
    check(&history(lines), permits, Enough::default()).expect("known operations")
}

#[test]
fn as_many_as_there_are_permits_may_hold() {
    let lines = "
        0  0-10 ok acquire s null token=1 permit=0
        1  0-11 ok acquire s null token=2 permit=1
        0 20-25 ok release s null token=1
        2 12-22 ok acquire s null token=3 permit=0
        3  0-50 fail acquire s null";
    assert!(judged(lines, 2).is_valid(), "from the request to release on, the permit may be another's");
    let verdict = judged(lines, 1);
    assert!(verdict.to_string().contains("2 held for certain at 0.000011 ms, of 1 that there are"), "{verdict}");
    assert_eq!(verdict.violation().expect("broken").operations.len(), 2);
}

#[test]
fn a_permit_number_has_one_holder() {
    let lines = "0 0-10 ok acquire s null token=1 permit=0\n 1 12-22 ok acquire s null token=3 permit=0";
    let verdict = judged(lines, 5);
    assert!(verdict.to_string().contains("granted permit 0"), "{verdict}");
    assert!(judged(&lines.replace("token=3 permit=0", "token=3 permit=1"), 5).is_valid());
}

/// What a client gave up by itself is not held any more, although it was never released.
#[test]
fn a_loss_ends_what_is_certain() {
    let held = "0 0-10 ok acquire s null token=1\n 1 12-22 ok acquire s null token=3";
    assert!(judged(held, 1).violation().is_some());
    assert!(judged(&format!("{held}\n 0 21-21 ok lost s null token=1"), 1).is_valid());
    assert!(judged(&format!("{held}\n 0 21-21 ok lost s null"), 1).is_valid(), "known by its process");
    assert!(judged(&format!("{held}\n 0 23-23 ok lost s null token=1"), 1).violation().is_some(), "too late");
    assert!(judged(&format!("{held}\n 5 21-21 ok lost s null"), 1).violation().is_some(), "of another process");
}

/// A holder need not write down its loss if it has written down how long it was told to have the lease.
#[test]
fn what_was_told_ends_what_is_certain() {
    let held = |until: &str| {
        format!(
            "0 0-10 ok acquire s null token=1 {until}\n 0 11-12 ok write s 1 token=1\n 1 12-22 ok acquire s null token=3"
        )
    };
    assert!(judged(&held("until_ns=22"), 1).is_valid(), "until, and not longer");
    assert!(judged(&held("until_ns=23"), 1).violation().is_some());
    let renewed = format!("{}\n 0 13-15 ok renew s null token=1 until_ns=30", held("until_ns=15"));
    assert!(judged(&renewed, 1).violation().is_some(), "the latest word counts");
    let released = format!("{renewed}\n 0 16-40 info release s null token=1");
    assert!(judged(&released, 1).is_valid(), "it has given it up");
}

#[test]
fn nobody_holding_anything_is_vacuous() {
    assert_eq!(judged("0 0-10 fail acquire s null", 1).exit_code(), 2);
}
