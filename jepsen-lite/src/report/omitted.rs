//! What is left out, told.

use super::figures::count;
use super::text::text;

/// `7 later faults stand in results.json`; nothing if nothing was left out.
pub(super) fn note(number: usize, of_what: &str) -> String {
    match number {
        0 => String::new(),
        _ => format!("<p class=\"left-out\">{} {}.</p>\n", count(number), text(of_what)),
    }
}
