//! The final read: when all is calm again, is every acknowledged write there, and nothing that was refused?
//!
//! Checks that work on any history with a calm end, whatever happened in between. Of each key the *final* reads are judged: those
//! asked for after every other operation on it that changes something had ended. (Unknown ones have no end; they may or may not
//! show.) A key that was written and has no final read is a gap, and the verdict is *unknown*.
//!
//! * [`registers`]: the value is that of a `write` (or `cas`, or `delete`) that no other is surely after, or of one whose outcome is unknown.
//!   A refused one never shows, and nothing but a delete leaves a written key absent.
//! * [`counters`]: what was acknowledged, and as much of what is unknown as may have happened.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Name;
use crate::enough::Enough;
use crate::history::History;
use crate::linearizability::Unfit;
use crate::operation::{Operation, at};
use crate::verdict::{Checked, Explanation, Verdict, Why};

const RULE: &str = "final read";

/// Judges the final reads of registers.
pub fn registers(history: &History, enough: Enough) -> Result<Verdict, Unfit> {
    check(history, enough, &["write", "cas", "delete"], |changes, read| {
        let value = &read.answer;
        let mut made = Vec::with_capacity(changes.len());
        for op in changes {
            made.push((made_by(op)?, *op));
        }
        // What began after every end that something else had before it is surely later. So the latest start decides.
        let latest = made.iter().filter(|(_, op)| op.is_ok()).max_by_key(|(_, op)| op.start_ns);
        let possible = |op: &Operation| match op.outcome {
            crate::Outcome::Ok => latest.is_none_or(|(_, latest)| !op.before(latest)),
            crate::Outcome::Unknown => op.start_ns <= read.end_ns.unwrap_or(u64::MAX),
            crate::Outcome::Fail => false,
        };
        let untouched = latest.is_none() && value.is_null();
        if untouched || made.iter().any(|(made, op)| *made == value && possible(op)) {
            return Ok(None);
        }
        let start = format!("the final read, of process {}, found {value} {}", read.process, told(read));
        let by =
            |op: &Operation| format!("process {}'s {} of {}, acknowledged {}", op.process, op.f, op.asked, told(op));
        let source = made.iter().filter(|(made, _)| *made == value).map(|(_, op)| *op).max_by_key(|op| op.start_ns);
        let headline = match (source, latest) {
            (Some(op), _) if op.is_fail() => format!("{start}, which process {} had been refused to write", op.process),
            (_, Some((_, latest))) => format!("{start}: lost is {}", by(latest)),
            (_, None) => format!("{start}, which nobody ever wrote"),
        };
        Ok(Some((headline, source.into_iter().chain(latest.map(|(_, op)| *op)).collect())))
    })
}

/// Judges the final reads of counters.
pub fn counters(history: &History, enough: Enough) -> Result<Verdict, Unfit> {
    check(history, enough, &["add"], |changes, read| {
        let unfit = |op| Unfit::new(op, RULE, "`add` of an integer, or `read` of one");
        let value = if read.answer.is_null() { 0 } else { read.answer.as_i64().ok_or_else(|| unfit(read))? };
        let (mut least, mut most, mut sum) = (0i64, 0i64, 0i64);
        let mut unknown = 0;
        for op in changes {
            let delta = op.asked.as_i64().ok_or_else(|| unfit(op))?;
            if op.is_ok() {
                sum = sum.saturating_add(delta);
            } else if op.is_unknown() && op.start_ns <= read.end_ns.unwrap_or(u64::MAX) {
                unknown += 1;
                least = least.saturating_add(delta.min(0));
                most = most.saturating_add(delta.max(0));
            }
        }
        (least, most) = (least.saturating_add(sum), most.saturating_add(sum));
        if (least..=most).contains(&value) {
            return Ok(None);
        }
        let headline = format!(
            "the final read, of process {}, found {value} {}, but what was acknowledged comes to {sum}, and with {unknown} unknown it \
             must be from {least} to {most}",
            read.process,
            told(read)
        );
        Ok(Some((headline, Vec::new())))
    })
}

/// What is wrong with one final read: a sentence, and the operations beside the read.
type Wrong<'a> = Option<(String, Vec<&'a Operation>)>;

fn check(
    history: &History,
    enough: Enough,
    changing: &[&str],
    judge: impl for<'a> Fn(&[&'a Operation], &'a Operation) -> Result<Wrong<'a>, Unfit>,
) -> Result<Verdict, Unfit> {
    let mut checked = Checked::of(&history.operations);
    let mut keys: BTreeMap<&Option<Name>, Vec<&Operation>> = BTreeMap::new();
    for op in &history.operations {
        if op.f != "read" && !changing.contains(&op.f.as_str()) {
            return Err(Unfit::new(
                op,
                RULE,
                "`read`, and `add` for counters or `write`, `cas`, `delete` for registers",
            ));
        }
        keys.entry(&op.key).or_default().push(op);
    }
    let mut gap = None;
    for (key, operations) in keys {
        let (reads, changes): (Vec<&Operation>, Vec<&Operation>) =
            operations.into_iter().partition(|op| op.f == "read");
        let calm = changes.iter().filter_map(|op| op.ended()).max();
        let finals: Vec<&Operation> =
            reads.into_iter().filter(|op| op.is_ok() && calm.is_none_or(|calm| op.start_ns > calm)).collect();
        if finals.is_empty() && changes.iter().any(|op| op.is_ok()) {
            gap.get_or_insert(key);
        }
        checked.telling += finals.len();
        for read in finals {
            if let Some((headline, piece)) = judge(&changes, read)? {
                let piece = piece.into_iter().chain([read]);
                return Ok(Verdict::Invalid { explanation: Explanation::new(RULE, headline, key.clone(), piece) });
            }
        }
    }
    if let Some(key) = gap {
        let of = key.as_ref().map_or_else(String::new, |key| format!(" of {key}"));
        let missing = format!("no read{of} was asked for after the last change{of} had ended");
        return Ok(Verdict::Unknown { why: Why::Unread { missing }, checked });
    }
    Ok(enough.judge(checked))
}

fn made_by(op: &Operation) -> Result<&Value, Unfit> {
    static NULL: Value = Value::Null;
    match (op.f.as_str(), &op.asked) {
        ("write", value) => Ok(value),
        ("delete", _) => Ok(&NULL),
        ("cas", Value::Array(pair)) if pair.len() == 2 => Ok(&pair[1]),
        _ => Err(Unfit::new(op, RULE, "`cas` of [old, new]")),
    }
}

fn told(op: &Operation) -> String {
    op.end_ns.map_or_else(String::new, |end| format!("at {}", at(end)))
}
