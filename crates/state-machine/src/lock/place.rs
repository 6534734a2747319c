use bytes::Bytes;
use ringfence_types::{FencingToken, LockName, Revision, RingPosition};

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

    /// All tenures, by token.
    pub(crate) fn tenures(&self) -> (Vec<u8>, Vec<u8>) {
        keys::lock_tenures(&self.stem)
    }

    /// All waiters, by ticket.
    pub(crate) fn waiters(&self) -> (Vec<u8>, Vec<u8>) {
        keys::lock_waiters(&self.stem)
    }
}
