//! Bounds: an `add` never leaves them, and is refused only if it would.
//!
//! The history has `add` of a delta with the bounds it asked for in the fields `min` and `max`. An `ok` says the result
//! as `[delta, result]`; a refusal by a bound says in the field `current` what the counter held then.

use serde_json::Value;

use crate::enough::Enough;
use crate::history::History;
use crate::linearizability::Unfit;
use crate::operation::{Operation, Outcome, at};
use crate::verdict::{Checked, Explanation, Verdict};

const RULE: &str = "bounds";

/// Judges each `add` by itself.
pub fn check(history: &History, enough: Enough) -> Result<Verdict, Unfit> {
    let mut checked = Checked::of(&history.operations);
    for op in history.operations.iter().filter(|op| op.f == "add") {
        let unfit = || Unfit::new(op, RULE, "`add` of an integer, answered by [delta, result]");
        let bound = |name: &str| op.extra.get(name).and_then(Value::as_i64);
        let (min, max) = (bound("min").unwrap_or(i64::MIN), bound("max").unwrap_or(i64::MAX));
        if (min, max) == (i64::MIN, i64::MAX) {
            continue;
        }
        let delta = op.asked.as_i64().ok_or_else(unfit)?;
        let within = |sum: i64| (min..=max).contains(&sum);
        let wrong = match (op.outcome, current(op)) {
            (Outcome::Ok, _) => {
                let sum = op.answer.get(1).and_then(Value::as_i64).ok_or_else(unfit)?;
                (!within(sum)).then(|| format!("was told the sum {sum}"))
            }
            (Outcome::Fail, Some(current)) => {
                let fits = current.checked_add(delta).is_some_and(within);
                fits.then(|| format!("was refused to add {delta} to {current}"))
            }
            _ => continue,
        };
        checked.telling += 1;
        if let Some(what) = wrong {
            let ended = at(op.end_ns.unwrap_or_default());
            let headline = format!("process {} {what} at {ended}, with bounds from {min} to {max}", op.process);
            return Ok(Verdict::Invalid { explanation: Explanation::new(RULE, headline, op.key.clone(), [op]) });
        }
    }
    Ok(enough.judge(checked))
}

/// The same history, with each refusal by a bound as the read that it is: whoever is told `current` has looked.
pub fn as_reads(history: &History) -> History {
    let mut history = history.clone();
    for op in &mut history.operations {
        if let (Outcome::Fail, Some(current)) = (op.outcome, current(op)) {
            (op.f, op.outcome) = ("read".to_owned(), Outcome::Ok);
            (op.asked, op.answer) = (Value::Null, current.into());
        }
    }
    history
}

fn current(op: &Operation) -> Option<i64> {
    op.extra.get("current").and_then(Value::as_i64)
}
