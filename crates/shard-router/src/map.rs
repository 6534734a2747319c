use std::collections::BTreeMap;

use ringfence_types::{RingPosition, ShardId};

use crate::{ShardDescriptor, ShardRange};

/// An index of shard descriptors by ring position. The truth about a shard is in that shard's own log; this is what
/// someone knows of it.
///
/// * The ranges tile the ring: every position belongs to exactly one shard.
/// * No two descriptors have the same shard id, and the meta group, which owns nothing of the ring, is not among them.
/// * The epoch known of a shard never falls.
///
/// So a lookup always has an answer. It may be stale: then the shard answers with a newer descriptor, to be merged here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    by_first: BTreeMap<RingPosition, ShardDescriptor>,
    first_of: BTreeMap<ShardId, RingPosition>,
}

/// Why descriptors are not a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// There is nothing to look up.
    #[error("no shards: a map needs descriptors that cover the whole ring")]
    Empty,
    /// The meta group owns nothing of the ring.
    #[error("the meta group does not belong into the shard map; leave it out")]
    Meta,
    /// A range ends before it begins.
    #[error("the range {range} of shard {shard} ends before it begins")]
    Backwards {
        /// Whose.
        shard: ShardId,
        /// The range.
        range: ShardRange,
    },
    /// Two descriptors of one shard.
    #[error("shard {shard} appears twice; keep the descriptor with the newer epoch")]
    Twice {
        /// Which.
        shard: ShardId,
    },
    /// Nobody owns this position.
    #[error("no shard owns ring position {position}: a descriptor is missing")]
    Gap {
        /// The first position without an owner.
        position: RingPosition,
    },
    /// Two shards own this position.
    #[error("shards {left} and {right} both own ring position {position}: one descriptor is stale")]
    Overlap {
        /// The one that begins first.
        left: ShardId,
        /// The other.
        right: ShardId,
        /// The first position that both own.
        position: RingPosition,
    },
}

impl ShardMap {
    /// Checks that the descriptors tile the ring.
    pub fn new(descriptors: impl IntoIterator<Item = ShardDescriptor>) -> Result<ShardMap, MapError> {
        let mut descriptors: Vec<_> = descriptors.into_iter().collect();
        descriptors.sort_by_key(|d| (d.range.first, d.shard));
        tiles(&descriptors)?;

        let mut map = ShardMap { by_first: BTreeMap::new(), first_of: BTreeMap::new() };
        for descriptor in descriptors {
            if map.first_of.insert(descriptor.shard, descriptor.range.first).is_some() {
                return Err(MapError::Twice { shard: descriptor.shard });
            }
            map.by_first.insert(descriptor.range.first, descriptor);
        }
        Ok(map)
    }

    /// Who owns a position.
    pub fn lookup(&self, position: RingPosition) -> &ShardDescriptor {
        let (_, descriptor) = self.by_first.range(..=position).next_back().expect("a shard begins at position 0");
        descriptor
    }

    /// What is known of a shard.
    pub fn get(&self, shard: ShardId) -> Option<&ShardDescriptor> {
        self.by_first.get(self.first_of.get(&shard)?)
    }

    /// The descriptors in ring order.
    pub fn iter(&self) -> impl Iterator<Item = &ShardDescriptor> {
        self.by_first.values()
    }

    /// How many shards there are; never 0.
    #[allow(clippy::len_without_is_empty)] // a map is never empty
    pub fn len(&self) -> usize {
        self.by_first.len()
    }

    /// Takes in one descriptor; see [`ShardMap::merge_all`].
    pub fn merge(&mut self, descriptor: ShardDescriptor) -> bool {
        self.merge_all([descriptor])
    }

    /// Takes in what is newer and tells whether the map changed.
    ///
    /// A change of replicas is taken at once. A change of ranges is taken when the map still tiles the ring afterwards:
    /// the shrunken parent of a split alone would leave a gap, so it has to come together with its child. A shard whose
    /// range is overlapped by one with a newer range epoch is gone (absorbed by a merge): a split gives both sides, and a
    /// merge the survivor, a range epoch above those of all they were made from. What does not fit changes nothing; the
    /// caller then asks for the whole map.
    pub fn merge_all(&mut self, offered: impl IntoIterator<Item = ShardDescriptor>) -> bool {
        let mut newest: BTreeMap<ShardId, ShardDescriptor> = BTreeMap::new();
        for descriptor in offered {
            if descriptor.shard == ShardId::META || descriptor.range.first > descriptor.range.last {
                continue;
            }
            let epoch = newest.get(&descriptor.shard).or_else(|| self.get(descriptor.shard)).map(|known| known.epoch);
            if epoch.is_none_or(|known| descriptor.epoch > known) {
                newest.insert(descriptor.shard, descriptor);
            }
        }
        if newest.is_empty() {
            return false;
        }

        let ranges_stay = newest.values().all(|new| self.get(new.shard).is_some_and(|known| known.range == new.range));
        if ranges_stay {
            for descriptor in newest.into_values() {
                self.by_first.insert(descriptor.range.first, descriptor);
            }
            return true;
        }

        let kept = self.iter().filter(|known| !newest.contains_key(&known.shard)).cloned();
        let all: Vec<_> = kept.chain(newest.values().cloned()).collect();
        match ShardMap::new(without_superseded(all)) {
            Ok(map) if map != *self => {
                *self = map;
                true
            }
            _ => false,
        }
    }

    /// Panics if an invariant of the type does not hold. For tests, after every step.
    pub fn check(&self) {
        let descriptors: Vec<_> = self.iter().cloned().collect();
        if let Err(error) = tiles(&descriptors) {
            panic!("shard map: {error}");
        }
        assert_eq!(self.first_of.len(), self.by_first.len(), "shard map: an id twice, or one without a range");
        for (first, descriptor) in &self.by_first {
            assert_eq!(*first, descriptor.range.first, "shard map: {} stands at the wrong place", descriptor.shard);
            assert_eq!(
                self.first_of.get(&descriptor.shard),
                Some(first),
                "shard map: {} is not indexed",
                descriptor.shard
            );
        }
    }
}

/// Whether the descriptors, sorted by first position, cover the ring without gap or overlap.
fn tiles(sorted: &[ShardDescriptor]) -> Result<(), MapError> {
    let mut covered: Option<&ShardDescriptor> = None; // up to its last position
    for descriptor in sorted {
        let ShardRange { first, last } = descriptor.range;
        if descriptor.shard == ShardId::META {
            return Err(MapError::Meta);
        }
        if first > last {
            return Err(MapError::Backwards { shard: descriptor.shard, range: descriptor.range });
        }
        match covered {
            None if first > RingPosition::MIN => return Err(MapError::Gap { position: RingPosition::MIN }),
            Some(left) if left.shard == descriptor.shard => return Err(MapError::Twice { shard: left.shard }),
            Some(left) if first <= left.range.last => {
                return Err(MapError::Overlap { left: left.shard, right: descriptor.shard, position: first });
            }
            Some(left) if first.0 - left.range.last.0 > 1 => {
                return Err(MapError::Gap { position: RingPosition(left.range.last.0 + 1) });
            }
            _ => covered = Some(descriptor),
        }
    }
    match covered {
        None => Err(MapError::Empty),
        Some(right) if right.range.last < RingPosition::MAX => {
            Err(MapError::Gap { position: RingPosition(right.range.last.0 + 1) })
        }
        Some(_) => Ok(()),
    }
}

/// Leaves out every descriptor that overlaps one with a newer range epoch.
fn without_superseded(mut all: Vec<ShardDescriptor>) -> Vec<ShardDescriptor> {
    all.sort_by_key(|d| std::cmp::Reverse(d.epoch.range));
    let mut kept: BTreeMap<RingPosition, ShardDescriptor> = BTreeMap::new();
    for descriptor in all {
        // What is kept does not overlap among itself, or has equal epochs and will be refused as no tiling.
        let newer = kept.range(..=descriptor.range.last).next_back().map(|(_, newer)| newer);
        match newer {
            Some(newer) if newer.range.overlaps(&descriptor.range) && newer.epoch.range > descriptor.epoch.range => {}
            Some(newer) if newer.range.first == descriptor.range.first => return Vec::new(), // equal epochs: no map
            _ => drop(kept.insert(descriptor.range.first, descriptor)),
        }
    }
    kept.into_values().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Epoch;

    fn shard(id: u64, first: u64, last: u64, range_epoch: u64) -> ShardDescriptor {
        ShardDescriptor {
            shard: ShardId(id),
            range: ShardRange { first: RingPosition(first), last: RingPosition(last) },
            epoch: Epoch { range: range_epoch, membership: 0 },
            replicas: Vec::new(),
        }
    }

    /// Cuts the ring at the given positions.
    fn cut(cuts: &std::collections::BTreeSet<u64>) -> Vec<ShardDescriptor> {
        let firsts: Vec<u64> = std::iter::once(0).chain(cuts.iter().copied().filter(|c| *c > 0)).collect();
        let lasts = firsts.iter().skip(1).map(|first| first - 1).chain([u64::MAX]);
        firsts.iter().zip(lasts).enumerate().map(|(i, (first, last))| shard(i as u64 + 1, *first, last, 1)).collect()
    }

    #[test]
    fn what_does_not_tile_the_ring_is_no_map() {
        let new = |descriptors: &[ShardDescriptor]| ShardMap::new(descriptors.to_vec()).err();
        assert_eq!(new(&[]), Some(MapError::Empty));
        assert_eq!(new(&[shard(1, 0, u64::MAX, 1)]), None);
        assert_eq!(new(&[shard(0, 0, u64::MAX, 1)]), Some(MapError::Meta));
        assert_eq!(new(&[shard(1, 5, u64::MAX, 1)]), Some(MapError::Gap { position: RingPosition(0) }));
        assert_eq!(new(&[shard(1, 0, 9, 1)]), Some(MapError::Gap { position: RingPosition(10) }));
        assert_eq!(
            new(&[shard(1, 0, 9, 1), shard(2, 11, u64::MAX, 1)]),
            Some(MapError::Gap { position: RingPosition(10) })
        );
        assert_eq!(
            new(&[shard(1, 0, 9, 1), shard(2, 9, u64::MAX, 1)]),
            Some(MapError::Overlap { left: ShardId(1), right: ShardId(2), position: RingPosition(9) })
        );
        assert_eq!(new(&[shard(1, 0, 9, 1), shard(1, 10, u64::MAX, 1)]), Some(MapError::Twice { shard: ShardId(1) }));
        assert_eq!(
            new(&[shard(1, 0, 9, 1), shard(2, 10, 19, 1), shard(1, 20, u64::MAX, 1)]),
            Some(MapError::Twice { shard: ShardId(1) })
        );
    }

    /// A client learns of the shrunken parent first. Taking it alone would leave positions that nobody owns.
    #[test]
    fn a_split_is_taken_when_both_halves_are_known() {
        let mut map = ShardMap::new([shard(1, 0, u64::MAX, 1)]).unwrap();
        let (parent, child) = (shard(1, 0, 99, 2), shard(2, 100, u64::MAX, 2));
        assert!(!map.merge(parent.clone()));
        map.check();
        assert!(map.merge_all([child, parent]));
        map.check();
        assert_eq!(map.lookup(RingPosition(99)).shard, ShardId(1));
        assert_eq!(map.lookup(RingPosition(100)).shard, ShardId(2));
        // What was true before the split is never true again.
        assert!(!map.merge(shard(1, 0, u64::MAX, 1)));
        map.check();
    }

    #[test]
    fn a_merge_of_shards_removes_the_absorbed_one() {
        let mut map = ShardMap::new([shard(1, 0, 99, 2), shard(2, 100, 199, 2), shard(3, 200, u64::MAX, 1)]).unwrap();
        assert!(map.merge(shard(1, 0, 199, 3)));
        map.check();
        assert_eq!(map.lookup(RingPosition(150)).shard, ShardId(1));
        assert_eq!(map.get(ShardId(2)), None);
        assert!(!map.merge(shard(2, 100, 199, 2)), "a late word of the absorbed shard changes nothing");
    }

    #[test]
    fn a_change_of_replicas_is_taken_at_once_and_never_taken_back() {
        let mut map = ShardMap::new([shard(1, 0, 99, 1), shard(2, 100, u64::MAX, 1)]).unwrap();
        let mut newer = shard(2, 100, u64::MAX, 1);
        newer.epoch.membership = 4;
        assert!(map.merge(newer.clone()));
        assert!(!map.merge(newer.clone()));
        assert!(!map.merge(shard(2, 100, u64::MAX, 1)));
        assert_eq!(map.get(ShardId(2)), Some(&newer));
        map.check();
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_a_linear_search(
            cuts in prop::collection::btree_set(any::<u64>(), 0..40),
            positions in prop::collection::vec(any::<u64>(), 1..100),
        ) {
            let descriptors = cut(&cuts);
            let map = ShardMap::new(descriptors.iter().rev().cloned()).unwrap();
            map.check();
            let edges = descriptors.iter().flat_map(|d| [d.range.first, d.range.last]);
            for position in positions.into_iter().map(RingPosition).chain(edges) {
                let owner = descriptors.iter().find(|d| d.range.contains(position)).unwrap();
                prop_assert_eq!(map.lookup(position), owner);
            }
        }

        /// Whatever is offered, in whatever order, the map keeps tiling the ring and epochs never fall.
        #[test]
        fn no_offer_breaks_the_map(
            cuts in prop::collection::btree_set(0u64..64, 0..6),
            offers in prop::collection::vec(
                prop::collection::vec((1u64..8, 0u64..64, 0u64..64, 0u64..6, any::<bool>()), 1..4), 1..30),
        ) {
            let mut map = ShardMap::new(cut(&cuts)).unwrap();
            for offer in offers {
                let before = map.clone();
                let offer: Vec<_> = offer.into_iter().map(|(id, first, last, epoch, to_the_end)| {
                    shard(id, first, if to_the_end { u64::MAX } else { last }, epoch)
                }).collect();
                let changed = map.merge_all(offer);
                map.check();
                prop_assert_eq!(changed, map != before);
                for known in before.iter() {
                    if let Some(now) = map.get(known.shard) {
                        prop_assert!(now.epoch >= known.epoch);
                    }
                }
            }
        }
    }
}
