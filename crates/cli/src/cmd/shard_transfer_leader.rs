//! `ringctl shard transfer-leader`: another node is to lead a shard.

use std::io::Write;

use clap::Args;
use ringfence_client::{NodeId, ShardId};
use serde::Serialize;

use crate::Context;
use crate::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  ringctl shard transfer-leader 1             to the best of the other voters
  ringctl shard transfer-leader 1 --to 3
  ringctl shard transfer-leader 0 --to 2      the meta group

Nothing to do is success. Exit code 4, and nothing was begun: there is no such shard, no voter on that node, or it has not
caught up or is down. 5: how it ended is not known.";

/// Move the leadership of a shard to another node.
///
/// Reads and writes of the shard pause for some milliseconds. Nothing is lost.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ShardTransferLeader {
    /// Which shard; 0 is the meta group
    #[arg(value_name = "SHARD")]
    pub shard: u64,

    /// Which node is to lead [default: the best of the other voters]
    #[arg(long, value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    pub to: Option<u64>,
}

#[derive(Serialize)]
struct Moved {
    shard: String,
    from_node: String,
    leader_node: String,
    transferred: bool,
}

impl ShardTransferLeader {
    /// Asks and prints.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let client = context.connect().await?;
        let moved = client.transfer_leader(ShardId(self.shard), self.to.map(NodeId)).await?;
        let (shard, from, leader) = (moved.shard, moved.from, moved.leader);
        let text = match from == leader {
            true => format!("{leader} leads {shard} already"),
            false => format!("Leadership of {shard} transferred from {from} to {leader}"),
        };
        let json = Moved {
            shard: shard.0.to_string(),
            from_node: from.0.to_string(),
            leader_node: leader.0.to_string(),
            transferred: from != leader,
        };
        Ok(context.print(out, text, &json)?)
    }
}
