//! From a failing history of one key to the smallest piece of it that fails.
//!
//! Two steps, both of which only *weaken* what is claimed, so that the piece is a proof against the whole:
//!
//! 1. **The shortest failing time.** Up to a moment, what had not ended is unknown. A prefix of a linearizable history is linearizable,
//!    so halving finds the first moment at which no order is left.
//! 2. **Dropping operations**, in chunks that get smaller. An operation can't just be left out: without the write of 1, a read of
//!    1 would be wrong that was right. [`Model::weaken`] leaves out what is safe to, and makes the rest unknown; an unknown
//!    operation that then explains nothing is not shown.

use std::collections::BTreeSet;

use crate::linearizability::{Limits, Model};
use crate::operation::Operation;
use crate::search::{Budget, Found, search};

/// How often a smaller piece is tried: enough for one of some twenty operations in a part of 10,000.
const TRIES_MAX: usize = 3_000;

/// How many operations all tries together may look at, some ten seconds' worth: a smaller piece is welcome, not owed.
const OPERATIONS_MAX: usize = 10_000_000;

/// What the searches of all tries may take together, and each of them remember. A try that is too hard counts as a failure
/// that is not shown, so the piece stays larger.
const STEPS_MAX: u64 = 20_000_000;
const STATES_MAX: usize = 300_000;

/// The smallest failing piece found. `part` has no order.
pub(crate) fn smallest<M: Model>(model: &M, part: &[Operation], limits: Limits) -> Vec<Operation> {
    let quick = model.prepare(part).is_ok_and(|calls| model.refutes(&calls));
    let limits = Limits { steps_max: limits.steps_max.min(STEPS_MAX), states_max: limits.states_max.min(STATES_MAX) };
    let mut tries = Tries { model, quick, budget: Budget::new(limits), tries: 0, operations: 0 };

    let mut ends: Vec<u64> = part.iter().filter(|op| op.is_ok()).filter_map(|op| op.end_ns).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut piece = part.to_vec();
    let (mut low, mut high) = (0, ends.len());
    while low < high {
        let middle = (low + high) / 2;
        match tries.fails(&until(part, ends[middle])) {
            Some(smaller) => {
                piece = smaller;
                high = middle;
            }
            None => low = middle + 1,
        }
    }

    let mut chunk = piece.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        let mut dropped = false;
        while from < piece.len() && !tries.are_over() {
            let victims: Vec<usize> = (from..piece.len().min(from + chunk)).collect();
            match model.weaken(&piece, &victims).and_then(|weaker| tries.fails(&weaker)) {
                Some(smaller) if smaller.len() < piece.len() => {
                    piece = smaller;
                    dropped = true;
                }
                _ => from += chunk,
            }
        }
        chunk = if chunk == 1 && dropped && !tries.are_over() { 1 } else { chunk / 2 };
    }
    piece
}

struct Tries<'a, M> {
    model: &'a M,
    /// No search is needed to see that the whole fails, so none is made for the pieces.
    quick: bool,
    budget: Budget,
    tries: usize,
    operations: usize,
}

impl<M: Model> Tries<'_, M> {
    /// What of a piece that has no order is needed to see that; `None` if it has one, or that can't be found out any more.
    fn fails(&mut self, piece: &[Operation]) -> Option<Vec<Operation>> {
        if self.are_over() {
            return None;
        }
        self.tries += 1;
        self.operations += piece.len();
        let calls = self.model.prepare(piece).ok()?;
        let fails = match self.quick {
            true => self.model.refutes(&calls),
            false => search(self.model, &calls, &mut self.budget) == Found::NoOrder,
        };
        fails.then(|| {
            let needed: BTreeSet<usize> = calls.iter().map(|call| call.op).collect();
            needed.into_iter().map(|i| piece[i].clone()).collect()
        })
    }

    fn are_over(&self) -> bool {
        self.tries >= TRIES_MAX || self.operations >= OPERATIONS_MAX || self.budget.is_spent()
    }
}

/// What was known at a moment.
fn until(part: &[Operation], time: u64) -> Vec<Operation> {
    part.iter()
        .filter(|op| op.start_ns <= time)
        .map(|op| match op.is_ok() && op.end_ns.is_some_and(|end| end > time) {
            true => op.forgotten(),
            false => op.clone(),
        })
        .collect()
}
