use serde_json::Value;

use super::{last_told, subject, told_at, without};
use crate::linearizability::{Debt, Model, Prepared, Unfit};
use crate::operation::Operation;

const KNOWN: &str = "`read` of an integer, or `add` of an integer, answered by nothing, itself, or [delta, result]";

/// A number, 0 at first: `add` of a delta, and `read`.
///
/// The `ok` of an `add` may say the result as `[delta, result]`; a bare number there repeats the delta. A `read` of `null` is 0: the
/// key is absent until something is added.
///
/// Unknown adds are never settled, so hundreds of them on one key end in *unknown*: spread the load over keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    /// The least it can be: an `add` that would lead below is refused.
    pub min: Option<i64>,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// It was told this value.
    Read(i64),
    /// It added.
    Add {
        /// This much.
        delta: i64,
        /// And was told this value.
        result: Option<i64>,
        /// The bound could have refused it.
        bounded: bool,
    },
}

impl Counter {
    fn call(self, op: &Operation) -> Result<Call, Unfit> {
        let unfit = || Unfit::new(op, "counter", KNOWN);
        match op.f.as_str() {
            "read" if !op.is_ok() => Ok(Call::Read(0)),
            "read" => match &op.answer {
                Value::Null => Ok(Call::Read(0)),
                value => value.as_i64().map(Call::Read).ok_or_else(unfit),
            },
            "add" => {
                let delta = op.asked.as_i64().ok_or_else(unfit)?;
                let result = match &op.answer {
                    Value::Array(pair) if op.is_ok() && pair.len() == 2 => Some(pair[1].as_i64().ok_or_else(unfit)?),
                    Value::Null => None,
                    value if op.is_ok() && *value != op.asked => return Err(unfit()),
                    _ => None,
                };
                Ok(Call::Add { delta, result, bounded: self.min.is_some() && delta < 0 })
            }
            _ => Err(unfit()),
        }
    }
}

impl Model for Counter {
    type Call = Call;
    type State = i64;
    type Undo = i64;
    type Digest = i64;

    fn name(&self) -> &'static str {
        "counter"
    }

    fn prepare(&self, part: &[Operation]) -> Result<Vec<Prepared<Call>>, Unfit> {
        let mut calls = Vec::with_capacity(part.len());
        for (i, op) in part.iter().enumerate() {
            let call = self.call(op)?;
            let idle = matches!(call, Call::Read(_) | Call::Add { delta: 0, .. });
            if op.is_ok() || (op.is_unknown() && !idle) {
                let end = op.ended().unwrap_or(u64::MAX);
                calls.push(Prepared { op: i, call, start: op.start_ns, end, must: op.is_ok() });
            }
        }
        Ok(calls)
    }

    /// Every value told lies between what had surely been added before and what may have been by then. Unknown adds make the
    /// search hard, and these bounds only wider.
    fn refutes(&self, calls: &[Prepared<Call>]) -> bool {
        let (mut ended, mut begun) = (Vec::new(), Vec::new());
        for call in calls {
            if let Call::Add { delta, .. } = call.call {
                begun.push((call.start, delta));
                if call.must {
                    ended.push((call.end, delta));
                }
            }
        }
        let (ended, begun) = (Sums::new(ended), Sums::new(begun));
        calls.iter().filter(|call| call.must).any(|call| {
            let value = match call.call {
                Call::Read(value) | Call::Add { result: Some(value), .. } => i128::from(value),
                Call::Add { result: None, .. } => return false,
            };
            let (surely_less, surely_more) = ended.until(call.start.checked_sub(1));
            let (less, more) = begun.until(Some(call.end));
            // Of what began by the end, all of one sign that had not ended before the start may or may not count.
            !(less + surely_more..=more + surely_less).contains(&value)
        })
    }

    fn start(&self, _: &[Prepared<Call>]) -> i64 {
        0
    }

    fn apply(&self, state: &mut i64, call: &Call, _: bool) -> Option<i64> {
        let before = *state;
        match *call {
            Call::Read(value) => (value == before).then_some(before),
            Call::Add { delta, result, bounded } => {
                let after = before.checked_add(delta)?;
                let refused = bounded && self.min.is_some_and(|min| after < min);
                if refused || result.is_some_and(|result| result != after) {
                    return None;
                }
                *state = after;
                Some(before)
            }
        }
    }

    fn undo(&self, state: &mut i64, _: &Call, _: bool, before: i64) {
        *state = before;
    }

    fn digest(&self, state: &i64) -> i64 {
        *state
    }

    fn at_once(&self, _: &i64, call: &Call) -> bool {
        matches!(call, Call::Read(_))
    }

    fn looks(&self, call: &Call) -> bool {
        match call {
            Call::Read(_) => true,
            Call::Add { result, bounded, .. } => result.is_some() || *bounded,
        }
    }

    fn debt(&self, _: &Call) -> Debt {
        Debt::LookOrSpend
    }

    fn weaken(&self, piece: &[Operation], victims: &[usize]) -> Option<Vec<Operation>> {
        let is_victim = |i: usize| victims.binary_search(&i).is_ok();
        // A read says nothing of the others. An add that gave no result and can't be refused says nothing either, but it counts:
        // it stays. Results can be left out, which makes room for other orders.
        let changes = victims.iter().any(|&i| piece[i].f == "read" || piece[i].answer.is_array());
        changes.then(|| {
            let mut weaker = without(piece, |i| is_victim(i) && piece[i].f == "read");
            let ids: Vec<usize> = victims.iter().map(|&i| piece[i].id).collect();
            for op in weaker.iter_mut().filter(|op| op.answer.is_array() && ids.contains(&op.id)) {
                op.answer = Value::Null;
            }
            weaker
        })
    }

    fn explain(&self, piece: &[Operation], part: &[Operation]) -> Option<String> {
        let told = |op: &Operation| match self.call(op).ok()? {
            Call::Read(value) => Some((value, 0)),
            Call::Add { delta, result, .. } => result.map(|result| (result, delta)),
        };
        let culprit = last_told(piece, |op| told(op).is_some())?;
        let (value, own) = told(culprit)?;
        let (mut low, mut high, mut surely) = (own, own, own);
        for op in part.iter().filter(|op| op.id != culprit.id && op.f == "add" && !op.is_fail()) {
            let Call::Add { delta, .. } = self.call(op).ok()? else { continue };
            if op.before(culprit) {
                low = low.checked_add(delta)?;
                high = high.checked_add(delta)?;
                surely = surely.checked_add(delta)?;
            } else if op.start_ns <= culprit.end_ns? {
                low = low.checked_add(delta.min(0))?;
                high = high.checked_add(delta.max(0))?;
            }
        }
        let start = format!(
            "process {} was told {} = {value} {}",
            culprit.process,
            subject(culprit, "the counter"),
            told_at(culprit)
        );
        let acknowledged = format!("what had been acknowledged before it asked comes to {surely}");
        if value < low {
            return Some(format!(
                "{start}, but {acknowledged}, and it could not be below {low}: {} is lost",
                low - value
            ));
        }
        if value > high {
            return Some(format!(
                "{start}, but {acknowledged}, and it could not be above {high}: {} too much",
                value - high
            ));
        }
        let same = |op: &&Operation| {
            op.id != culprit.id && own != 0 && op.f == "add" && told(op).is_some_and(|t| t.0 == value)
        };
        piece.iter().find(same).map(|op| {
            format!(
                "{start}, and process {} was told the same result of its add {}: one of them is lost",
                op.process,
                told_at(op)
            )
        })
    }
}

/// What was added up to a time, below zero and above it apart.
struct Sums {
    by_time: Vec<(u64, i128, i128)>,
}

impl Sums {
    fn new(mut deltas: Vec<(u64, i64)>) -> Sums {
        deltas.sort_unstable();
        let mut sums = Sums { by_time: Vec::with_capacity(deltas.len()) };
        let (mut less, mut more) = (0, 0);
        for (time, delta) in deltas {
            less += i128::from(delta.min(0));
            more += i128::from(delta.max(0));
            sums.by_time.push((time, less, more));
        }
        sums
    }

    /// Up to and with that time; `None` is before all times.
    fn until(&self, time: Option<u64>) -> (i128, i128) {
        let Some(time) = time else { return (0, 0) };
        let count = self.by_time.partition_point(|(at, ..)| *at <= time);
        count.checked_sub(1).map_or((0, 0), |last| (self.by_time[last].1, self.by_time[last].2))
    }
}
