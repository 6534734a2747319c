//! Why a run did not come to its ordinary end.

use std::fmt;

use ringfence_tests::DiskError;

/// Why a run did not come to its ordinary end. The three are never mixed up: what the cluster did wrong, what this machine
/// cannot do, and what the harness did wrong.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The cluster broke a promise that is seen while it runs. Exit code 1.
    Violation {
        /// Which.
        rule: String,
        /// How.
        what: String,
    },
    /// The means does not work on this machine. Never a pass of what it would have tested.
    NotCovered(String),
    /// Anything else: the run proves nothing. Exit code 3.
    Harness(String),
}

impl Trouble {
    /// A broken promise.
    pub fn violation(rule: impl Into<String>, what: impl Into<String>) -> Trouble {
        Trouble::Violation { rule: rule.into(), what: what.into() }
    }

    /// The harness's own failure.
    pub fn harness(doing: impl fmt::Display, error: impl fmt::Display) -> Trouble {
        Trouble::Harness(format!("{doing}: {error}"))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Violation { rule, what } => write!(f, "violation: {rule}: {what}"),
            Trouble::NotCovered(why) => write!(f, "not covered here: {why}"),
            Trouble::Harness(why) => write!(f, "the harness broke: {why}"),
        }
    }
}

impl std::error::Error for Trouble {}

impl From<DiskError> for Trouble {
    fn from(error: DiskError) -> Trouble {
        match error {
            DiskError::NotCovered(why) => Trouble::NotCovered(why),
            DiskError::Broken(why) => Trouble::Harness(why),
        }
    }
}
