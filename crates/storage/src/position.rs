use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an entry stands in a group's log, and under which leader's term it got there. Two logs of one group that hold
/// an entry of the same position are equal up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogPosition {
    /// Of the leader that made the entry.
    pub term: u64,
    /// Counted from 0, without gaps.
    pub index: u64,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.index)
    }
}
