//! `ringctl lease release`: end a lease in its holder's stead.

use std::ffi::OsString;
use std::io::Write;

use clap::Args;
use ringfence_client::{FencingToken, Revision};
use serde::Serialize;

use crate::exit::Failure;
use crate::{Context, text};

const EXAMPLES: &str = "\
Examples:
  ringctl lease inspect backup                                       shows holder and token
  ringctl lease release backup --holder web1:4711 --token 459000123

For a holder that is stuck and goes on renewing; one that is gone loses its lease by itself when the ttl is over.

The next in the queue is granted AT ONCE, while the holder learns of it only with its next renewal. Whatever checks \
tokens is safe from the old holder; whatever does not may see both at work for a moment.

The token says which lease is meant: if that is over by now nothing happens, and the exit code is 4.";

/// End a lease in its holder's stead, so that the next in the queue is granted.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LeaseRelease {
    /// The lock
    name: OsString,
    /// Who holds it, as `lease inspect` shows
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    holder: OsString,
    /// The lease's token, as `lease inspect` shows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    token: i64,
    /// NAME and --holder are hex
    #[arg(long)]
    hex: bool,
}

#[derive(Serialize)]
struct Released {
    token: String,
    released: bool,
}

impl LeaseRelease {
    /// Asks and prints.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let name = text::from_arg("name", self.name, self.hex)?;
        let holder = text::from_arg("holder", self.holder, self.hex)?;
        let token = FencingToken(Revision(self.token));
        context.connect().await?.release_lease(&name, holder, token).await?;
        let shown = text::to_cell(&name, self.hex);
        let json = Released { token: token.to_string(), released: true };
        Ok(context.print(out, format_args!("OK  {shown} released, token {token}"), &json)?)
    }
}
