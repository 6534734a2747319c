//! Requests that are sent again: each is told the same, and done once.
//!
//! The history has every *sending* as an operation of its own, with the name of its request in the field `request`;
//! several may be under way at once, and some come much later. An `ok` is what the request did. A `fail` with the field
//! `decided` is what became of the request for good (a bound was in the way, say); any other `fail` is of that sending
//! alone.
//!
//! [`check`] judges that all sendings of a request that were told what became of it were told the same. [`requests`]
//! makes one operation of all sendings of a request, so that a model can judge that it was done once: it began with the
//! first of them, and had ended when the first was told.

use std::collections::BTreeMap;

use crate::enough::Enough;
use crate::history::{History, brief};
use crate::linearizability::Unfit;
use crate::operation::{Operation, Outcome, at};
use crate::verdict::{Checked, Explanation, Verdict};

const RULE: &str = "retries";

/// Judges that every sending of a request is told the same. Telling are those that were told what another was told
/// before.
pub fn check(history: &History, enough: Enough) -> Result<Verdict, Unfit> {
    let mut checked = Checked::of(&history.operations);
    for (request, sendings) in sendings(history)? {
        let told: Vec<&Operation> = sendings.into_iter().filter(|op| is_told(op)).collect();
        let Some((&first, later)) = told.split_first() else { continue };
        checked.telling += later.len();
        let same = |op: &&&Operation| {
            (op.outcome, &op.answer, op.revision) == (first.outcome, &first.answer, first.revision)
                && why(op) == why(first)
        };
        if let Some(&other) = later.iter().find(|op| !same(op)) {
            let headline = format!(
                "request {request} was told {} at {}, and {} at {}",
                said(first),
                at(first.end_ns.unwrap_or_default()),
                said(other),
                at(other.end_ns.unwrap_or_default())
            );
            let piece = [first, other];
            return Ok(Verdict::Invalid { explanation: Explanation::new(RULE, headline, first.key.clone(), piece) });
        }
    }
    Ok(enough.judge(checked))
}

/// The same history with one operation for each request, and everything else as it is.
pub fn requests(history: &History) -> Result<History, Unfit> {
    let mut operations: Vec<Operation> =
        history.operations.iter().filter(|op| !op.extra.contains_key("request")).cloned().collect();
    for sendings in sendings(history)?.into_values() {
        let told = sendings.iter().filter(|op| is_told(op)).min_by_key(|op| op.end_ns);
        let open = sendings.iter().find(|op| op.is_unknown());
        let mut one = (*told.or(open).unwrap_or(&sendings[0])).clone();
        one.start_ns = sendings.iter().map(|op| op.start_ns).min().unwrap_or(one.start_ns);
        operations.push(one);
    }
    operations.sort_by_key(|op| op.id);
    Ok(History { operations, marks: history.marks.clone() })
}

/// By request.
fn sendings(history: &History) -> Result<BTreeMap<&str, Vec<&Operation>>, Unfit> {
    let mut requests: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for op in &history.operations {
        if let Some(request) = op.extra.get("request") {
            let unfit = || Unfit::new(op, RULE, "the name of the request as a string in the field `request`");
            requests.entry(request.as_str().ok_or_else(unfit)?).or_default().push(op);
        }
    }
    Ok(requests)
}

fn is_told(op: &Operation) -> bool {
    op.is_ok() || (op.outcome == Outcome::Fail && op.extra.contains_key("decided"))
}

fn why(op: &Operation) -> Option<&serde_json::Value> {
    op.extra.get("decided")
}

fn said(op: &Operation) -> String {
    let revision = op.revision.map(|revision| format!(" at revision {revision}")).unwrap_or_default();
    match why(op) {
        Some(why) => format!("that it is refused: {}", brief(why)),
        None => format!("{}{revision}", brief(&op.answer)),
    }
}
