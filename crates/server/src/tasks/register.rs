//! Tells the meta group where this node is. The node serves meanwhile: others find it by the initial cluster, or not yet.

use std::sync::Arc;
use std::time::Duration;

use ringfence_state_machine::{MetaCommand, NodeInfo};

use super::proposal_deadline;
use crate::backoff::Backoff;
use crate::gateway::Gateway;
use crate::meta;
use crate::rejoin::Way;

/// Waits between tries while the meta group does not answer.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How often to look whether the registry still says so.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

pub(super) async fn run(gateway: Arc<Gateway>, here: NodeInfo) {
    if let Some(rejoin) = &gateway.rejoin {
        rejoin.reached(Way::Filling).await; // registered by then
    }
    loop {
        if !gateway.known.book.registered().contains(&here) {
            register(&gateway, &here, MetaCommand::RegisterNode(here.clone())).await;
        }
        remember(&gateway).await;
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Writes down that the others know this directory from now on.
async fn remember(gateway: &Gateway) {
    let standing = gateway.standing.clone();
    let _ = tokio::task::spawn_blocking(move || standing.registered()).await; // again at the next look
}

/// Proposes one of the commands that register this node, until it is accepted.
pub(super) async fn register(gateway: &Gateway, here: &NodeInfo, command: MetaCommand) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    loop {
        let wait = backoff.next();
        match meta::propose(gateway, command.clone(), proposal_deadline()).await {
            Ok(Ok(_)) => {
                tracing::info!(address = here.address, "registered");
                gateway.known.book.learn(std::slice::from_ref(here));
                gateway.known.keep();
                return;
            }
            Ok(Err(refusal)) => tracing::error!("this node is not registered: {refusal}"),
            Err(error) => tracing::debug!("this node is not registered yet: {}", error.message),
        }
        tokio::time::sleep(wait).await;
    }
}
