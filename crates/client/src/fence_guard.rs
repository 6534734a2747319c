//! What a server outside Ringfence keeps, so that nobody writes to it under a lease that has ended.
//!
//! # The holder that paused
//!
//! 1. Client 1 acquires the lock of a file; the token of its lease is 33. It reads the file, and is about to write it
//!    back.
//! 2. It pauses, for garbage collection or because its machine was suspended, for longer than its ttl. The lease ends.
//! 3. Client 2 acquires the lock, with token 34, and writes the file.
//! 4. Client 1 wakes. Nothing has told it that time has passed, it still believes that it holds the lock, and its write
//!    is on its way before it looks at a clock. It arrives at the file server.
//!
//! Without more the file server overwrites what client 2 has written. No ttl is long enough to rule that out, and no
//! check in client 1 is late enough, because it can pause after any check. So the one who decides must be the one who
//! writes: each request carries its token, and the file server refuses a token below the highest that it has seen of
//! this resource. It saw 34, so it refuses 33. That is all that a [`FenceGuard`] does:
//!
//! ```
//! use std::path::Path;
//! use std::sync::Mutex;
//!
//! use ringfence_client::{FenceGuard, FenceGuardError, FencingToken, Revision};
//!
//! struct FileServer {
//!     guard: FenceGuard,
//!     file: Mutex<String>,
//! }
//!
//! impl FileServer {
//!     fn start(guard: &Path) -> Result<FileServer, FenceGuardError> {
//!         Ok(FileServer { guard: FenceGuard::open(guard)?, file: Mutex::default() })
//!     }
//!
//!     fn overwrite(&self, content: &str, token: FencingToken) -> Result<(), FenceGuardError> {
//!         // Kept over both: nobody with a higher token comes between being admitted and writing.
//!         let mut file = self.file.lock().unwrap();
//!         self.guard.admit("report.txt", 0, token)?;
//!         *file = content.to_owned();
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("fences");
//! let (client_1, client_2) = (FencingToken(Revision(33)), FencingToken(Revision(34)));
//! let server = FileServer::start(&path)?;
//! server.overwrite("by client 2", client_2)?;
//! let refused = FenceGuardError::Stale { token: client_1, highest: client_2 };
//! assert_eq!(server.overwrite("by client 1, which slept", client_1), Err(refused.clone()));
//!
//! // A server that forgot would let client 1 in, so the guard keeps what it has seen on the disk.
//! drop(server);
//! let server = FileServer::start(&path)?;
//! assert_eq!(server.overwrite("by client 1, which still tries", client_1), Err(refused));
//! # Ok(())
//! # }
//! ```
//!
//! # Which token, which permit
//!
//! An exclusive holder sends the token of its lease, with permit 0. Those who share a lock all send its *generation*,
//! with permit 0: equal tokens pass, and the generation is a new one whenever the lock was free in between. A holder
//! of a semaphore sends the token of its lease and the number of its permit: the highest token is kept for each permit
//! by itself, because the holders of different permits are there at the same time by right. It follows that the tokens
//! of a resource must come from one lock, and that this lock must stay what it is: a holder of permit 3 does not shut
//! out one who slept since the lock was exclusive, or since it had other permits.
//!
//! # What it does not do
//!
//! * **It knows only what it has seen.** A stale holder's write that arrives *before* the first of the new holder is
//!   admitted, by this and by any guard that compares tokens and nothing else: nobody has told it yet that there is a
//!   new holder. So a new holder should touch the resource first of all, before it reads what it will decide by. Or
//!   keep the data in Ringfence and put a fence on the write: that is checked against the lock's own record, in the
//!   same step as the write, so it refuses from the first attempt on.
//! * **It admits, it does not write.** A request that was admitted and then waits in the server's own queue can be
//!   overtaken. Let admitting and writing be one critical section per resource, as above.
//! * **It is one guard.** Two servers that write the same resource need one guard between them, or each misses what
//!   the other has seen. One process at a time has the file open.
//! * **It believes every token.** Whoever may send one can shut out all others with a high one, so find out first who
//!   asks.
//! * **It never forgets.** Each resource and permit costs its name and about a hundred bytes, for ever. So name what is
//!   protected, not the request. And the file cannot come from a backup: that one has not seen the newest tokens.
//!
//! # On the disk
//!
//! ```text
//! PATH        header, then frames; numbers are big endian
//! PATH.lock   locked while a process has the guard open; stays behind
//! PATH.new    the file's next self, while it is written anew
//!
//! header:  "rf-fence" | version(4) | crc32c(4) over both
//! frame:   length of the records(4) | their crc32c(4) | crc32c(4) of these eight bytes | records | 0xE5
//! record:  permit(4) | token(8) | length of the resource(2) | resource
//! ```
//!
//! A raised token is appended and synced before [`FenceGuard::admit`] returns; all that wait for the disk at the same
//! time share one write and one sync. An equal token costs no write.
//!
//! A crash can tear only what was appended last, and nobody was told that it was admitted: it is cut off. A tear is a
//! frame that ends too early, perhaps with zeros behind, since a file can grow before its bytes arrive. A frame has a
//! checksum of its length and no zero at its end, so no flipped bit looks like that; a file that somebody else has cut
//! short does. Anything else that does not add up is damage, and is refused: whoever goes on past it may forget a
//! token.
//!
//! The file is written anew, with one record for each resource and permit, when it has become long, and whenever it is
//! opened. The latter because a process that failed to sync may have left in the page cache, for its successor to read,
//! what never came to the disk. Until the rename the old file holds everything, and a file that was left over is
//! overwritten. Each is a new file, so let the directory say who may read it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use ringfence_types::limits::KEY_BYTES_MAX;
use ringfence_types::{FencingToken, Revision};

/// Refuses requests under a lease that has ended, for a server outside Ringfence. See the module's page for how and
/// why.
///
/// Its calls block; in async code put [`admit`](FenceGuard::admit) into a `spawn_blocking`. Share it by an `Arc`.
pub struct FenceGuard {
    memory: Mutex<Memory>,
    /// Whoever has this writes, for all who wait for it. Taken before `memory`, never while `memory` is held.
    log: Mutex<Log>,
    _lock: FileLock, // the last to go
}

/// Why a guard cannot be opened, or does not admit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenceGuardError {
    /// A newer holder was there. The request must not be done.
    #[error(
        "the fencing token {token} is stale: {highest} was seen already, so the lock had another holder since. Do not send this again; acquire the lock anew, read what has changed, and decide by that"
    )]
    Stale {
        /// What was presented.
        token: FencingToken,
        /// What was seen before.
        highest: FencingToken,
    },
    /// Tokens are positive: whoever sends zero has none.
    #[error("{token} is no fencing token. Acquire the lock, and send the token of its lease with the request")]
    NotAToken {
        /// What was presented.
        token: FencingToken,
    },
    /// The name of the resource is empty or too long.
    #[error(
        "a resource is named by 1 to {RESOURCE_BYTES_MAX} bytes, and this has {bytes}. Name it by its lock, or by a hash of what is longer"
    )]
    ResourceLength {
        /// Its length.
        bytes: usize,
    },
    /// The guard could not write, now or earlier, and admits nothing any more. The token may have been kept or not,
    /// which does no harm: its holder may send it again after the restart.
    #[error(
        "the fence guard admits nothing more, because it failed to {doing}: {reason}. Nobody knows what the disk holds after that. Check the disk and its space, then restart this server"
    )]
    Failed {
        /// What was being done.
        doing: String,
        /// What was answered.
        reason: String,
    },
    /// The operating system refused while the guard was opened. Nothing was lost.
    #[error("failed to {doing}: {reason}. Check the path, its permissions and the disk, then start this server again")]
    Open {
        /// What was being done.
        doing: String,
        /// What was answered.
        reason: String,
    },
    /// Another process, or another guard in this one, has the file open.
    #[error(
        "{} is in use by another process. Stop that one first; two servers with resources of their own need a file each", .path.display()
    )]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// The file is something else. It was left as it is.
    #[error(
        "{} is not the file of a fence guard. Give the guard a path of its own, it makes the file; if this was its file, treat it as damaged: {WAY_OUT}", .path.display()
    )]
    NotAGuard {
        /// Which file.
        path: PathBuf,
    },
    /// Written by a newer release. It was left as it is.
    #[error("{} has format version {found}; this release knows {known}. Start the release that wrote it", .path.display())]
    UnknownVersion {
        /// Which file.
        path: PathBuf,
        /// The version in it.
        found: u32,
        /// The one that this release knows.
        known: u32,
    },
    /// What was read is not what was written. Never guessed around, since a token might be forgotten. The file was left
    /// as it is.
    #[error(
        "{} is damaged at byte {offset}: {what}. A guard that went on could forget tokens and admit a stale holder. {WAY_OUT}", .path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What does not add up.
        what: &'static str,
    },
}

/// How to begin anew without letting anybody in who is stale.
const WAY_OUT: &str = "Stop every client that may believe to hold a lease, move the file away, and start this server and \
    then the clients: they get leases with higher tokens";

/// The name of a lock fits.
const RESOURCE_BYTES_MAX: usize = KEY_BYTES_MAX;

/// A shorter file is left as long as it is.
const REWRITE_BYTES_MIN: u64 = 1 << 20;

/// So many times as long as when it was last written anew, and it is written anew.
const REWRITE_GROWTH: u64 = 4;

impl FenceGuard {
    /// Opens the guard that keeps this file, or makes one; its directory must be there. Blocks for as long as it takes
    /// to read and write the file.
    ///
    /// Where no file is, a guard begins that has seen nothing. So make sure that the volume is mounted.
    pub fn open(path: impl AsRef<Path>) -> Result<FenceGuard, FenceGuardError> {
        FenceGuard::open_with(path.as_ref(), REWRITE_BYTES_MIN)
    }

    fn open_with(path: &Path, rewrite_bytes_min: u64) -> Result<FenceGuard, FenceGuardError> {
        let failed = |what: &str, path: &Path, error: &io::Error| FenceGuardError::Open {
            doing: format!("{what} {}", path.display()),
            reason: error.to_string(),
        };
        let path = one_name(path).map_err(|error| failed("find", path, &error))?;
        let lock = FileLock::take(&path)?;
        let admitted = match fs::read(&path) {
            Ok(bytes) => read_file(&path, &bytes)?,
            Err(error) if error.kind() == ErrorKind::NotFound => Tokens::new(),
            Err(error) => return Err(failed("read", &path, &error)),
        };
        let content = write_file(&admitted);
        let log = write_beside(&path, &content)
            .and_then(|file| Log::begin(&path, file, content.len() as u64, rewrite_bytes_min))
            .map_err(|error| failed("write", &path, &error))?;
        let memory = Memory { admitted, raised: Tokens::new(), failed: None };
        Ok(FenceGuard { memory: Mutex::new(memory), log: Mutex::new(log), _lock: lock })
    }

    /// Admits a request that carries this token. `Ok`: the token is at least as high as every token admitted before for
    /// this resource and permit, and that is on the disk. Any error: the request must not be done.
    pub fn admit(&self, resource: impl AsRef<[u8]>, permit: u32, token: FencingToken) -> Result<(), FenceGuardError> {
        let slot = Slot::new(resource.as_ref(), permit)?;
        if token.0 <= Revision::ZERO {
            return Err(FenceGuardError::NotAToken { token });
        }
        {
            let mut memory = self.memory();
            if memory.is_admitted(&slot, token)? {
                return Ok(());
            }
            memory.raised.insert(slot.clone(), token);
        }
        let mut log = self.log.lock().expect(UNPOISONED);
        let raised = {
            let memory = self.memory();
            // While this waited, another may have written the token along, or brought a higher one.
            if memory.is_admitted(&slot, token)? {
                return Ok(());
            }
            memory.raised.clone()
        };
        log.append(&frames(&raised)).map_err(|error| self.fail("write to", &log, &error))?;
        self.memory().admit(raised);
        if log.is_long() {
            let content = write_file(&self.memory().admitted);
            log.rewrite(&content).map_err(|error| self.fail("replace", &log, &error))?;
        }
        Ok(()) // while this has the log, nobody with a higher one is admitted
    }

    /// The highest token that was admitted for this resource and permit, if any was.
    pub fn highest(&self, resource: impl AsRef<[u8]>, permit: u32) -> Option<FencingToken> {
        let slot = Slot::new(resource.as_ref(), permit).ok()?;
        self.memory().admitted.get(&slot).copied()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect(UNPOISONED)
    }

    /// After a failed sync the operating system may have dropped the dirty pages and forgotten: a second sync that
    /// succeeds says nothing about the first's data. So a failure is final.
    fn fail(&self, what: &str, log: &Log, error: &io::Error) -> FenceGuardError {
        let doing = format!("{what} {}", log.path.display());
        let failed = FenceGuardError::Failed { doing, reason: error.to_string() };
        self.memory().failed = Some(failed.clone());
        failed
    }
}

impl fmt::Debug for FenceGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceGuard").finish_non_exhaustive()
    }
}

const UNPOISONED: &str = "no code panics while it holds this lock";

/// What has a highest token of its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Slot {
    resource: Box<[u8]>,
    permit: u32,
}

impl Slot {
    fn new(resource: &[u8], permit: u32) -> Result<Slot, FenceGuardError> {
        match resource.len() {
            1..=RESOURCE_BYTES_MAX => Ok(Slot { resource: resource.into(), permit }),
            bytes => Err(FenceGuardError::ResourceLength { bytes }),
        }
    }
}

type Tokens = BTreeMap<Slot, FencingToken>;

/// What is known without asking the disk.
///
/// * What is admitted is on the disk.
/// * What is raised is higher than what is admitted for the same slot, and somebody is about to write it.
struct Memory {
    admitted: Tokens,
    raised: Tokens,
    failed: Option<FenceGuardError>,
}

impl Memory {
    /// Whether this token is the highest, and on the disk. `Ok(false)`: it would raise the highest, or is about to.
    fn is_admitted(&self, slot: &Slot, token: FencingToken) -> Result<bool, FenceGuardError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let admitted = self.admitted.get(slot).copied();
        match self.raised.get(slot).copied().or(admitted) {
            Some(highest) if highest > token => Err(FenceGuardError::Stale { token, highest }),
            _ => Ok(admitted == Some(token)),
        }
    }

    /// These are on the disk now. What was raised further meanwhile is still to be written.
    fn admit(&mut self, written: Tokens) {
        for (slot, token) in written {
            if self.raised.get(&slot) == Some(&token) {
                self.raised.remove(&slot);
            }
            self.admitted.insert(slot, token);
        }
    }
}

/// The file, open at its end.
struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Longer than this, it is written anew.
    rewrite_above: u64,
    rewrite_bytes_min: u64,
}

impl Log {
    /// Puts this file, which was written beside, in the place of what is there.
    fn begin(path: &Path, file: File, bytes: u64, rewrite_bytes_min: u64) -> io::Result<Log> {
        fs::rename(beside(path, ".new"), path)?;
        File::open(path.parent().unwrap_or(path))?.sync_all()?;
        let rewrite_above = (REWRITE_GROWTH * bytes).max(rewrite_bytes_min);
        Ok(Log { path: path.to_owned(), file, bytes, rewrite_above, rewrite_bytes_min })
    }

    /// They are on the disk when this returns.
    fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        self.file.write_all(frames)?;
        self.file.sync_data()?;
        self.bytes += frames.len() as u64;
        Ok(())
    }

    fn is_long(&self) -> bool {
        self.bytes > self.rewrite_above
    }

    /// Writes the file anew, with this content, which must be everything that was admitted.
    fn rewrite(&mut self, content: &[u8]) -> io::Result<()> {
        let Ok(file) = write_beside(&self.path, content) else {
            // The old file has everything and goes on. It is tried again when that is twice as long.
            let _ = fs::remove_file(beside(&self.path, ".new")); // it may be the disk that is full
            self.rewrite_above = 2 * self.bytes;
            return Ok(());
        };
        // Should this fail, nobody knows which of the two a restart will find, so neither can be appended to.
        *self = Log::begin(&self.path, file, content.len() as u64, self.rewrite_bytes_min)?;
        Ok(())
    }
}

/// The next self of the file at `path`, synced.
fn write_beside(path: &Path, content: &[u8]) -> io::Result<File> {
    let mut file = File::create(beside(path, ".new"))?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(file)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The name under which there is one lock, whichever links lead to the file and wherever the process goes. A link that
/// leads nowhere is an error: what it should lead to may have tokens, and be back tomorrow.
fn one_name(path: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(_) => fs::canonicalize(path),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(fs::canonicalize(directory)?.join(name))
        }
        Err(error) => Err(error),
    }
}

/// Unlocks when dropped. Closing the file is not enough: a child process that is just being started holds a copy of it.
///
/// A file of its own, because the guard's file is replaced: whoever locks that may hold a lock on the one before.
struct FileLock(File);

impl FileLock {
    fn take(path: &Path) -> Result<FileLock, FenceGuardError> {
        let name = beside(path, ".lock");
        let failed = |error: &io::Error| FenceGuardError::Open {
            doing: format!("lock {}", name.display()),
            reason: error.to_string(),
        };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name).map_err(|e| failed(&e))?;
        match file.try_lock() {
            Ok(()) => Ok(FileLock(file)),
            Err(TryLockError::WouldBlock) => Err(FenceGuardError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(failed(&error)),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = self.0.unlock(); // the file is closed next
    }
}

const MAGIC: [u8; 8] = *b"rf-fence";
/// The only one so far. The header stays as it is in every version, so that a flipped bit is told from a newer release.
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const FRAME_HEAD_BYTES: usize = 12;
/// Not zero, see the module's page.
const FRAME_END: u8 = 0xE5;

/// Once a frame holds so many bytes of records the next begins.
const FRAME_BYTES_SOFT_MAX: usize = 1 << 20;

const _: () = assert!(RESOURCE_BYTES_MAX <= u16::MAX as usize); // else a record could not say how long its resource is
const _: () = assert!(FRAME_BYTES_SOFT_MAX + 14 + RESOURCE_BYTES_MAX <= u32::MAX as usize);

fn header(version: u32) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&version.to_be_bytes());
    header.extend_from_slice(&crc32c::crc32c(&header).to_be_bytes());
    header
}

fn write_file(tokens: &Tokens) -> Vec<u8> {
    let mut file = header(VERSION);
    file.extend(frames(tokens));
    file
}

/// One frame, or several if that would be a long one.
fn frames(tokens: &Tokens) -> Vec<u8> {
    let (mut frames, mut records) = (Vec::new(), Vec::new());
    for (slot, token) in tokens {
        records.extend_from_slice(&slot.permit.to_be_bytes());
        records.extend_from_slice(&token.0.0.to_be_bytes());
        records.extend_from_slice(&(slot.resource.len() as u16).to_be_bytes());
        records.extend_from_slice(&slot.resource);
        if records.len() >= FRAME_BYTES_SOFT_MAX {
            push_frame(&mut frames, &records);
            records.clear();
        }
    }
    if !records.is_empty() {
        push_frame(&mut frames, &records);
    }
    frames
}

fn push_frame(frames: &mut Vec<u8>, records: &[u8]) {
    let begin = frames.len();
    frames.extend_from_slice(&(records.len() as u32).to_be_bytes());
    frames.extend_from_slice(&crc32c::crc32c(records).to_be_bytes());
    frames.extend_from_slice(&crc32c::crc32c(&frames[begin..]).to_be_bytes());
    frames.extend_from_slice(records);
    frames.push(FRAME_END);
}

fn read_file(path: &Path, bytes: &[u8]) -> Result<Tokens, FenceGuardError> {
    let path = || path.to_owned();
    let Some((head, mut rest)) = bytes.split_first_chunk::<HEADER_BYTES>().filter(|(head, _)| head.starts_with(&MAGIC))
    else {
        return Err(FenceGuardError::NotAGuard { path: path() });
    };
    let [.., v0, v1, v2, v3, _, _, _, _] = *head;
    let found = u32::from_be_bytes([v0, v1, v2, v3]);
    if header(found) != head {
        return Err(FenceGuardError::Damaged { path: path(), offset: 0, what: "the checksum of the header is wrong" });
    }
    if found != VERSION {
        return Err(FenceGuardError::UnknownVersion { path: path(), found, known: VERSION });
    }
    let bytes_written = bytes.len() - rest.iter().rev().take_while(|byte| **byte == 0).count();
    rest = &bytes[HEADER_BYTES..bytes_written];
    let mut tokens = Tokens::new();
    loop {
        let offset = (bytes_written - rest.len()) as u64;
        let damaged = |what| FenceGuardError::Damaged { path: path(), offset, what };
        let Some((records, behind)) = next_frame(rest).map_err(damaged)? else { return Ok(tokens) };
        read_records(records, &mut tokens).ok_or_else(|| damaged("the records of a frame do not add up"))?;
        rest = behind;
    }
}

/// The records of a frame, and what stands behind it.
type Frame<'a> = (&'a [u8], &'a [u8]);

/// `None` at the end, which may be a torn frame. The bytes have no zeros at their end.
fn next_frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, &'static str> {
    let Some((head, rest)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>() else { return Ok(None) };
    let [l0, l1, l2, l3, r0, r1, r2, r3, h0, h1, h2, h3] = *head;
    if crc32c::crc32c(&head[..8]) != u32::from_be_bytes([h0, h1, h2, h3]) {
        return Err("the checksum of a frame's head is wrong");
    }
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    let Some((records, [end, behind @ ..])) = rest.split_at_checked(length) else { return Ok(None) };
    if crc32c::crc32c(records) != u32::from_be_bytes([r0, r1, r2, r3]) {
        return Err("the checksum of a frame's records is wrong");
    }
    if *end != FRAME_END {
        return Err("a frame does not end where it should");
    }
    Ok(Some((records, behind)))
}

/// `None` if they are not what [`frames`] writes.
fn read_records(mut records: &[u8], tokens: &mut Tokens) -> Option<()> {
    while !records.is_empty() {
        let (permit, rest) = records.split_first_chunk()?;
        let (token, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (resource, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let slot = Slot::new(resource, u32::from_be_bytes(*permit)).ok()?;
        let token = FencingToken(Revision(i64::from_be_bytes(*token)));
        let highest = tokens.entry(slot).or_default();
        if token <= *highest {
            return None; // a slot's tokens rise from record to record, and the first is positive
        }
        *highest = token;
        records = rest;
    }
    Some(())
}

#[cfg(test)]
mod tests;
