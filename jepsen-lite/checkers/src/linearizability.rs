//! Linearizability: did everything look as if it had happened at once, one thing at a time?
//!
//! Clients overlap. Each saw only when it asked and when it was told. A history is *linearizable* if every operation can be given
//! one moment between its start and its end, so that, taken in the order of these moments, a plain sequential object (the
//! [`Model`]) gives exactly the answers that were given.
//!
//! ```text
//! p0  |--write x=1--|
//! p1        |--read x=1--|            before p0 is told "ok", its write may already be seen …
//! p2                       |read x=0| … but once p1 has seen it, it must not vanish
//! ```
//!
//! # The search
//!
//! Wing and Gong's algorithm with Lowe's memory ("Testing for linearizability", 2017), as in Porcupine. A *candidate* is an
//! operation that may come next: nothing that is still to be placed had ended before it began. Take one, apply it to the
//! model, go on; when nothing fits, go back. Where we have been is remembered as (what is placed, state of the model): from
//! there everything goes the same way, however we came. Every key is searched by itself, because a history is
//! linearizable exactly if that of each key is (Herlihy and Wing's *locality*).
//!
//! The problem is NP-complete, so what matters is how little is tried. On top of Lowe's, all exact:
//!
//! * **At once.** A read that fits the state now is placed now, and no alternative tried: it changes nothing. Models know more of
//!   these ([`Model::at_once`]).
//! * **Twins.** Of candidates that ask and were told the same, only the one that ends first is tried: any order that
//!   takes another first stays right when the two are swapped.
//! * **Dead ends early.** Models refuse a step that leaves something wanted behind for ever: overwriting a 1 that is yet to be
//!   read, and that nobody will write again ([`Model::apply`]).
//!
//! # Unknown outcomes
//!
//! An unknown operation takes effect at one moment after its start, however late, or never. Each one left in the search can
//! double it, so models first settle what they can ([`Model::prepare`]):
//!
//! * an unknown *read* is dropped: it changed nothing and says nothing;
//! * an unknown write of a value that nobody was ever told of is dropped: if there is an order with it, there is one without
//!   it, because what came next in that order didn't look;
//! * an unknown write of a value that somebody was told of, and that nobody else wrote, has surely happened, and before the
//!   first who was told of it ended. So it is an ordinary operation with that end.
//!
//! With values that are written once each, nothing remains. Else the rest is *spent* at need: just before an operation that looks
//! ([`Debt`]), twins in the order of their starts, and never into a state that was reached with fewer spent: who has spent
//! less can do whatever the other can.
//!
//! # Bounds
//!
//! [`Limits`] bounds work and memory. Reached, the verdict is *unknown*, never valid.
//!
//! # What we left out
//!
//! Refused operations are dropped: they did nothing. That a refused compare-and-set has *seen* another value is not used.
//! The memory names what is placed by a 128-bit sum of fixed codes. Up to 128 operations that is exact; above, two of a million
//! million sets would be confused with a chance of 10⁻¹⁴. That could only accuse wrongly, never acquit, and the smallest
//! piece of an accusation is usually small enough to be exact.

use std::collections::BTreeMap;
use std::hash::Hash;

use crate::Name;
use crate::enough::Enough;
use crate::history::{History, brief};
use crate::operation::Operation;
use crate::search::{Budget, Found, search};
use crate::shrink;
use crate::verdict::{Checked, Explanation, Verdict, Why};

/// A sequential object, and what is known of its operations.
///
/// `apply` and `undo` change one state in place, so that long queues and large sets are never copied.
pub trait Model {
    /// What was asked and told. Equal calls are interchangeable.
    type Call: Clone + Eq + Hash;
    /// The object, and what the search has yet to place.
    type State;
    /// What it takes to go back one step.
    type Undo;
    /// The object alone, for the memory. Two states of equal objects, with the same operations placed, must behave alike.
    type Digest: Clone + Eq + Hash;

    /// What it is, for reports.
    fn name(&self) -> &'static str;

    /// Whether something quicker than the search shows that there is no order. Most models know nothing quicker.
    fn refutes(&self, calls: &[Prepared<Self::Call>]) -> bool {
        let _ = calls;
        false
    }

    /// Makes the operations of one key calls: refused ones are dropped, unknown ones settled as far as can be.
    fn prepare(&self, part: &[Operation]) -> Result<Vec<Prepared<Self::Call>>, Unfit>;

    /// The object before anything happened.
    fn start(&self, calls: &[Prepared<Self::Call>]) -> Self::State;

    /// Takes a step if the object would answer so. May refuse a step that leads nowhere. `must`: see [`Prepared::must`].
    fn apply(&self, state: &mut Self::State, call: &Self::Call, must: bool) -> Option<Self::Undo>;

    /// Takes the newest step back.
    fn undo(&self, state: &mut Self::State, call: &Self::Call, must: bool, undo: Self::Undo);

    /// The object alone.
    fn digest(&self, state: &Self::State) -> Self::Digest;

    /// Whether this call, if it can be applied now, may as well be: whenever there is an order that takes it later, there
    /// is one that takes it now.
    fn at_once(&self, state: &Self::State, call: &Self::Call) -> bool;

    /// Which candidates to try first: the least. A good guess finds an order sooner; any guess finds one.
    fn urgency(&self, call: &Self::Call, end: u64) -> u64 {
        let _ = call;
        end
    }

    /// Whether the object's state decides if this call can be applied. A blind write doesn't look. Also what makes an answer
    /// telling.
    fn looks(&self, call: &Self::Call) -> bool;

    /// What must follow this call if it is spent, that is, unknown and assumed to have happened.
    fn debt(&self, call: &Self::Call) -> Debt;

    /// A piece in which less is claimed, without these operations as far as possible, such that it is linearizable
    /// whenever the whole piece is. `None` if nothing would change. For finding the smallest failing piece.
    fn weaken(&self, piece: &[Operation], victims: &[usize]) -> Option<Vec<Operation>>;

    /// What is wrong with the smallest failing piece, in a sentence; `part` is all of the key. `None`: no better words than the
    /// general ones.
    fn explain(&self, piece: &[Operation], part: &[Operation]) -> Option<String>;
}

/// An operation as the search needs it.
#[derive(Clone, Debug)]
pub struct Prepared<C> {
    /// Which of the part it was made from.
    pub op: usize,
    /// What was asked and told.
    pub call: C,
    /// From when it may take effect.
    pub start: u64,
    /// Until when; of no meaning if it need not.
    pub end: u64,
    /// Whether it has to be placed; else it may be.
    pub must: bool,
}

/// What must follow an unknown call that is spent. An unknown call never has to be spent before it is of use, so orders in
/// which it is spent earlier need not be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Debt {
    /// Nothing: its place matters by itself.
    Nothing,
    /// A call that looks; whatever overwrites it blindly makes it useless.
    Look,
    /// A call that looks, or another one that is spent: it commutes with all that don't look.
    LookOrSpend,
}

/// How much work and memory a check may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of the model tried, over all keys and for making a violation small.
    pub steps_max: u64,
    /// States remembered at a time: some 150 bytes each, and more with many unknown outcomes.
    pub states_max: usize,
}

impl Default for Limits {
    /// A minute or so, and less than a gigabyte. (The states just fit a table of 2²² places.)
    fn default() -> Limits {
        Limits { steps_max: 200_000_000, states_max: 3_500_000 }
    }
}

/// An operation that the model has no meaning for. The file is at fault, or the wrong model was named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {found} means nothing to {model}; expected {expected}")]
pub struct Unfit {
    /// Where the operation begins.
    pub line: u64,
    /// What stands there.
    pub found: String,
    /// Who was asked.
    pub model: &'static str,
    /// What it knows.
    pub expected: &'static str,
}

impl Unfit {
    pub(crate) fn new(op: &Operation, model: &'static str, expected: &'static str) -> Unfit {
        let mut found = format!("`{}` of {}", op.f, brief(&op.asked));
        if op.is_ok() {
            found += &format!(", answered {}", brief(&op.answer));
        }
        Unfit { line: op.line, found, model, expected }
    }
}

/// Judges a history, key by key.
pub fn check<M: Model>(model: &M, history: &History, enough: Enough, limits: Limits) -> Result<Verdict, Unfit> {
    let mut parts: BTreeMap<&Option<Name>, Vec<Operation>> = BTreeMap::new();
    for op in &history.operations {
        parts.entry(&op.key).or_default().push(op.clone());
    }
    let mut checked = Checked::of(&history.operations);
    let mut budget = Budget::new(limits);
    let mut gave_up = None;
    for (key, part) in parts {
        let calls = model.prepare(&part)?;
        checked.telling += calls.iter().filter(|call| part[call.op].is_ok() && model.looks(&call.call)).count();
        match search(model, &calls, &mut budget) {
            Found::Order => {}
            Found::NoOrder => {
                let piece = shrink::smallest(model, &part, limits);
                return Ok(Verdict::Invalid { explanation: explain(model, &piece, &part, key) });
            }
            Found::Bound(bound) => {
                gave_up.get_or_insert(Why::GaveUp { key: key.clone(), operations: part.len(), bound: bound.into() });
            }
        }
    }
    Ok(match gave_up {
        Some(why) => Verdict::Unknown { why, checked },
        None => enough.judge(checked),
    })
}

fn explain<M: Model>(model: &M, piece: &[Operation], part: &[Operation], key: &Option<Name>) -> Explanation {
    let headline = model
        .explain(piece, part)
        .unwrap_or_else(|| format!("no order of these {} operations gives the answers that were given", piece.len()));
    // What was weakened in the search stands here as it was.
    let by_id: BTreeMap<usize, &Operation> = part.iter().map(|op| (op.id, op)).collect();
    Explanation::new(
        &format!("linearizable {}", model.name()),
        headline,
        key.clone(),
        piece.iter().map(|op| by_id[&op.id]),
    )
}
