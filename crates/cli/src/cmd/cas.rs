//! `ringctl cas`: set or remove a key if a condition holds.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use ringfence_client::{Condition, Revision};

use crate::cmd::{del, put};
use crate::exit::Failure;
use crate::fence::Fences;
use crate::{Context, duration, text};

const EXAMPLES: &str = "\
Examples:
  ringctl cas config --absent --put v1                  create, never overwrite
  ringctl cas config --revision 459000123 --put v2      only if nobody wrote meanwhile
  ringctl cas config --value v2 --put v3
  ringctl cas config --version 3 --delete

If the condition does not hold nothing happens, and the exit code is 4.";

/// Set or remove a key if a condition holds.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Cas {
    /// The key
    key: OsString,
    #[command(flatten)]
    condition: ConditionArgs,
    #[command(flatten)]
    then: ThenArgs,
    /// With --put: let the key vanish after this time
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with = "delete")]
    ttl: Option<Duration>,
    /// KEY, --value and --put are hex
    #[arg(long)]
    hex: bool,
    #[command(flatten)]
    fences: Fences,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ConditionArgs {
    /// If the key is absent
    #[arg(long)]
    absent: bool,
    /// If the key exists
    #[arg(long)]
    exists: bool,
    /// If its last write has this revision
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    revision: Option<i64>,
    /// If it was written this often since it was created; 0 is absent
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// If it holds exactly this
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    value: Option<OsString>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ThenArgs {
    /// Set the key to this
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    put: Option<OsString>,
    /// Remove the key
    #[arg(long)]
    delete: bool,
}

impl Cas {
    /// Asks and prints.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let key = text::from_arg("key", self.key, self.hex)?;
        let condition = self.condition.condition(self.hex)?;
        let fences = self.fences.parse()?.into_iter();
        let Some(value) = self.then.put else {
            let delete = context.connect().await?.delete(key).condition(condition);
            let deleted = fences.fold(delete, ringfence_client::Delete::fence).await?;
            return Ok(del::print(context, out, deleted)?);
        };
        let value = text::from_arg("value", value, self.hex)?;
        let mut cas = context.connect().await?.cas(key, condition, value);
        if let Some(ttl) = self.ttl {
            cas = cas.ttl(ttl);
        }
        let written = fences.fold(cas, ringfence_client::Cas::fence).await?;
        Ok(put::print(context, out, written)?)
    }
}

impl ConditionArgs {
    fn condition(self, hex: bool) -> Result<Condition, Failure> {
        Ok(match self {
            ConditionArgs { absent: true, .. } => Condition::Absent,
            ConditionArgs { exists: true, .. } => Condition::Exists,
            ConditionArgs { revision: Some(revision), .. } => Condition::RevisionIs(Revision(revision)),
            ConditionArgs { version: Some(version), .. } => Condition::VersionIs(version),
            ConditionArgs { value: Some(value), .. } => Condition::ValueIs(text::from_arg("value", value, hex)?.into()),
            _ => {
                return Err(Failure::usage(
                    "there is no condition: give --absent, --exists, --revision, --version or --value",
                ));
            }
        })
    }
}
