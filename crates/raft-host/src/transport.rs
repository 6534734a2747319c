use bytes::Bytes;
use ringfence_types::NodeId;

/// Carries envelopes to other nodes.
///
/// It may lose and delay them; it never corrupts or forges them, and those it delivers to one node arrive in the order
/// sent. Raft repeats what was lost. Implemented over gRPC by the server, and in memory by tests and simulation.
pub trait Transport: Send + Sync + 'static {
    /// Queues an envelope. Never blocks.
    fn send(&self, to: NodeId, envelope: Bytes) -> Result<(), Undeliverable>;
}

/// The envelope was not queued: no connection, or too much is waiting already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot send to {to}: {reason}")]
pub struct Undeliverable {
    /// To whom.
    pub to: NodeId,
    /// Why not.
    pub reason: String,
}
