//! The log DB: opens groups, owns the writer.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use ringfence_types::ReplicaId;

use super::group::{Group, GroupLog};
use super::load::{Loaded, load};
use super::writer::Writer;
use super::{Done, layout};
use crate::StorageError;
use crate::engine::Engine;

/// The logs and votes of all groups of a node. A cheap handle; the writer ends when [`LogDb::stop`] is called or the last
/// handle, of this or of a group, is dropped.
#[derive(Clone)]
pub struct LogDb {
    handle: Arc<Handle>,
}

/// Closes the writer when it is dropped. The writer's thread does not hold it.
pub(super) struct Handle {
    pub(super) writer: Arc<Writer>,
    groups: Mutex<BTreeMap<ReplicaId, Arc<Group>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LogDb {
    /// The tables that its engine must have.
    pub const TABLES: &'static [&'static str] = layout::TABLES;

    /// Starts the writer thread.
    pub fn open(engine: Arc<dyn Engine>) -> Result<LogDb, StorageError> {
        let writer = Arc::new(Writer::new(engine, true));
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn({
                let writer = writer.clone();
                move || writer.run()
            })
            .map_err(|error| StorageError::io("start the log writer", &error))?;
        Ok(LogDb::with(writer, Some(thread)))
    }

    /// Without a thread: nothing is written until [`LogDb::step`] is called. For simulations that decide when the disk
    /// is done.
    pub fn open_inline(engine: Arc<dyn Engine>) -> LogDb {
        LogDb::with(Arc::new(Writer::new(engine, false)), None)
    }

    fn with(writer: Arc<Writer>, thread: Option<JoinHandle<()>>) -> LogDb {
        LogDb { handle: Arc::new(Handle { writer, groups: Mutex::default(), thread: Mutex::new(thread) }) }
    }

    /// Writes one batch of what waits, and calls back. False if nothing waited.
    pub fn step(&self) -> bool {
        self.handle.writer.step()
    }

    /// The log of a group, new or old. Reads and checks all of it the first time; call it off the async workers.
    pub fn group(&self, replica: ReplicaId) -> Result<GroupLog, StorageError> {
        self.handle.writer.check()?;
        let mut groups = self.handle.groups.lock().expect("no code panics while it holds this lock");
        let group = match groups.get(&replica) {
            Some(group) => group.clone(),
            None => {
                let group = Arc::new(Group::new(replica, load(&*self.handle.writer.engine, replica)?));
                groups.insert(replica, group.clone());
                group
            }
        };
        Ok(GroupLog { group, db: self.handle.clone() })
    }

    /// Every replica that has a log or a vote here, in order. One seek per replica.
    pub fn replicas(&self) -> Result<Vec<ReplicaId>, StorageError> {
        let mut replicas: Vec<ReplicaId> = Vec::new();
        let mut from = layout::first(ReplicaId(0));
        loop {
            let mut found = None;
            self.handle.writer.engine.scan(layout::LOG, &from, &layout::end(ReplicaId(u64::MAX)), &mut |key, _| {
                found = Some(layout::replica_of(key));
                ControlFlow::Break(())
            })?;
            let Some(replica) = found.transpose()? else { return Ok(replicas) };
            replicas.push(replica);
            from = layout::end(replica);
        }
    }

    /// Removes a replica's log and vote, also one that cannot be read. Handles of it take nothing more. The id is never
    /// used again.
    pub fn destroy(&self, replica: ReplicaId, done: Done) {
        let group = {
            let mut groups = self.handle.groups.lock().expect("no code panics while it holds this lock");
            groups.remove(&replica).unwrap_or_else(|| Arc::new(Group::new(replica, Loaded::default())))
        };
        GroupLog { group, db: self.handle.clone() }.destroy(done);
    }

    /// Takes nothing more, writes what waits, and ends the writer.
    pub fn stop(self) {
        self.handle.stop();
    }

    /// Calls `listener` once a write or a sync has failed or a read has found damage, at once if one has. The process must
    /// stop then: what the operating system has of it cannot be trusted any more, and nothing will be acknowledged. It runs
    /// on the thread that noticed.
    pub fn on_failure(&self, listener: impl FnOnce(StorageError) + Send + 'static) {
        self.handle.writer.poison.listen(Box::new(listener));
    }

    /// The failure, if there was one.
    pub fn failure(&self) -> Option<StorageError> {
        self.handle.writer.poison.check().err()
    }
}

impl Handle {
    fn stop(&self) {
        self.writer.close(StorageError::Stopped);
        let thread = self.thread.lock().expect("no code panics while it holds this lock").take();
        match thread {
            // The last handle was dropped in a callback: the writer ends by itself.
            Some(thread) if thread.thread().id() == std::thread::current().id() => {}
            Some(thread) => drop(thread.join()), // a panic was told through the poison
            None => while self.writer.step() {},
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}
