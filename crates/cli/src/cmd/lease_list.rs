//! `ringctl lease list`: every lease that is held, or those of some locks.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Args;
use ringfence_client::LeaseInfo;

use crate::args::Format;
use crate::exit::Failure;
use crate::lease;
use crate::table::Table;
use crate::{Context, text};

/// Leases asked for at once.
const PAGE_LEASES: u32 = 1000;

const EXAMPLES: &str = "\
Examples:
  ringctl lease list
  ringctl lease list backup/
  ringctl lease list -w ndjson | jq -r 'select(.holder | startswith(\"web1:\")) | .name'

Asks every shard, unless the prefix has a complete {tag}. Each page is a read of its own.
LEFT is what is left of the ttl unless it is renewed. `ringctl lease inspect` shows who waits.";

/// List the leases that are held.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LeaseList {
    /// Only of locks whose names begin so
    prefix: Option<OsString>,
    /// PREFIX is hex, and print names, holders and metadata as hex
    #[arg(long)]
    hex: bool,
}

impl LeaseList {
    /// Asks and prints, page by page.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let prefix = text::from_arg("prefix", self.prefix.unwrap_or_default(), self.hex)?;
        let mut leases = context.connect().await?.leases().prefix(prefix).page_size(PAGE_LEASES);
        let mut printer = Printer::new(context.format, self.hex);
        while let Some(page) = leases.next_page().await? {
            printer.page(out, &page)?;
            out.flush()?;
        }
        Ok(printer.finish(out)?)
    }
}

/// Prints leases as they come.
struct Printer {
    hex: bool,
    kind: Kind,
}

enum Kind {
    Table(Table),
    /// One array, over all pages.
    Json {
        is_empty: bool,
    },
    Ndjson,
}

impl Printer {
    fn new(format: Format, hex: bool) -> Printer {
        let kind = match format {
            Format::Table => Kind::Table(Table::new(lease::COLUMNS)),
            Format::Json => Kind::Json { is_empty: true },
            Format::Ndjson => Kind::Ndjson,
        };
        Printer { hex, kind }
    }

    fn page(&mut self, out: &mut dyn Write, leases: &[LeaseInfo]) -> io::Result<()> {
        match &mut self.kind {
            // A page may be empty though more follow; the header waits for something to stand above.
            Kind::Table(_) if leases.is_empty() => {}
            Kind::Table(table) => {
                let rows: Vec<_> = leases.iter().map(|lease| lease::row(lease, self.hex)).collect();
                table.rows(out, &rows)?;
            }
            Kind::Json { is_empty } => {
                for lease in leases {
                    out.write_all(if *is_empty { b"[\n" } else { b",\n" })?;
                    *is_empty = false;
                    serde_json::to_writer(&mut *out, &lease::Json::new(lease, self.hex))?;
                }
            }
            Kind::Ndjson => {
                for lease in leases {
                    serde_json::to_writer(&mut *out, &lease::Json::new(lease, self.hex))?;
                    writeln!(out)?;
                }
            }
        }
        Ok(())
    }

    /// After the last page.
    fn finish(self, out: &mut dyn Write) -> io::Result<()> {
        match self.kind {
            Kind::Table(mut table) => table.rows(out, &[]),
            Kind::Json { is_empty: true } => writeln!(out, "[]"),
            Kind::Json { is_empty: false } => writeln!(out, "\n]"),
            Kind::Ndjson => Ok(()),
        }
    }
}
