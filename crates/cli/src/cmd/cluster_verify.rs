//! `ringctl cluster verify`: do the replicas hold the same?

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use clap::Args;
use ringfence_client::{Agreement, NodeId, ReplicaHash, ShardAgreement, StateHash};
use serde::Serialize;

use crate::Context;
use crate::args::Format;
use crate::exit::{Exit, Failure};
use crate::table::Table;

const EXAMPLES: &str = "\
Examples:
  ringctl cluster verify
  ringctl cluster verify -w json | jq -r '.shards[] | select(.result != \"equal\")'

Each replica hashes everything that it holds: keys with all their versions, ttls, locks, leases, queues, what it remembers of
requests, clocks, membership. Replicas are compared at one position of their log, also while they take writes. s0 is the meta
group. --command-timeout says how long a shard may take to be seen at one position; the default is 30s. Each node reads
all of its data for it.

Exit codes: 0 all equal. 1 replicas of a shard differ. 5 some could not be compared: a node is down, or a replica far behind.";

/// Compare the replicas of every shard.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ClusterVerify {}

#[derive(Serialize)]
struct Verified {
    equal: bool,
    shards: Vec<Shard>,
}

/// 64-bit numbers are strings.
#[derive(Serialize)]
struct Shard {
    shard: String,
    /// `equal`, `differ` or `not_comparable`.
    result: &'static str,
    /// What stood in the way of comparing.
    why: Option<String>,
    replicas: Vec<Replica>,
}

#[derive(Serialize)]
struct Replica {
    node: String,
    replica: String,
    applied_index: String,
    applied_term: String,
    revision: String,
    hash: String,
    keys: String,
    records: String,
    bytes: String,
}

impl ClusterVerify {
    /// Asks and prints.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let client = context.connect().await?;
        let compared = client.compare_replicas(context.request_timeout(Duration::from_secs(30))).await?;
        let shards = compared.iter().map(Shard::from);
        match context.format {
            Format::Table => {
                let rows: Vec<_> = compared.iter().map(row).collect();
                Table::new(&["SHARD", "RESULT", "APPLIED", "KEYS", "HASH"]).rows(out, &rows)?;
            }
            Format::Json => {
                let equal = compared.iter().all(|shard| matches!(shard.agreement, Agreement::Equal { .. }));
                context.print(out, "", &Verified { equal, shards: shards.collect() })?;
            }
            Format::Ndjson => shards.into_iter().try_for_each(|shard| context.print(out, "", &shard))?,
        }
        verdict(&compared)
    }
}

/// What scripts go by.
fn verdict(compared: &[ShardAgreement]) -> Result<(), Failure> {
    let which = |is: fn(&Agreement) -> bool| {
        let shards = compared.iter().filter(|shard| is(&shard.agreement)).map(|shard| shard.shard.to_string());
        shards.collect::<Vec<_>>().join(", ")
    };
    let differ = which(|agreement| matches!(agreement, Agreement::Differ { .. }));
    if !differ.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            format!("replicas differ that have applied the same entries: {differ}"),
        )
        .hint("two that agree against one show which is wrong. Keep the data directories and the logs of all nodes"));
    }
    let unknown = which(|agreement| matches!(agreement, Agreement::NotComparable { .. }));
    if !unknown.is_empty() {
        let message = format!("not all replicas could be compared: {unknown}");
        return Err(Failure::new(Exit::OutcomeUnknown, message)
            .hint("`ringctl cluster status` shows which nodes answer, and how far their replicas are"));
    }
    Ok(())
}

impl From<&ShardAgreement> for Shard {
    fn from(compared: &ShardAgreement) -> Shard {
        let (result, why, replicas) = match &compared.agreement {
            Agreement::Equal { replicas } => ("equal", None, replicas),
            Agreement::Differ { replicas } => ("differ", None, replicas),
            Agreement::NotComparable { why, replicas } => ("not_comparable", Some(why.clone()), replicas),
        };
        let replica = |replica: &ReplicaHash| Replica {
            node: replica.node.0.to_string(),
            replica: replica.replica.0.to_string(),
            applied_index: replica.applied_index.to_string(),
            applied_term: replica.applied_term.to_string(),
            revision: replica.revision.to_string(),
            hash: replica.hash.to_string(),
            keys: replica.keys.to_string(),
            records: replica.records.to_string(),
            bytes: replica.bytes.to_string(),
        };
        let replicas = replicas.iter().map(replica).collect();
        Shard { shard: compared.shard.0.to_string(), result, why, replicas }
    }
}

fn row(compared: &ShardAgreement) -> Vec<String> {
    let (result, replicas, hash) = match &compared.agreement {
        Agreement::Equal { replicas } => ("equal", replicas, by_hash(replicas)),
        Agreement::Differ { replicas } => ("DIFFER", replicas, by_hash(replicas)),
        Agreement::NotComparable { why, replicas } => ("not comparable", replicas, why.clone()),
    };
    let first = replicas.first();
    vec![
        compared.shard.to_string(),
        result.to_owned(),
        first.map(|replica| replica.applied_index.to_string()).unwrap_or_default(),
        first.map(|replica| replica.keys.to_string()).unwrap_or_default(),
        hash,
    ]
}

/// Which nodes have which hash, those that agree first: `n1,n3 0c3e…  n2 77ab…`.
fn by_hash(replicas: &[ReplicaHash]) -> String {
    let mut nodes: BTreeMap<(StateHash, u64), BTreeSet<NodeId>> = BTreeMap::new();
    for replica in replicas {
        nodes.entry((replica.hash, replica.applied_term)).or_default().insert(replica.node);
    }
    let mut groups: Vec<_> = nodes.into_iter().collect();
    groups.sort_by_key(|(_, nodes)| Reverse(nodes.len()));
    let group = |((hash, _), nodes): &((StateHash, u64), BTreeSet<NodeId>)| {
        let nodes: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
        format!("{} {hash}", nodes.join(","))
    };
    groups.iter().map(group).collect::<Vec<_>>().join("  ")
}
