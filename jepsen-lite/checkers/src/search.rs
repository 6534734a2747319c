//! The search for an order; [`linearizability`](crate::linearizability) says what and why.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::linearizability::{Debt, Limits, Model, Prepared};

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The history is linearizable.
    Order,
    /// It is not: everything was tried.
    NoOrder,
    /// This bound was reached first.
    Bound(&'static str),
}

/// What is left of the work allowed.
pub(crate) struct Budget {
    steps_left: u64,
    states_max: usize,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Budget {
        Budget { steps_left: limits.steps_max, states_max: limits.states_max }
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.steps_left == 0
    }
}

/// A call that can come next.
#[derive(Clone, Copy)]
enum Choice {
    /// This one of `musts`.
    Must(usize),
    /// The first unspent one of this class of unknown calls.
    Spend(usize),
}

/// A step that was taken, and where to go on if it leads nowhere.
struct Frame<U> {
    /// Where the choices of that place begin.
    from: usize,
    /// The next of them to try.
    cursor: usize,
    taken: Choice,
    undo: U,
    /// The debt before it.
    debt: Option<Debt>,
}

/// Unknown calls that are twins, by start.
struct Class {
    members: Vec<usize>,
    /// How many are spent; always the first ones, since they can stand wherever the later ones can.
    spent: usize,
    /// Where its members' bits begin.
    first_bit: usize,
}

/// Looks for an order of the calls.
pub(crate) fn search<M: Model>(model: &M, calls: &[Prepared<M::Call>], budget: &mut Budget) -> Found {
    if model.refutes(calls) {
        return Found::NoOrder;
    }
    let mut musts: Vec<usize> = (0..calls.len()).filter(|&i| calls[i].must).collect();
    musts.sort_by_key(|&i| (calls[i].start, i));
    let twins = twins(calls, &musts);
    let urgency: Vec<u64> = musts.iter().map(|&i| model.urgency(&calls[i].call, calls[i].end)).collect();
    let mut seen_twin = vec![usize::MAX; musts.len()];
    let mut visit = 0;

    let (mut classes, bits) = classes(calls);
    let mut spent = vec![0u64; bits.div_ceil(64)];
    let codes = codes(musts.len());
    let mut chain = Chain::new(musts.len());
    let mut state = model.start(calls);
    let mut memory: Memory<M::Digest> = Memory::default();

    let mut placed = 0u128;
    let mut left = musts.len();
    let mut debt: Option<Debt> = None;
    let mut choices: Vec<Choice> = Vec::new();
    let mut frames: Vec<Frame<M::Undo>> = Vec::new();

    'place: loop {
        if left == 0 {
            return Found::Order;
        }
        // Candidates: what began before anything unplaced ended.
        let mut from = choices.len();
        let mut first_end = u64::MAX;
        let mut at = chain.first();
        while at < musts.len() && calls[musts[at]].start <= first_end {
            first_end = first_end.min(calls[musts[at]].end);
            choices.push(Choice::Must(at));
            at = chain.next(at);
        }
        choices[from..].sort_by_key(|choice| match choice {
            Choice::Must(at) => (urgency[*at], calls[musts[*at]].end),
            Choice::Spend(_) => unreachable!("none was pushed yet"),
        });
        visit += 1;
        let mut kept = from;
        for i in from..choices.len() {
            let Choice::Must(at) = choices[i] else { unreachable!("none was pushed yet") };
            let pays = debt.is_none() || model.looks(&calls[musts[at]].call);
            if pays && seen_twin[twins[at]] != visit {
                seen_twin[twins[at]] = visit;
                choices[kept] = choices[i];
                kept += 1;
            }
        }
        choices.truncate(kept);

        for i in from..choices.len() {
            let Choice::Must(at) = choices[i] else { unreachable!("none was pushed yet") };
            let call = &calls[musts[at]].call;
            if !model.at_once(&state, call) {
                continue;
            }
            if budget.steps_left == 0 {
                return Found::Bound(STEPS);
            }
            budget.steps_left -= 1;
            if let Some(undo) = model.apply(&mut state, call, true) {
                let taken = choices[i];
                choices.truncate(from);
                frames.push(Frame { from, cursor: from, taken, undo, debt });
                chain.take(at);
                placed = placed.wrapping_add(codes[at]);
                left -= 1;
                debt = None;
                continue 'place;
            }
        }
        for (class, of) in classes.iter().enumerate() {
            let Some(&next) = of.members.get(of.spent) else { continue };
            let pays = match debt {
                None | Some(Debt::Nothing | Debt::LookOrSpend) => true,
                Some(Debt::Look) => model.looks(&calls[next].call),
            };
            if pays && calls[next].start <= first_end {
                choices.push(Choice::Spend(class));
            }
        }

        let mut cursor = from;
        loop {
            while cursor < choices.len() {
                if budget.steps_left == 0 {
                    return Found::Bound(STEPS);
                }
                budget.steps_left -= 1;
                let taken = choices[cursor];
                cursor += 1;
                match taken {
                    Choice::Must(at) => {
                        let call = &calls[musts[at]].call;
                        let Some(undo) = model.apply(&mut state, call, true) else { continue };
                        let then = placed.wrapping_add(codes[at]);
                        if memory.is_new(then, model.digest(&state), None, &spent) {
                            frames.push(Frame { from, cursor, taken, undo, debt });
                            chain.take(at);
                            placed = then;
                            left -= 1;
                            debt = None;
                        } else {
                            model.undo(&mut state, call, true, undo);
                            continue;
                        }
                    }
                    Choice::Spend(class) => {
                        let of = &mut classes[class];
                        let call = &calls[of.members[of.spent]].call;
                        let before = model.digest(&state);
                        let Some(undo) = model.apply(&mut state, call, false) else { continue };
                        let after = model.digest(&state);
                        let then = Some(model.debt(call)).filter(|debt| *debt != Debt::Nothing);
                        flip(&mut spent, of.first_bit + of.spent);
                        if before != after && memory.is_new(placed, after, then, &spent) {
                            frames.push(Frame { from, cursor, taken, undo, debt });
                            of.spent += 1;
                            debt = then;
                        } else {
                            flip(&mut spent, of.first_bit + of.spent);
                            model.undo(&mut state, call, false, undo);
                            continue;
                        }
                    }
                }
                if memory.states > budget.states_max {
                    return Found::Bound("the memory for states is full");
                }
                continue 'place;
            }
            // Nothing fits here: back to the place before, and on with its next choice.
            let Some(frame) = frames.pop() else { return Found::NoOrder };
            choices.truncate(from);
            match frame.taken {
                Choice::Must(at) => {
                    model.undo(&mut state, &calls[musts[at]].call, true, frame.undo);
                    chain.put_back(at);
                    placed = placed.wrapping_sub(codes[at]);
                    left += 1;
                }
                Choice::Spend(class) => {
                    let of = &mut classes[class];
                    of.spent -= 1;
                    flip(&mut spent, of.first_bit + of.spent);
                    model.undo(&mut state, &calls[of.members[of.spent]].call, false, frame.undo);
                }
            }
            debt = frame.debt;
            from = frame.from;
            cursor = frame.cursor;
        }
    }
}

const STEPS: &str = "the steps allowed are used up";

fn flip(bits: &mut [u64], bit: usize) {
    bits[bit / 64] ^= 1 << (bit % 64);
}

/// Gives equal calls equal numbers.
fn twins<C: Eq + Hash>(calls: &[Prepared<C>], musts: &[usize]) -> Vec<usize> {
    let mut numbers: HashMap<&C, usize> = HashMap::new();
    musts
        .iter()
        .map(|&i| {
            let next = numbers.len();
            *numbers.entry(&calls[i].call).or_insert(next)
        })
        .collect()
}

/// The unknown calls by class, and how many there are.
fn classes<C: Eq + Hash>(calls: &[Prepared<C>]) -> (Vec<Class>, usize) {
    let mut unknown: Vec<usize> = (0..calls.len()).filter(|&i| !calls[i].must).collect();
    unknown.sort_by_key(|&i| (calls[i].start, i));
    let mut numbers: HashMap<&C, usize> = HashMap::new();
    let mut classes: Vec<Class> = Vec::new();
    for i in unknown {
        let next = classes.len();
        let class = *numbers.entry(&calls[i].call).or_insert(next);
        if class == next {
            classes.push(Class { members: Vec::new(), spent: 0, first_bit: 0 });
        }
        classes[class].members.push(i);
    }
    let mut bits = 0;
    for class in &mut classes {
        class.first_bit = bits;
        bits += class.members.len();
    }
    (classes, bits)
}

/// A code for each call, such that the sum names the set: exactly, up to 128 of them.
fn codes(count: usize) -> Vec<u128> {
    if count <= 128 {
        return (0..count).map(|i| 1 << i).collect();
    }
    (0..count as u64).map(mixed).collect()
}

/// 128 bits that look random, always the same for the same number (splitmix64, twice).
pub(crate) fn mixed(number: u64) -> u128 {
    let half = |seed: u64| {
        let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let high = half(number.wrapping_mul(2).wrapping_add(1));
    let low = half(number.wrapping_mul(2).wrapping_add(2) ^ 0x5851_f42d_4c95_7f2d);
    (u128::from(high) << 64) | u128::from(low)
}

/// What is not placed yet, by start; a doubly linked list in two arrays. What is taken last must be put back first.
struct Chain {
    /// Of each one, and last of the anchor, which stands before the first and after the last.
    after: Vec<usize>,
    before: Vec<usize>,
}

impl Chain {
    fn new(count: usize) -> Chain {
        let slots = count + 1;
        Chain {
            after: (0..slots).map(|i| (i + 1) % slots).collect(),
            before: (0..slots).map(|i| (i + slots - 1) % slots).collect(),
        }
    }

    fn first(&self) -> usize {
        self.after[self.after.len() - 1]
    }

    fn next(&self, at: usize) -> usize {
        self.after[at]
    }

    fn take(&mut self, at: usize) {
        let (before, after) = (self.before[at], self.after[at]);
        self.after[before] = after;
        self.before[after] = before;
    }

    fn put_back(&mut self, at: usize) {
        let (before, after) = (self.before[at], self.after[at]);
        self.after[before] = at;
        self.before[after] = at;
    }
}

/// Where the search has been.
struct Memory<D> {
    places: HashMap<(u128, D, Option<Debt>), Spent, BuildHasherDefault<Mix>>,
    states: usize,
}

/// With which unknown calls spent we have been in one place; none contains another.
#[derive(Default)]
struct Spent {
    first: Box<[u64]>,
    more: Vec<Box<[u64]>>,
}

impl<D> Default for Memory<D> {
    fn default() -> Memory<D> {
        Memory { places: HashMap::default(), states: 0 }
    }
}

impl<D: Eq + Hash + Clone> Memory<D> {
    /// Notes a place. `false` if we have been there with no more spent and no greater debt.
    fn is_new(&mut self, placed: u128, digest: D, debt: Option<Debt>, spent: &[u64]) -> bool {
        use std::collections::hash_map::Entry;
        if debt.is_some()
            && let Some(free) = self.places.get(&(placed, digest.clone(), None))
            && free.covers(spent)
        {
            return false;
        }
        match self.places.entry((placed, digest, debt)) {
            Entry::Vacant(entry) => {
                entry.insert(Spent { first: spent.into(), more: Vec::new() });
            }
            Entry::Occupied(entry) if entry.get().covers(spent) => return false,
            Entry::Occupied(mut entry) => entry.get_mut().more.push(spent.into()),
        }
        self.states += 1;
        true
    }
}

impl Spent {
    fn covers(&self, spent: &[u64]) -> bool {
        let within = |known: &[u64]| known.iter().zip(spent).all(|(known, spent)| known & !spent == 0);
        within(&self.first) || self.more.iter().any(|known| within(known))
    }
}

/// A quick hash for keys that nobody chooses to hurt us.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u128(&mut self, word: u128) {
        self.write_u64(word as u64);
        self.write_u64((word >> 64) as u64);
    }
}
