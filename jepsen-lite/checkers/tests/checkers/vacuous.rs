use jepsen_checkers::{Enough, Limits, Model, Settings, Verdict, Why, judge};

use crate::history;

fn missing(lines: &str, enough: Enough) -> Option<String> {
    let settings = Settings { enough, limits: Limits::default() };
    match judge(Model::Register, &history(lines), settings).expect("known operations") {
        Verdict::Unknown { why: Why::Vacuous { missing } | Why::Unread { missing }, .. } => Some(missing),
        Verdict::Valid { .. } => None,
        other => panic!("{other}"),
    }
}

/// Nothing wrong in nothing is no proof.
#[test]
fn a_history_in_which_nothing_happened_is_unknown() {
    let enough = Enough::default();
    assert!(missing("", enough).is_some(), "empty");
    assert!(missing("0 0-5 fail write x 1\n 1 6-9 info read x null", enough).is_some(), "all refused or unknown");
    let blind = missing("0 0-5 ok write x 1\n 0 6-9 ok write x 2", enough).expect("nobody looked");
    assert_eq!(blind, "0 answers could have been wrong, of at least 1");
    assert_eq!(missing("0 0-5 ok write x 1\n 0 6-9 ok read x null -> 1", enough), None);
}

#[test]
fn more_can_be_asked_for() {
    let lines = "0 0-5 ok write x 1\n 0 6-9 ok read x null -> 1";
    assert_eq!(missing(lines, Enough { ok_min: 2, telling_min: 1 }), None);
    assert_eq!(
        missing(lines, Enough { ok_min: 100, telling_min: 1 }).as_deref(),
        Some("2 operations happened, of at least 100")
    );
    assert!(missing(lines, Enough { ok_min: 2, telling_min: 2 }).is_some());
}

#[test]
fn a_violation_needs_no_minimum() {
    let settings = Settings { enough: Enough { ok_min: 100, telling_min: 100 }, limits: Limits::default() };
    let verdict = judge(Model::Register, &history("0 6-9 ok read x null -> 1"), settings).expect("known operations");
    assert_eq!(verdict.exit_code(), 1);
}

/// A weak read may be stale. It is left out, and not counted for anything either.
#[test]
fn reads_of_weaker_levels_are_left_out_and_counted() {
    let mut weak = history("0 0-5 ok write x 1\n 1 6-9 ok read x null -> null");
    for level in ["ANY", "bounded", "SESSION"] {
        weak.operations[1].level = Some(level.into());
        let verdict = judge(Model::Register, &weak, Settings::default()).expect("known operations");
        let Verdict::Unknown { why: Why::Vacuous { .. }, checked } = verdict else { panic!("{level}: {verdict}") };
        assert_eq!((checked.left_out, checked.telling), (1, 0));
    }
    for level in ["LINEARIZABLE", "leader_lease"] {
        weak.operations[1].level = Some(level.into());
        let verdict = judge(Model::Register, &weak, Settings::default()).expect("known operations");
        assert!(verdict.violation().is_some(), "{level}: {verdict}");
    }
}

#[test]
fn violations_outweigh_unknowns_and_unknowns_outweigh_valid_ones() {
    let judged = |lines: &str| judge(Model::Register, &history(lines), Settings::default()).expect("known operations");
    let valid = judged("0 0-5 ok read x null");
    let unknown = judged("");
    let invalid = judged("0 0-5 ok read x null -> 7");
    assert_eq!([&valid, &invalid, &unknown].map(Verdict::exit_code), [0, 1, 2]);
    assert_eq!(valid.clone().and(unknown.clone()), unknown);
    assert_eq!(unknown.clone().and(valid.clone()), unknown);
    assert_eq!(unknown.and(invalid.clone()), invalid);
    assert_eq!(invalid.clone().and(valid.clone()), invalid);
    assert!(valid.clone().and(valid).is_valid());
}
