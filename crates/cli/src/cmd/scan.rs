//! `ringctl scan`: list keys and values.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use clap::Args;
use ringfence_client::{Client, KeyValue, Scan as SdkScan};

use crate::args::Format;
use crate::exit::Failure;
use crate::record::{self, Style};
use crate::table::Table;
use crate::{Context, text};

/// Items asked for at once. Large enough to be quick, small enough that the first ones are seen at once.
const PAGE_ITEMS: u32 = 1000;

const EXAMPLES: &str = "\
Examples:
  ringctl scan --tag user:42              keys that begin {user:42}, in order, from one shard
  ringctl scan --prefix pkg/ --limit 20   reads every key of the cluster and shows some
  ringctl scan --keys-only -w ndjson | jq -r .key

Each page is a read of its own: changes made meanwhile may or may not be seen.
A table cuts values after 80 characters and escapes what is not printable; -w ndjson shows them whole.";

/// List keys and values.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Scan {
    #[command(flatten)]
    selection: Selection,
    /// Stop after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Leave the values out
    #[arg(long)]
    keys_only: bool,
    /// TAG and PREFIX are hex, and print keys and values as hex
    #[arg(long)]
    hex: bool,
}

/// Which keys. Everything, unless told otherwise.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct Selection {
    /// Keys that begin {TAG}: one ordered collection. Give the tag without braces
    #[arg(long)]
    tag: Option<OsString>,
    /// Keys that begin so. Without a complete {tag} in it every key of the cluster is read
    #[arg(long)]
    prefix: Option<OsString>,
}

impl Selection {
    pub(super) fn scan(self, client: &Client, hex: bool) -> Result<SdkScan, Failure> {
        Ok(match (self.tag, self.prefix) {
            (Some(tag), _) => client.scan_tag(text::from_arg("tag", tag, hex)?),
            (None, Some(prefix)) => client.scan_prefix(text::from_arg("prefix", prefix, hex)?),
            (None, None) => client.scan_prefix(""),
        })
    }
}

impl Scan {
    /// Asks and prints, page by page.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let style = Style { hex: self.hex, keys_only: self.keys_only };
        let filters = self.selection.prefix.is_some();
        let client = context.connect().await?;
        let mut scan = self.selection.scan(&client, self.hex)?;
        if self.keys_only {
            scan = scan.keys_only();
        }
        let mut printer = Printer::new(context.format, style);
        let mut warned = false;
        each_page(scan, self.limit.unwrap_or(u64::MAX), |items, filtered| {
            if filtered && filters && !warned && io::stderr().is_terminal() {
                warned = true;
                eprintln!(
                    "note: the prefix has no complete {{tag}}, so every key of the cluster is read to find these"
                );
            }
            printer.page(out, items)?;
            Ok(out.flush()?)
        })
        .await?;
        Ok(printer.finish(out)?)
    }
}

/// Hands over every page, until there are no more or the limit is reached.
pub(super) async fn each_page(
    scan: SdkScan,
    limit: u64,
    mut take: impl FnMut(&[KeyValue], bool) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let scan = scan.page_items(PAGE_ITEMS.min(u32::try_from(limit).unwrap_or(PAGE_ITEMS)));
    let mut left = limit;
    let mut cursor = None;
    loop {
        let page = scan.page(cursor).await?;
        let items = &page.items[..page.items.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        left -= items.len() as u64;
        take(items, page.filtered)?;
        cursor = page.next;
        if cursor.is_none() || left == 0 {
            return Ok(());
        }
    }
}

/// Prints records as they come.
pub(super) struct Printer {
    style: Style,
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
    pub(super) fn new(format: Format, style: Style) -> Printer {
        let columns = if style.keys_only { record::COLUMNS_KEYS_ONLY } else { record::COLUMNS };
        let kind = match format {
            Format::Table => Kind::Table(Table::new(columns)),
            Format::Json => Kind::Json { is_empty: true },
            Format::Ndjson => Kind::Ndjson,
        };
        Printer { style, kind }
    }

    pub(super) fn page(&mut self, out: &mut dyn Write, items: &[KeyValue]) -> io::Result<()> {
        match &mut self.kind {
            // A page may be empty though more follow; the header waits for something to stand above.
            Kind::Table(_) if items.is_empty() => {}
            Kind::Table(table) => {
                let rows: Vec<_> = items.iter().map(|kv| record::row(kv, self.style)).collect();
                table.rows(out, &rows)?;
            }
            Kind::Json { is_empty } => {
                for kv in items {
                    out.write_all(if *is_empty { b"[\n" } else { b",\n" })?;
                    *is_empty = false;
                    record::write_json(out, kv, self.style)?;
                }
            }
            Kind::Ndjson => {
                for kv in items {
                    record::write_json(out, kv, self.style)?;
                    writeln!(out)?;
                }
            }
        }
        Ok(())
    }

    /// After the last page.
    pub(super) fn finish(self, out: &mut dyn Write) -> io::Result<()> {
        match self.kind {
            Kind::Table(mut table) => table.rows(out, &[]),
            Kind::Json { is_empty: true } => writeln!(out, "[]"),
            Kind::Json { is_empty: false } => writeln!(out, "\n]"),
            Kind::Ndjson => Ok(()),
        }
    }
}
