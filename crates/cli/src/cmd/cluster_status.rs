//! `ringctl cluster status`: ask every node how it is.

use std::io::{self, Write};

use clap::Args;
use futures::future::join_all;

use crate::Context;
use crate::args::Format;
use crate::exit::Failure;
use crate::health::{Answer, Health, ShardHealth};
use crate::table::Table;

const EXAMPLES: &str = "\
Examples:
  ringctl cluster status
  ringctl cluster status -w json | jq -r '.problems[]'
  ringctl --endpoints 10.0.0.1:7401 cluster status --command-timeout 2s

One endpoint that answers is enough: it names the other nodes, and each is asked.
The exit code is 0 also when some of them are down; `problems` is empty when all is well. s0 is the meta group.
Numbers with ~ are estimates.";

/// Ask every node how it is.
///
/// Shows which nodes answer, who leads each shard, how far its replicas are, and what is wrong.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ClusterStatus {}

impl ClusterStatus {
    /// Asks and prints.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let client = context.connect().await?;
        let info = client.describe().await?;
        let asked = info.nodes.iter().map(async |node| {
            let answer = client.status_at(&node.address).await.map_err(|error| error.to_string());
            Answer { node: node.clone(), answer }
        });
        let health = Health::of(&info, join_all(asked).await);
        match context.format {
            Format::Table => Ok(table(out, &health)?),
            Format::Json | Format::Ndjson => Ok(context.print(out, "", &health)?),
        }
    }
}

fn table(out: &mut dyn Write, health: &Health) -> io::Result<()> {
    let up = health.nodes.iter().filter(|node| node.up).count();
    let led = health.shards.iter().filter(|shard| shard.leader_node.is_some()).count();
    writeln!(
        out,
        "cluster {}: {up} of {} nodes up, {led} of {} groups led, revision {}",
        health.cluster,
        health.nodes.len(),
        health.shards.len(),
        health.revision,
    )?;

    writeln!(out)?;
    let leads = |node: &str| health.shards.iter().filter(|shard| shard.leader_node.as_deref() == Some(node)).count();
    let nodes: Vec<_> = health
        .nodes
        .iter()
        .map(|node| {
            let state = match (node.up, &node.distrust) {
                (false, _) => "DOWN",
                (true, None) => "up",
                (true, Some(distrust)) if distrust.waiting => "DISTRUSTED",
                (true, Some(_)) => "rejoining",
            };
            let (replicas, leads) = match node.up {
                true => (node.replicas.len().to_string(), leads(&node.node).to_string()),
                false => Default::default(),
            };
            let version = node.version.clone().unwrap_or_default();
            vec![
                format!("n{}", node.node),
                node.address.clone(),
                state.into(),
                leads,
                replicas,
                version,
                node.labels.clone(),
            ]
        })
        .collect();
    Table::new(&["NODE", "ADDRESS", "STATE", "LEADS", "REPLICAS", "VERSION", "LABELS"]).rows(out, &nodes)?;

    writeln!(out)?;
    let shards: Vec<_> = health.shards.iter().map(shard_row).collect();
    Table::new(&["SHARD", "LEADER", "REPLICAS UP", "TERM", "APPLIED", "KEYS~", "BYTES~"]).rows(out, &shards)?;

    if !health.problems.is_empty() {
        writeln!(out, "\nproblems:")?;
    }
    health.problems.iter().try_for_each(|problem| writeln!(out, "  {problem}"))
}

fn shard_row(shard: &ShardHealth) -> Vec<String> {
    vec![
        format!("s{}", shard.shard),
        shard.leader_node.as_ref().map_or("none".into(), |node| format!("n{node}")),
        format!("{} of {}", shard.replicas_up, shard.replicas),
        shard.term.clone(),
        shard.applied_index.clone(),
        shard.keys_estimate.clone(),
        shard.bytes_estimate.clone(),
    ]
}
