//! Linearizable reads by ReadIndex, shared by all reads that wait.
//!
//! A read may be answered from this replica's state once the replica has confirmed, by hearing from a majority *after the
//! read arrived*, that it still leads, and has applied everything acknowledged by then (`confirm`). One
//! confirmation serves every read that arrived before it began, so reads cost messages per round, not per read.

use std::time::Duration;

use ringfence_types::NodeId;
use tokio::sync::{mpsc, oneshot};

use crate::confirm::Confirmer;

/// How long one confirmation may take before its reads are told that there is no majority.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);

/// When to try again if too many reads wait.
const OVERLOADED_RETRY: Duration = Duration::from_millis(20);

/// Reads that one round takes along at the most.
const ROUND_READS_MAX: usize = 16_384;

/// Why a read was not served. Nothing was changed in any case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Ask the leader, if it is known.
    #[error("this replica does not lead the shard")]
    NotLeader {
        /// The node that leads, as far as this one knows.
        leader: Option<NodeId>,
    },
    /// The leader cannot reach a majority of its replicas.
    #[error(
        "the leader hears nothing from a majority of the shard's replicas. Try again; if it lasts, look for nodes that are down"
    )]
    NoQuorum,
    /// Too many reads wait already.
    #[error("too many reads wait for this shard. Try again in {} ms", .retry_after.as_millis())]
    Overloaded {
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// This replica has stopped.
    #[error("this replica has stopped: {problem}. Ask another node")]
    Stopped {
        /// Why.
        problem: String,
    },
}

/// A shard's reads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader {
    queue: mpsc::Sender<oneshot::Sender<Result<(), ReadError>>>,
}

impl Reader {
    /// Starts the task that confirms for a shard.
    pub(crate) fn start(confirmer: Confirmer, reads_max: usize) -> Reader {
        let (queue, inbox) = mpsc::channel(reads_max);
        tokio::spawn(run(confirmer, inbox));
        Reader { queue }
    }

    /// Returns when the state contains every write that was acknowledged before the call.
    pub(crate) async fn barrier(&self) -> Result<(), ReadError> {
        let (answer, wait) = oneshot::channel();
        match self.queue.try_send(answer) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(ReadError::Overloaded { retry_after: OVERLOADED_RETRY });
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(stopped()),
        }
        wait.await.unwrap_or_else(|_| Err(stopped()))
    }
}

fn stopped() -> ReadError {
    ReadError::Stopped { problem: "the node is shutting down, or the replica failed".into() }
}

async fn run(mut confirmer: Confirmer, mut inbox: mpsc::Receiver<oneshot::Sender<Result<(), ReadError>>>) {
    let mut round = Vec::new();
    while inbox.recv_many(&mut round, ROUND_READS_MAX).await > 0 {
        let confirmed = tokio::time::timeout(CONFIRM_TIMEOUT, confirmer.confirm()).await;
        let confirmed = confirmed.unwrap_or(Err(ReadError::NoQuorum));
        for answer in round.drain(..) {
            let _ = answer.send(confirmed.clone());
        }
    }
}
