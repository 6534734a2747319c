use std::fmt;

use serde::{Deserialize, Serialize};

/// 64-bit position of a committed change, strictly increasing per key, for ever.
///
/// A hybrid logical stamp, assigned in `apply`: `max(shard clock + 1, now_ms << 18)`. The wall part makes revisions
/// readable and roughly comparable between shards; nothing is ever *decided* by it.
///
/// * A revision is a positive `i64`. [`Revision::ZERO`] means "none yet".
/// * `apply` refuses a `now` of 2^44 ms or more, so the shift cannot overflow and a runaway clock cannot poison a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub i64);

impl Revision {
    /// Before every change.
    pub const ZERO: Revision = Revision(0);

    /// Bits below the milliseconds: 262,144 revisions in each millisecond before the clock runs ahead of the wall.
    pub const LOGICAL_BITS: u32 = 18;

    /// First `now` that `apply` refuses, in milliseconds since 1970 (the year 2527).
    pub const NOW_MS_END: u64 = 1 << 44;

    /// The first revision of this wall millisecond, or `None` if the clock is beyond [`Self::NOW_MS_END`].
    pub fn from_wall_ms(now_ms: u64) -> Option<Revision> {
        (now_ms < Self::NOW_MS_END).then_some(Revision((now_ms << Self::LOGICAL_BITS) as i64))
    }

    /// The wall milliseconds that this revision was stamped near. For display and for windows, never for decisions
    /// about which of two changes came first.
    pub fn wall_ms(self) -> u64 {
        (self.0.max(0) as u64) >> Self::LOGICAL_BITS
    }

    /// The revision after this one.
    pub fn next(self) -> Revision {
        Revision(self.0.checked_add(1).expect("revisions end in the year 2527"))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest `now` that is let in must still leave room for the logical bits in a positive i64.
    #[test]
    fn the_last_permitted_millisecond_is_positive() {
        let last = Revision::from_wall_ms(Revision::NOW_MS_END - 1).unwrap();
        assert!(last.0 > 0);
        assert!(last.next() > last);
        assert_eq!(last.wall_ms(), Revision::NOW_MS_END - 1);
        assert_eq!(Revision::from_wall_ms(Revision::NOW_MS_END), None);
    }
}
