//! A file or a pipe becomes a channel of records.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::thread;

use tokio::sync::mpsc;

use super::{Format, InputRecord, LineError, parse_line, read_line};
use crate::exit::{Exit, Failure};

/// Records read ahead of the sending. Parsing is quicker than the cluster, so a few are enough.
const READ_AHEAD: usize = 16;

/// One line that is a record.
#[derive(Debug)]
pub struct Line {
    /// The first is 1.
    pub number: u64,
    /// In the file, with its line break.
    pub bytes: u64,
    /// What it asks for.
    pub record: InputRecord,
}

/// An input that is open.
pub struct Reader {
    /// How long it is, if it is a plain file.
    pub bytes_total: Option<u64>,
    input: Box<dyn BufRead + Send>,
    name: String,
    format: Format,
    hex: bool,
}

enum Next {
    Line(Line),
    Empty,
    End,
}

impl Reader {
    /// Opens a file, or stdin for `-`.
    pub fn open(path: &Path, format: Format, hex: bool) -> Result<Reader, Failure> {
        if path.to_str() == Some("-") {
            let input = Box::new(BufReader::new(io::stdin()));
            return Ok(Reader { bytes_total: None, input, name: "stdin".to_owned(), format, hex });
        }
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let unreadable = |error| Failure { exit: Exit::BadUsage, ..Failure::file(&name, "read", &error) };
        let (metadata, file) = opened.map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(Failure::usage(format!("{name} is a directory; give a file of records")));
        }
        let bytes_total = metadata.is_file().then_some(metadata.len());
        let input = Box::new(BufReader::with_capacity(256 << 10, file));
        Ok(Reader { bytes_total, input, name, format, hex })
    }

    /// Reading a pipe blocks for as long as its writer likes, so it gets a thread of its own. The thread ends at the end of
    /// the input, after the first line that is no record, or when nobody listens any more.
    pub fn read_in_thread(mut self) -> mpsc::Receiver<Result<Line, Failure>> {
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        thread::spawn(move || {
            let mut text = Vec::new();
            for number in 1.. {
                let line = match self.next(number, &mut text) {
                    Ok(Next::Line(line)) => Ok(line),
                    Ok(Next::Empty) => continue,
                    Ok(Next::End) => return,
                    Err(failure) => Err(failure),
                };
                let is_last = line.is_err();
                if sender.blocking_send(line).is_err() || is_last {
                    return;
                }
            }
        });
        receiver
    }

    fn next(&mut self, number: u64, text: &mut Vec<u8>) -> Result<Next, Failure> {
        match read_line(&mut *self.input, text) {
            Ok(false) => return Ok(Next::End),
            Ok(true) => {}
            Err(LineError::TooLong) => {
                return Err(self.malformed(number, "the line is longer than any record can be; are there line breaks?"));
            }
            Err(LineError::Read(error)) => return Err(Failure::file(&self.name, "read", &error)),
        }
        let record = parse_line(text, self.format, self.hex).map_err(|reason| self.malformed(number, &reason))?;
        let line = |record| Next::Line(Line { number, bytes: text.len() as u64 + 1, record });
        Ok(record.map_or(Next::Empty, line))
    }

    fn malformed(&self, number: u64, reason: &str) -> Failure {
        Failure::usage(format!("{}, line {number}: {reason}. Nothing from this line on was sent", self.name))
    }
}
