//! `ringctl import`: write many records from a file.
//!
//! A thread reads and parses lines; the loop in `Run` keeps up to `--concurrency` records under way and writes down each
//! acknowledgement as it comes. Three rules make the outcome easy to reason about:
//!
//! * A line that is no record stops the import before anything behind it is sent.
//! * Two records of one key are never under way together, so the last line of a key wins, as in a sequential import.
//! * The first record that the cluster could not answer in time stops the import too: whatever is wrong, the next fifty
//!   thousand records would meet it as well.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use ringfence_client::{Client, Condition, PutError};
use tokio::sync::mpsc;

use crate::Context;
use crate::exit::{Exit, Failure};
use crate::import::{AckedLog, Format, InputRecord, Line, Reader, Tally};

/// Deadline of each record unless `--command-timeout` says otherwise: time for a shard to lose its leader, elect another
/// and catch up, several times over.
const RECORD_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that an acknowledged key waits to be written to the `--acked` file.
const ACKED_FLUSH_EVERY: Duration = Duration::from_millis(50);
/// Bytes of keys and values under way at the most, so that a thousand large values do not fill the memory.
const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;
const EXAMPLES: &str = "\
Examples:
  ringctl import all.ndjson               what `ringctl export` wrote
  ringctl import words.tsv                key, tab, value
  zcat big.ndjson.gz | ringctl import - --acked done.txt --concurrency 512
  ringctl import defaults.ndjson --if-absent

ndjson: {\"key\":\"a\",\"value\":\"1\",\"ttl_ms\":5000}. ttl_ms may be left out; other fields are ignored.
tsv: the first tab of a line divides key and value. Empty lines are skipped; CRLF line ends are fine.
A line that is no record ends the import with exit code 3 and its number; what was acknowledged before stays.
So does the first record that gets no answer in time: with 5 if it may have been written, else 1 or 2.
Other records that the cluster refuses are listed, the rest goes on, and the exit code is 1.";

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
        let input = Reader::open(&self.file, format, self.hex)?;
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
            progress: progress(input.bytes_total),
            tally: Tally::default(),
        };
        run.until_done(input.read_in_thread()).await
    }
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
        let mut interrupts = interrupts();
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
                Some(()) = interrupts.recv() => match &stopped {
                    None => Some(Failure::new(Exit::Failed, "interrupted")),
                    // Somebody has no patience: leave at once, and say what we leave behind.
                    Some(_) => {
                        self.tally.unknown += self.under_way.len() as u64;
                        break;
                    }
                },
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
        eprintln!("{}", self.tally.summary(started.elapsed()));
        self.tally.examples.iter().for_each(|example| eprintln!("  {example}"));
        self.tally.verdict(stopped)
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
                    let message = format!("stopped at line {}: {}", settled.number, failure.message);
                    return Err(Failure { message, ..failure });
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

/// Says each Ctrl-C.
fn interrupts() -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move { while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).await.is_ok() {} });
    receiver
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
