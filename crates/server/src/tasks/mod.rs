//! What a node does by itself, one file each. Tasks decide nothing: they propose commands, and state machines decide.

mod collect;
mod refresh;
mod register;
mod rejoin;
mod report;
mod room;
mod stall;

use std::sync::Arc;
use std::time::Duration;

use ringfence_state_machine::NodeInfo;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::gateway::Gateway;

/// How long a task waits for the answer to a proposal.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts them all; `here` is what this node says of itself. They end when `cut` is cancelled.
pub(crate) fn start(gateway: &Arc<Gateway>, config: &Config, here: NodeInfo, cut: &CancellationToken) {
    if let Some(rejoin) = &gateway.rejoin {
        spawn(cut, rejoin::run(gateway.clone(), rejoin.clone(), here.clone()));
    }
    spawn(cut, register::run(gateway.clone(), here));
    spawn(cut, refresh::run(gateway.clone()));
    spawn(cut, report::run(gateway.clone()));
    spawn(cut, room::run(gateway.clone()));
    spawn(cut, stall::run(gateway.clone()));
    spawn(cut, collect::propose(gateway.clone(), config.history_window, config.dedup_window));
    spawn(cut, collect::delete(gateway.clone()));
}

fn spawn(cut: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(cut.clone().run_until_cancelled_owned(task));
}

fn proposal_deadline() -> Instant {
    Instant::now() + PROPOSE_TIMEOUT
}
