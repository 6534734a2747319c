use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde_json::Value;

use super::{Numbers, last_told, subject, told_at, without};
use crate::linearizability::{Debt, Model, Prepared, Unfit};
use crate::operation::{Operation, at};
use crate::search::mixed;

const KNOWN: &str = "`enqueue` of a value, or `dequeue`, answered by the value or null for empty";

/// A queue, first in, first out, empty at first: `enqueue` and `dequeue`. A `dequeue` answered by `null` found it empty.
///
/// Give every value once. Then the order in which they came out tells the order in which they went in, and the search is short;
/// with values that repeat it soon gives up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue;

/// A call, values as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// To the end.
    Enqueue {
        /// What.
        value: u32,
        /// How it came out, if that is certain.
        out: Option<Out>,
    },
    /// From the front.
    Dequeue(u32),
    /// Nothing was there.
    Empty {
        /// When it was asked.
        start: u64,
    },
    /// From the front, and nobody knows what.
    DequeueUnknown,
}

/// How a value came out, where no value went in or came out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Out {
    /// When the dequeue began; at the end of time if the value stayed for sure.
    start: u64,
    /// When it had ended.
    end: u64,
    /// When the *enqueue* had ended.
    in_end: u64,
}

/// The queue, and what is yet to come.
///
/// * What comes out first has to go in first: nothing goes in before a value to come that is surely taken out earlier.
/// * Nobody knows who took a value only if there are more of it than certain dequeues of it.
pub struct State {
    content: VecDeque<u32>,
    /// Names the content: the sum of a code for each (position since the beginning, value).
    code: u128,
    taken: u64,
    /// Ends of the dequeues of values yet to be put in, and how many of each.
    due: BTreeMap<u64, u32>,
    /// Starts of the dequeues yet to find the queue empty, and how many of each.
    empty: BTreeMap<u64, u32>,
    /// By value: how many are in or yet to be put in.
    copies: Vec<u32>,
    /// By value: certain dequeues to come.
    claims: Vec<u32>,
    /// Something came out more often than it can have been put in.
    hopeless: bool,
}

/// What was taken out, if something was.
type Undo = Option<u32>;

/// Of a value at a position.
fn code(position: u64, value: u32) -> u128 {
    const VALUES: u64 = 1 << 40; // no position is so high
    mixed(position).wrapping_mul(mixed(VALUES + u64::from(value)) | 1)
}

impl Model for Queue {
    type Call = Call;
    type State = State;
    type Undo = Undo;
    type Digest = u128;

    fn name(&self) -> &'static str {
        "queue"
    }

    fn prepare(&self, part: &[Operation]) -> Result<Vec<Prepared<Call>>, Unfit> {
        let mut numbers = Numbers::default();
        let mut calls = Vec::with_capacity(part.len());
        for (i, op) in part.iter().enumerate() {
            let call = match (op.f.as_str(), &op.answer) {
                ("enqueue" | "dequeue", _) if op.is_fail() => continue,
                ("enqueue", _) => Call::Enqueue { value: numbers.of(&op.asked), out: None },
                ("dequeue", _) if op.is_unknown() => Call::DequeueUnknown,
                ("dequeue", Value::Null) => Call::Empty { start: op.start_ns },
                ("dequeue", value) => Call::Dequeue(numbers.of(value)),
                _ => return Err(Unfit::new(op, self.name(), KNOWN)),
            };
            let end = op.ended().unwrap_or(u64::MAX);
            calls.push(Prepared { op: i, call, start: op.start_ns, end, must: op.is_ok() });
        }
        settle(&mut calls);
        Ok(calls)
    }

    fn start(&self, calls: &[Prepared<Call>]) -> State {
        let value = |call: &Prepared<Call>| match call.call {
            Call::Enqueue { value, .. } | Call::Dequeue(value) => value as usize + 1,
            Call::Empty { .. } | Call::DequeueUnknown => 0,
        };
        let values = calls.iter().map(value).max().unwrap_or(0);
        let mut state = State {
            content: VecDeque::new(),
            code: 0,
            taken: 0,
            due: BTreeMap::new(),
            empty: BTreeMap::new(),
            copies: vec![0; values],
            claims: vec![0; values],
            hopeless: false,
        };
        for call in calls {
            match call.call {
                Call::Enqueue { value, out } => {
                    state.copies[value as usize] += 1;
                    if let Some(out) = out {
                        *state.due.entry(out.end).or_default() += 1;
                    }
                }
                Call::Dequeue(value) => state.claims[value as usize] += 1,
                Call::Empty { start } => *state.empty.entry(start).or_default() += 1,
                Call::DequeueUnknown => {}
            }
        }
        state.hopeless = state.claims.iter().zip(&state.copies).any(|(claims, copies)| claims > copies);
        state
    }

    fn apply(&self, state: &mut State, call: &Call, _: bool) -> Option<Undo> {
        if state.hopeless {
            return None;
        }
        match *call {
            Call::Enqueue { value, out } => {
                if let Some(out) = out {
                    // The dequeue of a value that is not in yet ends before ours begins.
                    if state.due.keys().next().is_some_and(|end| *end < out.start) {
                        return None;
                    }
                    remove_one(&mut state.due, out.end);
                }
                let position = state.taken + state.content.len() as u64;
                state.content.push_back(value);
                state.code = state.code.wrapping_add(code(position, value));
                Some(None)
            }
            Call::Dequeue(value) => {
                if state.content.front() != Some(&value) {
                    return None;
                }
                state.claims[value as usize] -= 1;
                Some(Some(take(state)))
            }
            Call::Empty { start } => {
                if !state.content.is_empty() {
                    return None;
                }
                remove_one(&mut state.empty, start);
                Some(None)
            }
            Call::DequeueUnknown => {
                let front = *state.content.front()? as usize;
                (state.copies[front] > state.claims[front]).then(|| Some(take(state)))
            }
        }
    }

    fn undo(&self, state: &mut State, call: &Call, _: bool, taken: Undo) {
        if let Some(value) = taken {
            state.taken -= 1;
            state.content.push_front(value);
            state.copies[value as usize] += 1;
            state.code = state.code.wrapping_add(code(state.taken, value));
        }
        match *call {
            Call::Enqueue { value, out } => {
                state.content.pop_back();
                let position = state.taken + state.content.len() as u64;
                state.code = state.code.wrapping_sub(code(position, value));
                if let Some(out) = out {
                    *state.due.entry(out.end).or_default() += 1;
                }
            }
            Call::Dequeue(value) => state.claims[value as usize] += 1,
            Call::Empty { start } => *state.empty.entry(start).or_default() += 1,
            Call::DequeueUnknown => {}
        }
    }

    fn digest(&self, state: &State) -> u128 {
        state.code.wrapping_add(mixed(u64::MAX - state.taken))
    }

    /// * A dequeue of what is in front: if somebody else was to take it, whose outcome is unknown, the two can be swapped.
    /// * An enqueue of what comes out first of all that is yet to be put in, or at least overlaps with that, unless the queue may
    ///   have to be found empty before. (Of two orders of time, one of the ends and one of the fronts, that
    ///   don't contradict each other, any common minimum may be first; Henzinger, Sezgin and Vafeiadis, 2013.)
    fn at_once(&self, state: &State, call: &Call) -> bool {
        match call {
            Call::Empty { .. } | Call::Dequeue(_) => true,
            Call::Enqueue { out: Some(out), .. } => state.empty.keys().next().is_none_or(|start| *start > out.in_end),
            Call::Enqueue { out: None, .. } | Call::DequeueUnknown => false,
        }
    }

    /// What comes out first goes in first.
    fn urgency(&self, call: &Call, end: u64) -> u64 {
        match call {
            Call::Enqueue { out, .. } => out.map_or(u64::MAX, |out| out.end),
            _ => end,
        }
    }

    fn looks(&self, call: &Call) -> bool {
        matches!(call, Call::Dequeue(_) | Call::Empty { .. })
    }

    fn debt(&self, call: &Call) -> Debt {
        match call {
            Call::DequeueUnknown => Debt::LookOrSpend,
            _ => Debt::Nothing,
        }
    }

    /// A dequeue that found nothing can be left out. So can a value, wherever it stands: what remains is a queue again.
    fn weaken(&self, piece: &[Operation], victims: &[usize]) -> Option<Vec<Operation>> {
        let of = |op: &Operation| match op.f.as_str() {
            "enqueue" => Some(op.asked.clone()),
            _ => (op.is_ok() && !op.answer.is_null()).then(|| op.answer.clone()),
        };
        let is_victim = |i: usize| victims.binary_search(&i).is_ok();
        let gone: HashSet<Value> = victims.iter().filter_map(|&i| of(&piece[i])).collect();
        let leaves = |i: usize| match of(&piece[i]) {
            Some(value) => gone.contains(&value),
            None => is_victim(i) && piece[i].is_ok(),
        };
        (0..piece.len()).any(leaves).then(|| without(piece, leaves))
    }

    fn explain(&self, piece: &[Operation], part: &[Operation]) -> Option<String> {
        let culprit = last_told(piece, |op| op.f == "dequeue")?;
        let queue = subject(culprit, "the queue");
        let value = &culprit.answer;
        let start = format!("process {} dequeued {value} from {queue} {}", culprit.process, told_at(culprit));
        let got = |op: &&Operation, value: &Value| op.f == "dequeue" && op.is_ok() && op.answer == *value;
        if value.is_null() {
            let waiting = piece.iter().find(|op| op.f == "enqueue" && op.before(culprit))?;
            return Some(format!(
                "process {} found {queue} empty {}, but {} had been enqueued {} and was not taken",
                culprit.process,
                told_at(culprit),
                waiting.asked,
                told_at(waiting)
            ));
        }
        let enqueues: Vec<&Operation> = part.iter().filter(|op| op.f == "enqueue" && op.asked == *value).collect();
        let Some(enqueue) = enqueues.iter().find(|op| !op.is_fail()) else {
            return Some(match enqueues.first() {
                Some(op) => format!("{start}, but process {} had been refused to enqueue it", op.process),
                None => format!("{start}, which nobody ever enqueued"),
            });
        };
        if enqueues.iter().all(|op| op.is_fail() || Some(op.start_ns) > culprit.end_ns) {
            let began = at(enqueue.start_ns);
            return Some(format!("{start}, which process {} began to enqueue only at {began}", enqueue.process));
        }
        let twice = piece.iter().find(|op| op.id != culprit.id && got(op, value));
        if let (Some(op), 1) = (twice, enqueues.len()) {
            return Some(format!(
                "{start}, and so did process {} {}, though it was enqueued once",
                op.process,
                told_at(op)
            ));
        }
        let ahead = piece.iter().find(|op| op.f == "enqueue" && op.asked != *value && op.before(enqueue));
        ahead.map(|op| format!("{start}, but {} had been enqueued before it and was still to come out", op.asked))
    }
}

fn take(state: &mut State) -> u32 {
    let value = state.content.pop_front().expect("somebody looked");
    state.code = state.code.wrapping_sub(code(state.taken, value));
    state.taken += 1;
    state.copies[value as usize] -= 1;
    value
}

fn remove_one(counts: &mut BTreeMap<u64, u32>, at: u64) {
    let count = counts.get_mut(&at).expect("counted at the start");
    *count -= 1;
    if *count == 0 {
        counts.remove(&at);
    }
}

/// Drops unknown enqueues of values that nobody got: an order with one is as good without it, and without the unknown dequeue
/// that took it. Makes those certain that alone explain what somebody got. If every value went in and came out at most once,
/// notes when that was. Drops unknown dequeues if nothing is left for them.
fn settle(calls: &mut Vec<Prepared<Call>>) {
    let mut ins: HashMap<u32, usize> = HashMap::new();
    let mut outs: HashMap<u32, Vec<(u64, u64)>> = HashMap::new();
    for call in calls.iter() {
        match call.call {
            Call::Enqueue { value, .. } => *ins.entry(value).or_default() += 1,
            Call::Dequeue(value) => outs.entry(value).or_default().push((call.start, call.end)),
            Call::Empty { .. } | Call::DequeueUnknown => {}
        }
    }
    let unique = ins.values().all(|count| *count == 1) && outs.values().all(|outs| outs.len() == 1);
    let all_known = !calls.iter().any(|call| call.call == Call::DequeueUnknown);
    calls.retain_mut(|call| {
        let Call::Enqueue { value, out } = &mut call.call else { return true };
        let Some(outs) = outs.get(value) else {
            if all_known && unique && call.must {
                *out = Some(Out { start: u64::MAX, end: u64::MAX, in_end: call.end });
            }
            return call.must;
        };
        if ins[value] == 1 {
            let end = outs.iter().map(|out| out.1).min().expect("there is one");
            if !call.must && call.start > end {
                return false;
            }
            if !call.must {
                call.must = true;
                call.end = end;
            }
            if let ([(start, end)], true) = (&outs[..], unique) {
                *out = Some(Out { start: *start, end: *end, in_end: call.end });
            }
        }
        true
    });
    let mut surplus: HashMap<u32, i64> = HashMap::new();
    for call in calls.iter() {
        match call.call {
            Call::Enqueue { value, .. } => *surplus.entry(value).or_default() += 1,
            Call::Dequeue(value) => *surplus.entry(value).or_default() -= 1,
            Call::Empty { .. } | Call::DequeueUnknown => {}
        }
    }
    if surplus.values().all(|count| *count <= 0) {
        calls.retain(|call| call.call != Call::DequeueUnknown);
    }
}
