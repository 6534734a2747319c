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
use ringfence_types::NodeId;

use crate::raft::Raft;

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
    let (leader, me, node) = {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        (leader, metrics.id, metrics.membership_config.get_node(&leader)?.0)
    };
    (leader != me || !is_lost(raft)).then_some(node)
}

/// Whom else to ask, if this replica does not decide: never itself.
pub(crate) fn leader_elsewhere(raft: &Raft) -> Option<NodeId> {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let leader = metrics.current_leader.filter(|leader| *leader != metrics.id)?;
    metrics.membership_config.get_node(&leader).map(|placement| placement.0)
}
