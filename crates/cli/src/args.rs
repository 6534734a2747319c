//! The command line: what is the same for every command. What a command takes stands in its own file.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cmd;
use crate::duration;

const EXAMPLES: &str = "\
Examples:
  ringctl put greeting hello              set a key
  ringctl get greeting                    print its value
  ringctl incr stock:42 -1 --min 0        never oversell
  ringctl scan --tag user:42              one ordered collection
  ringctl lock backup -- ./backup.sh      one at a time, wherever it runs
  ringctl export all.ndjson && ringctl import all.ndjson
  ringctl cluster status -w json

Exit codes:
  0  done
  1  failed
  2  no node could be reached
  3  bad usage or bad input
  4  refused: condition failed, not found, out of bounds, not granted. Nothing happened
  5  outcome unknown: the answer was lost, the change may have happened
  6  lock, elect: the lease was lost, and the command was stopped
lock and elect end with the exit code of the command they ran, if it ended by itself: see `ringctl lock --help`.

Results go to stdout alone, messages to stderr.
In JSON, 64-bit numbers are strings, and a key or value that is not UTF-8, or any under --hex, \
stands as hex in key_hex or value_hex.";

/// Reads and changes keys of a Ringfence cluster, runs commands under its locks, and shows how the cluster is.
#[derive(Debug, Parser)]
#[command(name = "ringctl", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Ringctl {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster and output")]
pub struct Global {
    /// Nodes to talk to; any will do, more survive the loss of one
    #[arg(
        long,
        global = true,
        env = "RINGCTL_ENDPOINTS",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "HOST:PORT,…",
        default_value = "127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403"
    )]
    pub endpoints: Vec<String>,

    /// How to print results
    #[arg(short = 'w', long, global = true, value_name = "FORMAT", default_value = "table")]
    pub write_out: Format,

    /// How long each request may take, retries included [default: 10s; import: 60s; cluster verify: 30s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration::parse)]
    pub command_timeout: Option<Duration>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object to a line.
    Ndjson,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set a key
    Put(cmd::put::Put),
    /// Print the value of a key
    Get(cmd::get::Get),
    /// Remove a key
    Del(cmd::del::Del),
    /// Set or remove a key if a condition holds
    Cas(cmd::cas::Cas),
    /// Add to an integer, within bounds
    Incr(cmd::incr::Incr),
    /// List keys and values
    Scan(cmd::scan::Scan),
    /// Write many records from a file
    Import(cmd::import::Import),
    /// Write all records to a file
    Export(cmd::export::Export),
    /// Run a command while holding a lock
    Lock(cmd::lock::Lock),
    /// Run a command as leader, or watch who leads
    Elect(cmd::elect::Elect),
    /// About leases: who holds which lock
    #[command(subcommand)]
    Lease(Lease),
    /// About the whole cluster
    #[command(subcommand)]
    Cluster(Cluster),
    /// About nodes
    #[command(subcommand)]
    Node(Node),
    /// About shards
    #[command(subcommand)]
    Shard(Shard),
    /// Measure how fast the cluster is; writes keys of its own and removes them
    Bench(cmd::bench::Bench),
    /// Print a completion script for a shell
    Completions(cmd::completions::Completions),
}

/// About leases.
#[derive(Debug, Subcommand)]
pub enum Lease {
    /// List the leases that are held
    List(cmd::lease_list::LeaseList),
    /// Show how a lock is held, and who waits for it
    Inspect(cmd::lease_inspect::LeaseInspect),
    /// End a lease in its holder's stead
    Release(cmd::lease_release::LeaseRelease),
}

/// About the whole cluster.
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Ask every node how it is
    Status(cmd::cluster_status::ClusterStatus),
    /// Compare the replicas of every shard
    Verify(cmd::cluster_verify::ClusterVerify),
}

/// About nodes.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Let a node whose disk is not trusted any more be filled anew by the others
    Replace(cmd::node_replace::NodeReplace),
}

/// About shards.
#[derive(Debug, Subcommand)]
pub enum Shard {
    /// List the shards, their intervals of the ring and their replicas
    List(cmd::shard_list::ShardList),
    /// Move the leadership of a shard to another node
    TransferLeader(cmd::shard_transfer_leader::ShardTransferLeader),
}
