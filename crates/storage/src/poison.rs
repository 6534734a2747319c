//! After a failed write, or a read that found damage, nothing is believed any more.

use std::sync::{Mutex, MutexGuard};

use crate::StorageError;

/// Called once with the first failure.
pub(crate) type Listener = Box<dyn FnOnce(StorageError) + Send>;

/// Remembers the first failure of a database, and tells it to whoever wants to know.
///
/// After a failed sync the operating system may have dropped the dirty pages and forgotten: a second sync that succeeds
/// says nothing about the first's data. (See Rebello et al., *Can Applications Recover from fsync Failures?*, 2020.)
/// So a failure is final, until a restart has read what is really there.
#[derive(Default)]
pub(crate) struct Poison {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    error: Option<StorageError>,
    listeners: Vec<Listener>,
}

impl Poison {
    /// The failure, as an error.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        self.lock().error.clone().map_or(Ok(()), Err)
    }

    /// Keeps the first failure and tells the listeners.
    pub(crate) fn set(&self, error: StorageError) {
        let listeners = {
            let mut state = self.lock();
            if state.error.is_some() {
                return;
            }
            state.error = Some(error.clone());
            std::mem::take(&mut state.listeners)
        };
        tracing::error!(%error, "the store failed and takes nothing more");
        for listener in listeners {
            listener(error.clone());
        }
    }

    /// Passes a result on, and keeps its error.
    pub(crate) fn guard<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        if let Err(error) = &result {
            self.set(error.clone());
        }
        result
    }

    /// Calls `listener` at the first failure, at once if that was before.
    pub(crate) fn listen(&self, listener: Listener) {
        let mut state = self.lock();
        match state.error.clone() {
            None => state.listeners.push(listener),
            Some(error) => {
                drop(state);
                listener(error);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}
