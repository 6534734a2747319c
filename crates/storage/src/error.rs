use std::path::PathBuf;

/// Why the store could not do what it was asked. Always local to one node, so never a reply of the state machine.
///
/// After [`Io`](StorageError::Io), [`DiskFull`](StorageError::DiskFull) or [`Corrupt`](StorageError::Corrupt) of a
/// write the database that told it is poisoned: it takes nothing more, because nobody knows which of its later writes
/// would survive. The process stops and reads back what is really on the disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The operating system or the engine refused.
    #[error("{doing}: {reason}. Check the disk and its mount, then start the node again")]
    Io {
        /// What was being done.
        doing: String,
        /// What was answered.
        reason: String,
    },
    /// No space left.
    #[error(
        "{doing}: no space is left on the device. Free some or enlarge the volume, then start the node again; nothing acknowledged is lost"
    )]
    DiskFull {
        /// What was being done.
        doing: String,
    },
    /// What was read is not what was written. Never guessed around: the replica is distrusted.
    #[error("corrupt: {what}. Do not repair it by hand: remove this replica and let its peers make a fresh one")]
    Corrupt {
        /// What was found, and where.
        what: String,
    },
    /// Written by a newer release.
    #[error("{what} has format version {found}; this release knows {known}. Start the release that wrote it")]
    UnknownVersion {
        /// Of which record or file.
        what: String,
        /// The version in it.
        found: u32,
        /// The newest version that this release reads.
        known: u32,
    },
    /// The directory belongs to another node, another cluster or another program.
    #[error("{}: {what}", .path.display())]
    Foreign {
        /// Which directory.
        path: PathBuf,
        /// Whose it is, and what to do.
        what: String,
    },
    /// Another process, or another server in this one, has the directory open.
    #[error("{} is in use by another server. Stop that one first, or give this one its own directory", .path.display())]
    InUse {
        /// Which directory.
        path: PathBuf,
    },
    /// The caller broke a rule of the log or of a replica: a gap, a step back, an unknown shard. Nothing was changed.
    #[error("refused, nothing was changed: {what}")]
    Misuse {
        /// Which rule.
        what: String,
    },
    /// The database was stopped, or its replica destroyed, before this could be done. Nobody knows whether it was.
    #[error("the store was stopped")]
    Stopped,
}

impl StorageError {
    pub(crate) fn corrupt(what: impl Into<String>) -> StorageError {
        StorageError::Corrupt { what: what.into() }
    }

    pub(crate) fn misuse(what: impl Into<String>) -> StorageError {
        StorageError::Misuse { what: what.into() }
    }

    pub(crate) fn io(doing: impl Into<String>, error: &std::io::Error) -> StorageError {
        let doing = doing.into();
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StorageError::DiskFull { doing },
            _ => StorageError::Io { doing, reason: error.to_string() },
        }
    }
}
