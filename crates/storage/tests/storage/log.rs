//! The log DB: what `done` promises, in what order, and what is refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ringfence_storage::engine::{Engine, FailingEngine, Fault, MemoryEngine, Operation};
use ringfence_storage::{LogDb, LogState, StorageError};
use ringfence_types::ReplicaId;

use crate::fixture::{LOG_TABLES, all, at, done, engines, ignore, noting, record, records};

const WAIT: Duration = Duration::from_secs(20);
const R: ReplicaId = ReplicaId(7);

fn memory() -> Arc<MemoryEngine> {
    Arc::new(MemoryEngine::new(LOG_TABLES))
}

/// Raft's core reads what it has just appended, before any sync.
#[test]
fn appended_entries_are_readable_before_they_are_durable() {
    let db = LogDb::open_inline(memory());
    let log = db.group(R).unwrap();
    let (callback, answer) = done();
    log.append(records(1, 0..10), callback);
    assert_eq!(log.read(3, 6, usize::MAX).unwrap(), records(1, 3..6));
    assert_eq!(log.state().last, Some(at(1, 9)));
    assert!(answer.try_recv().is_err(), "nothing was written yet, so nothing may be acknowledged");
    assert!(db.step());
    assert_eq!(answer.try_recv(), Ok(Ok(())));
    assert!(!db.step(), "nothing is left");
}

/// The same life of a log on every engine, reopened in between.
#[test]
fn a_log_is_the_same_after_it_was_opened_again() {
    for (name, engine, _dir) in engines(LogDb::TABLES) {
        println!("on {name}");
        let db = LogDb::open(engine.clone()).unwrap();
        let log = db.group(R).unwrap();
        log.append(records(1, 0..100), ignore());
        log.save_vote("vote of term 2".into(), ignore());
        log.truncate_after(Some(at(1, 49)), ignore());
        log.append(records(2, 50..60), ignore());
        log.save_committed(Some(at(2, 55)));
        let (callback, answer) = done();
        log.purge(at(1, 19), callback);
        answer.recv_timeout(WAIT).unwrap().unwrap();
        let (before, state) = (all(&log), log.state());
        assert_eq!(before.len(), 40);
        db.stop();

        let db = LogDb::open(engine).unwrap();
        let log = db.group(R).unwrap();
        assert_eq!(all(&log), before);
        assert_eq!(log.state(), state);
        let expected = LogState {
            vote: Some("vote of term 2".into()),
            committed: Some(at(2, 55)),
            purged: Some(at(1, 19)),
            last: Some(at(2, 59)),
        };
        assert_eq!(state, expected);
        assert_eq!(db.replicas().unwrap(), [R]);
        db.stop();
    }
}

/// The promise everything rests on: after a power loss, whatever was acknowledged is there.
#[test]
fn nothing_acknowledged_is_lost_when_the_power_goes() {
    let engine = memory();
    let db = LogDb::open(engine.clone()).unwrap();
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..8).map(|_| AtomicU64::new(0)).collect());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|group| {
                let log = db.group(ReplicaId(group)).unwrap();
                let acknowledged = acknowledged.clone();
                scope.spawn(move || {
                    for index in 0.. {
                        let (acknowledged, (failed, failure)) = (acknowledged.clone(), done());
                        log.append(
                            vec![record(1, index)],
                            Box::new(move |result| match result {
                                Ok(()) => drop(acknowledged[group as usize].fetch_max(index + 1, Ordering::SeqCst)),
                                Err(error) => failed(Err(error)),
                            }),
                        );
                        if failure.try_recv().is_ok() {
                            return;
                        }
                    }
                })
            })
            .collect();
        while acknowledged.iter().any(|count| count.load(Ordering::SeqCst) < 100) {
            std::thread::yield_now();
        }
        let survivor = LogDb::open_inline(Arc::new(engine.power_loss(0)));
        for thread in threads {
            thread.join().unwrap();
        }
        for group in 0..8 {
            let there = all(&survivor.group(ReplicaId(group)).unwrap());
            let promised = acknowledged[group as usize].load(Ordering::SeqCst);
            assert!(there.len() as u64 >= promised, "group {group}: {} of {promised}", there.len());
            assert_eq!(there, records(1, 0..there.len() as u64));
        }
    });
    assert!(db.failure().is_some(), "the dead engine must have been noticed");
}

#[test]
fn the_committed_position_costs_no_sync_and_never_outruns_its_entry() {
    let engine = memory();
    let db = LogDb::open_inline(engine.clone());
    let log = db.group(R).unwrap();
    log.append(records(1, 0..5), ignore());
    log.save_committed(Some(at(1, 2)));
    log.save_committed(Some(at(1, 4)));
    db.step();
    assert_eq!(engine.unsynced_batches(), 0);
    log.save_committed(None);
    log.save_committed(Some(at(1, 3)));
    db.step();
    assert_eq!(engine.unsynced_batches(), 1, "a batch with nothing but committed positions is not synced");
    let lost = LogDb::open_inline(Arc::new(engine.power_loss(0)));
    assert_eq!(lost.group(R).unwrap().state().committed, Some(at(1, 4)), "it lags behind, and that is all");
}

#[test]
fn callbacks_come_in_the_order_of_the_calls_across_groups() {
    let db = LogDb::open_inline(memory());
    let (a, b) = (db.group(ReplicaId(1)).unwrap(), db.group(ReplicaId(2)).unwrap());
    let order = Arc::new(Mutex::new(Vec::new()));
    a.append(records(1, 0..3), noting("a appends", &order));
    b.save_vote(Bytes::from_static(b"v"), noting("b votes", &order));
    a.truncate_after(Some(at(1, 0)), noting("a truncates", &order));
    b.append(records(1, 0..1), noting("b appends", &order));
    a.purge(at(1, 0), noting("a purges", &order));
    while db.step() {}
    let expected = ["a appends", "b votes", "a truncates", "b appends", "a purges"].map(|name| (name, true));
    assert_eq!(*order.lock().unwrap(), expected);
}

/// After a failed sync the page cache is not to be trusted; a retry that succeeds would prove nothing.
#[test]
fn a_failed_write_or_sync_is_final() {
    let faults = [
        Fault::Error(Operation::Write, 1),
        Fault::Error(Operation::Sync, 1),
        Fault::ErrorAfterWrite(1),
        Fault::DiskFullAfter(400),
    ];
    for fault in faults {
        let engine = Arc::new(FailingEngine::new(memory()));
        engine.inject(fault);
        let db = LogDb::open(engine).unwrap();
        let (told, failure) = done();
        db.on_failure(move |error| told(Err(error)));
        let log = db.group(R).unwrap();
        let (callback, first) = done();
        log.append(records(1, 0..1), callback);
        first.recv_timeout(WAIT).unwrap().unwrap();
        let (callback, second) = done();
        log.append(vec![ringfence_storage::LogRecord { payload: vec![0; 400].into(), ..record(1, 1) }], callback);
        let error = second.recv_timeout(WAIT).unwrap().unwrap_err();
        assert_eq!(matches!(error, StorageError::DiskFull { .. }), matches!(fault, Fault::DiskFullAfter(_)), "{error}");
        assert_eq!(failure.recv_timeout(WAIT).unwrap(), Err(error.clone()), "{fault:?}");
        let (callback, third) = done();
        log.append(records(1, 2..3), callback);
        assert_eq!(third.recv_timeout(WAIT).unwrap(), Err(error.clone()), "nothing is acknowledged afterwards");
        assert_eq!(db.failure(), Some(error.clone()));
        assert_eq!(db.group(ReplicaId(8)).err(), Some(error), "and no group is opened");
    }
}

#[test]
fn gaps_and_steps_back_are_refused_and_change_nothing() {
    let db = LogDb::open_inline(memory());
    let log = db.group(R).unwrap();
    log.append(records(1, 0..5), ignore());
    log.purge(at(1, 1), ignore());
    let before = (log.state(), all(&log));
    let refused = |start: &dyn Fn(ringfence_storage::Done)| {
        let (callback, answer) = done();
        start(callback);
        assert!(matches!(answer.try_recv().unwrap(), Err(StorageError::Misuse { .. })));
    };
    refused(&|done| log.append(records(1, 6..7), done));
    refused(&|done| log.append(records(2, 4..5), done));
    refused(&|done| log.append(vec![record(1, 5), record(1, 7)], done));
    refused(&|done| log.truncate_after(Some(at(1, 0)), done));
    refused(&|done| log.truncate_after(None, done));
    assert_eq!((log.state(), all(&log)), before);
    while db.step() {}
    assert_eq!((log.state(), all(&log)), before);
}

/// An installed snapshot lies beyond the log: the log is emptied and goes on behind it.
#[test]
fn a_purge_beyond_the_end_lets_the_log_continue_there() {
    let engine = memory();
    let db = LogDb::open_inline(engine.clone());
    let log = db.group(R).unwrap();
    log.append(records(1, 0..5), ignore());
    log.purge(at(3, 90), ignore());
    assert_eq!((log.state().purged, log.state().last), (Some(at(3, 90)), Some(at(3, 90))));
    assert!(all(&log).is_empty());
    log.append(records(3, 91..93), ignore());
    while db.step() {}
    let again = LogDb::open_inline(Arc::new(engine.power_loss(0)));
    assert_eq!(all(&again.group(R).unwrap()), records(3, 91..93));
}

/// A replica that was seeded with state at index 5 has no log; its first entry is 6, and later the log must not be
/// taken for one that lost entries 0 to 5.
#[test]
fn an_empty_log_may_begin_anywhere_and_is_remembered_to() {
    let engine = memory();
    let db = LogDb::open_inline(engine.clone());
    let log = db.group(R).unwrap();
    log.append(records(1, 6..8), ignore());
    while db.step() {}
    let db = LogDb::open_inline(Arc::new(engine.power_loss(0)));
    let log = db.group(R).unwrap();
    assert_eq!(log.read(0, 100, usize::MAX).unwrap(), records(1, 6..8));
    log.truncate_after(None, ignore());
    log.append(records(2, 3..4), ignore());
    assert_eq!(all(&log), records(2, 3..4));
}

#[test]
fn a_read_is_bounded_by_bytes_but_never_empty() {
    for (name, engine, _dir) in engines(LogDb::TABLES) {
        println!("on {name}");
        let db = LogDb::open_inline(engine.clone());
        db.group(R).unwrap().append(records(1, 0..10), ignore());
        while db.step() {}
        let warm = db.group(R).unwrap();
        let cold = LogDb::open_inline(engine).group(R).unwrap();
        for log in [warm, cold] {
            assert_eq!(log.read(2, 9, 0).unwrap(), records(1, 2..3));
            assert_eq!(log.read(2, 9, 10).unwrap(), records(1, 2..4), "9 bytes, and the one that passes the bound");
            assert_eq!(log.read(2, 9, 1000).unwrap(), records(1, 2..9));
            assert!(log.read(10, 20, 1000).unwrap().is_empty());
            assert!(log.read(5, 5, 1000).unwrap().is_empty());
        }
    }
}

/// More than the memory tail holds: the rest comes from the disk, without a seam.
#[test]
fn entries_beyond_the_memory_tail_are_read_from_the_disk() {
    let engine = Arc::new(FailingEngine::new(memory()));
    let db = LogDb::open_inline(engine.clone());
    let log = db.group(R).unwrap();
    let large =
        |index| ringfence_storage::LogRecord { payload: vec![index as u8; 256 << 10].into(), ..record(1, index) };
    for index in 0..32 {
        log.append(vec![large(index)], ignore());
    }
    while db.step() {}
    let every: Vec<_> = (0..32).map(large).collect();
    assert_eq!(all(&log), every);
    assert_eq!(log.read(20, 32, usize::MAX).unwrap(), every[20..]);
    engine.inject(Fault::Error(Operation::Read, 0));
    assert_eq!(log.read(30, 32, usize::MAX).unwrap(), every[30..], "the end is served from memory");
    assert!(log.read(0, 32, usize::MAX).is_err(), "the beginning is not in memory any more");
}

#[test]
fn a_destroyed_log_is_gone_and_takes_nothing_more() {
    let engine = memory();
    let db = LogDb::open_inline(engine.clone());
    let (log, neighbour) = (db.group(R).unwrap(), db.group(ReplicaId(8)).unwrap());
    log.append(records(1, 0..3), ignore());
    log.save_vote("v".into(), ignore());
    neighbour.append(records(1, 0..2), ignore());
    db.destroy(R, ignore());
    let (callback, answer) = done();
    log.append(records(1, 3..4), callback);
    assert_eq!(answer.try_recv().unwrap(), Err(StorageError::Stopped));
    while db.step() {}
    let db = LogDb::open_inline(Arc::new(engine.power_loss(0)));
    assert_eq!(db.replicas().unwrap(), [ReplicaId(8)]);
    assert_eq!(db.group(R).unwrap().state(), LogState::default());
    assert_eq!(all(&db.group(ReplicaId(8)).unwrap()), records(1, 0..2));
}

#[test]
fn stopping_writes_what_waits_and_refuses_what_comes() {
    let engine = memory();
    let db = LogDb::open(engine.clone() as Arc<dyn Engine>).unwrap();
    let log = db.group(R).unwrap();
    let (callback, answer) = done();
    log.append(records(1, 0..50), callback);
    log.save_committed(Some(at(1, 49)));
    db.stop();
    assert_eq!(answer.try_recv(), Ok(Ok(())));
    let (callback, answer) = done();
    log.append(records(1, 50..51), callback);
    assert_eq!(answer.try_recv(), Ok(Err(StorageError::Stopped)));
    let log = LogDb::open_inline(engine).group(R).unwrap();
    assert_eq!((all(&log), log.state().committed), (records(1, 0..50), Some(at(1, 49))));
}
