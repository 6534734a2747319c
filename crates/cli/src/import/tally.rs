//! What became of the records of an import.

use std::time::Duration;

use crate::exit::{Exit, Failure};

/// How many failed records are told one by one.
const EXAMPLES_MAX: usize = 5;

/// Counts, and the first few failures.
#[derive(Debug, Default)]
pub struct Tally {
    /// Records that the cluster has acknowledged.
    pub acknowledged: u64,
    /// With `--if-absent`: records whose key was there already and was left alone.
    pub kept: u64,
    /// Records that certainly were not written.
    pub failed: u64,
    /// Records that may have been written.
    pub unknown: u64,
    /// The first few of the failed and unknown ones.
    pub examples: Vec<String>,
}

impl Tally {
    /// Counts a record that was not acknowledged.
    pub fn not_acknowledged(&mut self, line_number: u64, failure: &Failure) {
        match failure.exit {
            Exit::OutcomeUnknown => self.unknown += 1,
            _ => self.failed += 1,
        }
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("line {line_number}: {}", failure.message));
        }
    }

    /// One line for people.
    pub fn summary(&self, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64();
        let per_second = self.acknowledged as f64 / seconds.max(0.001);
        let mut summary =
            format!("{} records acknowledged in {seconds:.1} s ({per_second:.0} per second)", self.acknowledged);
        let others = [(self.kept, "there already"), (self.failed, "failed"), (self.unknown, "with unknown outcome")];
        for (count, what) in others {
            if count > 0 {
                summary.push_str(&format!(", {count} {what}"));
            }
        }
        summary
    }

    /// How the import ends. A record that may have been written is worth more attention than whatever stopped the import,
    /// and that more than records that certainly were not written.
    pub fn verdict(&self, stopped: Option<Failure>) -> Result<(), Failure> {
        if self.unknown > 0 {
            let message = stopped.map_or("not every record was answered".to_owned(), |failure| failure.message);
            let hint = "import the same file again: writing a record twice does no harm unless others write its key";
            return Err(Failure::new(Exit::OutcomeUnknown, message).hint(hint));
        }
        match stopped {
            Some(failure) => Err(failure),
            None if self.failed == 0 => Ok(()),
            None => Err(Failure::new(Exit::Failed, format!("{} of the records were refused", self.failed))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(tally: &Tally, stopped: Option<Exit>) -> Exit {
        let stopped = stopped.map(|exit| Failure::new(exit, "stopped"));
        tally.verdict(stopped).map_or_else(|failure| failure.exit, |()| Exit::Ok)
    }

    #[test]
    fn one_unknown_outcome_outweighs_what_stopped_us_and_that_any_number_of_refusals() {
        let mut tally = Tally { acknowledged: 10, kept: 3, ..Tally::default() };
        assert_eq!((exit(&tally, None), exit(&tally, Some(Exit::BadUsage))), (Exit::Ok, Exit::BadUsage));
        for line in 0..8 {
            tally.not_acknowledged(line, &Failure::new(Exit::Refused, "no"));
        }
        assert_eq!((exit(&tally, None), exit(&tally, Some(Exit::BadUsage))), (Exit::Failed, Exit::BadUsage));
        tally.not_acknowledged(9, &Failure::new(Exit::OutcomeUnknown, "lost"));
        assert_eq!(
            (exit(&tally, None), exit(&tally, Some(Exit::BadUsage))),
            (Exit::OutcomeUnknown, Exit::OutcomeUnknown)
        );
        assert_eq!((tally.examples.len(), tally.examples[0].as_str()), (EXAMPLES_MAX, "line 0: no"));
        assert_eq!(
            tally.summary(Duration::from_secs(2)),
            "10 records acknowledged in 2.0 s (5 per second), 3 there already, 8 failed, 1 with unknown outcome"
        );
    }
}
