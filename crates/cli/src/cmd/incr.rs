//! `ringctl incr`: add to an integer, within bounds.

use std::ffi::OsString;
use std::io::Write;

use clap::Args;
use serde::Serialize;

use crate::exit::Failure;
use crate::fence::Fences;
use crate::{Context, text};

const EXAMPLES: &str = "\
Examples:
  ringctl incr visits
  ringctl incr stock:42 -1 --min 0        take one, unless none is left: then exit code 4
  ringctl incr seats 2 --max 300

Prints the sum. An absent key counts as 0. The bound is checked where the write happens, and what ringctl
sends again after a lost answer counts once.";

/// Add to an integer, within bounds.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Incr {
    /// The key
    key: OsString,
    /// What to add; may be negative
    #[arg(default_value = "1", allow_hyphen_values = true)]
    delta: i64,
    /// Refuse a sum below this
    #[arg(long, allow_hyphen_values = true)]
    min: Option<i64>,
    /// Refuse a sum above this
    #[arg(long, allow_hyphen_values = true)]
    max: Option<i64>,
    /// KEY is hex
    #[arg(long)]
    hex: bool,
    #[command(flatten)]
    fences: Fences,
}

#[derive(Serialize)]
struct Sum {
    value: String,
    revision: String,
    version: String,
}

impl Incr {
    /// Asks and prints.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        if let (Some(min), Some(max)) = (self.min, self.max)
            && min > max
        {
            return Err(Failure::usage(format!("no sum can be at least {min} and at most {max}")));
        }
        let key = text::from_arg("key", self.key, self.hex)?;
        let mut add = context.connect().await?.add(key, self.delta);
        if let Some(min) = self.min {
            add = add.min(min);
        }
        if let Some(max) = self.max {
            add = add.max(max);
        }
        let added = self.fences.parse()?.into_iter().fold(add, ringfence_client::Add::fence).await?;
        let (value, revision) = (added.value.to_string(), added.revision.to_string());
        let json = Sum { value, revision, version: added.version.to_string() };
        Ok(context.print(out, &json.value, &json)?)
    }
}
