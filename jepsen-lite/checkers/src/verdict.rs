//! What a checker says.

use std::fmt;

use serde::Serialize;

use crate::{Name, Operation};

/// What a checker says of a history.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// Everything asked for was checked, and holds.
    Valid {
        /// How much that was.
        checked: Checked,
    },
    /// The promise is broken, whatever became of the unknown operations.
    Invalid {
        /// How, with the smallest piece of the history that shows it.
        explanation: Explanation,
    },
    /// Neither could be shown. Never a pass.
    Unknown {
        /// Why not.
        why: Why,
        /// How much was looked at.
        checked: Checked,
    },
}

impl Verdict {
    /// Whether the promise was shown to hold.
    pub fn is_valid(&self) -> bool {
        matches!(self, Verdict::Valid { .. })
    }

    /// How the promise is broken, if it is.
    pub fn violation(&self) -> Option<&Explanation> {
        match self {
            Verdict::Invalid { explanation } => Some(explanation),
            Verdict::Valid { .. } | Verdict::Unknown { .. } => None,
        }
    }

    /// The exit code of `jepsen-lite check`: 0 valid, 1 violation, 2 unknown or vacuous. (3 is a malformed file.)
    pub fn exit_code(&self) -> u8 {
        match self {
            Verdict::Valid { .. } => 0,
            Verdict::Invalid { .. } => 1,
            Verdict::Unknown { .. } => 2,
        }
    }

    /// One verdict for several checks of one history: a violation outweighs all, what is unknown outweighs what is valid.
    pub fn and(self, other: Verdict) -> Verdict {
        match (self, other) {
            (broken @ Verdict::Invalid { .. }, _) | (_, broken @ Verdict::Invalid { .. }) => broken,
            (open @ Verdict::Unknown { .. }, _) | (_, open @ Verdict::Unknown { .. }) => open,
            (first, _) => first,
        }
    }
}

/// How much was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Operations that happened.
    pub ok: usize,
    /// Operations that were refused.
    pub failed: usize,
    /// Operations of which nobody knows.
    pub unknown: usize,
    /// Of those that happened: how many had an answer that could have been wrong.
    pub telling: usize,
    /// Keys, locks or sets.
    pub keys: usize,
    /// Operations that this check has no say about, such as reads at a weaker level.
    pub left_out: usize,
}

impl Checked {
    /// Counts outcomes; the rest is up to the checker.
    pub(crate) fn of<'a>(operations: impl IntoIterator<Item = &'a Operation>) -> Checked {
        let mut checked = Checked::default();
        let mut keys = std::collections::BTreeSet::new();
        for op in operations {
            keys.insert(&op.key);
            match op.outcome {
                crate::Outcome::Ok => checked.ok += 1,
                crate::Outcome::Fail => checked.failed += 1,
                crate::Outcome::Unknown => checked.unknown += 1,
            }
        }
        checked.keys = keys.len();
        checked
    }
}

/// Why a checker can't tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Why {
    /// There was too little to judge; see [`Enough`](crate::Enough). More of the same would do.
    Vacuous {
        /// What is missing.
        missing: String,
    },
    /// Something was written and never read back.
    Unread {
        /// What should have been read.
        missing: String,
    },
    /// The bound on work or memory was reached.
    GaveUp {
        /// The part that was too hard.
        key: Option<Name>,
        /// Its operations.
        operations: usize,
        /// Which bound.
        bound: String,
    },
}

/// How a promise is broken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Which promise, in a word or two: `linearizable register`.
    pub rule: String,
    /// What happened, in a sentence.
    pub headline: String,
    /// Of what.
    pub key: Option<Name>,
    /// The smallest piece found that shows it, by start: the operations as they stand in the history.
    pub operations: Vec<Operation>,
}

impl Explanation {
    /// Puts the operations in order.
    pub(crate) fn new<'a>(
        rule: &str,
        headline: String,
        key: Option<Name>,
        operations: impl IntoIterator<Item = &'a Operation>,
    ) -> Explanation {
        let mut operations: Vec<Operation> = operations.into_iter().cloned().collect();
        operations.sort_by_key(|op| (op.start_ns, op.id));
        operations.dedup_by_key(|op| op.id);
        Explanation { rule: rule.into(), headline, key, operations }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LINES_MAX: usize = 40;
        writeln!(f, "{}: {}", self.rule, self.headline)?;
        for op in self.operations.iter().take(LINES_MAX) {
            writeln!(f, "  {op}")?;
        }
        match self.operations.len().saturating_sub(LINES_MAX) {
            0 => Ok(()),
            more => writeln!(f, "  … and {more} more"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Vacuous { missing } | Why::Unread { missing } => write!(f, "vacuous: {missing}"),
            Why::GaveUp { key, operations, bound } => {
                let of = key.as_ref().map(|key| format!(" of {key}")).unwrap_or_default();
                write!(f, "gave up on the {operations} operations{of}: {bound}")
            }
        }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checked { ok, failed, unknown, telling, keys, left_out } = self;
        write!(f, "{ok} ok ({telling} telling), {failed} refused, {unknown} unknown, {keys} keys, {left_out} left out")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Valid { checked } => write!(f, "valid: {checked}"),
            Verdict::Invalid { explanation } => write!(f, "violation: {explanation}"),
            Verdict::Unknown { why, checked } => write!(f, "unknown: {why} ({checked})"),
        }
    }
}
