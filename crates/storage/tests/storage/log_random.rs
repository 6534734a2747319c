//! Random lives of a log, against a model that is a plain map. Power goes, disks fail; what was acknowledged stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use ringfence_storage::engine::{FailingEngine, Fault, MemoryEngine, Operation};
use ringfence_storage::{Done, GroupLog, LogDb, LogPosition, LogRecord};
use ringfence_types::ReplicaId;

use crate::fixture::{LOG_TABLES, all, at};

const R: ReplicaId = ReplicaId(3);

#[derive(Clone, Debug)]
enum Event {
    Append(u64),
    Vote,
    TruncateBack(u64),
    PurgeForward(u64),
    Step,
    Reopen,
    /// The power goes while a batch is being written: it was synced, only written, or neither.
    PowerLoss {
        fault: Option<u8>,
        kept: usize,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1u64..6).prop_map(Event::Append),
        1 => Just(Event::Vote),
        1 => (0u64..6).prop_map(Event::TruncateBack),
        1 => (0u64..6).prop_map(Event::PurgeForward),
        4 => Just(Event::Step),
        1 => Just(Event::Reopen),
        1 => (proptest::option::of(0u8..3), 0usize..3).prop_map(|(fault, kept)| Event::PowerLoss { fault, kept }),
    ];
    proptest::collection::vec(event, 1..80)
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: BTreeMap<u64, LogRecord>,
    vote: Option<Bytes>,
    purged: Option<LogPosition>,
    last: Option<LogPosition>,
}

impl Model {
    fn of(log: &GroupLog) -> Model {
        let state = log.state();
        let entries = all(log).into_iter().map(|record| (record.position.index, record)).collect();
        Model { entries, vote: state.vote, purged: state.purged, last: state.last }
    }

    fn next(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }
}

struct Run {
    memory: Arc<MemoryEngine>,
    failing: Arc<FailingEngine>,
    db: LogDb,
    log: GroupLog,
    /// The model after every change; what the disk has is one of these, and not one before `acknowledged`.
    versions: Vec<Model>,
    acknowledged: Arc<AtomicUsize>,
    term: u64,
}

impl Run {
    fn on(memory: MemoryEngine, versions: Vec<Model>, term: u64) -> Run {
        let memory = Arc::new(memory);
        let failing = Arc::new(FailingEngine::new(memory.clone()));
        let db = LogDb::open_inline(failing.clone());
        let log = db.group(R).unwrap();
        Run { memory, failing, db, log, versions, acknowledged: Arc::default(), term }
    }

    /// Notes a change of the model; the returned `done` acknowledges it.
    fn change(&mut self, change: impl FnOnce(&mut Model)) -> Done {
        let mut model = self.versions.last().unwrap().clone();
        change(&mut model);
        self.versions.push(model);
        let (acknowledged, version) = (self.acknowledged.clone(), self.versions.len() - 1);
        Box::new(move |result| {
            if result.is_ok() {
                assert!(acknowledged.swap(version, Ordering::SeqCst) < version, "acknowledged out of order");
            }
        })
    }

    fn take(mut self, event: Event) -> Run {
        let now = self.versions.last().unwrap().clone();
        match event {
            Event::Append(count) => {
                self.term += 1;
                let records: Vec<LogRecord> = (now.next()..now.next() + count)
                    .map(|index| LogRecord { position: at(self.term, index), payload: vec![index as u8; 20].into() })
                    .collect();
                let added = records.clone();
                let done = self.change(|model| {
                    model.last = added.last().map(|record| record.position);
                    model.entries.extend(added.into_iter().map(|record| (record.position.index, record)));
                });
                self.log.append(records, done);
            }
            Event::Vote => {
                let vote = Bytes::from(format!("vote {}", self.versions.len()));
                let done = self.change(|model| model.vote = Some(vote.clone()));
                self.log.save_vote(vote, done);
            }
            Event::TruncateBack(count) => {
                let keep = now.entries.len().saturating_sub(count as usize);
                let last = match keep {
                    0 => now.purged,
                    _ => now.entries.values().nth(keep - 1).map(|record| record.position),
                };
                let done = self.change(|model| {
                    model.entries.retain(|index, _| last.is_some_and(|last| *index <= last.index));
                    model.last = last;
                });
                self.log.truncate_after(last, done);
            }
            Event::PurgeForward(count) => {
                let Some(upto) = now.entries.values().nth(count as usize).map(|record| record.position) else {
                    return self;
                };
                let done = self.change(|model| {
                    model.entries.retain(|index, _| *index > upto.index);
                    model.purged = Some(upto);
                });
                self.log.purge(upto, done);
            }
            Event::Step => {
                self.db.step();
            }
            Event::Reopen => {
                while self.db.step() {}
                assert_eq!(self.acknowledged.load(Ordering::SeqCst), acknowledgeable(&self.versions));
                self.db = LogDb::open_inline(self.failing.clone());
                self.log = self.db.group(R).unwrap();
            }
            Event::PowerLoss { fault, kept } => {
                match fault {
                    Some(0) => self.failing.inject(Fault::Error(Operation::Write, 0)),
                    Some(1) => self.failing.inject(Fault::Error(Operation::Sync, 0)),
                    Some(_) => self.failing.inject(Fault::ErrorAfterWrite(0)),
                    None => {}
                }
                if fault.is_some() {
                    self.db.step();
                }
                let survived = Run::on(self.memory.power_loss(kept), Vec::new(), self.term);
                let found = Model::of(&survived.log);
                let promised = self.acknowledged.load(Ordering::SeqCst);
                assert!(
                    self.versions[promised..].contains(&found),
                    "{found:?} is none of {:?}",
                    &self.versions[promised..]
                );
                return Run { versions: vec![found], ..survived };
            }
        }
        assert_eq!(Model::of(&self.log), *self.versions.last().unwrap(), "what was asked for is readable at once");
        self
    }
}

fn acknowledgeable(versions: &[Model]) -> usize {
    versions.len() - 1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_survives_any_life_with_all_that_was_acknowledged(events in events()) {
        let mut run = Run::on(MemoryEngine::new(LOG_TABLES), vec![Model::default()], 0);
        for event in events {
            run = run.take(event);
        }
    }
}
