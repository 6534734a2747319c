use jepsen_checkers::stock::check;
use jepsen_checkers::{Enough, Verdict};

use crate::history;

fn judged(lines: &str) -> Verdict {
    check(&history(lines), 3, Enough::default()).expect("known operations")
}

const SALE: &str = "
    0  0-10 ok   buy shoe 2
    1  5-15 fail buy shoe 2
    2  5-30 info buy shoe 1";

#[test]
fn a_read_may_or_may_not_show_what_is_unknown() {
    for (left, valid) in [(0, true), (1, true), (2, false), (3, false)] {
        let verdict = judged(&format!("{SALE}\n 0 40-50 ok read shoe null -> {left}"));
        assert_eq!(verdict.is_valid(), valid, "{left}: {verdict}");
        assert_eq!(verdict.violation().is_some(), !valid);
    }
}

#[test]
fn overselling_is_found_without_any_read() {
    let verdict = judged(&format!("{SALE}\n 3 40-50 ok buy shoe 1\n 4 41-51 ok buy shoe null"));
    assert!(
        verdict.to_string().contains("oversold: with the sale to process 4 at 0.000051 ms there are 4 sold, of 3"),
        "{verdict}"
    );
}

#[test]
fn stock_that_vanishes_comes_back_or_goes_below_zero_is_found() {
    let read = |left: i32, when: &str| judged(&format!("{SALE}\n 7 {when} ok read shoe null -> {left}")).to_string();
    assert!(read(-1, "40-50").contains("below zero"));
    assert!(read(2, "40-50").contains("1 came back"));
    assert!(read(2, "1-2").contains("valid"), "the sale was under way");
    assert!(judged("0 0-10 ok buy shoe 1\n 1 20-30 ok read shoe null -> 1").to_string().contains("1 are missing"));
}

#[test]
fn what_comes_in_may_be_sold_from_when_it_was_asked_for() {
    let sold = |restock: &str| judged(&format!("{restock}\n 0 20-30 ok buy shoe 4\n 1 40-50 ok read shoe null -> 1"));
    assert!(sold("2 10-15 ok restock shoe 2").is_valid());
    assert!(sold("2 25-35 ok restock shoe 2").is_valid(), "it came just in time");
    assert!(sold("2 25-35 info restock shoe 2").is_valid(), "it must have come");
    assert!(sold("2 25-35 fail restock shoe 2").to_string().contains("4 sold, of 3"));
    assert!(sold("2 31-35 ok restock shoe 2").to_string().contains("4 sold, of 3"), "too late for that sale");
    assert!(sold("2 10-15 ok restock shoe 3").to_string().contains("1 are missing"));
    assert!(sold("2 10-15 ok restock shoe 1").to_string().contains("1 came back"));
}

#[test]
fn a_sale_that_nobody_counted_is_vacuous() {
    assert_eq!(judged(SALE).exit_code(), 2);
}
