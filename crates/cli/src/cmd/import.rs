//! `ringctl import`: write many records from a file.
//!
//! A thread reads and parses lines; the loop in [`Run`] keeps up to `--concurrency` records under way and writes down each
//! acknowledgement as it comes. Three rules make the outcome easy to reason about:
//!
//! * A line that is no record stops the import before anything behind it is sent.
//! * Two records of one key are never under way together, so the last line of a key wins, as in a sequential import.
//! * The first record that the cluster could not answer in time stops the import too: whatever is wrong, the next fifty
//!   thousand records would meet it as well.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use ringfence_client::{Client, Condition, PutError};
use tokio::sync::mpsc;

use crate::Context;
use crate::exit::{Exit, Failure};
use crate::import::{AckedLog, Format, InputRecord, LineError, Tally, parse_line, read_line};

/// Deadline of each record unless `--command-timeout` says otherwise: time for a shard to lose its leader, elect another
/// and catch up, several times over.
const RECORD_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that an acknowledged key waits to be written to the `--acked` file.
const ACKED_FLUSH_EVERY: Duration = Duration::from_millis(50);
/// Bytes of keys and values under way at the most, so that a thousand large values do not fill the memory.
const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;
/// Records read ahead of the sending. Parsing is quicker than the cluster, so a few are enough.
const READ_AHEAD: usize = 16;

const EXAMPLES: &str = "\
Examples:
  ringctl import all.ndjson               what `ringctl export` wrote
  ringctl import words.tsv                key, tab, value
  zcat big.ndjson.gz | ringctl import - --acked done.txt --concurrency 512
  ringctl import defaults.ndjson --if-absent

ndjson records look like {\"key\":\"a\",\"value\":\"1\",\"ttl_ms\":5000}; ttl_ms may be left out, and fields other than
key, key_hex, value, value_hex and ttl_ms are ignored. Empty lines are skipped; CRLF line ends are fine.
A line that is no record ends the import with exit code 3 and its number; what was acknowledged before stays.";

/// Write many records from a file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Import {
    /// Where the records are; - is stdin
    file: PathBuf,
    /// How the lines are written [default: tsv for a name ending in .tsv, else ndjson]
    #[arg(long)]
    format: Option<Format>,
    /// After a record is acknowledged, append its key to this file, as one JSON string to a line
    #[arg(long, value_name = "FILE")]
    acked: Option<PathBuf>,
    /// How many records may be under way at once
    #[arg(long, value_name = "N", default_value = "256", value_parser = clap::value_parser!(u16).range(1..=4096))]
    concurrency: u16,
    /// Keys and values are hex (tsv only: ndjson says it by the field names key_hex and value_hex)
    #[arg(long)]
    hex: bool,
    /// Leave keys alone that are there already
    #[arg(long)]
    if_absent: bool,
}

impl Import {
    /// Reads, sends, reports on stderr.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let format = self.format.unwrap_or_else(|| match self.file.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("tsv") => Format::Tsv,
            _ => Format::Ndjson,
        });
        if self.hex && format == Format::Ndjson {
            let usage = Failure::usage("--hex is for tsv");
            return Err(usage.hint("in ndjson, name the fields key_hex and value_hex"));
        }
        let (input, bytes_total) = open(&self.file)?;
        let acked = match &self.acked {
            None => None,
            Some(path) => {
                Some(AckedLog::append_to(path).map_err(|error| Failure::file(path.display(), "write", &error))?)
            }
        };
        let client = context.connect().await?;
        let run = Run {
            client,
            record_timeout: context.request_timeout(RECORD_TIMEOUT),
            if_absent: self.if_absent,
            concurrency: self.concurrency.into(),
            under_way: FuturesUnordered::new(),
            keys_under_way: BTreeSet::new(),
            bytes_under_way: 0,
            acked,
            acked_path: self.acked.unwrap_or_default(),
            progress: progress(bytes_total),
            tally: Tally::default(),
        };
        run.until_done(read_in_thread(input, self.file, format, self.hex)).await
    }
}

/// One line that is a record.
struct Line {
    number: u64,
    /// In the file, with its line break.
    bytes: u64,
    record: InputRecord,
}

/// What became of one record.
struct Settled {
    number: u64,
    line_bytes: u64,
    record_bytes: usize,
    key: Vec<u8>,
    result: Result<Wrote, Failure>,
}

enum Wrote {
    Acknowledged,
    /// With `--if-absent`: it was there already.
    Kept,
}

/// An import under way.
///
/// * `keys_under_way` and `bytes_under_way` are those of `under_way`.
/// * A record is in the tally exactly once, when it settles.
struct Run {
    client: Client,
    record_timeout: Duration,
    if_absent: bool,
    concurrency: usize,
    under_way: FuturesUnordered<BoxFuture<'static, Settled>>,
    keys_under_way: BTreeSet<Vec<u8>>,
    bytes_under_way: usize,
    acked: Option<AckedLog>,
    acked_path: PathBuf,
    progress: ProgressBar,
    tally: Tally,
}

impl Run {
    async fn until_done(mut self, mut lines: mpsc::Receiver<Result<Line, Failure>>) -> Result<(), Failure> {
        let started = Instant::now();
        let mut flush = tokio::time::interval(ACKED_FLUSH_EVERY);
        let mut interrupt = Box::pin(tokio::signal::ctrl_c());
        let mut next: Option<Line> = None;
        let mut reading = true;
        let mut stopped: Option<Failure> = None;
        loop {
            if let Some(line) = next.take() {
                match self.has_room_for(&line.record) {
                    true => self.send(line),
                    false => next = Some(line),
                }
            }
            if !reading && next.is_none() && self.under_way.is_empty() {
                break;
            }
            let stop = tokio::select! {
                Some(settled) = self.under_way.next() => self.settle(settled).err(),
                line = lines.recv(), if reading && next.is_none() => match line {
                    Some(Ok(line)) => { next = Some(line); None }
                    Some(Err(failure)) => Some(failure),
                    None => { reading = false; None }
                },
                _ = flush.tick() => self.flush().err(),
                _ = &mut interrupt, if reading => Some(Failure::new(Exit::Failed, "interrupted")),
            };
            if let Some(failure) = stop {
                // What is under way cannot be called back; it is waited for and counted.
                reading = false;
                next = None;
                stopped.get_or_insert(failure);
            }
        }
        if let Err(failure) = self.flush() {
            stopped.get_or_insert(failure);
        }
        self.progress.finish_and_clear();
        eprintln!("{}", summary(&self.tally, started.elapsed()));
        self.tally.examples.iter().for_each(|example| eprintln!("  {example}"));
        verdict(&self.tally, stopped)
    }

    fn has_room_for(&self, record: &InputRecord) -> bool {
        self.under_way.is_empty()
            || self.under_way.len() < self.concurrency
                && self.bytes_under_way + bytes_of(record) <= IN_FLIGHT_BYTES_MAX
                && !self.keys_under_way.contains(&record.key)
    }

    fn send(&mut self, line: Line) {
        let Line { number, bytes: line_bytes, record } = line;
        let record_bytes = bytes_of(&record);
        self.bytes_under_way += record_bytes;
        let fresh = self.keys_under_way.insert(record.key.clone());
        assert!(fresh, "two records of one key under way: the last line would not win");
        let writing = write(self.client.clone(), record, self.if_absent, self.record_timeout);
        self.under_way.push(Box::pin(async move {
            let (key, result) = writing.await;
            Settled { number, line_bytes, record_bytes, key, result }
        }));
    }

    /// Counts a record. `Err` if nothing more should be sent.
    fn settle(&mut self, settled: Settled) -> Result<(), Failure> {
        self.bytes_under_way -= settled.record_bytes;
        self.keys_under_way.remove(&settled.key);
        match settled.result {
            Ok(Wrote::Acknowledged) => {
                self.tally.acknowledged += 1;
                if let Some(acked) = &mut self.acked {
                    acked.push(&settled.key).map_err(|error| acked_failure(&self.acked_path, &error))?;
                }
            }
            Ok(Wrote::Kept) => self.tally.kept += 1,
            Err(failure) => {
                self.tally.not_acknowledged(settled.number, &failure);
                if !matches!(failure.exit, Exit::Refused | Exit::BadUsage) {
                    let message = "stopped: the cluster gives no answers. Nothing behind the lines below was sent";
                    return Err(Failure::new(failure.exit, message));
                }
            }
        }
        self.progress.inc(settled.line_bytes);
        self.progress.set_message(self.tally.acknowledged.to_string());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match &mut self.acked {
            None => Ok(()),
            Some(acked) => acked.flush().map_err(|error| acked_failure(&self.acked_path, &error)),
        }
    }
}

async fn write(
    client: Client,
    record: InputRecord,
    if_absent: bool,
    timeout: Duration,
) -> (Vec<u8>, Result<Wrote, Failure>) {
    let InputRecord { key, value, ttl_ms } = record;
    let mut put = client.put(&key, value).timeout(timeout);
    if let Some(ms) = ttl_ms {
        put = put.ttl(Duration::from_millis(ms));
    }
    if if_absent {
        put = put.condition(Condition::Absent);
    }
    let result = match put.await {
        Ok(_) => Ok(Wrote::Acknowledged),
        Err(PutError::ConditionFailed { .. }) => Ok(Wrote::Kept),
        Err(error) => Err(error.into()),
    };
    (key, result)
}

fn bytes_of(record: &InputRecord) -> usize {
    record.key.len() + record.value.len()
}

fn acked_failure(path: &Path, error: &io::Error) -> Failure {
    Failure::file(path.display(), "write acknowledged keys to", error)
}

fn open(path: &Path) -> Result<(Box<dyn BufRead + Send>, Option<u64>), Failure> {
    if path.to_str() == Some("-") {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) =
        opened.map_err(|error| Failure { exit: Exit::BadUsage, ..Failure::file(path.display(), "read", &error) })?;
    if metadata.is_dir() {
        return Err(Failure::usage(format!("{} is a directory; give a file of records", path.display())));
    }
    let bytes_total = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(BufReader::with_capacity(256 << 10, file)), bytes_total))
}

/// Reading a pipe blocks for as long as its writer likes, so it gets a thread of its own. The thread ends at the end of the
/// input, after the first line that is no record, or when nobody listens any more.
fn read_in_thread(
    mut input: Box<dyn BufRead + Send>,
    path: PathBuf,
    format: Format,
    hex: bool,
) -> mpsc::Receiver<Result<Line, Failure>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    thread::spawn(move || {
        let mut text = Vec::new();
        for number in 1.. {
            let next = match read_line(&mut *input, &mut text) {
                Ok(false) => return,
                Ok(true) => parse_line(&text, format, hex).map_err(|reason| malformed(&path, number, &reason)),
                Err(LineError::TooLong) => {
                    Err(malformed(&path, number, "the line is longer than any record can be; are there line breaks?"))
                }
                Err(LineError::Read(error)) => Err(Failure::file(path.display(), "read", &error)),
            };
            let Some(next) = next.transpose() else { continue };
            let is_last = next.is_err();
            let line = next.map(|record| Line { number, bytes: text.len() as u64 + 1, record });
            if sender.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

fn malformed(path: &Path, number: u64, reason: &str) -> Failure {
    let name = if path.to_str() == Some("-") { "stdin".into() } else { path.display().to_string() };
    Failure::usage(format!("{name}, line {number}: {reason}. Nothing from this line on was sent"))
}

fn progress(bytes_total: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes_total {
        Some(bytes) => (ProgressBar::new(bytes), "{wide_bar} {percent}%  {msg} records  eta {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg} records  {elapsed}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message("0")
}

fn summary(tally: &Tally, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let per_second = tally.acknowledged as f64 / seconds.max(0.001);
    let mut summary =
        format!("{} records acknowledged in {seconds:.1} s ({per_second:.0} per second)", tally.acknowledged);
    for (count, what) in
        [(tally.kept, "there already"), (tally.failed, "failed"), (tally.unknown, "with unknown outcome")]
    {
        if count > 0 {
            summary.push_str(&format!(", {count} {what}"));
        }
    }
    summary
}

/// How the import ends. A record that may have been written is worth more attention than whatever stopped us.
fn verdict(tally: &Tally, stopped: Option<Failure>) -> Result<(), Failure> {
    let exit = tally.verdict();
    match (stopped, exit) {
        (None, Exit::Ok) => Ok(()),
        (Some(failure), Exit::OutcomeUnknown) => Err(Failure { exit, ..failure }
            .hint("import the same file again: writing a record twice does no harm unless others write its key")),
        (Some(failure), _) => Err(failure),
        (None, _) => {
            let message = format!("{} of the records were not written", tally.failed + tally.unknown);
            Err(Failure::new(exit, message))
        }
    }
}
