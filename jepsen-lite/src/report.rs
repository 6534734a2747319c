//! One HTML file that tells what happened in a run: self-contained, no script or style from anywhere else.

use jepsen_checkers::Event;

use crate::results::Results;

/// The page.
pub fn render(results: &Results, _histories: &[(String, Vec<Event>)]) -> String {
    format!("<!doctype html><title>jepsen-lite: {}</title><pre>{}</pre>\n", results.verdict, results.command)
}
