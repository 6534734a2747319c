//! `ringctl export`: write all records to a file.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ringfence_client::Scan as SdkScan;

use crate::Context;
use crate::args::Format;
use crate::cmd::scan::{Printer, Selection, each_page};
use crate::exit::Failure;
use crate::record::Style;

const EXAMPLES: &str = "\
Examples:
  ringctl export all.ndjson
  ringctl export | gzip > all.ndjson.gz
  ringctl export users.ndjson --tag users

One JSON object to a line, whatever -w says; `ringctl import` takes it back, byte for byte.
Each page is a read of its own, so an export made while others write is no snapshot of one moment.
What is left of a ttl goes along.";

/// Write all records to a file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Export {
    /// Where to; - is stdout. A file that is there is replaced
    #[arg(default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    selection: Selection,
    /// Write every key and value as hex; TAG and PREFIX are hex as well
    #[arg(long)]
    hex: bool,
}

impl Export {
    /// Asks and writes, page by page.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let started = Instant::now();
        let client = context.connect().await?;
        let scan = self.selection.scan(&client, self.hex)?;
        let style = Style { hex: self.hex, keys_only: false };
        let mut exported = 0;
        if self.file.to_str() == Some("-") {
            write_all(scan, style, out, &mut exported).await?;
        } else {
            let name = self.file.display();
            let file = File::create(&self.file).map_err(|error| Failure::file(&name, "write", &error))?;
            let mut file = BufWriter::new(file);
            let written = write_all(scan, style, &mut file, &mut exported).await;
            written.map_err(|failure| failure.hint(format!("{name} is incomplete; export again")))?;
        }
        eprintln!("{exported} records exported in {:.1} s", started.elapsed().as_secs_f64());
        Ok(())
    }
}

async fn write_all(scan: SdkScan, style: Style, out: &mut dyn Write, exported: &mut u64) -> Result<(), Failure> {
    let mut printer = Printer::new(Format::Ndjson, style);
    let progress = progress();
    let result = each_page(scan, u64::MAX, |items, _| {
        printer.page(out, items)?;
        *exported += items.len() as u64;
        progress.set_message(exported.to_string());
        progress.tick();
        Ok(())
    });
    let result = result.await;
    progress.finish_and_clear();
    result?;
    Ok(out.flush()?)
}

fn progress() -> ProgressBar {
    if !io::stderr().is_terminal() || io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg} records  {elapsed}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
