use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;

use super::{Numbers, last_told, subject, told_at, without};
use crate::linearizability::{Debt, Model, Prepared, Unfit};
use crate::operation::Operation;
use crate::search::mixed;

const KNOWN: &str = "`add` of an element, or `read` of all as an array";

/// A set that only grows, empty at first: `add` of an element, and `read` of all of them.
///
/// `read` of `null` is the empty set. An element that one read lists twice is no set, and a violation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Set;

/// A call, elements as numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// An element was added.
    Add(u32),
    /// These were all.
    Read(Rc<[u32]>),
}

/// The set, and what is yet to be read.
///
/// * The set only grows, so an element that a read to come must not list can't be added before that read.
pub struct State {
    /// How often each element was added.
    added: Vec<u32>,
    /// How many elements were.
    size: usize,
    /// Names the set.
    code: u128,
    /// Reads not yet placed.
    reads_left: u32,
    /// By element: those of them that list it.
    lists_left: Vec<u32>,
}

impl Model for Set {
    type Call = Call;
    type State = State;
    type Undo = ();
    type Digest = u128;

    fn name(&self) -> &'static str {
        "set"
    }

    fn prepare(&self, part: &[Operation]) -> Result<Vec<Prepared<Call>>, Unfit> {
        let mut numbers = Numbers::default();
        let mut calls = Vec::with_capacity(part.len());
        for (i, op) in part.iter().enumerate() {
            let call = match (op.f.as_str(), &op.answer) {
                ("add", _) if op.is_fail() => continue,
                ("add", _) => Call::Add(numbers.of(&op.asked)),
                ("read", _) if !op.is_ok() => continue,
                ("read", Value::Null) => Call::Read(Rc::from([])),
                ("read", Value::Array(all)) => Call::Read(all.iter().map(|element| numbers.of(element)).collect()),
                _ => return Err(Unfit::new(op, self.name(), KNOWN)),
            };
            let end = op.ended().unwrap_or(u64::MAX);
            calls.push(Prepared { op: i, call, start: op.start_ns, end, must: op.is_ok() });
        }
        settle(&mut calls);
        Ok(calls)
    }

    fn start(&self, calls: &[Prepared<Call>]) -> State {
        let elements = |call: &Prepared<Call>| match &call.call {
            Call::Add(element) => *element,
            Call::Read(all) => all.iter().copied().max().unwrap_or(0),
        };
        let count = calls.iter().map(elements).max().map_or(0, |max| max as usize + 1);
        let mut state = State { added: vec![0; count], size: 0, code: 0, reads_left: 0, lists_left: vec![0; count] };
        for call in calls {
            if let Call::Read(all) = &call.call {
                state.reads_left += 1;
                for element in all.iter() {
                    state.lists_left[*element as usize] += 1;
                }
            }
        }
        state
    }

    fn apply(&self, state: &mut State, call: &Call, _: bool) -> Option<()> {
        match call {
            Call::Add(element) => {
                let i = *element as usize;
                if state.added[i] == 0 {
                    if state.lists_left[i] < state.reads_left {
                        return None;
                    }
                    state.size += 1;
                    state.code = state.code.wrapping_add(mixed(u64::from(*element)));
                }
                state.added[i] += 1;
            }
            Call::Read(all) => {
                if all.len() != state.size || all.iter().any(|element| state.added[*element as usize] == 0) {
                    return None;
                }
                state.reads_left -= 1;
                for element in all.iter() {
                    state.lists_left[*element as usize] -= 1;
                }
            }
        }
        Some(())
    }

    fn undo(&self, state: &mut State, call: &Call, _: bool, (): ()) {
        match call {
            Call::Add(element) => {
                let i = *element as usize;
                state.added[i] -= 1;
                if state.added[i] == 0 {
                    state.size -= 1;
                    state.code = state.code.wrapping_sub(mixed(u64::from(*element)));
                }
            }
            Call::Read(all) => {
                state.reads_left += 1;
                for element in all.iter() {
                    state.lists_left[*element as usize] += 1;
                }
            }
        }
    }

    fn digest(&self, state: &State) -> u128 {
        state.code
    }

    /// Both: a read changes nothing, and an element that can be added is listed by every read to come.
    fn at_once(&self, _: &State, _: &Call) -> bool {
        true
    }

    fn looks(&self, call: &Call) -> bool {
        matches!(call, Call::Read(_))
    }

    fn debt(&self, _: &Call) -> Debt {
        Debt::LookOrSpend
    }

    /// A read can be left out. So can an element, from all reads and adds: what remains is a set again.
    fn weaken(&self, piece: &[Operation], victims: &[usize]) -> Option<Vec<Operation>> {
        let is_victim = |i: usize| victims.binary_search(&i).is_ok();
        let adds = victims.iter().filter(|&&i| piece[i].f == "add");
        let gone: std::collections::HashSet<&Value> = adds.map(|&i| &piece[i].asked).collect();
        let mut weaker = without(piece, |i| is_victim(i) || (piece[i].f == "add" && gone.contains(&piece[i].asked)));
        for op in weaker.iter_mut().filter(|op| op.f == "read") {
            if let Value::Array(all) = &mut op.answer {
                all.retain(|element| !gone.contains(element));
            }
        }
        Some(weaker)
    }

    fn explain(&self, piece: &[Operation], part: &[Operation]) -> Option<String> {
        let is_read = |op: &Operation| op.f == "read";
        let lists = |op: &Operation, element: &Value| op.answer.as_array().is_some_and(|all| all.contains(element));
        let culprit = last_told(piece, is_read)?;
        let start = format!("process {} read {} {}", culprit.process, subject(culprit, "the set"), told_at(culprit));
        let culprit = part.iter().find(|op| op.id == culprit.id)?;
        let mut tries: HashMap<&Value, Vec<&Operation>> = HashMap::new();
        for op in part.iter().filter(|op| op.f == "add") {
            tries.entry(&op.asked).or_default().push(op);
        }
        let mut once = std::collections::HashSet::new();
        for element in culprit.answer.as_array().into_iter().flatten() {
            if !once.insert(element) {
                return Some(format!("{start} and found {element} listed twice"));
            }
            let tries = tries.get(element).map_or(&[][..], Vec::as_slice);
            if tries.iter().any(|op| !op.is_fail() && op.start_ns <= culprit.end_ns.unwrap_or(u64::MAX)) {
                continue;
            }
            return Some(match tries {
                [] => format!("{start} and found {element}, which nobody ever added"),
                [op, ..] if op.is_fail() => {
                    format!("{start} and found {element}, which process {} had been refused to add", op.process)
                }
                [op, ..] => format!("{start} and found {element}, which process {} added only later", op.process),
            });
        }
        let reads = || piece.iter().filter(|op| is_read(op)).filter_map(|op| part.iter().find(|all| all.id == op.id));
        for op in piece.iter().filter(|op| op.f == "add") {
            let element = &op.asked;
            if lists(culprit, element) {
                continue;
            }
            if op.before(culprit) {
                return Some(format!(
                    "{start} without {element}, which process {} had added, acknowledged {}",
                    op.process,
                    told_at(op)
                ));
            }
            if let Some(earlier) = reads().find(|read| read.before(culprit) && lists(read, element)) {
                return Some(format!(
                    "{start} without {element}, which process {} had already read {}",
                    earlier.process,
                    told_at(earlier)
                ));
            }
        }
        None
    }
}

/// Drops unknown adds of elements that no read lists. If one does, the others are as good as certain by the end of the first
/// such read: once the element is in, adding it again changes nothing.
fn settle(calls: &mut Vec<Prepared<Call>>) {
    let mut listed_by: HashMap<u32, u64> = HashMap::new();
    for call in calls.iter() {
        if let Call::Read(all) = &call.call {
            for element in all.iter() {
                let end = listed_by.entry(*element).or_insert(u64::MAX);
                *end = call.end.min(*end);
            }
        }
    }
    calls.retain_mut(|call| {
        let Call::Add(element) = &call.call else { return true };
        match listed_by.get(element) {
            None => call.must,
            Some(&end) => {
                if !call.must && call.start <= end {
                    call.must = true;
                    call.end = end;
                }
                true
            }
        }
    });
}
