//! What a replica keeps in memory of its shard's locks: by when leases end, and which calls wait. Follows what is applied.

use ringfence_state_machine::{Unreadable, View, Wake, Write};
use ringfence_types::{LockName, ShardId};

use crate::lease_book::LeaseBook;
use crate::lock_room::LockRoom;

/// A cheap handle.
#[derive(Clone, Default)]
pub(crate) struct Locks {
    pub(crate) leases: LeaseBook,
    pub(crate) room: LockRoom,
}

impl Locks {
    /// Reads all leases anew: at the start, and after a snapshot. Whoever waits asks again by itself.
    pub(crate) fn reload(&self, view: &dyn View, shard: ShardId) -> Result<(), Unreadable> {
        self.leases.reload(view, shard)
    }

    /// Takes notice of what an entry wrote, and calls whom it concerns. After the writes are in the state.
    pub(crate) fn follow(&self, changes: LockChanges) {
        let LockChanges { leases, wakes } = changes;
        if leases.is_empty() && wakes.is_empty() {
            return;
        }
        let changed: Vec<LockName> = leases.iter().map(|(name, ..)| name.clone()).collect();
        self.leases.follow(leases);
        self.room.call(wakes, changed);
    }
}

/// What an entry did to locks.
pub(crate) struct LockChanges {
    leases: Vec<crate::lease_book::Change>,
    wakes: Vec<Wake>,
}

impl LockChanges {
    pub(crate) fn of(writes: &[Write], wakes: Vec<Wake>) -> LockChanges {
        LockChanges { leases: crate::lease_book::changes(writes), wakes }
    }
}
