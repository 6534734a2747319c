//! What waits for a place in an entry, by who asks.
//!
//! First come, first served would let one client with thousands of requests under way make every other client wait behind
//! them. So each caller has a lane of its own, and an entry takes one request from each lane in turn until it is full. As
//! long as everything fits into the next entry, which is nearly always, nobody notices.

use std::collections::{HashMap, VecDeque};

/// Who asks, as far as fairness goes: all requests of one lane together get the share of one caller. A connection, a stream
/// of calls, or what a gateway forwards for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane(pub u64);

impl Lane {
    /// What a node proposes by itself.
    pub const NODE: Lane = Lane(0);
}

/// Items waiting in lanes.
///
/// * Items of one lane leave in the order they came.
/// * Between two items of one lane, every other lane that waits gets its turn.
/// * A lane exists only while something waits in it, so callers that have left cost nothing.
pub(crate) struct FairQueue<T> {
    lanes: HashMap<Lane, VecDeque<T>>,
    /// Lanes with something in them, the next one first.
    turns: VecDeque<Lane>,
    len: usize,
}

impl<T> FairQueue<T> {
    pub(crate) fn new() -> FairQueue<T> {
        FairQueue { lanes: HashMap::new(), turns: VecDeque::new(), len: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, lane: Lane, item: T) {
        let items = self.lanes.entry(lane).or_insert_with(|| {
            self.turns.push_back(lane);
            VecDeque::new()
        });
        items.push_back(item);
        self.len += 1;
    }

    /// The next item, of the lane whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let lane = self.turns.pop_front()?;
        let items = self.lanes.get_mut(&lane).expect("a lane with a turn exists");
        let item = items.pop_front().expect("a lane exists only while something waits in it");
        match items.is_empty() {
            true => drop(self.lanes.remove(&lane)),
            false => self.turns.push_back(lane),
        }
        self.len -= 1;
        Some(item)
    }

    /// Takes out what `is_late` says of the first items of each lane: in a lane nobody is later than the first.
    pub(crate) fn take_late(&mut self, is_late: impl Fn(&T) -> bool) -> Vec<T> {
        let mut late = Vec::new();
        self.lanes.retain(|_, items| {
            while items.front().is_some_and(&is_late) {
                late.extend(items.pop_front());
            }
            !items.is_empty()
        });
        self.len -= late.len();
        self.turns.retain(|lane| self.lanes.contains_key(lane));
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut FairQueue<(u64, u32)>) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_caller_with_much_does_not_keep_one_with_little_waiting() {
        let mut queue = FairQueue::new();
        (0..4).for_each(|n| queue.push(Lane(1), (1, n)));
        queue.push(Lane(2), (2, 0));
        queue.push(Lane(3), (3, 0));
        queue.push(Lane(3), (3, 1));
        assert_eq!(queue.len(), 7);
        let order = drain(&mut queue);
        assert_eq!(order, [(1, 0), (2, 0), (3, 0), (1, 1), (3, 1), (1, 2), (1, 3)]);
        assert!(queue.is_empty() && queue.lanes.is_empty(), "nothing is kept of lanes that are empty");
    }

    #[test]
    fn whoever_comes_later_is_served_in_the_next_turn() {
        let mut queue = FairQueue::new();
        (0..3).for_each(|n| queue.push(Lane(1), (1, n)));
        assert_eq!(queue.pop(), Some((1, 0)));
        queue.push(Lane(2), (2, 0));
        assert_eq!(drain(&mut queue), [(1, 1), (2, 0), (1, 2)]);
    }

    #[test]
    fn who_is_late_is_taken_out_of_every_lane() {
        let mut queue = FairQueue::new();
        (0..3).for_each(|n| queue.push(Lane(1), (1, n)));
        queue.push(Lane(2), (2, 0));
        queue.push(Lane(3), (3, 5));
        let mut late = queue.take_late(|(_, n)| *n < 2);
        late.sort();
        assert_eq!(late, [(1, 0), (1, 1), (2, 0)]);
        assert_eq!(queue.len(), 2);
        assert_eq!(drain(&mut queue), [(1, 2), (3, 5)]);
    }
}
