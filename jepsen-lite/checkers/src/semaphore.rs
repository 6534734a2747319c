//! Permits: at most so many certain holders at a time, each with a number of its own.
//!
//! From outside nobody knows how long a lease really lasts; but of some time it is certain that a client *believed* to hold a
//! permit, and with right: from the acknowledgement of its `acquire` to the moment it asked for the `release`, or noted
//! the loss by itself (an event `lost`). Such tenures must not overlap in more than `permits`, nor under one number. With one permit
//! this is what an exclusive lock promises through the SDK.
//!
//! The history has `acquire` (its `ok` has a `token` and the number in the field `permit`), `release` and `lost` (both with the
//! `token`; without, the process names the tenure). A tenure without end lasts to the end of the history: so **the harness has to
//! write down each loss**, and the end of a client it kills, as `lost`; or any operation with the `token` says in the field
//! `until_ns` until when, on the clock of the history, the lease lasts at least. Then the latest of these ends it.
//!
//! Certain tenures rest on the local clocks of the clients: the SDK lets go before the shard may grant again, which assumes a
//! bounded clock *rate*. Where a run bends that, judge [`tokens`](crate::tokens) instead.

use std::collections::{BTreeMap, HashMap};

use crate::enough::Enough;
use crate::history::History;
use crate::leases;
use crate::linearizability::Unfit;
use crate::operation::{Operation, at};
use crate::verdict::{Checked, Explanation, Verdict};

const RULE: &str = "permits";

/// A tenure that is certain: its grant, and when it ends.
struct Tenure<'a> {
    grant: &'a Operation,
    permit: Option<u64>,
    from: u64,
    until: u64,
}

/// Judges that at most `permits` are held at a time, key by key.
pub fn check(history: &History, permits: usize, enough: Enough) -> Result<Verdict, Unfit> {
    let mut checked = Checked::of(&history.operations);
    let mut keys: BTreeMap<_, Vec<&Operation>> = BTreeMap::new();
    for op in &history.operations {
        keys.entry(&op.key).or_default().push(op);
    }
    for (key, operations) in keys {
        let tenures = tenures(&operations)?;
        checked.telling += tenures.len();
        if let Some((headline, piece)) = overlap(&tenures, permits) {
            let explanation = Explanation::new(RULE, headline, key.clone(), piece);
            return Ok(Verdict::Invalid { explanation });
        }
    }
    Ok(enough.judge(checked))
}

fn tenures<'a>(operations: &[&'a Operation]) -> Result<Vec<Tenure<'a>>, Unfit> {
    let mut tenures = Vec::new();
    // By token, and by process for those who show none: when it ended.
    let mut by_token: HashMap<u64, u64> = HashMap::new();
    let mut by_process: HashMap<u64, Vec<u64>> = HashMap::new();
    let told = leases::until(operations);
    for op in operations {
        match op.f.as_str() {
            "release" | "lost" => match op.token.or_else(|| op.asked.as_u64()) {
                Some(token) => {
                    let end = by_token.entry(token).or_insert(op.start_ns);
                    *end = op.start_ns.min(*end);
                }
                None => by_process.entry(op.process).or_default().push(op.start_ns),
            },
            "acquire" | "renew" | "read" | "write" => {}
            _ => return Err(Unfit::new(op, RULE, "`acquire`, `release` or `lost`")),
        }
    }
    for grant in operations.iter().filter(|op| op.f == "acquire" && op.is_ok()) {
        let Some(from) = grant.end_ns else { continue };
        let token = grant.token.or_else(|| grant.answer.as_u64());
        let own = token.and_then(|token| by_token.get(&token)).copied();
        let of_process = by_process.get(&grant.process);
        let next = of_process.and_then(|ends| ends.iter().copied().filter(|end| *end >= from).min());
        let told = token.and_then(|token| told.get(&token)).copied();
        let until = [own, next, told].into_iter().flatten().min().unwrap_or(u64::MAX);
        let permit = grant.extra.get("permit").and_then(serde_json::Value::as_u64);
        tenures.push(Tenure { grant, permit, from, until });
    }
    tenures.sort_by_key(|tenure| tenure.from);
    Ok(tenures)
}

fn overlap<'a>(tenures: &[Tenure<'a>], permits: usize) -> Option<(String, Vec<&'a Operation>)> {
    let mut held: Vec<&Tenure<'a>> = Vec::new();
    for tenure in tenures.iter().filter(|tenure| tenure.from < tenure.until) {
        held.retain(|other| other.until > tenure.from);
        let twin = held.iter().find(|other| tenure.permit.is_some() && other.permit == tenure.permit);
        if let Some(other) = twin {
            let headline = format!(
                "process {} was granted permit {} at {}, while process {} held it for certain, since {}{}",
                tenure.grant.process,
                tenure.permit.unwrap_or_default(),
                at(tenure.from),
                other.grant.process,
                at(other.from),
                until(other)
            );
            return Some((headline, vec![other.grant, tenure.grant]));
        }
        held.push(tenure);
        if held.len() > permits {
            let headline =
                format!("{} held for certain at {}, of {permits} that there are", held.len(), at(tenure.from));
            return Some((headline, held.iter().map(|tenure| tenure.grant).collect()));
        }
    }
    None
}

fn until(tenure: &Tenure<'_>) -> String {
    match tenure.until {
        u64::MAX => String::new(),
        until => format!(" and until {}", at(until)),
    }
}
