//! A request together with what became of it.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::Name;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It happened, at some moment between its start and its end.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// It takes effect at any one moment after its start, however late, or never.
    Unknown,
}

/// A request together with what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Operation {
    /// Its position among the invocations of the history; names it in reports.
    pub id: usize,
    /// Who asked.
    pub process: u64,
    /// What was asked.
    pub f: String,
    /// Of what.
    pub key: Option<Name>,
    /// The value of the invocation.
    pub asked: Value,
    /// The value of the completion; `null` before there is one.
    pub answer: Value,
    /// What became of it.
    pub outcome: Outcome,
    /// When it was asked, in nanoseconds.
    pub start_ns: u64,
    /// When its completion was noted. Of an unknown one that is when the client gave up, and says nothing about when
    /// it takes effect; see [`Operation::ended`].
    pub end_ns: Option<u64>,
    /// From the completion if it says one, else from the invocation; so the fields below.
    pub node: Option<Name>,
    /// The shard that owned the key.
    pub shard: Option<u64>,
    /// The revision that was written or read.
    pub revision: Option<u64>,
    /// A fencing token.
    pub token: Option<u64>,
    /// The read level.
    pub level: Option<String>,
    /// Unknown fields of both events; those of the completion win.
    pub extra: Map<String, Value>,
    /// The line of the invocation, from 1; 0 if it does not come from a file.
    pub line: u64,
    /// The line of the completion.
    pub end_line: Option<u64>,
}

impl Operation {
    /// It happened.
    pub fn is_ok(&self) -> bool {
        self.outcome == Outcome::Ok
    }

    /// It certainly did not happen.
    pub fn is_fail(&self) -> bool {
        self.outcome == Outcome::Fail
    }

    /// It may have happened.
    pub fn is_unknown(&self) -> bool {
        self.outcome == Outcome::Unknown
    }

    /// The moment after which it takes effect no more. An unknown operation has none.
    pub fn ended(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Ok | Outcome::Fail => self.end_ns,
            Outcome::Unknown => None,
        }
    }

    /// Whether this had surely ended when the other began. Equal times count as overlapping.
    pub fn before(&self, other: &Operation) -> bool {
        self.ended().is_some_and(|end| end < other.start_ns)
    }

    /// The same operation, of which we claim to know less: whether it happened, and how it was answered.
    pub(crate) fn forgotten(&self) -> Operation {
        Operation { outcome: Outcome::Unknown, answer: Value::Null, ..self.clone() }
    }
}

/// Nanoseconds as people read them: `12.3 ms`.
pub(crate) fn at(ns: u64) -> String {
    let text = format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000);
    format!("{} ms", text.trim_end_matches('0').trim_end_matches('.'))
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {:<3} {}", self.process, self.f)?;
        if let Some(key) = &self.key {
            write!(f, " {key}")?;
        }
        if !self.asked.is_null() {
            write!(f, " {}", self.asked)?;
        }
        if !self.answer.is_null() && self.answer != self.asked {
            write!(f, " → {}", self.answer)?;
        } else if self.is_ok() && self.asked.is_null() && self.token.is_none() {
            write!(f, " → null")?;
        }
        if let Some(token) = self.token {
            write!(f, " token {token}")?;
        }
        let start = at(self.start_ns);
        match (self.outcome, self.end_ns) {
            (Outcome::Ok, Some(end)) => write!(f, ", ok, {start} to {}", at(end)),
            (Outcome::Fail, Some(end)) => write!(f, ", refused, {start} to {}", at(end)),
            _ => write!(f, ", unknown, from {start} on"),
        }?;
        match (self.line, self.end_line) {
            (0, _) => Ok(()),
            (line, Some(end)) => write!(f, " (lines {line} and {end})"),
            (line, None) => write!(f, " (line {line})"),
        }
    }
}
