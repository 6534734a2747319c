//! What was measured, one row for each workload and number of clients.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::target::Path;
use crate::workload::Workload;

/// One row. In JSON an object; all numbers are plain, none needs 64 bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What the clients did.
    pub workload: Workload,
    /// How many did it.
    pub clients: usize,
    /// How.
    pub path: Path,
    /// How many keys were drawn from.
    pub keys: usize,
    /// Length of each.
    pub key_bytes: usize,
    /// Length of each value.
    pub value_bytes: usize,
    /// How long it counted.
    pub seconds: f64,
    /// Of how many rounds this is the median, each figure on its own.
    pub rounds: usize,
    /// Operations a second that ended well.
    pub ops: f64,
    /// Half of the latencies were no longer, in microseconds.
    pub p50_us: f64,
    /// 95 of 100.
    pub p95_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1000.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
    /// The p50 of acquiring alone (`lock`, `lock-hot`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acquire_p50_us: Option<f64>,
    /// The p50 of releasing alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_p50_us: Option<f64>,
    /// Compare-and-sets a second that were refused and made again (`cas-hot`).
    pub conflicts: f64,
    /// Operations without a result by kind, over all rounds.
    pub errors: BTreeMap<String, u64>,
    /// Of each kind of error, what the first one said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub error_messages: BTreeMap<String, String>,
    /// CPU that this process used: seconds a second, so 2 is two whole cores.
    pub client_cores: f64,
    /// The same for the server processes, if their numbers were given.
    pub server_cores: Option<f64>,
    /// CPU microseconds of this process for each operation.
    pub client_us_per_op: Option<f64>,
    /// CPU microseconds of the server processes for each operation.
    pub server_us_per_op: Option<f64>,
}

/// Headers of [`Row::cells`].
pub const COLUMNS: &[&str] = &[
    "WORKLOAD",
    "CLIENTS",
    "PATH",
    "OPS/S",
    "P50",
    "P95",
    "P99",
    "P99.9",
    "MAX",
    "CONFLICTS/S",
    "ERRORS",
    "CLIENT CPU/OP",
    "SERVER CPU/OP",
    "P50 OF ACQUIRE + RELEASE",
];

impl Row {
    /// For a table; latencies with their unit.
    pub fn cells(&self) -> Vec<String> {
        vec![
            self.workload.to_string(),
            self.clients.to_string(),
            self.path.name().to_owned(),
            format!("{:>6.0}", self.ops),
            time(self.p50_us),
            time(self.p95_us),
            time(self.p99_us),
            time(self.p999_us),
            time(self.max_us),
            if self.workload == Workload::CasHot { format!("{:.0}", self.conflicts) } else { String::new() },
            self.errors.values().sum::<u64>().to_string(),
            self.client_us_per_op.map(time).unwrap_or_default(),
            self.server_us_per_op.map(time).unwrap_or_default(),
            match (self.acquire_p50_us, self.release_p50_us) {
                (Some(acquire), Some(release)) => format!("{} + {}", time(acquire), time(release)),
                _ => String::new(),
            },
        ]
    }

    /// How many operations got no result.
    pub fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }

    /// The median of several rounds of one row: each figure on its own, errors added up.
    pub fn median(rounds: &[Row]) -> Option<Row> {
        let mut row = rounds.first()?.clone();
        let of = |figure: fn(&Row) -> f64| median(rounds.iter().map(figure).collect());
        let of_some = |figure: fn(&Row) -> Option<f64>| {
            let figures: Vec<f64> = rounds.iter().filter_map(figure).collect();
            (!figures.is_empty()).then(|| median(figures))
        };
        row.rounds = rounds.len();
        row.ops = of(|row| row.ops);
        row.p50_us = of(|row| row.p50_us);
        row.p95_us = of(|row| row.p95_us);
        row.p99_us = of(|row| row.p99_us);
        row.p999_us = of(|row| row.p999_us);
        row.max_us = of(|row| row.max_us);
        row.acquire_p50_us = of_some(|row| row.acquire_p50_us);
        row.release_p50_us = of_some(|row| row.release_p50_us);
        row.conflicts = of(|row| row.conflicts);
        row.client_cores = of(|row| row.client_cores);
        row.server_cores = of_some(|row| row.server_cores);
        row.client_us_per_op = of_some(|row| row.client_us_per_op);
        row.server_us_per_op = of_some(|row| row.server_us_per_op);
        for other in &rounds[1..] {
            for (kind, count) in &other.errors {
                *row.errors.entry(kind.clone()).or_default() += count;
            }
            for (kind, message) in &other.error_messages {
                row.error_messages.entry(kind.clone()).or_insert_with(|| message.clone());
            }
        }
        Some(row)
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len().is_multiple_of(2) { (figures[middle - 1] + figures[middle]) / 2.0 } else { figures[middle] }
}

/// Microseconds for people: three digits or so, and the unit. All equally wide, because rows are printed as they come.
fn time(us: f64) -> String {
    let (figure, unit) = match us {
        us if us < 10.0 => (format!("{us:.1}"), "µs"),
        us if us < 1_000.0 => (format!("{us:.0}"), "µs"),
        us if us < 10_000.0 => (format!("{:.2}", us / 1e3), "ms"),
        us if us < 100_000.0 => (format!("{:.1}", us / 1e3), "ms"),
        us if us < 1_000_000.0 => (format!("{:.0}", us / 1e3), "ms"),
        us => (format!("{:.1}", us / 1e6), "s "),
    };
    format!("{figure:>4} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ops: f64, p99_us: f64, errors: &[(&str, u64)]) -> Row {
        Row {
            workload: Workload::Put,
            clients: 64,
            path: Path::Sdk,
            keys: 1,
            key_bytes: 64,
            value_bytes: 256,
            seconds: 1.0,
            rounds: 1,
            ops,
            p50_us: 1.0,
            p95_us: 1.0,
            p99_us,
            p999_us: 1.0,
            max_us: 1.0,
            acquire_p50_us: None,
            release_p50_us: Some(p99_us),
            conflicts: 0.0,
            errors: errors.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
            error_messages: BTreeMap::new(),
            client_cores: 1.0,
            server_cores: None,
            client_us_per_op: None,
            server_us_per_op: Some(ops),
        }
    }

    /// One slow round must not move a figure, and no error may get lost on the way.
    #[test]
    fn the_median_takes_each_figure_on_its_own_and_adds_up_errors() {
        let rounds = [row(10.0, 900.0, &[("A", 1)]), row(30.0, 100.0, &[]), row(20.0, 200.0, &[("A", 2), ("B", 4)])];
        let median = Row::median(&rounds).unwrap();
        assert_eq!((median.ops, median.p99_us, median.rounds), (20.0, 200.0, 3));
        assert_eq!((median.server_us_per_op, median.server_cores), (Some(20.0), None));
        assert_eq!((median.acquire_p50_us, median.release_p50_us), (None, Some(200.0)));
        assert_eq!(median.errors_total(), 7);
        assert_eq!(Row::median(&rounds[..2]).unwrap().ops, 20.0);
        assert_eq!(Row::median(&[]), None);
    }

    /// Rows of the peer's program are read back by others.
    #[test]
    fn a_row_survives_json_and_fills_every_column() {
        let row = row(1.5, 2.5, &[("A", 1)]);
        let json = serde_json::to_string(&row).unwrap();
        assert!(json.starts_with(r#"{"workload":"put","clients":64,"path":"sdk""#), "{json}");
        assert_eq!(serde_json::from_str::<Row>(&json).unwrap(), row);
        assert_eq!(row.cells().len(), COLUMNS.len());
    }

    #[test]
    fn times_read_well() {
        assert_eq!(
            [0.5, 42.4, 999.9, 1_234.0, 12_340.0, 140_000.0, 2_000_000.0].map(time),
            [" 0.5 µs", "  42 µs", "1000 µs", "1.23 ms", "12.3 ms", " 140 ms", " 2.0 s "]
        );
    }
}
