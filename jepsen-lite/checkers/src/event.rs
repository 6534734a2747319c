//! One line of a history.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// One line of a history: somebody asked for something, or was told something.
///
/// ```json
/// {"index":3,"time":12300000,"process":1,"type":"ok","f":"read","key":"x","value":7,"revision":41}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// The position that the writer gave it. Nothing depends on it: `time` and the order of a process's own lines do.
    pub index: u64,
    /// Nanoseconds on one monotonic clock: of an invocation taken *before* it was sent, of a completion taken *after* it
    /// had come. With these two, "A ended before B began" is never claimed wrongly, whatever the order of the lines.
    pub time: u64,
    /// Whose.
    pub process: Process,
    /// Asked, or how it ended.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What was asked: `read`, `write`, `cas`, `add`, `acquire` …
    pub f: String,
    /// Of what. A completion may leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Name>,
    /// What was given or told; `null` if nothing.
    pub value: Value,
    /// The node that was asked or that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// The shard that owned the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<u64>,
    /// The revision that was written or read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// A fencing token: granted, released or shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// The read level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Whatever else stood in the line; kept, and written again.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Event {
    /// An event with the required fields. The others are public: set them.
    pub fn new(time: u64, process: u64, kind: Kind, f: impl Into<String>) -> Event {
        Event {
            index: 0,
            time,
            process: Process::Client(process),
            kind,
            f: f.into(),
            key: None,
            value: Value::Null,
            node: None,
            shard: None,
            revision: None,
            token: None,
            level: None,
            extra: Map::new(),
        }
    }
}

/// Asked, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is about to be sent.
    Invoke,
    /// It happened, and this is the answer.
    Ok,
    /// It certainly did not happen, and never will.
    Fail,
    /// Unknown: it may have happened, may happen later, or never.
    Info,
}

/// Whose event it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Process {
    /// A client; one operation at a time.
    Client(u64),
    /// Anybody else, as Jepsen's `"nemesis"`. Such events are marks on the time line and not operations.
    Other(String),
}

impl Serialize for Process {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Process::Client(number) => serializer.serialize_u64(*number),
            Process::Other(name) => serializer.serialize_str(name),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Process::Client(number) => write!(f, "process {number}"),
            Process::Other(name) => f.write_str(name),
        }
    }
}

/// What a key or a node is called: a JSON string or integer. `1` and `"1"` are two names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum Name {
    /// An integer.
    Number(i64),
    /// A string.
    Text(String),
}

impl From<i64> for Name {
    fn from(number: i64) -> Name {
        Name::Number(number)
    }
}

impl From<String> for Name {
    fn from(text: String) -> Name {
        Name::from(text.as_str())
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Name {
        Name::Text(text.into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Number(number) => write!(f, "{number}"),
            Name::Text(text) => f.write_str(text),
        }
    }
}
