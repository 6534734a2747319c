//! `ringctl get`: print the value of a key.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::args::Format;
use crate::exit::{Exit, Failure};
use crate::record::{self, Style};
use crate::{Context, text};

const EXAMPLES: &str = "\
Examples:
  ringctl get greeting
  ringctl get greeting -w json            with revision, version and ttl
  ringctl get photo --file cat.jpg        byte for byte
  ringctl get photo --file - | sha256sum
  ringctl get --hex ff00

The value is printed as it is, and a line break after it; --file writes it alone.
An absent key is exit code 4, and nothing on stdout.";

/// Print the value of a key.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Get {
    /// The key
    key: OsString,
    /// KEY is hex, and print the value as hex
    #[arg(long)]
    hex: bool,
    /// Write the value to a file, byte for byte; - is stdout
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Get {
    /// Asks and prints.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        if self.file.is_some() && context.format != Format::Table {
            return Err(
                Failure::usage("--file writes the value alone, so it does not go with -w").hint("leave one out")
            );
        }
        let key = text::from_arg("key", self.key, self.hex)?;
        let shown = text::to_cell(&key, self.hex);
        let Some(kv) = context.connect().await?.get(key).await? else {
            return Err(Failure::new(Exit::Refused, format!("there is no key {shown}")));
        };
        match (self.file, context.format) {
            (Some(file), _) if file.to_str() == Some("-") => out.write_all(&kv.value)?,
            (Some(file), _) => {
                std::fs::write(&file, &kv.value).map_err(|error| Failure::file(file.display(), "write", &error))?;
            }
            (None, Format::Table) if self.hex => writeln!(out, "{}", text::to_hex(&kv.value))?,
            (None, Format::Table) => {
                out.write_all(&kv.value)?;
                writeln!(out)?;
            }
            (None, Format::Json | Format::Ndjson) => {
                record::write_json(out, &kv, Style { hex: self.hex, keys_only: false })?;
                writeln!(out)?;
            }
        }
        Ok(())
    }
}
