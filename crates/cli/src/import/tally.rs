//! What became of the records of an import.

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

    /// How the import ends, if everything was read. An unknown outcome weighs more than a known failure.
    pub fn verdict(&self) -> Exit {
        match (self.unknown, self.failed) {
            (0, 0) => Exit::Ok,
            (0, _) => Exit::Failed,
            _ => Exit::OutcomeUnknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unknown_outcome_outweighs_any_number_of_failures() {
        let mut tally = Tally { acknowledged: 10, ..Tally::default() };
        assert_eq!(tally.verdict(), Exit::Ok);
        for line in 0..8 {
            tally.not_acknowledged(line, &Failure::new(Exit::Refused, "no"));
        }
        assert_eq!((tally.verdict(), tally.failed), (Exit::Failed, 8));
        tally.not_acknowledged(9, &Failure::new(Exit::OutcomeUnknown, "lost"));
        assert_eq!((tally.verdict(), tally.unknown), (Exit::OutcomeUnknown, 1));
        assert_eq!(tally.examples.len(), EXAMPLES_MAX);
        assert_eq!(tally.examples[0], "line 0: no");
    }
}
