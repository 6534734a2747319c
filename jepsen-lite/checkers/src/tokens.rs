//! Fencing tokens, and the resource that they protect.
//!
//! Two clients may both believe to hold a lock, for a while: one of them has slept through its lease. What must not happen is
//! that the sleeper does harm. So this check looks at two things only: the tokens that were granted, and what the *protected
//! resource* accepted. The history has, per lock (the `key`):
//!
//! * `acquire`, whose `ok` has the `token` of the grant;
//! * `release`, which asks with the `token`;
//! * `write` at the resource, which shows a `token`: `ok` is accepted, `fail` rejected. `revision` is its place in the resource's
//!   own order, if that tells one. If the lock is named otherwise than the key, the field `lock` names it.
//!
//! `renew`, `read` and `lost` are passed over.
//!
//! # What is promised
//!
//! **Grants.** No token is granted twice. If one grant was acknowledged before another was asked for, its token is lower.
//!
//! **Writes.** An accepted write with token *t* is *stale* if, of the same lock,
//!
//! 1. a write with a higher token was accepted before it: by revision if both have one, else because that write was
//!    acknowledged before this one was asked for;
//! 2. a higher token had been granted, and that acknowledged, before it was asked for;
//! 3. the release of *t* had been acknowledged before it was asked for.
//!
//! And it is *forged* if it was accepted before *t* was asked for, or if *t* was never granted and no acquire is unknown.
//!
//! Rules 2 and 3 hold where the lease is checked in the same step as the write, as Ringfence does for its own keys
//! ([`Resource::ChecksLease`]). A resource outside that only remembers the highest token it has seen
//! ([`Resource::RemembersHighest`]) can't know of a grant whose holder hasn't written yet; it promises rule 1.
//!
//! ```text
//! p0 acquire → token 5
//! p0 …pause…                     the lease runs out
//! p1        acquire → token 9
//! p1        write, token 9, ok
//! p0 write, token 5, ok          ← stale, by 1 and 2. `fail` would be right
//! ```
//!
//! # What we left out
//!
//! Unknown writes are not judged: if they were accepted, it is not known when. That a lease had *run out* without another grant
//! can't be seen from outside.

use std::collections::{BTreeMap, HashMap};

use crate::Name;
use crate::enough::Enough;
use crate::history::History;
use crate::linearizability::Unfit;
use crate::operation::{Operation, at};
use crate::verdict::{Checked, Explanation, Verdict};

/// What the resource knows when it decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resource {
    /// It looks the lease up in the same step: all rules.
    #[default]
    ChecksLease,
    /// It knows only the tokens it was shown.
    RemembersHighest,
}

const RULE: &str = "fencing tokens";

/// Judges grants and accepted writes, lock by lock.
pub fn check(history: &History, resource: Resource, enough: Enough) -> Result<Verdict, Unfit> {
    let mut locks: BTreeMap<Option<Name>, Lock<'_>> = BTreeMap::new();
    let mut checked = Checked::default();
    for op in &history.operations {
        let unfit = || Unfit::new(op, RULE, "`acquire`, `release` or `write`, with a `token`");
        let lock = locks.entry(lock_of(op)).or_default();
        match op.f.as_str() {
            "acquire" if op.is_ok() => {
                lock.grants.push((op.token.or_else(|| op.answer.as_u64()).ok_or_else(unfit)?, op));
            }
            "acquire" => lock.unknown_acquires |= op.is_unknown(),
            "release" if op.is_ok() => {
                lock.releases.push((op.token.or_else(|| op.asked.as_u64()).ok_or_else(unfit)?, op));
            }
            "write" if op.is_ok() => lock.writes.push((op.token.ok_or_else(unfit)?, op)),
            "release" | "write" => {}
            "renew" | "read" | "lost" => {
                checked.left_out += 1;
                continue;
            }
            _ => return Err(unfit()),
        }
        match op.outcome {
            crate::Outcome::Ok => checked.ok += 1,
            crate::Outcome::Fail => checked.failed += 1,
            crate::Outcome::Unknown => checked.unknown += 1,
        }
    }
    checked.keys = locks.len();
    for (name, lock) in &locks {
        checked.telling += lock.grants.len() + lock.writes.len();
        let broken = lock.grants_wrong().or_else(|| lock.writes_wrong(resource));
        if let Some((headline, piece)) = broken {
            return Ok(Verdict::Invalid { explanation: Explanation::new(RULE, headline, name.clone(), piece) });
        }
    }
    Ok(enough.judge(checked))
}

/// Which lock an operation is about.
fn lock_of(op: &Operation) -> Option<Name> {
    match op.extra.get("lock") {
        Some(serde_json::Value::String(name)) => Some(Name::Text(name.clone())),
        Some(value) => value.as_i64().map(Name::Number).or_else(|| op.key.clone()),
        None => op.key.clone(),
    }
}

type Tokened<'a> = (u64, &'a Operation);
type Wrong<'a> = (String, Vec<&'a Operation>);

/// What is known of one lock.
#[derive(Default)]
struct Lock<'a> {
    grants: Vec<Tokened<'a>>,
    unknown_acquires: bool,
    releases: Vec<Tokened<'a>>,
    writes: Vec<Tokened<'a>>,
}

impl<'a> Lock<'a> {
    fn grants_wrong(&self) -> Option<Wrong<'a>> {
        let mut by_token: HashMap<u64, &Operation> = HashMap::new();
        for &(token, op) in &self.grants {
            if let Some(first) = by_token.insert(token, op) {
                let headline = format!("token {token} was granted twice, to {} and to {}", who(first), who(op));
                return Some((headline, vec![first, op]));
            }
        }
        let ended = Ended::new(&self.grants);
        self.grants.iter().find_map(|&(token, op)| {
            let (higher, before) = ended.highest_before(op.start_ns).filter(|(higher, _)| *higher > token)?;
            let headline = format!(
                "{} was granted token {token}, which it had asked for at {}, after {} had been granted the higher token {higher} {}",
                who(op),
                at(op.start_ns),
                who(before),
                told(before)
            );
            Some((headline, vec![before, op]))
        })
    }

    fn writes_wrong(&self, resource: Resource) -> Option<Wrong<'a>> {
        let grants: HashMap<u64, &Operation> = self.grants.iter().copied().collect();
        let accepted = Ended::new(&self.writes);
        let granted = Ended::new(&self.grants);
        let mut released: HashMap<u64, &Operation> = HashMap::new();
        for &(token, op) in &self.releases {
            let first = released.entry(token).or_insert(op);
            if op.end_ns < first.end_ns {
                *first = op;
            }
        }

        // In the resource's own order.
        let mut ordered: Vec<Tokened> = self.writes.iter().copied().filter(|(_, op)| op.revision.is_some()).collect();
        ordered.sort_by_key(|(_, op)| op.revision);
        let mut highest: Option<Tokened> = None;
        for &(token, op) in &ordered {
            if let Some((higher, before)) = highest
                && higher > token
                && before.revision < op.revision
            {
                let headline = format!(
                    "a stale write was accepted: that of {} with token {token} at revision {}, after that of {} with token {higher} at \
                     revision {}",
                    who(op),
                    op.revision.unwrap_or_default(),
                    who(before),
                    before.revision.unwrap_or_default()
                );
                return Some((headline, self.with_grants(&grants, &[token, higher], vec![before, op])));
            }
            if highest.is_none_or(|(highest, _)| token > highest) {
                highest = Some((token, op));
            }
        }

        for &(token, op) in &self.writes {
            let stale = |because: String, before: &'a Operation, other: u64| {
                let headline = format!(
                    "a stale write was accepted: {} asked for it with token {token} at {}, {because} {}",
                    who(op),
                    at(op.start_ns),
                    told(before)
                );
                Some((headline, self.with_grants(&grants, &[token, other], vec![before, op])))
            };
            let by_revision = |before: &Operation| before.revision.is_some() && op.revision.is_some();
            if let Some((higher, before)) = accepted.highest_before(op.start_ns)
                && higher > token
                && !by_revision(before)
            {
                return stale(
                    format!("after a write of {} with token {higher} was accepted", who(before)),
                    before,
                    higher,
                );
            }
            if resource == Resource::ChecksLease {
                if let Some((higher, before)) = granted.highest_before(op.start_ns)
                    && higher > token
                {
                    return stale(format!("after {} had been granted token {higher}", who(before)), before, higher);
                }
                if let Some(before) = released.get(&token).filter(|release| release.before(op)) {
                    return stale(format!("after {} had released that token", who(before)), before, token);
                }
            }
            match grants.get(&token) {
                Some(grant) if op.before(grant) => {
                    let headline = format!(
                        "a forged write was accepted: {} showed token {token}, accepted {}, before {} asked for that lease at {}",
                        who(op),
                        told(op),
                        who(grant),
                        at(grant.start_ns)
                    );
                    return Some((headline, vec![op, *grant]));
                }
                None if !self.unknown_acquires => {
                    let headline = format!(
                        "a forged write was accepted: {} showed token {token} {}, and nobody was ever granted that",
                        who(op),
                        told(op)
                    );
                    return Some((headline, vec![op]));
                }
                _ => {}
            }
        }
        None
    }

    /// The piece together with the grants of these tokens.
    fn with_grants(
        &self,
        grants: &HashMap<u64, &'a Operation>,
        tokens: &[u64],
        mut piece: Vec<&'a Operation>,
    ) -> Vec<&'a Operation> {
        piece.extend(tokens.iter().filter_map(|token| grants.get(token)));
        piece
    }
}

/// The highest token up to each end.
struct Ended<'a> {
    /// By end; the token is the highest so far.
    highest: Vec<(u64, Tokened<'a>)>,
}

impl<'a> Ended<'a> {
    fn new(of: &[Tokened<'a>]) -> Ended<'a> {
        let mut highest: Vec<(u64, Tokened<'a>)> =
            of.iter().filter_map(|&(token, op)| Some((op.ended()?, (token, op)))).collect();
        highest.sort_by_key(|(end, (token, _))| (*end, *token));
        for i in 1..highest.len() {
            if highest[i - 1].1.0 > highest[i].1.0 {
                highest[i].1 = highest[i - 1].1;
            }
        }
        Ended { highest }
    }

    fn highest_before(&self, time: u64) -> Option<Tokened<'a>> {
        let count = self.highest.partition_point(|(end, _)| *end < time);
        count.checked_sub(1).map(|last| self.highest[last].1)
    }
}

fn who(op: &Operation) -> String {
    format!("process {}", op.process)
}

fn told(op: &Operation) -> String {
    op.end_ns.map_or_else(String::new, |end| format!("at {}", at(end)))
}
