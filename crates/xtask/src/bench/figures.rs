//! What was measured: read from what the load generators print, put together over rounds, written as JSON.

use super::Measured;
use crate::failure::{Context, Outcome, fail};
use crate::json::{Json, quote};

/// One measurement, or the median of several.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    /// Operations a second that ended well.
    pub(crate) ops: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Of rows whose operation is a pair.
    pub(crate) halves: Option<Halves>,
    /// CPU microseconds of the three servers for each operation.
    pub(crate) server_us_per_op: f64,
    /// Of the load generator.
    pub(crate) client_us_per_op: f64,
    /// How many cores the servers kept busy.
    pub(crate) server_cores: f64,
    pub(crate) client_cores: f64,
    /// Operations that got no result.
    pub(crate) errors: u64,
}

/// The p50 of either half of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Halves {
    pub(crate) acquire_p50_us: f64,
    pub(crate) release_p50_us: f64,
}

impl Figures {
    /// Of a line that `ringctl bench` or `bench-etcd` printed.
    pub(crate) fn read(line: &str) -> Outcome<Figures> {
        let json = Json::parse(line).context("reading what a load generator printed")?;
        let number = |member: &str| json.get(member).and_then(Json::f64);
        let errors = match json.get("errors") {
            Some(Json::Object(kinds)) => kinds.values().filter_map(Json::u64).sum(),
            _ => return fail(format!("a load generator printed a row without errors: {line}")),
        };
        let (Some(ops), Some(p50_us), Some(p99_us)) = (number("ops"), number("p50_us"), number("p99_us")) else {
            return fail(format!("a load generator printed a row without figures: {line}"));
        };
        let (Some(server_cores), Some(client_cores)) = (number("server_cores"), number("client_cores")) else {
            return fail(format!("a load generator printed a row without CPU times: {line}"));
        };
        let halves = number("acquire_p50_us").zip(number("release_p50_us"));
        let halves = halves.map(|(acquire_p50_us, release_p50_us)| Halves { acquire_p50_us, release_p50_us });
        let per_op = |cores: f64| if ops > 0.0 { cores * 1e6 / ops } else { 0.0 };
        Ok(Figures {
            ops,
            p50_us,
            p99_us,
            halves,
            server_us_per_op: per_op(server_cores),
            client_us_per_op: per_op(client_cores),
            server_cores,
            client_cores,
            errors,
        })
    }

    /// Each figure on its own; errors add up. `None` of none.
    pub(crate) fn median(rounds: &[Figures]) -> Option<Figures> {
        if rounds.is_empty() {
            return None;
        }
        let of = |figure: fn(&Figures) -> f64| median(rounds.iter().map(figure).collect());
        let halves: Vec<Halves> = rounds.iter().filter_map(|figures| figures.halves).collect();
        let of_half = |half: fn(&Halves) -> f64| median(halves.iter().map(half).collect());
        Some(Figures {
            ops: of(|figures| figures.ops),
            p50_us: of(|figures| figures.p50_us),
            p99_us: of(|figures| figures.p99_us),
            halves: (!halves.is_empty()).then(|| Halves {
                acquire_p50_us: of_half(|halves| halves.acquire_p50_us),
                release_p50_us: of_half(|halves| halves.release_p50_us),
            }),
            server_us_per_op: of(|figures| figures.server_us_per_op),
            client_us_per_op: of(|figures| figures.client_us_per_op),
            server_cores: of(|figures| figures.server_cores),
            client_cores: of(|figures| figures.client_cores),
            errors: rounds.iter().map(|figures| figures.errors).sum(),
        })
    }

    fn json(&self) -> String {
        let halves = self.halves.map_or_else(String::new, |Halves { acquire_p50_us, release_p50_us }| {
            format!("\"acquire_p50_us\":{acquire_p50_us:.1},\"release_p50_us\":{release_p50_us:.1},")
        });
        format!(
            "{{\"ops\":{:.1},\"p50_us\":{:.1},\"p99_us\":{:.1},{halves}\"cpu\":{{\"server_us_per_op\":{:.2},\
             \"client_us_per_op\":{:.2},\"server_cores\":{:.3},\"client_cores\":{:.3}}},\"errors\":{}}}",
            self.ops,
            self.p50_us,
            self.p99_us,
            self.server_us_per_op,
            self.client_us_per_op,
            self.server_cores,
            self.client_cores,
            self.errors
        )
    }
}

/// The middle one, or what lies between the two in the middle. Of at least one.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len().is_multiple_of(2) { (figures[middle - 1] + figures[middle]) / 2.0 } else { figures[middle] }
}

/// How many times `theirs` `ours` is. `None` where there is nothing to compare with.
pub(crate) fn ratio(ours: f64, theirs: f64) -> Option<f64> {
    (theirs > 0.0).then(|| ours / theirs)
}

/// One line: medians of both, and ratios.
pub(crate) fn json(measured: &Measured) -> String {
    let ours = Figures::median(&measured.ours);
    let peer = Figures::median(&measured.peers);
    let compare = |figure: fn(&Figures) -> f64| {
        let ratio = ours.as_ref().zip(peer.as_ref()).and_then(|(ours, peer)| ratio(figure(ours), figure(peer)));
        ratio.map_or_else(|| "null".into(), |ratio| format!("{ratio:.4}"))
    };
    let null_or = |figures: &Option<Figures>| figures.as_ref().map_or_else(|| "null".into(), Figures::json);
    format!(
        "{{\"workload\":{},\"clients\":{},\"path\":{},\"rounds\":{},\"ringfence\":{},\"peer\":{},\"ratio_ops\":{},\
         \"ratio_p99\":{},\"ratio_p50\":{}}}",
        quote(measured.row.workload),
        measured.row.clients,
        quote(measured.row.path.name()),
        measured.ours.len(),
        null_or(&ours),
        null_or(&peer),
        compare(|figures| figures.ops),
        compare(|figures| figures.p99_us),
        compare(|figures| figures.p50_us),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows::Row;

    fn line(ops: f64, p99_us: f64) -> String {
        format!(
            r#"{{"workload":"put","clients":64,"path":"sdk","ops":{ops},"p50_us":1.5,"p99_us":{p99_us},
                "errors":{{"OVERLOADED":2,"UNKNOWN":1}},"client_cores":0.5,"server_cores":1.25}}"#
        )
    }

    #[test]
    fn a_row_of_a_load_generator_is_read_and_half_a_one_refused() {
        let figures = Figures::read(&line(1000.0, 20.0)).unwrap();
        assert_eq!((figures.ops, figures.p99_us, figures.errors), (1000.0, 20.0, 3));
        assert_eq!((figures.server_us_per_op, figures.client_us_per_op), (1250.0, 500.0));
        for missing in ["ops", "p99_us", "errors", "client_cores", "server_cores"] {
            assert!(Figures::read(&line(1.0, 1.0).replace(missing, "other")).is_err(), "{missing}");
        }
        assert!(Figures::read("").is_err());
    }

    #[test]
    fn halves_are_there_where_operations_are_pairs() {
        let pair = |acquire: f64| {
            let halves = format!(r#""acquire_p50_us":{acquire},"release_p50_us":7.5,"errors""#);
            Figures::read(&line(1.0, 1.0).replace("\"errors\"", &halves)).unwrap()
        };
        let median = Figures::median(&[pair(30.0), pair(10.0), pair(20.0)]).unwrap();
        assert_eq!(median.halves, Some(Halves { acquire_p50_us: 20.0, release_p50_us: 7.5 }));
        let json = Json::parse(&median.json()).unwrap();
        assert_eq!(json.get("acquire_p50_us").and_then(Json::f64), Some(20.0));
        assert_eq!(Figures::read(&line(1.0, 1.0)).unwrap().halves, None);
    }

    #[test]
    fn medians_and_ratios_go_into_one_line() {
        let rounds = |figures: &[(f64, f64)]| -> Vec<Figures> {
            figures.iter().map(|(ops, p99)| Figures::read(&line(*ops, *p99)).unwrap()).collect()
        };
        let measured = Measured {
            row: Row::all()[0],
            ours: rounds(&[(400.0, 10.0), (9000.0, 30.0), (300.0, 20.0)]),
            peers: rounds(&[(100.0, 40.0), (100.0, 40.0), (1.0, 40.0)]),
        };
        let json = Json::parse(&json(&measured)).unwrap();
        let number = |path: &[&str]| path.iter().try_fold(&json, |json, member| json.get(member)).and_then(Json::f64);
        assert_eq!(number(&["ratio_ops"]), Some(4.0));
        assert_eq!(number(&["ratio_p99"]), Some(0.5));
        assert_eq!(number(&["ringfence", "ops"]), Some(400.0));
        assert_eq!(number(&["ringfence", "errors"]), Some(9.0), "no error may get lost in a median");
        assert_eq!(number(&["peer", "cpu", "server_cores"]), Some(1.25));
        assert_eq!(json.get("path").and_then(Json::str), Some("sdk"));

        let alone = Measured { peers: Vec::new(), ..measured };
        let json = Json::parse(&super::json(&alone)).unwrap();
        assert_eq!((json.get("peer"), json.get("ratio_ops")), (Some(&Json::Null), Some(&Json::Null)));
    }
}
