//! `ringctl lease inspect`: how one lock is held, and who waits for it.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Args;
use ringfence_client::LockInfo;
use serde::Serialize;

use crate::args::Format;
use crate::exit::Failure;
use crate::lease;
use crate::table::Table;
use crate::{Context, text};

const EXAMPLES: &str = "\
Examples:
  ringctl lease inspect backup
  ringctl lease inspect backup -w json | jq -r '.leases[0].holder // \"nobody\"'

The queue is in the order in which leases will be granted. Who is silent was not heard of for a while, \
and is passed over when the turn comes. A free lock is no error: the exit code is 0.";

/// Show how a lock is held, and who waits for it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LeaseInspect {
    /// The lock
    name: OsString,
    /// NAME is hex, and print names, holders and metadata as hex
    #[arg(long)]
    hex: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
    leases: Vec<lease::Json<'a>>,
    queue: Vec<lease::WaiterJson<'a>>,
}

impl LeaseInspect {
    /// Asks and prints.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let name = text::from_arg("name", self.name, self.hex)?;
        let info = context.connect().await?.inspect_lock(&name).await?;
        if context.format == Format::Table {
            return Ok(table(out, &name, &info, self.hex)?);
        }
        let (plain, name_hex) = text::plain_or_hex(&name, self.hex);
        let leases = info.leases.iter().map(|lease| lease::Json::new(lease, self.hex)).collect();
        let queue = info.waiters.iter().map(|waiter| lease::WaiterJson::new(waiter, self.hex)).collect();
        Ok(context.print(out, "", &Json { name: plain, name_hex, leases, queue })?)
    }
}

fn table(out: &mut dyn Write, name: &[u8], info: &LockInfo, hex: bool) -> io::Result<()> {
    let name = text::to_cell(name, hex);
    match info.leases.len() {
        0 => writeln!(out, "{name} is free, {} wait", info.waiters.len())?,
        held => writeln!(out, "{name} is held by {held}, {} wait", info.waiters.len())?,
    }
    if !info.leases.is_empty() {
        writeln!(out)?;
        let rows: Vec<_> = info.leases.iter().map(|lease| lease::row(lease, hex)).collect();
        Table::new(lease::COLUMNS).rows(out, &rows)?;
    }
    if !info.waiters.is_empty() {
        writeln!(out)?;
        let rows: Vec<_> = info.waiters.iter().map(|waiter| lease::waiter_row(waiter, hex)).collect();
        Table::new(lease::WAITER_COLUMNS).rows(out, &rows)?;
    }
    Ok(())
}
