//! What load generators print.

use std::collections::BTreeMap;

use crate::failure::{Context, Failure, Outcome, fail};
use crate::json::{Json, quote};

/// The one kind of error that an overload may cause. Through the SDK it means: refused until the deadline, nothing happened.
const OVERLOADED: &str = "OVERLOADED";

/// What one load generator measured, or several side by side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) clients: usize,
    /// Operations a second that ended well.
    pub(crate) ops: f64,
    /// Latencies are those of operations that ended well.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
    /// Operations that got no result, by kind.
    pub(crate) errors: BTreeMap<String, Errors>,
    /// How many cores the three servers kept busy.
    pub(crate) server_cores: f64,
    pub(crate) client_cores: f64,
}

/// Errors of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Errors {
    pub(crate) count: u64,
    /// What the first of them said.
    pub(crate) first: String,
}

impl Row {
    /// Of a line that `ringctl bench` printed.
    pub(crate) fn read(line: &str) -> Outcome<Row> {
        let json = Json::parse(line).context("reading what a load generator printed")?;
        let number = |member: &str| match json.get(member).and_then(Json::f64) {
            Some(number) => Ok(number),
            None => fail(format!("a load generator printed a row without {member}: {line}")),
        };
        let Some(Json::Object(errors)) = json.get("errors") else {
            return fail(format!("a load generator printed a row without errors: {line}"));
        };
        let of_kind = |kind: &str, count: &Json| {
            let first = json.get("error_messages").and_then(|messages| messages.get(kind)).and_then(Json::str);
            Some((kind.to_owned(), Errors { count: count.u64()?, first: first.unwrap_or_default().to_owned() }))
        };
        let errors: Option<BTreeMap<_, _>> = errors.iter().map(|(kind, count)| of_kind(kind, count)).collect();
        Ok(Row {
            clients: number("clients")? as usize,
            ops: number("ops")?,
            p50_us: number("p50_us")?,
            p99_us: number("p99_us")?,
            max_us: number("max_us")?,
            errors: errors.ok_or_else(|| Failure(format!("a load generator can't count its errors: {line}")))?,
            server_cores: number("server_cores")?,
            client_cores: number("client_cores")?,
        })
    }

    /// Of load generators that ran side by side. Clients, rates, errors and the generators' CPU add up. Percentiles don't:
    /// they are the highest of any, and so is the servers' CPU, which is the same that all of them saw.
    pub(crate) fn sum<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Row {
        let none = Row {
            clients: 0,
            ops: 0.0,
            p50_us: 0.0,
            p99_us: 0.0,
            max_us: 0.0,
            errors: BTreeMap::new(),
            server_cores: 0.0,
            client_cores: 0.0,
        };
        rows.into_iter().fold(none, |mut sum, row| {
            for (kind, Errors { count, first }) in &row.errors {
                let of_kind = sum.errors.entry(kind.clone());
                of_kind.or_insert_with(|| Errors { count: 0, first: first.clone() }).count += count;
            }
            Row {
                clients: sum.clients + row.clients,
                ops: sum.ops + row.ops,
                p50_us: sum.p50_us.max(row.p50_us),
                p99_us: sum.p99_us.max(row.p99_us),
                max_us: sum.max_us.max(row.max_us),
                errors: sum.errors,
                server_cores: sum.server_cores.max(row.server_cores),
                client_cores: sum.client_cores + row.client_cores,
            }
        })
    }

    /// Whether nothing went wrong but that there was too much of it.
    pub(crate) fn only_overloaded(&self) -> bool {
        self.errors.keys().all(|kind| kind == OVERLOADED)
    }

    /// `OVERLOADED 12, NO_ANSWER 1`.
    pub(crate) fn errors_text(&self) -> String {
        let kinds: Vec<String> = self.errors.iter().map(|(kind, errors)| format!("{kind} {}", errors.count)).collect();
        if kinds.is_empty() { "none".into() } else { kinds.join(", ") }
    }

    pub(crate) fn json(&self) -> String {
        let members = |value: fn(&Errors) -> String| {
            let members: Vec<String> =
                self.errors.iter().map(|(kind, errors)| format!("{}:{}", quote(kind), value(errors))).collect();
            members.join(",")
        };
        format!(
            "{{\"clients\":{},\"ops\":{:.1},\"p50_us\":{:.1},\"p99_us\":{:.1},\"max_us\":{:.1},\"errors\":{{{}}},\
             \"error_messages\":{{{}}},\"server_cores\":{:.3},\"client_cores\":{:.3}}}",
            self.clients,
            self.ops,
            self.p50_us,
            self.p99_us,
            self.max_us,
            members(|errors| errors.count.to_string()),
            members(|errors| quote(&errors.first)),
            self.server_cores,
            self.client_cores
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(ops: f64, p99_us: f64, errors: &[(&str, u64)]) -> Row {
        Row {
            clients: 256,
            ops,
            p50_us: p99_us / 2.0,
            p99_us,
            max_us: p99_us * 2.0,
            errors: errors
                .iter()
                .map(|(kind, count)| ((*kind).to_owned(), Errors { count: *count, first: format!("{kind} first") }))
                .collect(),
            server_cores: 1.25,
            client_cores: 0.5,
        }
    }

    /// As `ringctl bench -w ndjson` prints it, shortened.
    const LINE: &str = r#"{"workload":"put","clients":512,"path":"sdk","ops":1234.5,"p50_us":1.5,"p95_us":2.0,"p99_us":20.5,
        "max_us":99.0,"errors":{"OVERLOADED":2,"UNKNOWN":1},
        "error_messages":{"UNKNOWN":"the \"answer\" was lost"},"client_cores":0.5,"server_cores":1.25}"#;

    #[test]
    fn a_row_of_a_load_generator_is_read_and_half_a_one_refused() {
        let row = Row::read(LINE).unwrap();
        assert_eq!((row.clients, row.ops, row.p99_us, row.max_us), (512, 1234.5, 20.5, 99.0));
        assert_eq!(row.errors_text(), "OVERLOADED 2, UNKNOWN 1");
        assert_eq!(row.errors["UNKNOWN"].first, "the \"answer\" was lost");
        assert_eq!(Row::read(&row.json()), Ok(row), "what we write is what we read");
        for missing in ["clients", "ops", "p50_us", "p99_us", "max_us", "errors", "client_cores", "server_cores"] {
            let line = LINE.replace(&format!("\"{missing}\""), "\"other\"");
            assert!(Row::read(&line).is_err(), "{missing}");
        }
        assert!(Row::read("").is_err());
    }

    #[test]
    fn rates_and_errors_add_up_and_percentiles_are_the_highest() {
        let rows = [row(100.0, 40.0, &[("A", 1)]), row(30.0, 90.0, &[("A", 2), ("B", 4)])];
        let sum = Row::sum(&rows);
        assert_eq!((sum.clients, sum.ops, sum.p50_us, sum.p99_us, sum.max_us), (512, 130.0, 45.0, 90.0, 180.0));
        assert_eq!(sum.errors_text(), "A 3, B 4");
        assert_eq!((sum.server_cores, sum.client_cores), (1.25, 1.0));
    }

    #[test]
    fn only_refusals_are_forgiven() {
        assert!(row(1.0, 1.0, &[]).only_overloaded());
        assert!(row(1.0, 1.0, &[("OVERLOADED", 7)]).only_overloaded());
        assert!(!row(1.0, 1.0, &[("OVERLOADED", 7), ("OUTCOME_UNKNOWN", 1)]).only_overloaded());
    }
}
