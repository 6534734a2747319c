//! Moves one shard's state to a replica that is too far behind for the log, or new.
//!
//! The leader exports the shard at one moment, as a *manifest* (position, membership, range) and numbered *chunks* with
//! checksums, and sends them one by one, each answered, so that a slow receiver slows the sender and nothing gathers in
//! memory. The receiver stages them in a file of its own, and touches the replica's state only when Raft says so: a transfer
//! that breaks off has changed nothing. What a crash during the installation leaves is the storage crate's to mend.
//!
//! What arrives may be newer than what the leader's Raft core meant to send, since the export is made when it is sent. That
//! is harmless: whatever is applied is committed.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ringfence_shard_router::ShardRange;
use ringfence_storage::{LogPosition, ReplicaRecord, ShardExport, StateDb, StorageError};
use ringfence_types::{ReplicaId, ShardId};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::log_store::io_error;
use crate::raft::{Raft, Snapshot, SnapshotMeta, Unreadable, Vote, decode_membership, log_id};
use crate::wire::{Message, SnapshotResult};

/// Bytes of one chunk: small enough that heartbeats behind it on the same stream are not late.
const CHUNK_BYTES: usize = 256 << 10;

/// Chunks read ahead of the network.
const CHUNKS_AHEAD: usize = 2;

/// Version of the manifest's format.
const FORMAT: u8 = 1;

/// A snapshot as Raft's core passes it around.
pub(crate) enum SnapshotSource {
    /// Of this replica itself; read when it is sent.
    Own(StateDb, ShardId),
    /// From a peer, staged and complete.
    Received(Received),
}

impl SnapshotSource {
    /// Replaces a replica's state by the snapshot's. Durable on return.
    pub(crate) fn install(self, state: &StateDb, replica: ReplicaId) -> io::Result<()> {
        match self {
            SnapshotSource::Received(received) => received.install(state, replica),
            SnapshotSource::Own(from, shard) => {
                let mut export = from.export(shard).map_err(io_error)?;
                let manifest = Manifest::of(&export).map_err(io_error)?;
                let mut staging = Staging::Memory(Vec::new());
                while let Some(chunk) = export.next_chunk(CHUNK_BYTES).map_err(io_error)? {
                    staging.push(chunk)?;
                }
                Received { shard, manifest, staging }.install(state, replica)
            }
        }
    }
}

/// What a snapshot is, before its data.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Manifest {
    applied: LogPosition,
    membership: Bytes,
    range: ShardRange,
}

impl Manifest {
    fn of(export: &ShardExport) -> Result<Manifest, StorageError> {
        let record = export.record();
        let Some(applied) = record.applied else {
            return Err(StorageError::Misuse { what: format!("{} has no state to send", record.shard) });
        };
        Ok(Manifest { applied, membership: record.membership.clone(), range: export.range() })
    }

    fn encode(&self) -> Bytes {
        postcard::to_extend(self, vec![FORMAT]).expect("plain data always encodes").into()
    }

    fn decode(bytes: &[u8]) -> Result<Manifest, Unreadable> {
        let unreadable = |reason: String| Unreadable { what: "snapshot manifest", reason };
        match bytes.split_first() {
            Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|e| unreadable(e.to_string())),
            Some((version, _)) => Err(unreadable(format!("format version {version}, this program knows {FORMAT}"))),
            None => Err(unreadable("it is empty".into())),
        }
    }
}

/// A shard being read for sending.
pub(crate) struct Export {
    pub(crate) manifest: Bytes,
    /// Index of the last entry in it.
    pub(crate) applied: u64,
    chunks: mpsc::Receiver<Result<Bytes, StorageError>>,
}

impl Export {
    /// The next chunk; `None` after the last.
    pub(crate) async fn next_chunk(&mut self) -> Option<Result<Bytes, StorageError>> {
        self.chunks.recv().await
    }
}

/// Begins to read a shard, as it is now. The reading goes on in a thread of its own, just ahead of `next_chunk`, and ends
/// when the export is dropped.
pub(crate) async fn export(state: StateDb, shard: ShardId) -> Result<Export, StorageError> {
    let (begun, wait) = tokio::sync::oneshot::channel();
    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let opened = state.export(shard).and_then(|export| Ok((Manifest::of(&export)?, export)));
        let mut export = match opened {
            Ok((manifest, export)) => {
                if begun.send(Ok((manifest.applied.index, manifest.encode()))).is_err() {
                    return;
                }
                export
            }
            Err(e) => {
                let _ = begun.send(Err(e));
                return;
            }
        };
        loop {
            let chunk = match export.next_chunk(CHUNK_BYTES) {
                Ok(Some(chunk)) => Ok(chunk),
                Ok(None) => return,
                Err(e) => Err(e),
            };
            let failed = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || failed {
                return;
            }
        }
    });
    let (applied, manifest) = wait.await.map_err(|_| StorageError::Stopped)??;
    Ok(Export { manifest, applied, chunks })
}

/// Where chunks are kept while they arrive.
#[derive(Debug)]
enum Staging {
    Memory(Vec<Bytes>),
    File { path: PathBuf, file: BufWriter<File> },
}

impl Staging {
    fn begin(dir: Option<&Path>, replica: ReplicaId) -> io::Result<Staging> {
        let Some(dir) = dir else { return Ok(Staging::Memory(Vec::new())) };
        std::fs::create_dir_all(dir)?;
        let path = dir.join(format!("{replica}.snapshot"));
        // A new snapshot replaces the remains of one that broke off.
        let file = BufWriter::new(File::create(&path)?);
        Ok(Staging::File { path, file })
    }

    fn push(&mut self, chunk: Bytes) -> io::Result<()> {
        match self {
            Staging::Memory(chunks) => chunks.push(chunk),
            Staging::File { file, .. } => {
                let length = u32::try_from(chunk.len()).map_err(|_| io::Error::other("a chunk of over 4 GiB"))?;
                file.write_all(&length.to_be_bytes())?;
                file.write_all(&chunk)?;
            }
        }
        Ok(())
    }

    /// Gives the chunks back in order.
    fn replay(&mut self, mut take: impl FnMut(Bytes) -> io::Result<()>) -> io::Result<()> {
        match self {
            Staging::Memory(chunks) => chunks.drain(..).try_for_each(take),
            Staging::File { path, file } => {
                file.flush()?;
                let mut reader = BufReader::new(File::open(path)?);
                loop {
                    let mut length = [0; 4];
                    match reader.read_exact(&mut length) {
                        Ok(()) => {}
                        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                        Err(e) => return Err(e),
                    }
                    let mut chunk = vec![0; u32::from_be_bytes(length) as usize];
                    reader.read_exact(&mut chunk)?;
                    take(chunk.into())?;
                }
            }
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Staging::File { path, .. } = self {
            let _ = std::fs::remove_file(path); // what is left is replaced by the next snapshot
        }
    }
}

/// A complete snapshot from a peer.
#[derive(Debug)]
pub(crate) struct Received {
    shard: ShardId,
    manifest: Manifest,
    staging: Staging,
}

impl Received {
    fn install(mut self, state: &StateDb, replica: ReplicaId) -> io::Result<()> {
        let Manifest { applied, membership, range } = self.manifest.clone();
        let record = ReplicaRecord {
            applied: Some(applied),
            base: Some(applied),
            membership,
            ..ReplicaRecord::empty(self.shard, replica)
        };
        let mut install = state.begin_install(self.shard, record, range).map_err(io_error)?;
        self.staging.replay(|chunk| install.chunk(chunk).map_err(io_error))?;
        install.finish().map_err(io_error)
    }
}

/// A replica's side of receiving snapshots, one at a time.
pub(crate) struct SnapshotReceiver {
    shard: ShardId,
    replica: ReplicaId,
    staging_dir: Option<PathBuf>,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    begun: u64,
    vote: Vote,
    chunks: u64,
    received: Received,
}

impl SnapshotReceiver {
    pub(crate) fn new(shard: ShardId, replica: ReplicaId, staging_dir: Option<PathBuf>) -> SnapshotReceiver {
        SnapshotReceiver { shard, replica, staging_dir, under_way: None }
    }

    /// Drops what has arrived of a snapshot whose sender is gone.
    pub(crate) fn give_up(&mut self) {
        self.under_way = None;
    }

    /// Takes one message of a transfer and says what to answer.
    pub(crate) async fn take(&mut self, raft: &Raft, message: Message) -> Message {
        match message {
            Message::SnapshotBegin { call, begun, vote, manifest } => {
                let begun = self.begin(begun, vote, &manifest);
                answer(call, begun.map(|()| SnapshotResult::GoOn))
            }
            Message::SnapshotChunk { call, begun, sequence, bytes } => {
                let taken = self.chunk(begun, sequence, bytes).await;
                answer(call, taken.map(|()| SnapshotResult::GoOn))
            }
            Message::SnapshotEnd { call, begun, chunks } => {
                let installed = self.end(raft, begun, chunks).await;
                answer(call, installed.map(SnapshotResult::Installed))
            }
            other => unreachable!("{other:?} is not part of a snapshot"),
        }
    }

    fn begin(&mut self, begun: u64, vote: Vote, manifest: &[u8]) -> io::Result<()> {
        self.under_way = None; // a leader that begins again has given up what it sent before
        let manifest = Manifest::decode(manifest)?;
        tracing::info!(shard = %self.shard, position = %manifest.applied, "receiving a snapshot");
        let staging = Staging::begin(self.staging_dir.as_deref(), self.replica)?;
        let received = Received { shard: self.shard, manifest, staging };
        self.under_way = Some(UnderWay { begun, vote, chunks: 0, received });
        Ok(())
    }

    async fn chunk(&mut self, begun: u64, sequence: u64, bytes: Bytes) -> io::Result<()> {
        let Some(mut under_way) = self.under_way.take_if(|u| u.begun == begun && u.chunks == sequence) else {
            return Err(io::Error::other("this piece of a snapshot was not expected; begin again"));
        };
        // The staging file is written off the async workers.
        let (under_way, written) = tokio::task::spawn_blocking(move || {
            let written = under_way.received.staging.push(bytes);
            under_way.chunks += 1;
            (under_way, written)
        })
        .await
        .map_err(io::Error::other)?;
        written?;
        self.under_way = Some(under_way);
        Ok(())
    }

    async fn end(&mut self, raft: &Raft, begun: u64, chunks: u64) -> io::Result<Vote> {
        let Some(UnderWay { vote, received, .. }) = self.under_way.take_if(|u| u.begun == begun && u.chunks == chunks)
        else {
            return Err(io::Error::other("the snapshot is not complete; begin again"));
        };
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(received.manifest.applied)),
            last_membership: decode_membership(&received.manifest.membership)?,
        };
        let snapshot = Snapshot { meta, snapshot: SnapshotSource::Received(received) };
        tracing::info!(shard = %self.shard, chunks, "installing a snapshot");
        let response = raft.install_full_snapshot(vote, snapshot).await.map_err(io::Error::other)?;
        tracing::info!(shard = %self.shard, "installed a snapshot");
        Ok(response.vote)
    }
}

fn answer(call: u64, result: io::Result<SnapshotResult>) -> Message {
    match result {
        Ok(result) => Message::SnapshotReply { call, result },
        Err(e) => Message::Refused { call, reason: e.to_string() },
    }
}
