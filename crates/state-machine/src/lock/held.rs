//! Who may hold a lock beside whom.

use std::collections::BTreeSet;

use ringfence_types::limits::LOCK_HOLDERS_MAX;
use ringfence_types::{FencingToken, LockMode, Permits};
use serde::{Deserialize, Serialize};

use crate::Unreadable;

/// How a lock is held.
///
/// * Holders of different modes never hold it together.
/// * No two holders have the same permit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeldAs {
    /// By nobody.
    #[default]
    Free,
    /// By one.
    Exclusive,
    /// By some who share it.
    Shared {
        /// The token of the first of them: what all of them show to a guard of something outside, so that none of them
        /// outdates another.
        generation: FencingToken,
        /// How many they are.
        holders: u32,
    },
    /// By some with a permit each.
    Permits {
        /// How many permits there are.
        of: Permits,
        /// Which are taken, of `0 .. of`.
        taken: BTreeSet<u32>,
    },
}

impl HeldAs {
    /// Whether one more may come in.
    pub(super) fn admits(&self, mode: LockMode) -> bool {
        match (self, mode) {
            (HeldAs::Free, _) => true,
            (HeldAs::Shared { holders, .. }, LockMode::Shared) => *holders < LOCK_HOLDERS_MAX,
            (HeldAs::Permits { of, taken }, LockMode::Permit { of: asked }) => {
                asked == *of && taken.len() < of.count() as usize
            }
            (HeldAs::Exclusive | HeldAs::Shared { .. } | HeldAs::Permits { .. }, _) => false,
        }
    }

    /// One more comes in, who was admitted. Gives its permit (0 if the mode has none), and the token that it shows outside.
    pub(super) fn enter(&mut self, mode: LockMode, token: FencingToken) -> (u32, FencingToken) {
        match (&mut *self, mode) {
            (HeldAs::Free, LockMode::Exclusive) => {
                *self = HeldAs::Exclusive;
                (0, token)
            }
            (HeldAs::Free, LockMode::Shared) => {
                *self = HeldAs::Shared { generation: token, holders: 1 };
                (0, token)
            }
            (HeldAs::Free, LockMode::Permit { of }) => {
                *self = HeldAs::Permits { of, taken: BTreeSet::from([0]) };
                (0, token)
            }
            (HeldAs::Shared { generation, holders }, LockMode::Shared) => {
                *holders += 1;
                (0, *generation)
            }
            (HeldAs::Permits { of, taken }, LockMode::Permit { .. }) => {
                let lowest = (0..of.count())
                    .find(|permit| !taken.contains(permit))
                    .expect("one was free, or it was not admitted");
                taken.insert(lowest);
                (lowest, token)
            }
            (held, mode) => panic!("{mode:?} was not admitted to {held:?}"),
        }
    }

    /// One of them leaves.
    pub(super) fn leave(&mut self, permit: u32) -> Result<(), Unreadable> {
        let is_last = match self {
            HeldAs::Exclusive => true,
            HeldAs::Shared { holders, .. } if *holders > 0 => {
                *holders -= 1;
                *holders == 0
            }
            HeldAs::Permits { taken, .. } if taken.contains(&permit) => {
                taken.remove(&permit);
                taken.is_empty()
            }
            held => return Err(Unreadable::new(format!("a lease of a lock that is held so: {held:?}"))),
        };
        if is_last {
            *self = HeldAs::Free;
        }
        Ok(())
    }
}
