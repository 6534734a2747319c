//! One `ringctl import`, watched from outside through the file in which it writes down what was acknowledged.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::records::Records;
use crate::cluster::{Cluster, tail};
use crate::failure::{Context, Outcome, fail};
use crate::janitor::Janitor;
use crate::json::Json;
use crate::ringctl::Ringctl;
use crate::say::{self, Progress};

/// An import that acknowledges nothing for this long is stuck. A failover takes seconds.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// How often we look. It bounds how exactly the longest pause is known.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running import.
pub(crate) struct Import {
    process: Child,
    janitor: Rc<Janitor>,
    begun: Instant,
    total: usize,
    acknowledgements: Acknowledgements,
    errors: PathBuf,
    last_progress: Instant,
    longest_pause: Duration,
    progress: Progress,
}

/// An import that ended well.
pub(crate) struct Done {
    /// Keys, in the order they were acknowledged.
    pub(crate) acknowledged: Vec<String>,
    pub(crate) took: Duration,
    /// The longest time without an acknowledgement.
    pub(crate) longest_pause: Duration,
}

impl Import {
    /// Writes the records to a file and starts `ringctl import` on it.
    pub(crate) fn start(ringctl: &Ringctl, records: &Records, cluster: &Cluster) -> Outcome<Import> {
        let dir = cluster.dir();
        let (input, acked, errors) = (dir.join("records.ndjson"), dir.join("acked"), dir.join("import.log"));
        records.write(&input)?;
        File::create(&acked).context(format!("creating {}", acked.display()))?;
        let log = File::create(&errors).context(format!("creating {}", errors.display()))?;
        let mut command = ringctl.command(&["import"]);
        command.arg(&input).arg("--acked").arg(&acked);
        command.stdout(log.try_clone().context("sharing the log file")?).stderr(log);
        let process = command.spawn().context("cannot start `ringctl import`")?;
        let janitor = cluster.janitor();
        janitor.watch(process.id());
        let now = Instant::now();
        Ok(Import {
            process,
            janitor,
            begun: now,
            total: records.records.len(),
            acknowledgements: Acknowledgements::open(&acked)?,
            errors,
            last_progress: now,
            longest_pause: Duration::ZERO,
            progress: Progress::new(),
        })
    }

    /// Waits until so many records are acknowledged. An import that ends before that was too fast to be disturbed, which
    /// is a failure: the demo would prove nothing.
    pub(crate) fn wait_for(&mut self, count: usize) -> Outcome<usize> {
        loop {
            if self.look()? {
                return fail(format!(
                    "the import ended before anything could be killed in its middle:\n{}",
                    tail(&self.errors)
                ));
            }
            if self.acknowledgements.keys.len() >= count {
                self.progress.pause();
                return Ok(self.acknowledgements.keys.len());
            }
        }
    }

    /// Waits for the import to end well, with more acknowledged than `before`.
    pub(crate) fn finish(mut self, before: usize) -> Outcome<Done> {
        while !self.look()? {}
        let acknowledged = std::mem::take(&mut self.acknowledgements.keys);
        if acknowledged.len() <= before {
            return fail(
                "nothing was acknowledged after the leader was killed: it was not in the middle of the import",
            );
        }
        Ok(Done { acknowledged, took: self.begun.elapsed(), longest_pause: self.longest_pause })
    }

    /// Takes in what is new, and says whether the import has ended well.
    fn look(&mut self) -> Outcome<bool> {
        // First whether it has ended, then what it wrote: nothing is written after the end.
        let ended = self.process.try_wait().context("asking after the import")?;
        if self.acknowledgements.read()? > 0 {
            self.longest_pause = self.longest_pause.max(self.last_progress.elapsed());
            self.last_progress = Instant::now();
        }
        let (count, elapsed) = (self.acknowledgements.keys.len(), self.begun.elapsed());
        let rate = (count as f64 / elapsed.as_secs_f64().max(0.001)) as usize;
        let (count, total, rate) = (say::thousands(count), say::thousands(self.total), say::thousands(rate));
        self.progress.show(&format!("{count} of {total} acknowledged, {rate} a second"));
        match ended {
            Some(status) if status.success() => return Ok(true),
            Some(status) => return fail(format!("the import failed ({status}); it said:\n{}", tail(&self.errors))),
            None => {}
        }
        if self.last_progress.elapsed() > STUCK_AFTER {
            return fail(format!(
                "the import is stuck: nothing was acknowledged for {}; it said:\n{}",
                say::duration(STUCK_AFTER),
                tail(&self.errors)
            ));
        }
        std::thread::sleep(LOOK_EVERY);
        Ok(false)
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        // Only after a failure is it still running.
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.janitor.forget(self.process.id());
    }
}

/// Follows a growing file of JSON strings, one a line.
struct Acknowledgements {
    file: BufReader<File>,
    /// A line that is not yet complete.
    part: Vec<u8>,
    keys: Vec<String>,
}

impl Acknowledgements {
    fn open(file: &Path) -> Outcome<Acknowledgements> {
        let opened = File::open(file).context(format!("opening {}", file.display()))?;
        Ok(Acknowledgements { file: BufReader::new(opened), part: Vec::new(), keys: Vec::new() })
    }

    /// Reads what is new. Returns how many keys that were.
    fn read(&mut self) -> Outcome<usize> {
        let before = self.keys.len();
        while self.file.read_until(b'\n', &mut self.part).context("reading the acknowledged keys")? > 0 {
            if self.part.last() != Some(&b'\n') {
                break; // the rest of this line is still to come
            }
            let line = String::from_utf8_lossy(&self.part);
            match Json::parse(&line).context("reading the acknowledged keys")? {
                Json::String(key) => self.keys.push(key),
                _ => return fail(format!("`ringctl import --acked` wrote a line that is no JSON string: {line}")),
            }
            self.part.clear();
        }
        Ok(self.keys.len() - before)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// The file grows while we read it, and may end in the middle of a line, even of a character.
    #[test]
    fn acknowledgements_are_followed_across_half_written_lines() {
        let path = std::env::temp_dir().join(format!("xtask-acked-{}", std::process::id()));
        let mut writer = File::create(&path).unwrap();
        let mut reader = Acknowledgements::open(&path).unwrap();
        assert_eq!(reader.read(), Ok(0));
        let text = "\"pkg/a\"\n\"pkg/é\"\n".as_bytes();
        let (first, second) = text.split_at(14); // between the two bytes of é
        writer.write_all(first).unwrap();
        assert_eq!(reader.read(), Ok(1));
        writer.write_all(second).unwrap();
        assert_eq!(reader.read(), Ok(1));
        assert_eq!(reader.read(), Ok(0));
        assert_eq!(reader.keys, ["pkg/a", "pkg/é"]);
        writer.write_all(b"17\n").unwrap();
        assert!(reader.read().is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
