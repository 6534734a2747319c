use bytes::Bytes;

use super::acquire::{Acquire, Mode};
use crate::client::Client;

/// A lock that many may share, or one may have alone. Made by [`Client::rw_lock`].
///
/// Nobody overtakes: who wants to share waits behind a writer that came before, so writers do not starve.
#[derive(Clone, Debug)]
pub struct RwLock {
    client: Client,
    name: Bytes,
}

/// Numbered permits, each held by one. Made by [`Client::semaphore`].
#[derive(Clone, Debug)]
pub struct Semaphore {
    client: Client,
    name: Bytes,
    permits: u32,
}

impl Client {
    /// A lock that many may share, or one may have alone. The same lock as [`Client::lock`] of that name.
    pub fn rw_lock(&self, name: impl AsRef<[u8]>) -> RwLock {
        RwLock { client: self.clone(), name: Bytes::copy_from_slice(name.as_ref()) }
    }

    /// A semaphore with so many permits, 1 to 1024. All who use it must ask for the same number.
    pub fn semaphore(&self, name: impl AsRef<[u8]>, permits: u32) -> Semaphore {
        Semaphore { client: self.clone(), name: Bytes::copy_from_slice(name.as_ref()), permits }
    }
}

impl RwLock {
    /// Beside others who share it.
    pub fn read(&self) -> Acquire {
        Acquire::new(&self.client, &self.name, Mode::Shared)
    }

    /// Alone.
    pub fn write(&self) -> Acquire {
        Acquire::new(&self.client, &self.name, Mode::Exclusive)
    }
}

impl Semaphore {
    /// One permit: the lowest number that is free.
    pub fn acquire(&self) -> Acquire {
        Acquire::new(&self.client, &self.name, Mode::Permit { of: self.permits })
    }
}
