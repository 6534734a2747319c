use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use ringfence_types::Revision;

use crate::{Space, Unreadable, View, Write, collectable};

/// A store in memory: the twin that tests of this and other crates run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryView {
    spaces: [BTreeMap<Bytes, Bytes>; Space::ALL.len()],
}

impl MemoryView {
    /// Makes the changes, in order.
    pub fn apply_writes(&mut self, writes: &[Write]) {
        for write in writes {
            let space = &mut self.spaces[write.space as usize];
            match &write.value {
                Some(record) => drop(space.insert(write.key.clone(), record.clone())),
                None => drop(space.remove(&write.key)),
            }
        }
    }

    /// Removes what the floors allow to remove, as a store does when it compacts.
    pub fn collect(&mut self, history_floor: Revision, dedup_floor: Revision) {
        for space in Space::BY_POSITION {
            self.spaces[space as usize]
                .retain(|key, record| !collectable(space, key, record, history_floor, dedup_floor));
        }
    }

    /// The records of a space, in order.
    pub fn records(&self, space: Space) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.spaces[space as usize].iter()
    }
}

impl View for MemoryView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, Unreadable> {
        Ok(self.spaces[space as usize].get(key).cloned())
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Unreadable> {
        if from >= to {
            return Ok(());
        }
        for (key, record) in self.spaces[space as usize].range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
        {
            if visit(key, record).is_break() {
                break;
            }
        }
        Ok(())
    }
}
