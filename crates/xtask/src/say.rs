//! What the person at the terminal sees: headlines, notes, and signs of life during long work.

use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A headline: one per thing that is done or shown.
pub(crate) fn step(text: impl AsRef<str>) {
    println!("\n==> {}", text.as_ref());
}

/// A line below a headline.
pub(crate) fn note(text: impl AsRef<str>) {
    println!("    {}", text.as_ref());
}

/// A number with separators, as in `63,666`.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration as people say it: `850 ms`, `12.3 s`, `4 min 05 s`.
pub(crate) fn duration(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        s => format!("{} min {:02} s", s / 60, s % 60),
    }
}

/// A latency in microseconds, as people read it: `850 µs`, `1.23 ms`, `2.50 s`.
pub(crate) fn latency(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.0} µs"),
        us if us < 10_000.0 => format!("{:.2} ms", us / 1e3),
        us if us < 1_000_000.0 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// Rows of cells, all equally many.
pub(crate) type Table = Vec<Vec<String>>;

/// Prints it. The first column stands left, figures stand right.
pub(crate) fn table(table: &Table) {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    println!();
    for row in table {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        note(cells.join("  ").trim_end());
    }
}

/// A table with these titles and no rows yet.
pub(crate) fn header(titles: &[&str]) -> Table {
    vec![titles.iter().map(|title| (*title).to_owned()).collect()]
}

/// A counter that is rewritten in place on a terminal, and printed every ten seconds where there is none.
pub(crate) struct Progress {
    terminal: bool,
    printed: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress { terminal: stderr().is_terminal(), printed: None }
    }

    pub(crate) fn show(&mut self, text: &str) {
        let pause = if self.terminal { Duration::from_millis(100) } else { Duration::from_secs(10) };
        if self.printed.is_some_and(|printed| printed.elapsed() < pause) {
            return;
        }
        self.printed = Some(Instant::now());
        if self.terminal {
            eprint!("\r\x1b[2K    {text}");
            let _ = stderr().flush();
        } else {
            eprintln!("    {text}");
        }
    }

    /// Clears the line, so that what follows starts at its beginning.
    pub(crate) fn pause(&mut self) {
        if self.terminal && self.printed.is_some() {
            eprint!("\r\x1b[2K");
            let _ = stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.pause();
    }
}

/// Says every minute that something long is still under way. Cargo shows its own bar on a terminal, but in a log it
/// says nothing while RocksDB compiles for a quarter of an hour.
pub(crate) struct StillAtIt {
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl StillAtIt {
    pub(crate) fn start(what: &str) -> StillAtIt {
        if stderr().is_terminal() {
            return StillAtIt { running: None };
        }
        let (stop, stopped) = channel::<()>();
        let what = what.to_string();
        let begun = Instant::now();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("    ... {what}: {} so far", duration(begun.elapsed()));
            }
        });
        StillAtIt { running: Some((stop, thread)) }
    }
}

impl Drop for StillAtIt {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(
            [0, 12, 999, 1000, 63666, 1234567].map(thousands),
            ["0", "12", "999", "1,000", "63,666", "1,234,567"]
        );
        assert_eq!(
            [850, 12_340, 245_000].map(|ms| duration(Duration::from_millis(ms))),
            ["850 ms", "12.3 s", "4 min 05 s"]
        );
    }
}
