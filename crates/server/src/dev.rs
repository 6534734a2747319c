//! A whole cluster in one process on loopback, for trying things out. Real nodes: each has its own port, disk, Raft
//! groups and connections to the others, and none knows that they share a process.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::config::{Config, RawConfig};
use crate::node::{Node, RunError, StartError, bind, is_led};

/// How long to wait for leaders before printing how to use the cluster.
const ELECTIONS_MAX: Duration = Duration::from_secs(15);

/// What to start.
#[derive(Clone, Debug, clap::Args)]
pub struct DevArgs {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    pub nodes: u16,
    /// Keep the data here, and go on with it next time [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The first node's port; the others follow.
    #[arg(long, default_value_t = 7401, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65000))]
    pub port_base: u16,
    /// Shards that the cluster is founded with.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub shards: u32,
}

/// Runs the cluster until `shutdown` is ready, or until a node fails.
pub async fn run(args: DevArgs, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let temporary = match &args.data_dir {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("ringfence-dev-").tempdir().map_err(|error| {
            RunError::Storage(format!("cannot make a temporary directory: {error}; give one with --data-dir"))
        })?),
    };
    let data_dir = match (&args.data_dir, &temporary) {
        (Some(dir), _) => dir.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => unreachable!("one of the two is there"),
    };
    let address = |node: u16| format!("127.0.0.1:{}", args.port_base + node - 1);
    let members: Vec<String> = (1..=args.nodes).map(|node| format!("{node}={}", address(node))).collect();

    let mut starting: Vec<(Config, TcpListener)> = Vec::new();
    for node in 1..=args.nodes {
        let config = Config::from_raw(RawConfig {
            node: Some(node.into()),
            data_dir: Some(data_dir.join(format!("node-{node}"))),
            cluster_name: Some("dev".to_owned()),
            initial_cluster: Some(members.clone()),
            shards: Some(args.shards),
            ..RawConfig::default()
        })
        .map_err(StartError::Config)?;
        let listener = bind(&config).await?; // all ports before the first disk: a taken one should leave nothing behind
        starting.push((config, listener));
    }
    let started = join_all(starting.into_iter().map(|(config, listener)| Node::start(config, listener))).await;
    let mut nodes = Vec::new();
    let mut failure = None;
    for node in started {
        match node {
            Ok(node) => nodes.push(node),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if let Some(error) = failure {
        join_all(nodes.into_iter().map(Node::abort)).await;
        return Err(error.into());
    }

    wait_for_leaders(&nodes).await;
    let endpoints: Vec<String> = (1..=args.nodes).map(address).collect();
    print_usage(&args, &endpoints.join(","));
    tokio::pin!(shutdown);
    let problem = {
        let failures = nodes.iter().map(|node| Box::pin(node.failed()));
        tokio::select! {
            () = &mut shutdown => None,
            (problem, ..) = futures::future::select_all(failures) => Some(problem),
        }
    };
    // Nobody is left to hand leadership to.
    join_all(nodes.into_iter().map(Node::abort)).await;
    problem.map_or(Ok(()), |problem| Err(RunError::Storage(problem)))
}

async fn wait_for_leaders(nodes: &[Node]) {
    let deadline = Instant::now() + ELECTIONS_MAX;
    while !nodes.iter().all(is_led) && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
}

#[allow(clippy::print_stdout, reason = "what a person who starts a cluster by hand wants to read")]
fn print_usage(args: &DevArgs, endpoints: &str) {
    let (nodes, shards) = (args.nodes, args.shards);
    let kept = match &args.data_dir {
        Some(dir) => format!("Data is kept in {}.", dir.display()),
        None => "Data is in a temporary directory and goes away with the cluster (--data-dir DIR keeps it).".to_owned(),
    };
    println!(
        "A cluster of {nodes} node{} and {shards} shard{} is up.\n\
         \n    endpoints   {endpoints}\n\
         \nIn another terminal:\n\
         \n    export RINGCTL_ENDPOINTS={endpoints}\
         \n    ringctl put greeting hello\
         \n    ringctl get greeting\
         \n    ringctl cluster status\n\
         \n{kept} Stop it with Ctrl-C.",
        if nodes == 1 { "" } else { "s" },
        if shards == 1 { "" } else { "s" },
    );
}
