//! How much room the node's disk has left, and what is still done with how little.
//!
//! A disk that is really full is a bad place to be: nothing can be compacted or deleted, for both are written first, and a
//! node that was stopped there does not even start. So a *reserve* is kept for what must go on:
//!
//! | left | |
//! |---|---|
//! | two reserves or more | everything |
//! | less than two | shards that this node leads are handed to nodes that have more, so that theirs decides |
//! | less than one | a write that adds something is refused with `DISK_FULL`, by the leader. Reads and deletes go on |
//! | less than a quarter | deletes are refused, too |
//!
//! What the others have decided is taken at any time: a follower that refused entries would be of no more use than one that
//! is down. So the room of a follower may run out, as it may when another program takes it. Then a write fails, and the node
//! stops with nothing acknowledged that it does not have (see `poison` in the storage crate).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use ringfence_proto::v1;
use ringfence_state_machine::{Action, Command, LockCommand};
use ringfence_types::NodeId;

use crate::grpc::status;

/// The reserve, unless someone says otherwise: this, or on small disks this part of the whole.
const RESERVE_BYTES_DEFAULT: u64 = 1 << 30;
const RESERVE_PART_DEFAULT: u64 = 20;

/// What there is room for, from everything to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    Ample,
    /// Better that another node leads.
    Low,
    /// Not for more data.
    Full,
    /// Not even for deletes.
    Exhausted,
}

const LEVELS: [Level; 4] = [Level::Ample, Level::Low, Level::Full, Level::Exhausted];

impl Level {
    /// `before` counts: a level is left for a better one only with an eighth of the reserve to spare, so that a disk just at
    /// the edge does not flap.
    fn of(available: u64, reserve: u64, before: Level) -> Level {
        let at = |available: u64| match available {
            _ if available < reserve / 4 => Level::Exhausted,
            _ if available < reserve => Level::Full,
            _ if available < reserve.saturating_mul(2) => Level::Low,
            _ => Level::Ample,
        };
        at(available).max(at(available.saturating_sub(reserve / 8)).min(before))
    }
}

/// The room of a node's disk, as it was when it was last looked at.
pub(crate) struct Room {
    node: NodeId,
    data_dir: PathBuf,
    reserve: u64,
    available: AtomicU64,
    level: AtomicU8,
}

impl Room {
    /// Looks for the first time. Blocks on the disk.
    pub(crate) fn new(node: NodeId, data_dir: &Path, reserve: Option<u64>) -> Room {
        let measured = measure(data_dir);
        let total = measured.map_or(u64::MAX, |(_, total)| total);
        let reserve = reserve.unwrap_or_else(|| RESERVE_BYTES_DEFAULT.min(total / RESERVE_PART_DEFAULT));
        let room = Room {
            node,
            data_dir: data_dir.to_owned(),
            reserve,
            available: AtomicU64::new(u64::MAX),
            level: AtomicU8::new(Level::Ample as u8),
        };
        room.look();
        room
    }

    /// Looks again, and says so when something has changed. Blocks on the disk.
    pub(crate) fn look(&self) {
        let Some((available, _)) = measure(&self.data_dir) else { return }; // it said why
        self.available.store(available, Ordering::Relaxed);
        let before = self.level();
        let level = Level::of(available, self.reserve, before);
        self.level.store(level as u8, Ordering::Relaxed);
        if level == before {
            return;
        }
        let left = format!("{} are left of the disk, the reserve is {}", bytes(available), bytes(self.reserve));
        match level {
            Level::Ample => tracing::info!("{left}: there is room again"),
            Level::Low => tracing::warn!("{left}: nodes with more room are asked to lead"),
            Level::Full => tracing::error!("{left}: no more data is taken. Free some space or enlarge the volume"),
            Level::Exhausted => {
                tracing::error!("{left}: not even deletes are taken. Free some space or enlarge the volume")
            }
        }
    }

    /// As it was when last looked at.
    pub(crate) fn level(&self) -> Level {
        LEVELS[usize::from(self.level.load(Ordering::Relaxed))]
    }

    /// Whether there is room for a mutation of this kind. Leases that are there may be kept and ended as long as keys may be
    /// deleted.
    pub(crate) fn admit(&self, command: &Command) -> Result<(), v1::Error> {
        let last = match command {
            Command::Mutate(mutation) | Command::Fenced { mutation, .. } => match &mutation.action {
                Action::Delete => Level::Full,
                Action::Put { .. } | Action::Add { .. } => Level::Low,
            },
            Command::Lock(LockCommand::Acquire(_)) => Level::Low,
            _ => Level::Full,
        };
        if self.level() <= last {
            return Ok(());
        }
        let left = self.available.load(Ordering::Relaxed);
        Err(status::disk_full(self.node, &bytes(left), &bytes(self.reserve)))
    }

    /// For the node's status.
    pub(crate) fn message(&self) -> v1::Disk {
        let level = self.level();
        v1::Disk {
            available_bytes: self.available.load(Ordering::Relaxed),
            reserve_bytes: self.reserve,
            low: level >= Level::Low,
            full: level >= Level::Full,
        }
    }
}

/// Bytes that are left, and all of them.
fn measure(data_dir: &Path) -> Option<(u64, u64)> {
    match rustix::fs::statvfs(data_dir) {
        Ok(found) => {
            Some((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
        }
        Err(error) => {
            tracing::error!("cannot tell how much room {} has left: {error}", data_dir.display());
            None
        }
    }
}

/// For people.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..0x40_0000 => format!("{} KiB", bytes >> 10),
        0x40_0000..0x1_0000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use ringfence_proto::Reason;
    use ringfence_state_machine::{Condition, Mutation};
    use ringfence_types::{Key, Value};

    use super::*;

    #[test]
    fn the_less_room_the_less_is_done_and_a_level_is_left_only_for_good() {
        let reserve = 800;
        for before in LEVELS {
            assert_eq!(Level::of(1_700, reserve, before), Level::Ample);
            assert_eq!(Level::of(1_500, reserve, before), Level::Low);
            assert_eq!(Level::of(700, reserve, before), Level::Full);
            assert_eq!(Level::of(199, reserve, before), Level::Exhausted);
        }
        assert_eq!(Level::of(1_600, reserve, Level::Ample), Level::Ample);
        assert_eq!(Level::of(1_600, reserve, Level::Low), Level::Low, "an eighth more than two reserves ends it");
        assert_eq!(Level::of(899, reserve, Level::Full), Level::Full);
        assert_eq!(Level::of(899, reserve, Level::Low), Level::Low);
        assert_eq!(Level::of(900, reserve, Level::Full), Level::Low);
        assert_eq!(Level::of(0, 0, Level::Ample), Level::Ample, "no reserve");
    }

    #[test]
    fn deletes_go_on_when_puts_are_refused_until_nothing_goes() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::new(NodeId(3), dir.path(), Some(u64::MAX / 4));
        let of = |action| {
            let key = Key::new("k").unwrap();
            Command::Mutate(Mutation { key, condition: Condition::None, action })
        };
        let put = of(Action::Put { value: Value::new("v").unwrap(), ttl_ms: None });
        let delete = of(Action::Delete);
        let set = |level: Level| room.level.store(level as u8, Ordering::Relaxed);
        let expected = [(true, true), (true, true), (false, true), (false, false)];
        for (level, (puts, deletes)) in LEVELS.into_iter().zip(expected) {
            set(level);
            assert_eq!(room.admit(&put).is_ok(), puts, "{level:?}");
            assert_eq!(room.admit(&delete).is_ok(), deletes, "{level:?}");
        }
        let error = room.admit(&put).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::DiskFull));
        assert!(error.message.contains("node 3") && error.message.contains("enlarge"), "{}", error.message);
        room.look();
        assert_eq!(room.level(), Level::Exhausted, "no disk is that large");
    }
}
