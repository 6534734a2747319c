use jepsen_checkers::leases::{free_in_the_end, never_early, only_the_holder};
use jepsen_checkers::{Enough, Verdict};

use crate::history;

fn early(lines: &str) -> Verdict {
    never_early(&history(lines), Enough::default()).expect("known operations")
}

const HELD: &str = "
    0  0-10 ok acquire l null token=5 until_ns=50
    0 11-15 ok write   l 1    token=5 until_ns=40";

/// A write that is refused, a renewal, a release, a look: however the holder learns of it, it is too early.
#[test]
fn whoever_learns_before_its_time_that_its_lease_is_over_has_a_case() {
    assert!(early(HELD).is_valid());
    for learns in ["fail write l 2", "fail renew l null", "fail release l null"] {
        let learned = |when: &str| early(&format!("{HELD}\n 0 {when} {learns} token=5 refused=over"));
        let verdict = learned("20-49");
        assert!(verdict.to_string().contains("that its lease with token 5 is over"), "{verdict}");
        assert_eq!(verdict.violation().map(|explanation| explanation.operations.len()), Some(2), "{verdict}");
        assert!(learned("20-50").is_valid(), "the latest time that it was told counts, and not longer");
        assert!(early(&format!("{HELD}\n 0 20-49 {learns} token=5")).is_valid(), "refused for another reason");
    }
    assert!(early(&format!("{HELD}\n 0 49-49 ok lost l null token=5")).violation().is_some());
    assert!(early(&format!("{HELD}\n 0 50-51 ok lost l null token=5")).is_valid());
    let renewed = format!("{HELD}\n 0 16-20 ok renew l null token=5 until_ns=90");
    assert!(early(&format!("{renewed}\n 0 80-85 fail write l 2 token=5 refused=over")).violation().is_some());
    let other = format!("{HELD}\n 0 20-30 fail write m 2 token=5 refused=over");
    assert!(early(&other).is_valid(), "that token of another lock says nothing");
}

#[test]
fn what_the_holder_gave_up_may_be_over() {
    for outcome in ["ok", "info"] {
        let lines = format!(
            "{HELD}\n 0 16-20 {outcome} release l null token=5\n 0 21-25 fail write l 2 token=5 refused=over\n 0 26-26 ok lost l null token=5"
        );
        assert!(early(&lines).is_valid(), "{outcome}");
    }
    let before = format!("{HELD}\n 0 16-17 fail write l 2 token=5 refused=over\n 0 21-25 ok release l null token=5");
    assert!(early(&before).violation().is_some(), "it had not asked for that yet");
}

#[test]
fn leases_that_nobody_used_in_time_are_vacuous() {
    assert_eq!(early("0 0-10 ok acquire l null token=5 until_ns=50").exit_code(), 2);
    assert_eq!(early(&HELD.replace("11-15", "41-55")).exit_code(), 2, "told when it could have been over");
}

#[test]
fn a_stranger_who_is_told_that_it_is_done_has_done_it() {
    let judged = |lines: &str| only_the_holder(&history(lines), Enough { ok_min: 0, telling_min: 1 }).expect("known");
    let refused = format!("{HELD}\n 7 20-25 fail steal l null refused=NOT_THE_HOLDER");
    assert!(judged(&refused).is_valid());
    let done = judged(&format!("{refused}\n 7 30-35 ok steal l \"renewal\""));
    assert!(done.to_string().contains("a lease that is not its own: \"renewal\""), "{done}");
    assert_eq!(judged(&format!("{HELD}\n 7 20-25 fail steal l null")).exit_code(), 2, "nobody answered");
}

#[test]
fn every_lock_is_granted_in_the_end() {
    let judged = |lines: &str| free_in_the_end(&history(lines));
    assert_eq!(judged(HELD).exit_code(), 2, "nobody asked");
    assert_eq!(judged(&format!("{HELD}\n 1 60-70 info acquire l null final=true")).exit_code(), 2, "nobody knows");
    assert!(judged(&format!("{HELD}\n 1 60-70 ok acquire l null token=6 final=true")).is_valid());
    let never = format!("{HELD}\n 1 60-900 fail acquire l null final=true refused=timeout");
    assert!(judged(&never).to_string().contains("longer than any lease lasts"), "{}", judged(&never));
}
