use std::collections::HashMap;

use serde_json::Value;

use super::{Numbers, last_told, subject, told_at};
use crate::linearizability::{Debt, Model, Prepared, Unfit};
use crate::operation::{Operation, at};

const KNOWN: &str = "`read`, `write` of a value, `cas` of [old, new], or `delete`; null is absent";

/// A key: `read`, `write`, `cas` of `[old, new]` and `delete`. `null` is absent, which it is at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// A call, values as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The value it needs to find.
    sees: Option<u32>,
    /// The value it leaves.
    makes: Option<u32>,
}

const ABSENT: u32 = 0;

/// The value, and what is yet to be placed that cares about values.
///
/// * A value that someone must yet find stays until then, unless someone can still make it: else we are in a dead end.
pub struct State {
    value: u32,
    /// By value: calls not yet placed that must find it.
    must_find: Vec<u32>,
    /// By value: unknown calls not yet spent that need to find it.
    may_find: Vec<u32>,
    /// By value: calls not yet placed or spent that make it.
    makers: Vec<u32>,
}

impl State {
    fn wanted(&self, value: u32) -> bool {
        self.must_find[value as usize] + self.may_find[value as usize] > 0
    }

    fn count(&mut self, call: &Call, must: bool, by: i32) {
        let slot = |list: &mut Vec<u32>, value: u32| {
            let slot = &mut list[value as usize];
            *slot = slot.checked_add_signed(by).expect("each call is counted once");
        };
        if let Some(sees) = call.sees {
            slot(if must { &mut self.must_find } else { &mut self.may_find }, sees);
        }
        if let Some(makes) = call.makes {
            slot(&mut self.makers, makes);
        }
    }
}

/// What an operation asked for: the value to find and the value to make, if any.
fn meaning(op: &Operation) -> Result<(Option<&Value>, Option<&Value>), Unfit> {
    static NULL: Value = Value::Null;
    match (op.f.as_str(), &op.asked) {
        ("read", _) => Ok((Some(&op.answer), None)),
        ("write", value) => Ok((None, Some(value))),
        ("delete", _) => Ok((None, Some(&NULL))),
        ("cas", Value::Array(pair)) if pair.len() == 2 => Ok((Some(&pair[0]), Some(&pair[1]))),
        _ => Err(Unfit::new(op, "register", KNOWN)),
    }
}

impl Model for Register {
    type Call = Call;
    type State = State;
    type Undo = u32;
    type Digest = u32;

    fn name(&self) -> &'static str {
        "register"
    }

    fn prepare(&self, part: &[Operation]) -> Result<Vec<Prepared<Call>>, Unfit> {
        let mut numbers = Numbers::default();
        let absent = numbers.of(&Value::Null);
        assert_eq!(absent, ABSENT, "the first number is that of null");
        let mut calls = Vec::with_capacity(part.len());
        for (i, op) in part.iter().enumerate() {
            let (sees, makes) = meaning(op)?;
            let unknown_read = op.is_unknown() && makes.is_none();
            if unknown_read || !(op.is_ok() || op.is_unknown()) {
                continue;
            }
            let call = Call { sees: sees.map(|value| numbers.of(value)), makes: makes.map(|value| numbers.of(value)) };
            let end = op.ended().unwrap_or(u64::MAX);
            calls.push(Prepared { op: i, call, start: op.start_ns, end, must: op.is_ok() });
        }
        drop_unwanted(&mut calls, numbers.len());
        settle(&mut calls, numbers.len());
        Ok(calls)
    }

    fn start(&self, calls: &[Prepared<Call>]) -> State {
        let values = 1 + calls.iter().flat_map(|c| [c.call.sees, c.call.makes]).flatten().max().unwrap_or(0) as usize;
        let mut state =
            State { value: ABSENT, must_find: vec![0; values], may_find: vec![0; values], makers: vec![0; values] };
        for call in calls {
            state.count(&call.call, call.must, 1);
        }
        state
    }

    fn apply(&self, state: &mut State, call: &Call, must: bool) -> Option<u32> {
        let before = state.value;
        if call.sees.is_some_and(|sees| sees != before) {
            return None;
        }
        state.count(call, must, -1);
        if let Some(makes) = call.makes {
            let lost = makes != before && state.must_find[before as usize] > 0 && state.makers[before as usize] == 0;
            if lost {
                state.count(call, must, 1);
                return None;
            }
            state.value = makes;
        }
        Some(before)
    }

    fn undo(&self, state: &mut State, call: &Call, must: bool, before: u32) {
        state.value = before;
        state.count(call, must, 1);
    }

    fn digest(&self, state: &State) -> u32 {
        state.value
    }

    /// A read is. So is a write that nobody will look at, over a value that nobody will look at.
    fn at_once(&self, state: &State, call: &Call) -> bool {
        match (call.sees, call.makes) {
            (_, None) => true,
            (None, Some(makes)) => !state.wanted(makes) && !state.wanted(state.value),
            (Some(_), Some(_)) => false,
        }
    }

    fn looks(&self, call: &Call) -> bool {
        call.sees.is_some()
    }

    /// A write that is overwritten before anybody looks might as well not have happened.
    fn debt(&self, _: &Call) -> Debt {
        Debt::Look
    }

    fn weaken(&self, piece: &[Operation], victims: &[usize]) -> Option<Vec<Operation>> {
        let is_victim = |i: usize| victims.binary_search(&i).is_ok();
        let changes = victims.iter().any(|&i| piece[i].f == "read" || !piece[i].is_unknown());
        changes.then(|| {
            let kept = piece.iter().enumerate().filter(|(i, op)| !(is_victim(*i) && op.f == "read"));
            kept.map(|(i, op)| if is_victim(i) { op.forgotten() } else { op.clone() }).collect()
        })
    }

    fn explain(&self, piece: &[Operation], part: &[Operation]) -> Option<String> {
        let sees = |op: &Operation| meaning(op).ok().and_then(|(sees, _)| sees.cloned());
        let makes = |op: &Operation| meaning(op).ok().and_then(|(_, makes)| makes.cloned());
        let culprit = last_told(piece, |op| sees(op).is_some())?;
        let value = sees(culprit)?;
        let key = subject(culprit, "the register");
        let (what, began) = match culprit.f.as_str() {
            "read" => (format!("read {key} = {value}"), "that read began"),
            _ => (format!("changed {key} from {value} to {}", makes(culprit)?), "that began"),
        };
        let start = format!("process {} {what} {}", culprit.process, told_at(culprit));

        let attempts: Vec<&Operation> =
            part.iter().filter(|op| op.id != culprit.id && makes(op).as_ref() == Some(&value)).collect();
        let makers: Vec<&&Operation> = attempts
            .iter()
            .filter(|op| (op.is_ok() || op.is_unknown()) && op.start_ns <= culprit.end_ns.unwrap_or(u64::MAX))
            .collect();
        if makers.is_empty() && !value.is_null() {
            let refused = attempts.iter().find(|op| !op.is_ok() && !op.is_unknown());
            let later = attempts.iter().min_by_key(|op| op.start_ns);
            return Some(match (refused, later) {
                (Some(op), _) => format!(
                    "{start}, but the attempt of process {} to write {value} had been refused {}",
                    op.process,
                    told_at(op)
                ),
                (None, Some(op)) => format!(
                    "{start}, but the first to write {value} was process {}, which began only at {}",
                    op.process,
                    at(op.start_ns)
                ),
                (None, None) => format!("{start}, but nobody ever wrote {value}"),
            });
        }
        let nobody_else = match value {
            Value::Null => "nobody removed it afterwards".to_string(),
            _ => format!("nobody wrote {value} afterwards"),
        };
        // Whether the value was surely in place before another operation began: all its writes had ended, or there is one and
        // its value had been read.
        let all_before = |other: &Operation| {
            let was_read = |op: &Operation| op.is_ok() && op.f == "read" && op.answer == value && op.before(other);
            makers.iter().all(|maker| maker.before(other))
                || (makers.len() == 1 && !value.is_null() && part.iter().any(was_read))
        };

        let overwriter = piece
            .iter()
            .filter(|op| op.is_ok() && op.id != culprit.id && makes(op).is_some_and(|made| made != value))
            .filter(|op| op.before(culprit) && all_before(op))
            .max_by_key(|op| op.end_ns);
        if let Some(op) = overwriter {
            let made = makes(op)?;
            let done = match (op.f.as_str(), &made) {
                ("cas", made) => format!("change to {made}"),
                (_, Value::Null) => "delete".into(),
                (_, made) => format!("write of {made}"),
            };
            return Some(format!(
                "{start}, but process {}'s {done} had been acknowledged {}, before {began}, and {nobody_else}",
                op.process,
                told_at(op)
            ));
        }

        // Somebody read another value: after all writes of ours, or one that came after them.
        let newer = |op: &Operation| {
            let mut others = part.iter().filter(|other| !other.is_fail() && makes(other).as_ref() == Some(&op.answer));
            !op.answer.is_null() && others.all(|other| all_before(other) && other.id != culprit.id)
        };
        let witness = piece
            .iter()
            .filter(|op| op.is_ok() && op.f == "read" && op.before(culprit) && op.answer != value)
            .filter(|op| newer(op) || (!makers.is_empty() && !value.is_null() && all_before(op)))
            .max_by_key(|op| op.end_ns);
        if let Some(op) = witness {
            let the_newer = if newer(op) { "the newer " } else { "" };
            return Some(format!(
                "{start}, but process {} had already read {the_newer}{} {}, before {began}, and {nobody_else}",
                op.process,
                op.answer,
                told_at(op)
            ));
        }

        let rival = piece.iter().find(|op| {
            op.is_ok()
                && op.f == "cas"
                && op.id != culprit.id
                && sees(op).as_ref() == Some(&value)
                && makes(op) != sees(op)
        });
        if let (Some(op), "cas") = (rival, culprit.f.as_str()) {
            let written = if value.is_null() { 1 + makers.len() } else { makers.len() };
            let times = if value.is_null() { "absent" } else { "written" };
            let once = if written == 1 { "once".into() } else { format!("{written} times") };
            return Some(format!(
                "{start}, and process {} changed it from {value} to {} {}, though it was {times} only {once}",
                op.process,
                makes(op)?,
                told_at(op)
            ));
        }
        None
    }
}

/// Drops unknown calls that make a value that nobody finds from then on: what follows one in an order doesn't look, so the
/// order is good without it. An unknown call that is dropped finds nothing any more, so others may follow.
fn drop_unwanted(calls: &mut Vec<Prepared<Call>>, values: usize) {
    loop {
        let mut found_until = vec![None; values];
        for call in calls.iter() {
            if let Some(sees) = call.call.sees {
                let until = &mut found_until[sees as usize];
                *until = (*until).max(Some(if call.must { call.end } else { u64::MAX }));
            }
        }
        let before = calls.len();
        calls.retain(|c| {
            let of_use = c.call.makes.is_some_and(|makes| found_until[makes as usize] >= Some(c.start));
            c.must || (of_use && c.call.sees != c.call.makes)
        });
        if calls.len() == before {
            return;
        }
    }
}

/// Makes an unknown call certain if it alone makes a value that somebody must find: it happened before the first of them ended.
/// Then what it finds itself has to be found, so others may follow.
fn settle(calls: &mut [Prepared<Call>], values: usize) {
    let mut makers: HashMap<u32, Vec<usize>> = HashMap::new();
    for (i, call) in calls.iter().enumerate() {
        if let Some(makes) = call.call.makes {
            makers.entry(makes).or_default().push(i);
        }
    }
    let mut found_by = vec![u64::MAX; values];
    loop {
        let mut settled = false;
        for call in calls.iter().filter(|call| call.must) {
            if let Some(sees) = call.call.sees {
                found_by[sees as usize] = found_by[sees as usize].min(call.end);
            }
        }
        for (value, makers) in &makers {
            let [only] = makers[..] else { continue };
            let (end, call) = (found_by[*value as usize], &mut calls[only]);
            if !call.must && *value != ABSENT && end < u64::MAX && call.start <= end {
                call.must = true;
                call.end = end;
                settled = true;
            }
        }
        if !settled {
            return;
        }
    }
}
