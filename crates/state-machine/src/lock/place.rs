use bytes::Bytes;
use ringfence_types::{FencingToken, LockName, Revision, RingPosition};

use super::record::LockRecord;
use crate::keys::{self, LockPart};

/// Where the records of a lock live. Computed once per request.
pub(crate) struct Place {
    pub(crate) position: RingPosition,
    /// What they all begin with.
    stem: Vec<u8>,
}

impl Place {
    pub(crate) fn of(name: &LockName) -> Place {
        let position = name.position();
        Place { position, stem: keys::lock_stem(position, name.as_ref()) }
    }

    pub(crate) fn lock(&self) -> Bytes {
        keys::lock_part(&self.stem, LockPart::Lock).into()
    }

    pub(crate) fn tenure(&self, token: FencingToken) -> Bytes {
        keys::lock_part(&self.stem, LockPart::Tenure(token)).into()
    }

    pub(crate) fn waiter(&self, ticket: Revision) -> Bytes {
        keys::lock_part(&self.stem, LockPart::Waiter(ticket)).into()
    }

    /// All tenures, by token, of a lock with this record.
    pub(crate) fn tenures(&self, lock: &LockRecord) -> (Vec<u8>, Vec<u8>) {
        (self.tenure(lock.first_token).into(), keys::lock_tenures(&self.stem).1)
    }

    /// All waiters, by ticket, of a lock with this record.
    pub(crate) fn waiters(&self, lock: &LockRecord) -> (Vec<u8>, Vec<u8>) {
        (self.waiter(lock.first_ticket).into(), keys::lock_waiters(&self.stem).1)
    }
}
