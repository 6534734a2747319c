use jepsen_checkers::tokens::{Resource, check};
use jepsen_checkers::{Enough, Verdict};

use crate::history;

fn judged(lines: &str, resource: Resource) -> Verdict {
    check(&history(lines), resource, Enough::default()).expect("known operations")
}

#[track_caller]
fn broken(lines: &str, resource: Resource, words: &str, operations: usize) {
    let verdict = judged(lines, resource);
    let text = verdict.to_string();
    assert!(text.contains(words), "expected {words:?} in {text}");
    assert_eq!(verdict.violation().map(|explanation| explanation.operations.len()), Some(operations), "{text}");
}

const SLEEPER: &str = "
    0  0-10  ok   acquire l null token=5
    0 12-14  ok   write   l 1    token=5 revision=6
    1 20-30  ok   acquire l null token=9";

/// Two holders at a time are no violation, as long as the resource refuses one of them.
#[test]
fn a_sleeper_that_is_refused_does_no_harm() {
    for resource in [Resource::ChecksLease, Resource::RemembersHighest] {
        let verdict = judged(
            &format!("{SLEEPER}\n 1 31-33 ok write l 2 token=9 revision=10\n 0 40-50 fail write l 3 token=5"),
            resource,
        );
        assert!(verdict.is_valid(), "{verdict}");
    }
}

#[test]
fn a_write_below_one_accepted_before_is_stale() {
    let lines =
        format!("{SLEEPER}\n 1 31-90 ok write l 2 token=9 revision=10\n 0 25-95 ok write l 3 token=5 revision=11");
    for resource in [Resource::ChecksLease, Resource::RemembersHighest] {
        broken(&lines, resource, "token 5 at revision 11, after that of process 1 with token 9 at revision 10", 4);
    }
}

/// Overlapping writes may be accepted in either order; only the resource knows which.
#[test]
fn the_resources_own_order_counts_where_it_is_known() {
    let lines =
        format!("{SLEEPER}\n 1 31-90 ok write l 2 token=9 revision=11\n 0 25-95 ok write l 3 token=5 revision=10");
    assert!(judged(&lines, Resource::ChecksLease).is_valid());
    let lines = format!("{SLEEPER}\n 1 31-90 ok write l 2 token=9\n 0 25-95 ok write l 3 token=5");
    assert!(judged(&lines, Resource::ChecksLease).is_valid());
    let lines = format!("{SLEEPER}\n 1 31-40 ok write l 2 token=9\n 0 41-95 ok write l 3 token=5");
    broken(&lines, Resource::RemembersHighest, "after a write of process 1 with token 9 was accepted", 4);
}

/// Who looks the lease up refuses as soon as it is another's; who only remembers what it saw can't.
#[test]
fn a_write_after_a_higher_grant_is_stale_where_the_lease_is_checked() {
    let lines = format!("{SLEEPER}\n 0 40-50 ok write l 3 token=5");
    broken(&lines, Resource::ChecksLease, "after process 1 had been granted token 9", 3);
    assert!(judged(&lines, Resource::RemembersHighest).is_valid());
    let overlapping = format!("{SLEEPER}\n 0 29-50 ok write l 3 token=5");
    assert!(judged(&overlapping, Resource::ChecksLease).is_valid(), "it may have come first");
    let elsewhere =
        format!("{SLEEPER}\n 0 40-50 ok write other 3 token=5 lock=1\n 2 0-1 ok acquire other null token=5 lock=1");
    assert!(judged(&elsewhere, Resource::ChecksLease).is_valid(), "another lock");
}

#[test]
fn a_write_after_its_own_release_is_stale_where_the_lease_is_checked() {
    let lines = "0 0-10 ok acquire l null token=5\n 0 11-12 ok release l null token=5\n 0 13-14 ok write l 1 token=5";
    broken(lines, Resource::ChecksLease, "after process 0 had released that token", 3);
    assert!(judged(lines, Resource::RemembersHighest).is_valid());
}

#[test]
fn a_token_that_nobody_was_granted_is_forged() {
    let lines = "0 0-10 ok acquire l null token=5\n 0 13-14 ok write l 1 token=6";
    broken(lines, Resource::ChecksLease, "nobody was ever granted that", 1);
    let maybe = format!("{lines}\n 1 0-9 info acquire l null");
    assert!(judged(&maybe, Resource::ChecksLease).is_valid(), "the unknown acquire may have got it");
    let early = "0 10-20 ok acquire l null token=5\n 1 3-4 ok write l 1 token=5";
    broken(early, Resource::ChecksLease, "before process 0 asked for that lease", 2);
}

#[test]
fn tokens_are_granted_once_and_rise_with_time() {
    broken(
        "0 0-10 ok acquire l null token=5\n 1 5-15 ok acquire l null token=5",
        Resource::ChecksLease,
        "token 5 was granted twice, to process 0 and to process 1",
        2,
    );
    broken(
        "0 0-10 ok acquire l null token=5\n 1 11-15 ok acquire l null token=4",
        Resource::ChecksLease,
        "process 1 was granted token 4, which it had asked for at 0.000011 ms, after process 0 had been granted the higher token 5",
        2,
    );
    let overlapping = "0 0-10 ok acquire l null token=5\n 1 10-15 ok acquire l null token=4";
    assert!(judged(overlapping, Resource::ChecksLease).is_valid());
    let two_locks = "0 0-10 ok acquire l null token=5\n 1 11-15 ok acquire m null token=4";
    assert!(judged(two_locks, Resource::ChecksLease).is_valid());
}
