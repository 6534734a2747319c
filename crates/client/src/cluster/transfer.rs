//! Moves the leadership of a shard: for operators, and for tests that want leaders to change.

use std::time::Duration;

use ringfence_proto::{Advice, Reason, v1};
use ringfence_types::{NodeId, ShardId};
use tokio::time::Instant;

use crate::client::Client;
use crate::errors::{Outcome, Rejected, Unavailable};
use crate::retry::Failure;
use crate::routing::Place;

/// How long one node may take before the next one is asked: it may have to wait for an election, or for a leader that does not
/// answer. Less, if the call as a whole has less than twice this.
const ATTEMPT_MAX: Duration = Duration::from_secs(9);

/// Where the leadership of a shard was and is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Which shard.
    pub shard: ShardId,
    /// Who led. The same as `leader` if there was nothing to do.
    pub from: NodeId,
    /// Who leads now.
    pub leader: NodeId,
}

/// Why leadership was not handed over. The shard has a leader all the same, or elects one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferLeaderError {
    /// There is no such shard.
    #[error("{shard}: {message}")]
    UnknownShard {
        /// As it was asked for.
        shard: ShardId,
        /// What the node says.
        message: String,
    },
    /// The replica that is to lead has not caught up, or its leader does not hear of it. Nothing was begun.
    #[error("{message}")]
    Behind {
        /// What the leader says.
        message: String,
    },
    /// No node could do it before the deadline; nothing was begun. Also if nobody leads.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// It is refused, and always will be: no voter is there, for instance.
    #[error(transparent)]
    Rejected(Rejected),
    /// It was asked for, and how it ended is not known. [`Client::status`] tells who leads.
    #[error(
        "it may have happened: leadership was to be handed over, and how that ended is not known. The last problem: {last}"
    )]
    Unknown {
        /// For people.
        last: String,
    },
}

impl TransferLeaderError {
    /// Whether leadership may have moved all the same.
    pub fn outcome(&self) -> Outcome {
        match self {
            TransferLeaderError::Unknown { .. } => Outcome::Unknown,
            _ => Outcome::Refused,
        }
    }
}

impl Client {
    /// Has the leader of a shard, or of the meta group, hand over to the voter on a node; without one, to the best of the other
    /// voters. Reads and writes of the shard pause meanwhile, some milliseconds. Nothing to do is success.
    pub async fn transfer_leader(
        &self,
        shard: ShardId,
        to: Option<NodeId>,
    ) -> Result<Transferred, TransferLeaderError> {
        let shared = &self.shared;
        let deadline = Instant::now() + shared.config.timeout;
        let attempt_max = ATTEMPT_MAX.min(shared.config.timeout / 2);
        let request = v1::TransferLeaderRequest {
            cluster: shared.cluster.0,
            shard: shard.0,
            to_node: to.map_or(0, |node| node.0),
            no_forward: false,
        };
        let (mut attempts, mut begun, mut reason, mut last) = (0, false, None, "no node is known".to_owned());
        for address in shared.routing.candidates(Place::Everywhere) {
            let within = deadline.saturating_duration_since(Instant::now()).min(attempt_max);
            if within.is_zero() {
                break;
            }
            attempts += 1;
            let answer = match shared.pool.link(&address) {
                Ok(link) => link.transfer_leader(request, within).await,
                Err(why) => Err(Failure::NotSent(why)),
            };
            let failure = match answer {
                Ok(response) => {
                    let (from, leader) = (NodeId(response.from_node), NodeId(response.leader_node));
                    shared.routing.learn_leader(shard, leader);
                    return Ok(Transferred { shard, from, leader });
                }
                Err(failure) => failure,
            };
            match failure {
                Failure::NotSent(why) => last = format!("{address}: {why}"),
                Failure::Broken(why) => (begun, last) = (true, format!("{address}: {why}")),
                Failure::Silent => (begun, last) = (true, format!("{address}: no answer within {within:?}")),
                Failure::Answered(error) => {
                    last = format!("{address}: {}", error.message);
                    reason = error.reason();
                    match reason {
                        Some(Reason::UnknownShard) => {
                            return Err(TransferLeaderError::UnknownShard { shard, message: error.message });
                        }
                        Some(Reason::ReplicaBehind) => {
                            return Err(TransferLeaderError::Behind { message: error.message });
                        }
                        Some(Reason::OutcomeUnknown | Reason::DeadlineExceeded) | None => begun = true,
                        Some(reason) if reason.advice() == Advice::Never => {
                            return Err(TransferLeaderError::Rejected(error.into()));
                        }
                        Some(_) => {}
                    }
                }
            }
            if begun && to.is_none() {
                break; // the next leader must not be asked to hand over in its turn
            }
        }
        Err(match begun {
            true => TransferLeaderError::Unknown { last },
            false => TransferLeaderError::Unavailable(Unavailable { attempts, reason, last }),
        })
    }
}
