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
    seats: Arc<Mutex<HashMap<Place, Vec<Arc<Notify>>>>>,
}

/// Of a lock: those who have this ticket, or those who watch.
type Place = (LockName, Option<Revision>);

/// A call's place in the room. It leaves when this is dropped.
pub struct Seat {
    room: LockRoom,
    place: Place,
    called: Arc<Notify>,
}

impl LockRoom {
    /// Waits for a ticket from now on.
    pub(crate) fn sit(&self, name: LockName, ticket: Revision) -> Seat {
        self.take_seat((name, Some(ticket)))
    }

    /// Waits for a change of a lock's leases from now on.
    pub(crate) fn watch(&self, name: LockName) -> Seat {
        self.take_seat((name, None))
    }

    fn take_seat(&self, place: Place) -> Seat {
        let called = Arc::new(Notify::new());
        self.seats().entry(place.clone()).or_default().push(called.clone());
        Seat { room: self.clone(), place, called }
    }

    /// Calls whoever was granted a lock, and whoever watches one that has changed.
    pub(crate) fn call(&self, wakes: Vec<Wake>, changed: impl IntoIterator<Item = LockName>) {
        let seats = self.seats();
        if seats.is_empty() {
            return;
        }
        let wakes = wakes.into_iter().map(|Wake { name, ticket }| (name, Some(ticket)));
        for place in wakes.chain(changed.into_iter().map(|name| (name, None))) {
            seats.get(&place).into_iter().flatten().for_each(|called| called.notify_one());
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<Place, Vec<Arc<Notify>>>> {
        self.seats.lock().expect("no code panics while it holds this lock")
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
        let mut seats = self.room.seats();
        if let Some(there) = seats.get_mut(&self.place) {
            there.retain(|called| !Arc::ptr_eq(called, &self.called));
            if there.is_empty() {
                seats.remove(&self.place);
            }
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
        let (watching, elsewhere) = (room.watch(LockName::new("a").unwrap()), room.watch(LockName::new("b").unwrap()));
        room.call(wake("a", 2), [LockName::new("a").unwrap()]);
        room.call(wake("b", 1), []);
        assert!(first.called().now_or_never().is_none());
        second.called().await;
        watching.called().await;
        assert!(elsewhere.called().now_or_never().is_none());
        drop((first, second, watching, elsewhere));
        assert!(room.seats().is_empty(), "nobody keeps a seat after leaving");
        room.call(wake("a", 1), []);
    }
}
