//! Histories: reading, checking and writing them.
//!
//! A history is a JSONL file, one [`Event`] a line, as Jepsen and Elle have them:
//!
//! ```json
//! {"index":0,"time":1000,"process":0,"type":"invoke","f":"write","key":"x","value":1}
//! {"index":1,"time":1500,"process":1,"type":"invoke","f":"read","key":"x","value":null}
//! {"index":2,"time":2000,"process":0,"type":"ok","f":"write","key":"x","value":1}
//! {"index":3,"time":2100,"process":1,"type":"ok","f":"read","key":"x","value":1}
//! ```
//!
//! `time`, `process`, `type` and `f` are required; `index`, `key`, `value` and our own fields are not. Blank lines are passed over.
//!
//! # What orders events
//!
//! **Time does, between processes; the order of lines does, within one.** A harness of several threads may write its lines
//! slightly out of order, so lines of different processes may go back in time, and `index` is kept but not believed. Within
//! a process, going back in time is an error: then the clock was not monotonic, or two clients share a number, and no
//! judgement on such a file would be worth anything. Equal times count as overlapping, which can hide a violation
//! between two events of the same nanosecond but never invents one.
//!
//! # What a process does
//!
//! A process has one operation under way at a time. After `info` it is usually retired, but need not be: its unknown operation just
//! stays open while it goes on. An invocation without completion at the end of the file is unknown, too. Events of anything
//! but a number (`"process":"nemesis"`) are [`History::marks`], not operations.

use std::collections::HashMap;
use std::io::{BufRead, Read, Write};

use serde_json::{Map, Value};

use crate::event::{Event, Kind, Name, Process};
use crate::operation::{Operation, Outcome};

/// The longest line we read. A whole set of 100,000 small numbers fits; a file without line ends does not fill the memory.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// The longest history we read: an hour at more than 1,000 operations a second, about 4 GiB in memory.
pub const EVENTS_MAX: usize = 8_000_000;

/// What happened, as operations and marks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// In the order of their invocations' lines.
    pub operations: Vec<Operation>,
    /// Events of others than clients: faults, phases.
    pub marks: Vec<Event>,
}

/// Why a file is not a history. The message says where, what, and what was expected.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Malformed {
    /// Counted from 1.
    pub line: u64,
    /// What is wrong.
    #[source]
    pub problem: Problem,
}

/// What can be wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file can't be read on.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It has no end.
    #[error("longer than {LINE_BYTES_MAX} bytes; expected one event a line")]
    TooLong,
    /// There are too many.
    #[error("more than {EVENTS_MAX} events; judge the history in parts")]
    TooMany,
    /// Not text.
    #[error("byte {at} is not UTF-8; expected JSON text")]
    NotUtf8 {
        /// From 1.
        at: usize,
    },
    /// Not JSON.
    #[error(
        "not JSON ({0}); expected one object, as {{\"time\":1000,\"process\":0,\"type\":\"invoke\",\"f\":\"read\",…}}"
    )]
    NotJson(serde_json::Error),
    /// JSON, but no object.
    #[error("{found} is not an event; expected an object with time, process, type and f")]
    NotAnObject {
        /// What stands there.
        found: String,
    },
    /// A required field is not there.
    #[error("the field `{field}` is missing; expected {expected}")]
    Missing {
        /// Which.
        field: &'static str,
        /// What should be in it.
        expected: &'static str,
    },
    /// A field holds something else.
    #[error("the field `{field}` is {found}; expected {expected}")]
    Wrong {
        /// Which.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// Two operations of one process at once.
    #[error(
        "process {process} invokes `{f}` while its `{open_f}` of line {open_line} is open; expected its ok, fail or info first"
    )]
    StillOpen {
        /// Whose.
        process: u64,
        /// What it asks now.
        f: String,
        /// What is open.
        open_f: String,
        /// Since where; 0 if it does not come from a file.
        open_line: u64,
    },
    /// A completion of nothing.
    #[error("process {process} completes `{f}`, but has nothing open; expected its invoke first")]
    NothingOpen {
        /// Whose.
        process: u64,
        /// What it claims to complete.
        f: String,
    },
    /// A completion of something else.
    #[error("process {process} completes `{found}`, but what it has open since line {open_line} is `{open}`")]
    OfSomethingElse {
        /// Whose.
        process: u64,
        /// `f` and key of the completion.
        found: String,
        /// `f` and key of the invocation.
        open: String,
        /// Its line.
        open_line: u64,
    },
    /// Time ran backwards within a process.
    #[error("process {process} goes back in time, from {before} to {time} ns; expected one monotonic clock")]
    Backwards {
        /// Whose.
        process: u64,
        /// Its time before.
        before: u64,
        /// Its time now.
        time: u64,
    },
}

impl History {
    /// Reads a history from JSONL.
    pub fn read(mut input: impl BufRead) -> Result<History, Malformed> {
        let mut pairing = Pairing::default();
        let mut bytes = Vec::new();
        let mut events = 0;
        for line in 1.. {
            let at = |problem| Malformed { line, problem };
            bytes.clear();
            let read = input.by_ref().take(LINE_BYTES_MAX as u64 + 2).read_until(b'\n', &mut bytes);
            if read.map_err(|error| at(error.into()))? == 0 {
                break;
            }
            while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                bytes.pop();
            }
            if bytes.len() > LINE_BYTES_MAX {
                return Err(at(Problem::TooLong));
            }
            let text =
                std::str::from_utf8(&bytes).map_err(|error| at(Problem::NotUtf8 { at: error.valid_up_to() + 1 }))?;
            if text.trim().is_empty() {
                continue;
            }
            if events == EVENTS_MAX {
                return Err(at(Problem::TooMany));
            }
            let event = parse(text, events as u64).map_err(at)?;
            events += 1;
            pairing.take(event, line).map_err(at)?;
        }
        Ok(pairing.history)
    }

    /// Pairs events that are in memory. The line in an error is the position in the list, from 1.
    pub fn from_events(events: impl IntoIterator<Item = Event>) -> Result<History, Malformed> {
        let mut pairing = Pairing::default();
        for (line, event) in (1..).zip(events) {
            pairing.take(event, line).map_err(|problem| Malformed { line, problem })?;
        }
        Ok(pairing.history)
    }

    /// The history of only those operations, for a file in which several things were tried at once.
    pub fn only(&self, keep: impl Fn(&Operation) -> bool) -> History {
        History {
            operations: self.operations.iter().filter(|op| keep(op)).cloned().collect(),
            marks: self.marks.clone(),
        }
    }
}

/// Writes events as JSONL, one a line, numbered from 0 in this order.
pub fn write<'a>(mut output: impl Write, events: impl IntoIterator<Item = &'a Event>) -> std::io::Result<()> {
    for (index, event) in (0..).zip(events) {
        write_event(&mut output, event, index)?;
    }
    Ok(())
}

/// Writes one event as a line with this index; for a harness that writes while it runs.
pub fn write_event(mut output: impl Write, event: &Event, index: u64) -> std::io::Result<()> {
    let mut event = event.clone();
    event.index = index;
    serde_json::to_writer(&mut output, &event)?;
    output.write_all(b"\n")
}

/// Makes one line an event. Fields of ours must be what they ought to be; those we don't know are kept as they are.
fn parse(text: &str, position: u64) -> Result<Event, Problem> {
    const WHOLE: &str = "a whole number from 0 on";
    const NAME: &str = "a string or an integer";
    let mut object = match serde_json::from_str(text).map_err(Problem::NotJson)? {
        Value::Object(object) => object,
        other => return Err(Problem::NotAnObject { found: brief(&other) }),
    };
    let time = whole(&mut object, "time", "nanoseconds, a whole number from 0 on")?
        .ok_or(Problem::Missing { field: "time", expected: "nanoseconds, a whole number from 0 on" })?;
    let process = match object.remove("process") {
        Some(Value::String(name)) => Process::Other(name),
        Some(value) => Process::Client(value.as_u64().ok_or_else(|| wrong("process", &value, WHOLE))?),
        None => return Err(Problem::Missing { field: "process", expected: "the number of a client" }),
    };
    const KINDS: &str = "\"invoke\", \"ok\", \"fail\" or \"info\"";
    let kind = object.remove("type").ok_or(Problem::Missing { field: "type", expected: KINDS })?;
    let kind = match kind.as_str() {
        Some("invoke") => Kind::Invoke,
        Some("ok") => Kind::Ok,
        Some("fail") => Kind::Fail,
        Some("info") => Kind::Info,
        _ => return Err(wrong("type", &kind, KINDS)),
    };
    const F: &str = "what was asked, as \"read\"";
    let f = text_of(&mut object, "f", F)?.ok_or(Problem::Missing { field: "f", expected: F })?;
    Ok(Event {
        index: whole(&mut object, "index", WHOLE)?.unwrap_or(position),
        time,
        process,
        kind,
        f,
        key: name(&mut object, "key", NAME)?,
        value: object.remove("value").unwrap_or_default(),
        node: name(&mut object, "node", NAME)?,
        shard: whole(&mut object, "shard", WHOLE)?,
        revision: whole(&mut object, "revision", WHOLE)?,
        token: whole(&mut object, "token", WHOLE)?,
        level: text_of(&mut object, "level", "a string")?,
        extra: object,
    })
}

type Object = Map<String, Value>;

fn whole(object: &mut Object, field: &'static str, expected: &'static str) -> Result<Option<u64>, Problem> {
    match object.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| wrong(field, &value, expected)),
    }
}

fn text_of(object: &mut Object, field: &'static str, expected: &'static str) -> Result<Option<String>, Problem> {
    match object.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value) => Err(wrong(field, &value, expected)),
    }
}

fn name(object: &mut Object, field: &'static str, expected: &'static str) -> Result<Option<Name>, Problem> {
    match object.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(Name::Text(text))),
        Some(value) => {
            value.as_i64().map(|number| Some(Name::Number(number))).ok_or_else(|| wrong(field, &value, expected))
        }
    }
}

fn wrong(field: &'static str, found: &Value, expected: &'static str) -> Problem {
    Problem::Wrong { field, found: brief(found), expected }
}

/// A value short enough for a message.
pub(crate) fn brief(value: &Value) -> String {
    const CHARS_MAX: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Pairs invocations with completions while events come in.
#[derive(Default)]
struct Pairing {
    history: History,
    /// By process: its open operation, if any, and its newest time.
    processes: HashMap<u64, (Option<usize>, u64)>,
}

impl Pairing {
    fn take(&mut self, event: Event, line: u64) -> Result<(), Problem> {
        let process = match event.process {
            Process::Client(process) => process,
            Process::Other(_) => {
                self.history.marks.push(event);
                return Ok(());
            }
        };
        let (open, before) = self.processes.entry(process).or_insert((None, event.time));
        if event.time < *before {
            return Err(Problem::Backwards { process, before: *before, time: event.time });
        }
        *before = event.time;
        if event.kind == Kind::Invoke {
            if let Some(open) = *open {
                let open = &self.history.operations[open];
                return Err(Problem::StillOpen { process, f: event.f, open_f: open.f.clone(), open_line: open.line });
            }
            *open = Some(self.history.operations.len());
            self.history.operations.push(Operation {
                id: self.history.operations.len(),
                process,
                f: event.f,
                key: event.key,
                asked: event.value,
                answer: Value::Null,
                outcome: Outcome::Unknown,
                start_ns: event.time,
                end_ns: None,
                node: event.node,
                shard: event.shard,
                revision: event.revision,
                token: event.token,
                level: event.level,
                extra: event.extra,
                line,
                end_line: None,
            });
            return Ok(());
        }
        let Some(open) = open.take() else { return Err(Problem::NothingOpen { process, f: event.f }) };
        let op = &mut self.history.operations[open];
        if op.f != event.f || (event.key.is_some() && event.key != op.key) {
            let of = |f: &str, key: &Option<Name>| match key {
                Some(key) => format!("{f} {key}"),
                None => f.to_string(),
            };
            return Err(Problem::OfSomethingElse {
                process,
                found: of(&event.f, &event.key),
                open: of(&op.f, &op.key),
                open_line: op.line,
            });
        }
        op.outcome = match event.kind {
            Kind::Ok => Outcome::Ok,
            Kind::Fail => Outcome::Fail,
            Kind::Info | Kind::Invoke => Outcome::Unknown,
        };
        op.answer = event.value;
        op.end_ns = Some(event.time);
        op.end_line = Some(line);
        op.node = event.node.or(op.node.take());
        op.shard = event.shard.or(op.shard);
        op.revision = event.revision.or(op.revision);
        op.token = event.token.or(op.token);
        op.level = event.level.or(op.level.take());
        op.extra.extend(event.extra);
        Ok(())
    }
}
