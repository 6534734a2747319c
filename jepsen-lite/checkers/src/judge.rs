//! One door to all judgements that need no more than a file and a word.

use std::fmt;
use std::str::FromStr;

use crate::enough::Enough;
use crate::history::History;
use crate::linearizability::{Limits, Unfit, check};
use crate::models;
use crate::tokens::{self, Resource};
use crate::verdict::Verdict;

/// What a history is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Linearizable reads, writes and compare-and-sets.
    Register,
    /// Linearizable adds and reads.
    Counter {
        /// The least that adds may lead to.
        min: Option<i64>,
    },
    /// A linearizable set that only grows.
    Set,
    /// Mutual exclusion, for leases that don't expire.
    Lock,
    /// A linearizable queue.
    Queue,
    /// Fencing tokens, and what the resource accepted.
    Tokens(Resource),
}

impl Model {
    /// The words for them, as [`Model::from_str`] takes them.
    pub const NAMES: [&str; 6] = ["register", "counter", "set", "lock", "queue", "tokens"];
}

/// No model of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no model {0:?}; expected register, counter, set, lock, queue or tokens")]
pub struct NoSuchModel(pub String);

impl FromStr for Model {
    type Err = NoSuchModel;

    fn from_str(name: &str) -> Result<Model, NoSuchModel> {
        Ok(match name {
            "register" => Model::Register,
            "counter" => Model::Counter { min: None },
            "set" => Model::Set,
            "lock" => Model::Lock,
            "queue" => Model::Queue,
            "tokens" => Model::Tokens(Resource::default()),
            other => return Err(NoSuchModel(other.into())),
        })
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Model::Register => "register",
            Model::Counter { .. } => "counter",
            Model::Set => "set",
            Model::Lock => "lock",
            Model::Queue => "queue",
            Model::Tokens(_) => "tokens",
        })
    }
}

/// How strictly, and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Below this the verdict is *vacuous*.
    pub enough: Enough,
    /// Beyond this it is *unknown*.
    pub limits: Limits,
}

/// Judges a history.
///
/// Reads at a level that promises less than linearizability are left out and counted in
/// [`Checked::left_out`](crate::Checked::left_out): see [`promises_linearizable`]. `Err`: the history has operations that mean nothing
/// to the model, which is no verdict on whoever answered them.
pub fn judge(model: Model, history: &History, settings: Settings) -> Result<Verdict, Unfit> {
    let Settings { enough, limits } = settings;
    let weak = |level: &Option<String>| level.as_deref().is_some_and(|level| !promises_linearizable(level));
    let left_out = history.operations.iter().filter(|op| op.f == "read" && weak(&op.level)).count();
    let strict;
    let history = if left_out == 0 {
        history
    } else {
        strict = history.only(|op| op.f != "read" || !weak(&op.level));
        &strict
    };
    let mut verdict = match model {
        Model::Register => check(&models::Register, history, enough, limits),
        Model::Counter { min } => check(&models::Counter { min }, history, enough, limits),
        Model::Set => check(&models::Set, history, enough, limits),
        Model::Lock => check(&models::Lock, history, enough, limits),
        Model::Queue => check(&models::Queue, history, enough, limits),
        Model::Tokens(resource) => tokens::check(history, resource, enough),
    }?;
    if let Verdict::Valid { checked } | Verdict::Unknown { checked, .. } = &mut verdict {
        checked.left_out += left_out;
    }
    Ok(verdict)
}

/// Whether reads at this level promise to be linearizable: `linearizable`, and `leader_lease`, which does while clock rates are
/// bounded. No level at all is taken as the default one, which does.
pub fn promises_linearizable(level: &str) -> bool {
    ["linearizable", "leader_lease", "leader-lease"].iter().any(|strict| level.eq_ignore_ascii_case(strict))
}
