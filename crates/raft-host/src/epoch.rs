use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringfence_shard_router::Epoch;

/// A replica's own epoch, as its envelopes say it. Follows the descriptor in its state.
#[derive(Clone)]
pub(crate) struct EpochCell(Arc<[AtomicU64; 2]>);

impl EpochCell {
    pub(crate) fn new(epoch: Epoch) -> EpochCell {
        EpochCell(Arc::new([AtomicU64::new(epoch.range), AtomicU64::new(epoch.membership)]))
    }

    pub(crate) fn get(&self) -> Epoch {
        Epoch { range: self.0[0].load(Ordering::Acquire), membership: self.0[1].load(Ordering::Acquire) }
    }
}
