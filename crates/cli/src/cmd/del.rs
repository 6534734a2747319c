//! `ringctl del`: remove a key.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Args;
use ringfence_client::Deleted;
use serde::Serialize;

use crate::exit::Failure;
use crate::fence::Fences;
use crate::{Context, text};

const EXAMPLES: &str = "\
Examples:
  ringctl del greeting
  ringctl del --hex ff00

Removing an absent key is no error. `ringctl cas KEY --exists --delete` refuses it.";

/// Remove a key.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Del {
    /// The key
    key: OsString,
    /// KEY is hex
    #[arg(long)]
    hex: bool,
    #[command(flatten)]
    fences: Fences,
}

#[derive(Serialize)]
struct Json<'a> {
    revision: &'a str,
    existed: bool,
}

impl Del {
    /// Asks and prints.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let key = text::from_arg("key", self.key, self.hex)?;
        let fences = self.fences.parse()?.into_iter();
        let deleted = fences.fold(context.connect().await?.delete(key), ringfence_client::Delete::fence).await?;
        Ok(print(context, out, deleted)?)
    }
}

/// Also what `cas --delete` prints.
pub(super) fn print(context: &Context, out: &mut dyn Write, deleted: Deleted) -> io::Result<()> {
    let revision = deleted.revision.to_string();
    let json = Json { revision: &revision, existed: deleted.existed };
    match deleted.existed {
        true => context.print(out, format_args!("deleted  revision {revision}"), &json),
        false => context.print(out, "was absent already", &json),
    }
}
