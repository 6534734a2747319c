//! A workload's history, as operations.

use std::collections::HashMap;

use jepsen_checkers::{Event, History, Operation, Outcome};

use super::text::shortened;

/// One workload's history.
///
/// * Operations are in the order in which they were asked for.
pub(super) struct Account {
    /// Its name.
    pub(super) workload: String,
    pub(super) operations: Vec<Operation>,
    /// Why there are none, if the history is no history.
    pub(super) malformed: Option<String>,
}

impl Account {
    pub(super) fn new(workload: &str, events: &[Event]) -> Account {
        let (mut operations, malformed) = match History::from_events(events.iter().cloned()) {
            Ok(history) => (history.operations, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        operations.sort_by_key(|op| (op.start_ns, op.id));
        Account { workload: workload.to_owned(), operations, malformed }
    }

    /// The operations by who asked and when, which names them in any version of the history.
    pub(super) fn by_origin(&self) -> HashMap<(u64, u64), &Operation> {
        self.operations.iter().map(|op| (origin(op), op)).collect()
    }
}

/// Who asked, and when.
pub(super) fn origin(op: &Operation) -> (u64, u64) {
    (op.process, op.start_ns)
}

/// Until when it was under way, as far as its client knows: an unknown one until the client gave up, if it did.
pub(super) fn given_up_ns(op: &Operation, end_of_all: u64) -> u64 {
    op.end_ns.unwrap_or(end_of_all).max(op.start_ns)
}

/// The word, and the letter for styles.
pub(super) fn outcome(op: &Operation) -> (&'static str, char) {
    match op.outcome {
        Outcome::Ok => ("ok", 'o'),
        Outcome::Fail => ("refused", 'f'),
        Outcome::Unknown => ("unknown", 'u'),
    }
}

/// What was asked, and what was answered: `cas x [1,2] → ok`, each part no longer than this. Not made harmless yet.
pub(super) fn said(op: &Operation, chars_max: usize) -> String {
    let answered = answered(op, chars_max);
    format!("{} → {answered}", asked(op, chars_max))
}

/// What was asked.
pub(super) fn asked(op: &Operation, chars_max: usize) -> String {
    let mut asked = shortened(&op.f, chars_max);
    if let Some(key) = &op.key {
        asked += &format!(" {}", shortened(key, chars_max));
    }
    if !op.asked.is_null() {
        asked += &format!(" {}", shortened(&op.asked, chars_max));
    }
    match op.token {
        // What is granted stands in the answer.
        Some(token) if op.f != "acquire" => asked + &format!(" token {token}"),
        _ => asked,
    }
}

/// What was answered, or why it was not.
pub(super) fn answered(op: &Operation, chars_max: usize) -> String {
    let error = || match op.extra.get("error") {
        Some(serde_json::Value::String(error)) => format!(": {}", shortened(error, chars_max)),
        _ => String::new(),
    };
    match op.outcome {
        Outcome::Fail => format!("refused{}", error()),
        Outcome::Unknown => format!("unknown{}", error()),
        Outcome::Ok => {
            let token = op.token.filter(|_| op.f == "acquire").map(|token| format!("token {token}"));
            let answer = (!op.answer.is_null() && op.answer != op.asked).then(|| shortened(&op.answer, chars_max));
            let nothing = (op.f == "read" && answer.is_none()).then(|| "null".to_owned());
            let parts: Vec<String> = [answer.or(nothing), token].into_iter().flatten().collect();
            if parts.is_empty() { "ok".to_owned() } else { parts.join(", ") }
        }
    }
}
