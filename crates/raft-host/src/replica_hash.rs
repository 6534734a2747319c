//! Hashes a replica, as it is or at one entry of its log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringfence_storage::{LogPosition, ReplicaHash, SnapshotView, StorageError};
use tokio::time::timeout;

use crate::shard::Shard;

/// What a replica answers that is asked for its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hashed {
    /// Where it was asked for.
    At(ReplicaHash),
    /// It does not stand there, but here.
    Elsewhere(LogPosition),
}

/// Why a replica has no hash.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HashError {
    /// It does not run: what it holds is distrusted, or no longer kept up to date.
    #[error("the replica has stopped: {0}")]
    Stopped(String),
    /// It is fresh, and no leader has filled it yet.
    #[error("the replica is empty: no leader has filled it yet")]
    Empty,
    /// What it holds cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Tells whoever reads for us that we have gone.
struct GoOn(Arc<AtomicBool>);

impl Drop for GoOn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Shard {
    /// Hashes what this replica holds: as it is, or exactly behind the entry `at`, for which it waits at the most `within`.
    ///
    /// `held` is dropped when nothing is read any more; that may be a moment after this was dropped.
    pub async fn replica_hash(
        &self,
        at: Option<u64>,
        within: Duration,
        held: impl Send + 'static,
    ) -> Result<Hashed, HashError> {
        let view = match at {
            None => self.now().await?,
            Some(index) => match self.at(index, within).await? {
                Ok(view) => view,
                Err(elsewhere) => return Ok(Hashed::Elsewhere(elsewhere)),
            },
        };
        let (id, go_on) = (self.id(), Arc::new(AtomicBool::new(true)));
        let _ours = GoOn(go_on.clone());
        let hash = tokio::task::spawn_blocking(move || {
            let hash = view.replica_hash(id, &mut || go_on.load(Ordering::Relaxed));
            drop(held);
            hash
        });
        match hash.await {
            Ok(Ok(Some(hash))) => Ok(Hashed::At(hash)),
            Ok(Ok(None)) => Err(HashError::Empty),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(HashError::Stopped(error.to_string())),
        }
    }

    /// A view of what this replica holds, exactly behind this entry; or where it stands.
    async fn at(&self, index: u64, within: Duration) -> Result<Result<SnapshotView, LogPosition>, HashError> {
        let passing = self.replica().map_err(HashError::Stopped)?.moments.wait_for(index);
        let view = self.now().await?;
        match view.applied(self.id())?.ok_or(HashError::Empty)? {
            stands if stands.index == index => return Ok(Ok(view)),
            stands if stands.index > index => return Ok(Err(stands)),
            _ => drop(view), // it would hold back the store's clean-up
        }
        if let Ok(Ok(view)) = timeout(within, passing).await {
            return Ok(Ok(view));
        }
        let view = self.now().await?;
        Ok(Err(view.applied(self.id())?.ok_or(HashError::Empty)?))
    }

    async fn now(&self) -> Result<SnapshotView, HashError> {
        self.replica().map_err(HashError::Stopped)?;
        Ok(self.slot.state.snapshot_view()?)
    }
}
