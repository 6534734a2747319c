//! `ringctl node replace`: an operator's consent that a distrusted node is filled anew.

use std::io::Write;

use clap::Args;
use ringfence_client::NodeId;
use serde::Serialize;

use crate::Context;
use crate::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  ringctl node replace 2
  ringctl cluster status                  shows how far it is

Asking again does no harm. A node that trusts its disk refuses, with exit code 4.";

/// Let a node whose disk is not trusted any more get fresh replicas, which the other nodes fill.
///
/// For nodes that run with `on_distrust = wait`; others do it by themselves. The old data of the node stays where it was set
/// aside, in DATA_DIR/distrusted-N.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct NodeReplace {
    /// Which node
    #[arg(value_name = "NODE")]
    pub node: u64,
}

#[derive(Serialize)]
struct Accepted {
    node: String,
    replacing: bool,
}

impl NodeReplace {
    /// Asks and prints.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let client = context.connect().await?;
        client.replace_node(NodeId(self.node)).await?;
        let text = format!("n{} is being replaced; `ringctl cluster status` shows how far it is", self.node);
        Ok(context.print(out, text, &Accepted { node: self.node.to_string(), replacing: true })?)
    }
}
