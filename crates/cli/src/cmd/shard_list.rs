//! `ringctl shard list`: the shards, their intervals of the ring and their replicas.

use std::io::Write;

use clap::Args;
use ringfence_client::{Role, ShardInfo};
use serde::Serialize;

use crate::Context;
use crate::args::Format;
use crate::exit::Failure;
use crate::table::Table;

const EXAMPLES: &str = "\
Examples:
  ringctl shard list
  ringctl shard list -w json | jq -r '.shards[] | \"\\(.shard) \\(.leader_node)\"'

The leaders are those that one node believes in; `ringctl cluster status` asks every node.
POSITIONS are the first and the last of the shard, in hex.";

/// List the shards, their intervals of the ring and their replicas.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ShardList {}

#[derive(Serialize)]
struct List {
    shards: Vec<Shard>,
}

/// Ids and epochs are 64-bit numbers, so strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Shard {
    shard: String,
    first_position: String,
    last_position: String,
    range_epoch: String,
    membership_epoch: String,
    /// `null` if nobody is known to lead.
    leader_node: Option<String>,
    replicas: Vec<Replica>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Replica {
    replica: String,
    node: String,
    voter: bool,
}

impl ShardList {
    /// Asks and prints.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let info = context.connect().await?.describe().await?;
        let shards: Vec<Shard> = info.shards.iter().map(Shard::from).collect();
        match context.format {
            Format::Table => {
                let rows: Vec<_> = shards.iter().map(Shard::row).collect();
                Table::new(&["SHARD", "POSITIONS", "LEADER", "REPLICAS", "EPOCH"]).rows(out, &rows)?;
            }
            Format::Json => context.print(out, "", &List { shards })?,
            Format::Ndjson => shards.iter().try_for_each(|shard| context.print(out, "", shard))?,
        }
        Ok(())
    }
}

impl From<&ShardInfo> for Shard {
    fn from(info: &ShardInfo) -> Shard {
        let descriptor = &info.descriptor;
        let replica = |replica: &ringfence_client::Replica| Replica {
            replica: replica.id.0.to_string(),
            node: replica.node.0.to_string(),
            voter: replica.role == Role::Voter,
        };
        Shard {
            shard: descriptor.shard.0.to_string(),
            first_position: descriptor.range.first.to_string(),
            last_position: descriptor.range.last.to_string(),
            range_epoch: descriptor.epoch.range.to_string(),
            membership_epoch: descriptor.epoch.membership.to_string(),
            leader_node: info.leader.map(|node| node.0.to_string()),
            replicas: descriptor.replicas.iter().map(replica).collect(),
        }
    }
}

impl Shard {
    fn row(&self) -> Vec<String> {
        let replica = |replica: &Replica| match replica.voter {
            true => format!("n{}", replica.node),
            false => format!("n{}(learner)", replica.node),
        };
        vec![
            format!("s{}", self.shard),
            format!("{}..{}", self.first_position, self.last_position),
            self.leader_node.as_ref().map_or("none".to_owned(), |node| format!("n{node}")),
            self.replicas.iter().map(replica).collect::<Vec<_>>().join(","),
            format!("{}.{}", self.range_epoch, self.membership_epoch),
        ]
    }
}
