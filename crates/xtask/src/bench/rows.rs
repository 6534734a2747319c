//! Which rows there are, and what we want of them.

/// How our operations travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    Sdk,
    Unary,
}

impl Path {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Path::Sdk => "sdk",
            Path::Unary => "unary",
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// As `ringctl bench` calls it.
    pub(crate) workload: &'static str,
    pub(crate) clients: usize,
    pub(crate) path: Path,
}

/// What we want of a row, as ratios to the peer in the same run; or, for locks, to our own put.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Goal {
    /// At least so many times the peer's operations a second.
    pub(crate) ops: Option<f64>,
    /// At most so many times its p99.
    pub(crate) p99: Option<f64>,
    /// At most so many times its p50.
    pub(crate) p50: Option<f64>,
    /// Acquiring and releasing each have a p50 of at most so many times that of our own put, with as many clients over the same path.
    pub(crate) halves_to_put: Option<f64>,
}

const CELLS: [(&str, usize); 13] = [
    ("put", 1),
    ("put", 64),
    ("put", 256),
    ("get", 1),
    ("get", 64),
    ("get", 256),
    ("cas-many", 64),
    ("cas-hot", 64),
    ("mixed-50", 64),
    ("mixed-95", 64),
    ("lock", 1),
    ("lock", 64),
    ("lock-hot", 16),
];

impl Row {
    /// Every row, those of one workload and number of clients together.
    pub(crate) fn all() -> Vec<Row> {
        let paths = [Path::Sdk, Path::Unary];
        CELLS
            .iter()
            .flat_map(|(workload, clients)| paths.map(|path| Row { workload, clients: *clients, path }))
            .collect()
    }

    /// `put-64-sdk`.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}-{}", self.workload, self.clients, self.path.name())
    }

    /// One client alone is about latency, many are about rate.
    pub(crate) fn goal(&self) -> Goal {
        let sdk = self.path == Path::Sdk;
        if self.workload.starts_with("lock") {
            // A lock is a kind of write: alone it should cost one. Of many only the rate is judged, through the SDK.
            return Goal {
                ops: match (self.workload, self.clients) {
                    (_, 1) => None,
                    ("lock-hot", _) => sdk.then_some(5.0),
                    _ => sdk.then_some(4.0),
                },
                halves_to_put: (self.clients == 1).then_some(1.2),
                ..Goal::default()
            };
        }
        if self.clients == 1 {
            let p50 = match (self.workload, sdk) {
                ("get", true) => 0.6,
                _ => 0.8,
            };
            return Goal { p50: Some(p50), ..Goal::default() };
        }
        let ops = match (self.workload, self.clients, sdk) {
            ("put", 64, true) => Some(4.0),
            ("put", _, true) => Some(5.0),
            ("put", _, false) => Some(2.0),
            ("get", _, true) => Some(6.0),
            ("get", _, false) => Some(1.3),
            ("cas-many", _, true) => Some(4.0),
            ("cas-hot", _, true) => Some(3.0),
            ("cas-many" | "cas-hot", _, false) => Some(1.5),
            _ => None,
        };
        Goal { ops, p99: Some(if sdk { 0.5 } else { 1.0 }), ..Goal::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_rows_have_goals() {
        let names: std::collections::BTreeSet<String> = Row::all().iter().map(Row::name).collect();
        assert_eq!(names.len(), 26);
        let without: Vec<String> =
            Row::all().iter().filter(|row| row.goal() == Goal::default()).map(Row::name).collect();
        assert_eq!(without, ["lock-64-unary", "lock-hot-16-unary"]);
    }
}
