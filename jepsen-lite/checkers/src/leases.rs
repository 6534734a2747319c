//! Leases: how long they last, who may end them, and that they do end.
//!
//! A holder is told with each grant and each renewal for how long its lease lasts at least. It may last longer (a
//! failover takes its time), but not one moment less, whatever happens to leaders and wall clocks. What a harness can
//! write down of that is a lower bound: it takes the time, *then* looks what is left, and adds the two.
//!
//! The history has, per lock (the `key`), everything with a `token`: `acquire` (its `ok` has it), `write` under the
//! lease's fence, `renew`, `release`, and `lost` when the holder saw that it must not believe any more. Each may say in
//! the field `until_ns` until when the lease lasts at least, on the clock of the history. A refusal that says that the
//! lease *is over* has the field `refused` with `over`; others (no node answered, say) have none.
//!
//! ```text
//! p0 acquire → token 5, until 3.0 s
//! p0 write, token 5, refused at 2.1 s: over     ← too early, unless p0 itself had asked for the release
//! ```
//!
//! That nobody else is granted the lock in that time is the business of [`semaphore`](crate::semaphore), which reads
//! the same field.
//!
//! # What we left out
//!
//! That a lease ends *late* by more than was promised.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::enough::Enough;
use crate::history::History;
use crate::linearizability::Unfit;
use crate::operation::{Operation, at};
use crate::verdict::{Checked, Explanation, Verdict, Why};

/// By token: until when it lasts at least, by all that was told of it.
pub(crate) fn until(operations: &[&Operation]) -> HashMap<u64, u64> {
    let mut told = HashMap::new();
    for op in operations {
        if let (Some(token), Some(until)) = (op.token, op.extra.get("until_ns").and_then(Value::as_u64)) {
            let latest = told.entry(token).or_insert(until);
            *latest = until.max(*latest);
        }
    }
    told
}

/// Whether its holder had asked for the end of a lease by then.
pub(crate) fn given_up<'a>(operations: &[&'a Operation], token: u64, by_ns: u64) -> Option<&'a Operation> {
    operations.iter().copied().find(|op| op.f == "release" && op.token == Some(token) && op.start_ns <= by_ns)
}

/// Judges that no holder was told, before the time that it had been told, that its lease is over.
pub fn never_early(history: &History, enough: Enough) -> Result<Verdict, Unfit> {
    const RULE: &str = "no lease ends early";
    let mut checked = Checked::of(&history.operations);
    for (key, operations) in by_key(history) {
        let until = until(&operations);
        for &op in &operations {
            let unfit = || Unfit::new(op, RULE, "`write`, `renew`, `release` or `lost` with a `token`");
            if !matches!(op.f.as_str(), "write" | "renew" | "release" | "lost") {
                continue;
            }
            let token = op.token.ok_or_else(unfit)?;
            let Some(&until) = until.get(&token) else { continue };
            // Of a loss the beginning counts: it was noted after the look. Of a refusal the end: it was told by then.
            let (over, when) = match op.f.as_str() {
                "lost" => (true, op.start_ns),
                _ => (
                    op.is_fail() && op.extra.get("refused").is_some_and(|why| why == "over"),
                    op.end_ns.unwrap_or(until),
                ),
            };
            if when >= until {
                continue;
            }
            let given_up = given_up(&operations, token, when).is_some_and(|release| release.id != op.id);
            checked.telling += usize::from(!given_up && (over || op.is_ok()));
            if over && !given_up {
                let headline = format!(
                    "process {} learned at {} from its {} that its lease with token {token} is over, which it had been told to have \
                     until {} at least, and had not given up",
                    op.process,
                    at(when),
                    op.f,
                    at(until)
                );
                let of_it = |other: &&&Operation| other.token == Some(token) && other.start_ns <= op.start_ns;
                let piece: Vec<&Operation> = operations.iter().filter(of_it).copied().collect();
                let explanation = Explanation::new(RULE, headline, key.clone(), told_so(piece, token, until));
                return Ok(Verdict::Invalid { explanation });
            }
        }
    }
    Ok(enough.judge(checked))
}

/// Judges that whoever is not the holder, or shows an old token, neither ends nor renews a lease. The history has such
/// tries as `steal`; a refusal that came from the lock has the field `refused`.
pub fn only_the_holder(history: &History, enough: Enough) -> Result<Verdict, Unfit> {
    const RULE: &str = "only the holder ends or renews a lease";
    let mut checked = Checked::of(&history.operations);
    for op in history.operations.iter().filter(|op| op.f == "steal") {
        if op.is_ok() {
            let headline = format!(
                "process {} was told at {} that it had done this to a lease that is not its own: {}",
                op.process,
                at(op.end_ns.unwrap_or_default()),
                op.asked
            );
            return Ok(Verdict::Invalid { explanation: Explanation::new(RULE, headline, op.key.clone(), [op]) });
        }
        checked.telling += usize::from(op.is_fail() && op.extra.contains_key("refused"));
    }
    Ok(enough.judge(checked))
}

/// Judges that every lock that was ever granted is granted again in the end. When nothing breaks any more, somebody
/// asks for each with more patience than any lease lasts: an `acquire` with the field `final`. If it is refused with
/// `refused` being `timeout`, a lease, or a place in the queue, has no end.
pub fn free_in_the_end(history: &History) -> Verdict {
    const RULE: &str = "every lease ends";
    let mut checked = Checked::of(&history.operations);
    let mut missing = None;
    for (key, operations) in by_key(history) {
        let acquires = || operations.iter().filter(|op| op.f == "acquire");
        let finals = || acquires().filter(|op| op.extra.contains_key("final"));
        if let Some(op) = finals().find(|op| op.extra.get("refused").is_some_and(|why| why == "timeout")) {
            let headline = format!(
                "process {} waited from {} to {}, longer than any lease lasts, and was not granted the lock",
                op.process,
                at(op.start_ns),
                at(op.end_ns.unwrap_or_default())
            );
            let last = acquires().filter(|op| op.is_ok()).max_by_key(|op| op.end_ns);
            let piece = last.into_iter().chain([op]).copied();
            return Verdict::Invalid { explanation: Explanation::new(RULE, headline, key.clone(), piece) };
        }
        checked.telling += finals().filter(|op| op.is_ok()).count();
        if acquires().any(|op| op.is_ok()) && !finals().any(|op| op.is_ok()) {
            missing.get_or_insert_with(|| key.clone());
        }
    }
    if let Some(key) = missing {
        let of = key.map_or_else(String::new, |key| format!(" {key}"));
        let missing = format!("nobody asked for the lock{of} in the end");
        return Verdict::Unknown { why: Why::Unread { missing }, checked };
    }
    Enough::default().judge(checked)
}

fn by_key(history: &History) -> BTreeMap<&Option<crate::Name>, Vec<&Operation>> {
    let mut keys: BTreeMap<_, Vec<&Operation>> = BTreeMap::new();
    for op in &history.operations {
        keys.entry(&op.key).or_default().push(op);
    }
    keys
}

/// Of all that shows a token: its grant, who told of the latest end, and the last one.
fn told_so(piece: Vec<&Operation>, token: u64, until: u64) -> Vec<&Operation> {
    let says = |op: &&&Operation| op.extra.get("until_ns").and_then(Value::as_u64) == Some(until);
    let grant = piece.iter().find(|op| op.f == "acquire" && op.token == Some(token));
    [grant, piece.iter().find(says), piece.last()].into_iter().flatten().copied().collect()
}
