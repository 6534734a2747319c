use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::{Space, Unreadable, View, Write};

/// A view with the writes of the entry so far on top, so that later requests see what earlier ones did.
///
/// * What was read is kept, so nothing is read twice.
/// * Only what was written comes out as writes, each stored key at most once, in order.
pub(crate) struct Overlay<'v> {
    view: &'v dyn View,
    slots: [BTreeMap<Bytes, Slot>; Space::ALL.len()],
}

struct Slot {
    record: Option<Bytes>,
    written: bool,
}

impl<'v> Overlay<'v> {
    pub(crate) fn new(view: &'v dyn View) -> Overlay<'v> {
        Overlay { view, slots: Default::default() }
    }

    /// Reads many records at once, for `get` to find.
    pub(crate) fn prefetch(&mut self, space: Space, keys: Vec<Bytes>) -> Result<(), Unreadable> {
        if keys.is_empty() {
            return Ok(());
        }
        let records = self.view.get_many(space, &keys)?;
        assert_eq!(records.len(), keys.len(), "get_many must answer every key");
        let slots = &mut self.slots[space as usize];
        for (key, record) in keys.into_iter().zip(records) {
            slots.entry(key).or_insert(Slot { record, written: false });
        }
        Ok(())
    }

    pub(crate) fn get(&mut self, space: Space, key: &Bytes) -> Result<Option<Bytes>, Unreadable> {
        if let Some(slot) = self.slots[space as usize].get(key) {
            return Ok(slot.record.clone());
        }
        let record = self.view.get(space, key)?;
        self.slots[space as usize].insert(key.clone(), Slot { record: record.clone(), written: false });
        Ok(record)
    }

    pub(crate) fn put(&mut self, space: Space, key: Bytes, record: Option<Bytes>) {
        self.slots[space as usize].insert(key, Slot { record, written: true });
    }

    /// All records of a (small) range, with the writes so far.
    pub(crate) fn range(&self, space: Space, from: &[u8], to: &[u8]) -> Result<BTreeMap<Bytes, Bytes>, Unreadable> {
        let mut records = BTreeMap::new();
        self.view.scan(space, from, to, &mut |key, record| {
            records.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(record));
            ControlFlow::Continue(())
        })?;
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        for (key, slot) in self.slots[space as usize].range::<[u8], _>(bounds) {
            match &slot.record {
                Some(record) => drop(records.insert(key.clone(), record.clone())),
                None => drop(records.remove(key)),
            }
        }
        Ok(records)
    }

    /// The first record of a range, with the writes so far.
    pub(crate) fn first(&self, space: Space, from: &[u8], to: &[u8]) -> Result<Option<(Bytes, Bytes)>, Unreadable> {
        let slots = &self.slots[space as usize];
        let mut stored = None;
        self.view.scan(space, from, to, &mut |key, record| {
            if slots.get(key).is_some_and(|slot| slot.written) {
                return ControlFlow::Continue(()); // found below, if it is still there
            }
            stored = Some((Bytes::copy_from_slice(key), Bytes::copy_from_slice(record)));
            ControlFlow::Break(())
        })?;
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let written = slots.range::<[u8], _>(bounds).find_map(|(key, slot)| Some((key.clone(), slot.record.clone()?)));
        Ok([stored, written].into_iter().flatten().min_by(|a, b| a.0.cmp(&b.0)))
    }

    pub(crate) fn into_writes(self) -> Vec<Write> {
        let mut writes = Vec::new();
        for (space, slots) in Space::ALL.into_iter().zip(self.slots) {
            let written = slots.into_iter().filter(|(_, slot)| slot.written);
            writes.extend(written.map(|(key, slot)| Write { space, key, value: slot.record }));
        }
        writes
    }
}
