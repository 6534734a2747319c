//! Where calls wait for their turn at a lock.
//!
//! A call that was queued sits down under its ticket *before* it asks whether it was granted meanwhile, so it cannot miss its
//! turn. When the grant is applied here, exactly that call is woken, and no other. A seat says nothing about the queue, which
//! is in the log: whoever is woken, or not, asks the shard.
//!
//! Others watch a lock without wanting it, and are called whenever its leases change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use ringfence_state_machine::Wake;
use ringfence_types::{LockName, Revision};
use tokio::sync::Notify;

/// The calls that wait at one replica. A cheap handle.
#[derive(Clone, Default)]
pub(crate) struct LockRoom {
    locks: Arc<Mutex<HashMap<LockName, Seats>>>,
}

/// Of a lock: by ticket, or `None` for those who watch. Never empty.
type Seats = HashMap<Option<Revision>, Vec<Arc<Notify>>>;

/// A call's place in the room. It leaves when this is dropped.
pub struct Seat {
    room: LockRoom,
    name: LockName,
    ticket: Option<Revision>,
    called: Arc<Notify>,
}

impl LockRoom {
    /// Waits for a ticket from now on.
    pub(crate) fn sit(&self, name: LockName, ticket: Revision) -> Seat {
        self.take_seat(name, Some(ticket))
    }

    /// Waits for a change of a lock's leases from now on.
    pub(crate) fn watch(&self, name: LockName) -> Seat {
        self.take_seat(name, None)
    }

    fn take_seat(&self, name: LockName, ticket: Option<Revision>) -> Seat {
        let called = Arc::new(Notify::new());
        self.locks().entry(name.clone()).or_default().entry(ticket).or_default().push(called.clone());
        Seat { room: self.clone(), name, ticket, called }
    }

    /// Whether calls wait here for their turn at a lock.
    pub(crate) fn is_waited_for(&self, name: &LockName) -> bool {
        self.locks().get(name).is_some_and(|seats| seats.keys().any(Option::is_some))
    }

    /// Calls whoever was granted a lock, and whoever watches one that has changed.
    pub(crate) fn call(&self, wakes: Vec<Wake>, changed: impl IntoIterator<Item = LockName>) {
        let locks = self.locks();
        if locks.is_empty() {
            return;
        }
        let wakes = wakes.into_iter().map(|Wake { name, ticket }| (name, Some(ticket)));
        for (name, ticket) in wakes.chain(changed.into_iter().map(|name| (name, None))) {
            let seats = locks.get(&name).and_then(|seats| seats.get(&ticket));
            seats.into_iter().flatten().for_each(|called| called.notify_one());
        }
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<LockName, Seats>> {
        self.locks.lock().expect("no code panics while it holds this lock")
    }
}

impl Seat {
    /// Returns once the ticket's turn has come, or the lock has changed, since this call sat down or was called last.
    pub async fn called(&self) {
        self.called.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut locks = self.room.locks();
        let Some(seats) = locks.get_mut(&self.name) else { return };
        if let Some(there) = seats.get_mut(&self.ticket) {
            there.retain(|called| !Arc::ptr_eq(called, &self.called));
            if there.is_empty() {
                seats.remove(&self.ticket);
            }
        }
        if seats.is_empty() {
            locks.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn wake(name: &str, ticket: i64) -> Vec<Wake> {
        vec![Wake { name: LockName::new(name.to_string()).unwrap(), ticket: Revision(ticket) }]
    }

    #[tokio::test]
    async fn only_the_call_with_the_ticket_is_woken_also_if_it_looks_later() {
        let room = LockRoom::default();
        let sit = |ticket| room.sit(LockName::new("a").unwrap(), Revision(ticket));
        let (first, second) = (sit(1), sit(2));
        assert!(room.is_waited_for(&LockName::new("a").unwrap()) && !room.is_waited_for(&LockName::new("b").unwrap()));
        let (watching, elsewhere) = (room.watch(LockName::new("a").unwrap()), room.watch(LockName::new("b").unwrap()));
        room.call(wake("a", 2), [LockName::new("a").unwrap()]);
        room.call(wake("b", 1), []);
        assert!(first.called().now_or_never().is_none());
        second.called().await;
        watching.called().await;
        assert!(elsewhere.called().now_or_never().is_none());
        drop((first, second, watching, elsewhere));
        assert!(room.locks().is_empty(), "nobody keeps a seat after leaving");
        room.call(wake("a", 1), []);
    }
}
