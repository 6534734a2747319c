//! Sequential objects to judge by.

mod counter;
mod lock;
mod queue;
mod register;
mod set;

pub use counter::Counter;
pub use lock::Lock;
pub use queue::Queue;
pub use register::Register;
pub use set::Set;

use std::collections::HashMap;

use serde_json::Value;

use crate::operation::{Operation, at};

/// Numbers for values, so that the search compares and copies small things.
#[derive(Default)]
struct Numbers<'a> {
    by_value: HashMap<&'a Value, u32>,
}

impl<'a> Numbers<'a> {
    fn of(&mut self, value: &'a Value) -> u32 {
        let next = u32::try_from(self.by_value.len()).expect("histories are bounded well below 2^32 values");
        *self.by_value.entry(value).or_insert(next)
    }

    fn len(&self) -> usize {
        self.by_value.len()
    }
}

/// `x`, or what the operation is about if it has no key.
fn subject<'a>(op: &'a Operation, otherwise: &'a str) -> String {
    op.key.as_ref().map_or_else(|| otherwise.to_string(), ToString::to_string)
}

/// `at 10.1 ms`, when an operation was known to have ended.
fn told_at(op: &Operation) -> String {
    op.end_ns.map_or_else(|| "at no known time".into(), |end| format!("at {}", at(end)))
}

/// The one with an answer that ended last: the piece is shortest, so it is the one that nothing explains.
fn last_told(piece: &[Operation], telling: impl Fn(&Operation) -> bool) -> Option<&Operation> {
    piece.iter().filter(|op| op.is_ok() && telling(op)).max_by_key(|op| (op.end_ns, op.start_ns))
}

/// What is not gone.
fn without(piece: &[Operation], gone: impl Fn(usize) -> bool) -> Vec<Operation> {
    piece.iter().enumerate().filter(|(i, _)| !gone(*i)).map(|(_, op)| op.clone()).collect()
}
