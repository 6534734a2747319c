//! `ringctl put`: set a key.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ringfence_client::Written;
use ringfence_client::limits::VALUE_BYTES_MAX;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::fence::Fences;
use crate::{Context, duration, text};

const EXAMPLES: &str = "\
Examples:
  ringctl put greeting hello
  ringctl put session:9f3 alice --ttl 30m
  ringctl put photo --file cat.jpg
  date | ringctl put now --file -
  ringctl put --hex ff00 0001";

/// Set a key.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Put {
    /// The key
    key: OsString,
    /// Its new value
    #[arg(allow_negative_numbers = true, required_unless_present = "file", conflicts_with = "file")]
    value: Option<OsString>,
    /// Take the value from a file, byte for byte; - is stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// KEY and VALUE are hex
    #[arg(long)]
    hex: bool,
    /// Let the key vanish after this time
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    ttl: Option<Duration>,
    #[command(flatten)]
    fences: Fences,
}

#[derive(Serialize)]
struct Json<'a> {
    revision: &'a str,
    version: &'a str,
}

impl Put {
    /// Asks and prints.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let key = text::from_arg("key", self.key, self.hex)?;
        let value = match (self.value, self.file) {
            (Some(value), _) => text::from_arg("value", value, self.hex)?,
            (None, Some(file)) => read_value(&file)?,
            (None, None) => return Err(Failure::usage("there is no value: give VALUE or --file")),
        };
        let mut put = context.connect().await?.put(key, value);
        if let Some(ttl) = self.ttl {
            put = put.ttl(ttl);
        }
        let put = self.fences.parse()?.into_iter().fold(put, ringfence_client::Put::fence);
        Ok(print(context, out, put.await?)?)
    }
}

/// Also what `cas --put` prints.
pub(super) fn print(context: &Context, out: &mut dyn Write, written: Written) -> io::Result<()> {
    let (revision, version) = (written.revision.to_string(), written.version.to_string());
    context.print(
        out,
        format_args!("OK  revision {revision}  version {version}"),
        &Json { revision: &revision, version: &version },
    )
}

/// Reads at most one byte more than a value can have.
fn read_value(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let read = |input: &mut dyn Read, value: &mut Vec<u8>| input.take(VALUE_BYTES_MAX as u64 + 1).read_to_end(value);
    let result = match path.to_str() {
        Some("-") => read(&mut io::stdin().lock(), &mut value),
        _ => std::fs::File::open(path).and_then(|mut file| read(&mut file, &mut value)),
    };
    result.map_err(|error| Failure { exit: Exit::BadUsage, ..Failure::file(path.display(), "read", &error) })?;
    if value.len() > VALUE_BYTES_MAX {
        let message = format!("{} is larger than a value can be: {VALUE_BYTES_MAX} bytes", path.display());
        return Err(Failure::usage(message).hint("split it, or store it elsewhere and keep a reference"));
    }
    Ok(value)
}
