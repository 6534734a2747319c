//! Whether a leader still has its majority.
//!
//! Raft leaves a leader that was cut off in office until it hears of a newer term, which may be never. It can do no harm: it
//! commits nothing and confirms no read. But whoever asks it waits in vain, and is told to ask a leader that is no better than
//! none. So a leader that has not been acknowledged by a majority for as long as an election takes says that it knows of no
//! leader, takes nothing new, and serves again by itself once it is heard (CheckQuorum in the Raft thesis, section 6.2; openraft
//! refuses new entries by the same rule, and goes on sending heartbeats).

use std::time::Duration;

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::ForwardToLeader;
use ringfence_types::NodeId;

use crate::raft::{Raft, Types};

/// Whether this replica led with a majority behind it, and has heard of none for longer than its lease. A leader that was
/// only just elected has lost nothing yet.
pub(crate) fn is_lost(raft: &Raft) -> bool {
    let lease = Duration::from_millis(raft.config().election_timeout_max);
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let is_alone = metrics.membership_config.membership().voter_ids().all(|voter| voter == metrics.id);
    !is_alone && metrics.last_quorum_acked.as_ref().is_some_and(|acked| acked.elapsed() > lease)
}

/// The node that leads, as far as this replica knows: not itself, if it has lost its majority.
pub(crate) fn leader_node(raft: &Raft) -> Option<NodeId> {
    let (node, is_here) = believed(raft)?;
    (!is_here || !is_lost(raft)).then_some(node)
}

/// Whom else to ask, if this replica does not decide: never itself.
pub(crate) fn leader_elsewhere(raft: &Raft) -> Option<NodeId> {
    believed(raft).and_then(|(node, is_here)| (!is_here).then_some(node))
}

/// The same, after openraft has refused something: it may have named somebody.
pub(crate) fn leader_named(forward: &ForwardToLeader<Types>, raft: &Raft) -> Option<NodeId> {
    forward.leader_node.map(|placement| placement.0).or_else(|| leader_elsewhere(raft))
}

/// The node whose replica leads in the newest term that this one knows, and whether that is this one.
fn believed(raft: &Raft) -> Option<(NodeId, bool)> {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let leader = metrics.current_leader?;
    Some((metrics.membership_config.get_node(&leader)?.0, leader == metrics.id))
}
