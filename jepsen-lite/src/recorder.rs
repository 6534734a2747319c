//! Writes down what clients ask and are told, as it happens.
//!
//! Two rules make a history worth judging, and both are kept here, not by those who write the workloads: the time of an
//! invocation is taken *before* anything is sent, that of a completion *after* the answer has come; and whoever does not know what
//! became of its request never asks again under the same name ([`Process`] retires itself).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jepsen_checkers::{Event, Kind, Name};
use serde_json::Value;

/// The one clock and the one list of names that all histories of a run share.
#[derive(Debug)]
pub struct Origin {
    began: Instant,
    next_process: AtomicU64,
}

impl Origin {
    /// Time begins now.
    pub fn new() -> Arc<Origin> {
        Arc::new(Origin { began: Instant::now(), next_process: AtomicU64::new(0) })
    }

    /// Nanoseconds since the run began, on the monotonic clock.
    pub fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}

/// One history in the making. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    origin: Arc<Origin>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Recorder {
    /// An empty history.
    pub fn new(origin: &Arc<Origin>) -> Recorder {
        Recorder { origin: Arc::clone(origin), events: Arc::default() }
    }

    /// Nanoseconds since the run began.
    pub fn now_ns(&self) -> u64 {
        self.origin.now_ns()
    }

    /// Someone who asks one thing at a time.
    pub fn process(&self) -> Process {
        Process { recorder: self.clone(), id: self.fresh() }
    }

    /// How many operations that were asked for since then ended well.
    pub fn ok_since(&self, time_ns: u64) -> usize {
        ok_since(&self.events.lock().expect("no code panics while it holds this lock"), time_ns)
    }

    /// Everything so far, numbered.
    pub fn events(&self) -> Vec<Event> {
        let mut events = self.events.lock().expect("no code panics while it holds this lock").clone();
        for (index, event) in events.iter_mut().enumerate() {
            event.index = index as u64;
        }
        events
    }

    fn fresh(&self) -> u64 {
        self.origin.next_process.fetch_add(1, Ordering::Relaxed)
    }

    fn write(&self, event: Event) {
        self.events.lock().expect("no code panics while it holds this lock").push(event);
    }
}

/// How many operations that were asked for since then ended well.
pub fn ok_since(events: &[Event], time_ns: u64) -> usize {
    let mut asked = BTreeMap::new();
    let mut ok = 0;
    for event in events {
        match event.kind {
            Kind::Invoke => {
                asked.insert(&event.process, event.time);
            }
            Kind::Ok if asked.get(&event.process).is_some_and(|time| *time >= time_ns) => ok += 1,
            _ => {}
        }
    }
    ok
}

/// A logical process: one thing at a time, and a new name after each unknown outcome.
#[derive(Debug)]
pub struct Process {
    recorder: Recorder,
    id: u64,
}

impl Process {
    /// Its name now.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Writes down that this is asked now. Send it afterwards.
    pub fn invoke(&mut self, f: &str, key: impl Into<Name>, value: Value) -> Asked<'_> {
        self.invoke_with(f, key, value, |_| {})
    }

    /// With more said in the event, such as a token.
    pub fn invoke_with(
        &mut self,
        f: &str,
        key: impl Into<Name>,
        value: Value,
        also: impl FnOnce(&mut Event),
    ) -> Asked<'_> {
        let mut event = Event::new(self.recorder.now_ns(), self.id, Kind::Invoke, f);
        event.key = Some(key.into());
        event.value = value;
        also(&mut event);
        self.recorder.write(event.clone());
        Asked { process: self, event: Some(event) }
    }
}

/// What was asked and has no answer yet. Dropped without one, its outcome is unknown.
#[must_use = "say how it ended"]
#[derive(Debug)]
pub struct Asked<'a> {
    process: &'a mut Process,
    event: Option<Event>,
}

impl Asked<'_> {
    /// It happened, and this is the answer.
    pub fn ok(self, value: Value) {
        self.ok_with(value, |_| {});
    }

    /// With more said in the event.
    pub fn ok_with(self, value: Value, also: impl FnOnce(&mut Event)) {
        self.end(Kind::Ok, |event| {
            event.value = value;
            also(event);
        });
    }

    /// It certainly did not happen, and never will.
    pub fn fail(self, why: impl std::fmt::Display) {
        self.fail_with(why, |_| {});
    }

    /// With more said in the event, such as whether the one who refused it knew what it was about.
    pub fn fail_with(self, why: impl std::fmt::Display, also: impl FnOnce(&mut Event)) {
        self.end(Kind::Fail, |event| {
            event.extra.insert("error".into(), why.to_string().into());
            also(event);
        });
    }

    /// Nobody knows.
    pub fn info(self, why: impl std::fmt::Display) {
        self.end(Kind::Info, |event| {
            event.extra.insert("error".into(), why.to_string().into());
        });
    }

    /// It failed, in the words of the SDK: certainly, or perhaps.
    pub fn ended(self, outcome: ringfence_client::Outcome, why: impl std::fmt::Display) {
        match outcome {
            ringfence_client::Outcome::Refused => self.fail(why),
            ringfence_client::Outcome::Unknown => self.info(why),
        }
    }

    fn end(mut self, kind: Kind, also: impl FnOnce(&mut Event)) {
        self.finish(kind, also);
    }

    fn finish(&mut self, kind: Kind, also: impl FnOnce(&mut Event)) {
        let Some(mut event) = self.event.take() else { return };
        event.kind = kind;
        event.time = self.process.recorder.now_ns();
        also(&mut event);
        self.process.recorder.write(event);
        if kind == Kind::Info {
            self.process.id = self.process.recorder.fresh();
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.finish(Kind::Info, |event| {
            event.extra.insert("error".into(), "the client gave up".into());
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Whoever doesn't know what became of its request must not go on under the same name: the checkers take one process
    /// for one thing at a time.
    #[test]
    fn an_unknown_outcome_retires_the_process() {
        let recorder = Recorder::new(&Origin::new());
        let mut process = recorder.process();
        let first = process.id();
        process.invoke("write", "x", json!(1)).ok(json!(1));
        assert_eq!(process.id(), first);
        drop(process.invoke("write", "x", json!(2)));
        assert_ne!(process.id(), first);
        process.invoke("write", "x", json!(3)).fail("refused");
        let kinds: Vec<Kind> = recorder.events().into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [Kind::Invoke, Kind::Ok, Kind::Invoke, Kind::Info, Kind::Invoke, Kind::Fail]);
        assert_eq!(recorder.ok_since(0), 1);
        assert_eq!(recorder.ok_since(recorder.now_ns()), 0);
    }
}
