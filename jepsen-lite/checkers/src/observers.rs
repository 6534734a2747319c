//! Those who ask who leads: they see leaders in their order, and those that are there.
//!
//! The history has, per election (the `key`), what [`leases`] reads of the leaders themselves, and
//!
//! * `observe` by whoever follows the changes, `leader` by whoever asks once. An `ok` has the `token` of the leader,
//!   and as its value the number of what that one proclaims (each leader counts up); no token if nobody leads.
//!
//! Then
//!
//! * **order**: one process never sees an older token after a newer one, nor, of one leader, an older proclamation
//!   after a newer one;
//! * **no ghost**: nobody is told of a leader that, before it asked, was succeeded or had resigned, as acknowledged;
//! * **no blindness**: while a leader leads for certain (from the acknowledgement of its grant to the time until which
//!   it was told to lead at least, or to its own request to resign), whoever asks and is answered within that time is
//!   told of that leader.

use std::collections::{BTreeMap, HashMap};

use crate::Name;
use crate::enough::Enough;
use crate::history::History;
use crate::leases;
use crate::linearizability::Unfit;
use crate::operation::{Operation, at};
use crate::verdict::{Checked, Explanation, Verdict};

const RULE: &str = "observers";

type Wrong<'a> = (String, Vec<&'a Operation>);

/// Judges all answers.
pub fn check(history: &History, enough: Enough) -> Result<Verdict, Unfit> {
    let mut checked = Checked::of(&history.operations);
    let mut keys: BTreeMap<&Option<Name>, Vec<&Operation>> = BTreeMap::new();
    for op in &history.operations {
        keys.entry(&op.key).or_default().push(op);
    }
    for (key, operations) in keys {
        let answers: Vec<&Operation> = operations
            .iter()
            .copied()
            .filter(|op| matches!(op.f.as_str(), "observe" | "leader") && op.is_ok())
            .collect();
        checked.telling += answers.len();
        let wrong = match out_of_order(&answers)? {
            Some(wrong) => Some(wrong),
            None => beside_the_truth(&operations, &answers),
        };
        if let Some((headline, piece)) = wrong {
            return Ok(Verdict::Invalid { explanation: Explanation::new(RULE, headline, key.clone(), piece) });
        }
    }
    Ok(enough.judge(checked))
}

fn out_of_order<'a>(answers: &[&'a Operation]) -> Result<Option<Wrong<'a>>, Unfit> {
    let mut newest: HashMap<u64, (u64, u64, &Operation)> = HashMap::new();
    for op in answers {
        let Some(token) = op.token else { continue };
        let unfit = || Unfit::new(op, RULE, "the number of a proclamation as the answer");
        let proclaimed = op.answer.as_u64().ok_or_else(unfit)?;
        if let Some((newer, number, before)) = newest.get(&op.process)
            && (token, proclaimed) < (*newer, *number)
        {
            let headline = format!(
                "process {} saw at {} the leader with token {token}, proclaiming {proclaimed}, after it had seen at {} that with token \
                 {newer}, proclaiming {number}",
                op.process,
                at(op.end_ns.unwrap_or_default()),
                at(before.end_ns.unwrap_or_default())
            );
            return Ok(Some((headline, vec![before, op])));
        }
        newest.insert(op.process, (token, proclaimed, op));
    }
    Ok(None)
}

fn beside_the_truth<'a>(operations: &[&'a Operation], answers: &[&'a Operation]) -> Option<Wrong<'a>> {
    let until = leases::until(operations);
    let grants: Vec<(u64, &Operation)> = operations
        .iter()
        .filter(|op| op.f == "acquire" && op.is_ok())
        .filter_map(|op| Some((op.token?, *op)))
        .collect();
    let releases: HashMap<u64, &Operation> = operations
        .iter()
        .filter(|op| op.f == "release" && op.is_ok())
        .filter_map(|op| Some((op.token?, *op)))
        .collect();
    for &op in answers {
        let told = match op.token {
            Some(token) => format!("process {} was told at {} that token {token} leads", op.process, at(op.end_ns?)),
            None => format!("process {} was told at {} that nobody leads", op.process, at(op.end_ns?)),
        };
        if let Some(token) = op.token {
            if let Some((newer, grant)) = grants.iter().find(|(newer, grant)| *newer > token && grant.before(op)) {
                let why = format!("{told}, after process {} had been granted the newer token {newer}", grant.process);
                return Some((why, vec![grant, op]));
            }
            if let Some(release) = releases.get(&token).filter(|release| release.before(op)) {
                let why = format!("{told}, which process {} had resigned before that was asked", release.process);
                return Some((why, vec![release, op]));
            }
        }
        let certain = |(token, grant): &&(u64, &Operation)| {
            let lasts = until.get(token).is_some_and(|until| *until > op.end_ns.unwrap_or(u64::MAX));
            grant.before(op) && lasts && leases::given_up(operations, *token, op.end_ns.unwrap_or(u64::MAX)).is_none()
        };
        if let Some((token, grant)) = grants.iter().filter(|(token, _)| op.token != Some(*token)).find(certain) {
            let why = format!("{told}, while process {} led for certain, with token {token}", grant.process);
            return Some((why, vec![grant, op]));
        }
    }
    None
}
