//! `jepsen-lite check`: judges a history from a file, whoever wrote it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use jepsen_checkers::{History, Model, Settings, judge};

const FORM: &str = "\
A history has one event to a line, in the order of time:
  {\"time\":0,\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"key\":\"x\",\"value\":1}
  {\"time\":5,\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"key\":\"x\",\"value\":1}
`type` is invoke, ok, fail (it certainly did not happen) or info (unknown). A read's value is null until its ok, and
null there means absent; a cas has [old,new].

Models:
  register  read, write, cas             counter  add, read
  set       add, read                    queue    enqueue, dequeue
  lock      acquire, release, of leases that don't expire
  tokens    acquire with its token, and write with a token at the protected resource";

/// Judge a history from a file.
#[derive(Debug, Args)]
#[command(after_help = FORM)]
pub struct Check {
    /// The history, as JSONL; - is stdin
    file: PathBuf,
    /// What it should have looked like: register, counter, set, lock, queue or tokens
    #[arg(long, value_parser = |name: &str| name.parse::<Model>())]
    model: Model,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Prints the verdict, and gives the exit code that says it. An error is none.
    pub fn run(self, out: &mut dyn Write) -> Result<u8, String> {
        let history = History::read(open(&self.file)?);
        let history = history.map_err(|error| format!("{}: {error}", self.file.display()))?;
        let verdict = judge(self.model, &history, Settings::default());
        let verdict =
            verdict.map_err(|error| format!("{} is no history of a {}: {error}", self.file.display(), self.model))?;
        let printed = match self.json {
            true => serde_json::to_string_pretty(&verdict).map_err(|error| error.to_string())?,
            false => verdict.to_string(),
        };
        writeln!(out, "{printed}").map_err(|error| error.to_string())?;
        Ok(verdict.exit_code())
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, String> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}
