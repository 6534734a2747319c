//! Sets, judged element by element: is everything there that was acknowledged, and nothing else?
//!
//! The cheap sister of the [`Set`](crate::models::Set) model, for `add` and `read` of a set that only grows. It looks at each read by
//! itself and so does not see two reads that contradict each other, but it counts, and takes no search:
//!
//! * *lost*: acknowledged before the read was asked for, and not in it;
//! * *phantom*: in the read, and nobody had tried to add it, or only with a refusal;
//! * *twice*: in the read more than once;
//! * *dubious*: in the last read, and unknown whether it was added. No violation.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::enough::Enough;
use crate::history::{History, brief};
use crate::linearizability::Unfit;
use crate::operation::{Operation, at};
use crate::verdict::{Checked, Explanation, Verdict};

const RULE: &str = "set";

/// Elements of note, over all keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Elements {
    /// Acknowledged, and not in a later read.
    pub lost: Vec<Value>,
    /// In a read, and never added.
    pub phantom: Vec<Value>,
    /// In one read more than once.
    pub twice: Vec<Value>,
    /// In the last read, though nobody was told that the add happened.
    pub dubious: Vec<Value>,
}

/// Judges every read of every key.
pub fn check(history: &History, enough: Enough) -> Result<(Verdict, Elements), Unfit> {
    let mut checked = Checked::of(&history.operations);
    let mut keys: BTreeMap<_, Vec<&Operation>> = BTreeMap::new();
    for op in &history.operations {
        keys.entry(&op.key).or_default().push(op);
    }
    let mut found = Elements::default();
    let mut broken = None;
    for (key, operations) in keys {
        let mut adds: HashMap<&Value, Vec<&Operation>> = HashMap::new();
        let mut reads: Vec<(&[Value], &Operation)> = Vec::new();
        for op in operations {
            match (op.f.as_str(), &op.answer) {
                ("add", _) => adds.entry(&op.asked).or_default().push(op),
                ("read", _) if !op.is_ok() => {}
                ("read", Value::Null) => reads.push((&[], op)),
                ("read", Value::Array(all)) => reads.push((all, op)),
                _ => return Err(Unfit::new(op, RULE, "`add` of an element, or `read` of all as an array")),
            }
        }
        checked.telling += reads.len();
        let last = reads.iter().map(|(_, op)| op.start_ns).max();
        for (all, read) in reads {
            if let Some((headline, piece)) = found.take(all, read, &adds, last == Some(read.start_ns)) {
                broken.get_or_insert_with(|| Explanation::new(RULE, headline, key.clone(), piece));
            }
        }
    }
    for list in [&mut found.lost, &mut found.phantom, &mut found.twice, &mut found.dubious] {
        let mut seen = HashSet::new();
        list.retain(|element| seen.insert(element.clone()));
    }
    let verdict = match broken {
        Some(explanation) => Verdict::Invalid { explanation },
        None => enough.judge(checked),
    };
    Ok((verdict, found))
}

impl Elements {
    fn take<'a>(
        &mut self,
        all: &[Value],
        read: &'a Operation,
        adds: &HashMap<&Value, Vec<&'a Operation>>,
        is_last: bool,
    ) -> Option<(String, Vec<&'a Operation>)> {
        let mut wrong = None;
        let start = || format!("process {} read at {}", read.process, at(read.end_ns.unwrap_or_default()));
        let mut there: HashSet<&Value> = HashSet::with_capacity(all.len());
        for element in all {
            if !there.insert(element) {
                self.twice.push(element.clone());
                wrong.get_or_insert_with(|| (format!("{} and found {} twice", start(), brief(element)), vec![read]));
            }
            let tries = adds.get(element).map_or(&[][..], Vec::as_slice);
            let possible = |op: &&&Operation| !op.is_fail() && op.start_ns <= read.end_ns.unwrap_or(u64::MAX);
            if !tries.iter().any(|op| possible(&op)) {
                self.phantom.push(element.clone());
                wrong.get_or_insert_with(|| {
                    let piece = tries.iter().copied().chain([read]).collect();
                    let what = if tries.is_empty() {
                        "which nobody ever added"
                    } else {
                        "which was refused, or added only later"
                    };
                    (format!("{} and found {}, {what}", start(), brief(element)), piece)
                });
            } else if is_last && !tries.iter().any(|op| op.is_ok()) {
                self.dubious.push(element.clone());
            }
        }
        for (element, tries) in adds {
            if let Some(add) = tries.iter().find(|op| op.is_ok() && op.before(read))
                && !there.contains(element)
            {
                self.lost.push((*element).clone());
                let earlier =
                    wrong.as_ref().is_some_and(|(_, piece): &(String, Vec<&Operation>)| piece[0].id <= add.id);
                if !earlier {
                    let told = at(add.end_ns.unwrap_or_default());
                    let headline = format!(
                        "{} without {}, acknowledged to process {} at {told}",
                        start(),
                        brief(element),
                        add.process
                    );
                    wrong = Some((headline, vec![add, read]));
                }
            }
        }
        self.lost.sort_by_key(Value::to_string);
        wrong
    }
}
