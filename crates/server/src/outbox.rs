//! What waits to be sent to one peer.
//!
//! Many push, one drains: whoever sends takes *everything* that has gathered while the last message was on its way, up to
//! a message's size. Nothing ever waits for a message to fill up, and an idle connection sends a lone item at once.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

/// Items waiting for one peer.
///
/// * Items leave in the order they came.
/// * No more than `bytes_max` wait, unless it is a single item.
/// * A closed outbox is empty: what cannot be sent soon is refused at once instead of growing old here.
pub(crate) struct Outbox<T> {
    state: Mutex<State<T>>,
    more: Notify,
    bytes_max: usize,
}

struct State<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
    open: bool,
}

/// Why an item was not taken. It comes back to its owner.
#[derive(Debug)]
pub(crate) enum Refused<T> {
    /// The peer is slower than what is sent to it.
    Full(T),
    /// There is no connection.
    Closed(T),
}

impl<T> Outbox<T> {
    pub(crate) fn new(bytes_max: usize) -> Outbox<T> {
        let state = State { items: VecDeque::new(), bytes: 0, open: true };
        Outbox { state: Mutex::new(state), more: Notify::new(), bytes_max }
    }

    pub(crate) fn push(&self, bytes: usize, item: T) -> Result<(), Refused<T>> {
        let mut state = self.lock();
        if !state.open {
            return Err(Refused::Closed(item));
        }
        if !state.items.is_empty() && state.bytes + bytes > self.bytes_max {
            return Err(Refused::Full(item));
        }
        state.items.push_back((bytes, item));
        state.bytes += bytes;
        drop(state);
        self.more.notify_one();
        Ok(())
    }

    /// Everything that waits, up to `bytes_max` (one item may be larger). Waits for the first item. Only one task drains.
    pub(crate) async fn drain(&self, bytes_max: usize) -> Vec<T> {
        loop {
            let items = self.take(bytes_max);
            if !items.is_empty() {
                return items;
            }
            self.more.notified().await;
        }
    }

    fn take(&self, bytes_max: usize) -> Vec<T> {
        let mut state = self.lock();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some((size, _)) = state.items.front() {
            if !taken.is_empty() && bytes + size > bytes_max {
                break;
            }
            let (size, item) = state.items.pop_front().expect("it has a front");
            bytes += size;
            state.bytes -= size;
            taken.push(item);
        }
        taken
    }

    /// Refuses from now on, and gives back what waited.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut state = self.lock();
        state.open = false;
        state.bytes = 0;
        state.items.drain(..).map(|(_, item)| item).collect()
    }

    pub(crate) fn open(&self) {
        self.lock().open = true;
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_drain_takes_all_that_has_gathered_in_order() {
        let outbox = Outbox::new(100);
        for item in 0..5 {
            outbox.push(10, item).unwrap();
        }
        assert_eq!(outbox.drain(100).await, [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_message_is_bounded_but_an_item_of_any_size_gets_through() {
        let outbox = Outbox::new(100);
        for (bytes, item) in [(60, 'a'), (30, 'b'), (10, 'c')] {
            outbox.push(bytes, item).unwrap();
        }
        assert_eq!(outbox.drain(90).await, ['a', 'b']);
        assert_eq!(outbox.drain(5).await, ['c']);
    }

    /// The bound is what keeps a slow peer from filling the memory of all others.
    #[tokio::test]
    async fn a_full_outbox_refuses_until_it_is_drained() {
        let outbox = Outbox::new(100);
        outbox.push(500, 'a').unwrap();
        assert!(matches!(outbox.push(1, 'b'), Err(Refused::Full('b'))));
        assert_eq!(outbox.drain(100).await, ['a']);
        outbox.push(100, 'c').unwrap();
    }

    #[tokio::test]
    async fn a_closed_outbox_gives_everything_back() {
        let outbox = Outbox::new(100);
        outbox.push(1, 'a').unwrap();
        assert_eq!(outbox.close(), ['a']);
        assert!(matches!(outbox.push(1, 'b'), Err(Refused::Closed('b'))));
        outbox.open();
        outbox.push(1, 'c').unwrap();
        assert_eq!(outbox.drain(100).await, ['c']);
    }
}
