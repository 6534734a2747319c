use std::sync::{Arc, RwLock};

use ringfence_shard_router::{Epoch, ShardDescriptor};

/// What a replica has applied about its own shard: whom it listens to, and the epoch that its envelopes say. Follows the
/// descriptor in its state. `None` while the replica is fresh and waits for a leader to fill it.
#[derive(Clone, Default)]
pub(crate) struct DescriptorCell(Arc<RwLock<Option<Arc<ShardDescriptor>>>>);

impl DescriptorCell {
    pub(crate) fn new(descriptor: Option<ShardDescriptor>) -> DescriptorCell {
        DescriptorCell(Arc::new(RwLock::new(descriptor.map(Arc::new))))
    }

    pub(crate) fn get(&self) -> Option<Arc<ShardDescriptor>> {
        self.0.read().expect("never poisoned").clone()
    }

    /// The lowest there is while there is no descriptor.
    pub(crate) fn epoch(&self) -> Epoch {
        self.0.read().expect("never poisoned").as_ref().map(|descriptor| descriptor.epoch).unwrap_or_default()
    }

    pub(crate) fn set(&self, descriptor: ShardDescriptor) {
        *self.0.write().expect("never poisoned") = Some(Arc::new(descriptor));
    }
}
