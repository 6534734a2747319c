//! What a person reads, and the same as JSON.

use super::Measured;
use super::memory::{Resident, mib};
use super::row::Row;
use super::verdict::Verdict;
use crate::bench::figures::ratio;
use crate::json::quote;
use crate::say::{self, Table};

pub(crate) fn print(measured: &Measured, verdicts: &[Verdict]) {
    say::step("what was measured: puts through the SDK, three nodes, fsync on, 64-byte keys, 256-byte values");
    say::table(&load_table(measured));
    say::note(
        "latencies: of accepted requests, with their refusals on the way; of the overload the highest of its processes",
    );
    say::note("cores: used by all three servers + by the load generators");
    let all = Row::sum([&measured.capacity, &measured.overload(), &measured.afterwards]);
    for (kind, errors) in &all.errors {
        say::note(format!("{kind}, the first: {}", errors.first));
    }
    say::step("resident memory of each node during the overload, the highest of each time");
    say::table(&memory_table(&measured.memory));
    say::note("growth: the last minute to the first");
    say::step("what is claimed");
    for Verdict { claim, found, holds } in verdicts {
        say::note(format!("{} {claim}", if *holds { "holds:" } else { "FAILS:" }));
        say::note(format!("       {found}"));
    }
}

fn load_table(measured: &Measured) -> Table {
    let mut table = say::header(&["", "clients", "ops/s", "of capacity", "p50", "p99", "longest", "cores", "errors"]);
    let mut push = |name: String, row: &Row| {
        table.push(vec![
            name,
            say::thousands(row.clients),
            say::thousands(row.ops.round() as usize),
            ratio(row.ops, measured.capacity.ops).map_or_else(|| "?".into(), |ratio| format!("{ratio:.2} ×")),
            say::latency(row.p50_us),
            say::latency(row.p99_us),
            say::latency(row.max_us),
            format!("{:.2} + {:.2}", row.server_cores, row.client_cores),
            row.errors_text(),
        ]);
    };
    push("capacity".into(), &measured.capacity);
    push("overload".into(), &measured.overload());
    for (number, row) in (1..).zip(&measured.crowd) {
        push(format!("  process {number}"), row);
    }
    push("  light client".into(), &measured.light);
    push("afterwards".into(), &measured.afterwards);
    table
}

fn memory_table(memory: &[Resident]) -> Table {
    let titles = ["node", "start", "first minute", "first half", "last minute", "end", "highest", "growth"];
    let mut table = say::header(&titles);
    for (node, resident) in (1_u64..).zip(memory) {
        let Resident { start, highest, end, first_minute, first_half, last_minute, by_minute: _ } = resident;
        let mut row = vec![node.to_string()];
        row.extend([start, first_minute, first_half, last_minute, end, highest].map(|bytes| mib(*bytes)));
        row.push(format!("{:.2} ×", resident.growth()));
        table.push(row);
    }
    table
}

/// One object, on one line.
pub(crate) fn json(measured: &Measured, verdicts: &[Verdict]) -> String {
    let of_capacity =
        |row: &Row| ratio(row.ops, measured.capacity.ops).map_or_else(|| "null".into(), |ratio| format!("{ratio:.4}"));
    let overload = measured.overload();
    let crowd: Vec<String> = measured.crowd.iter().map(Row::json).collect();
    let memory: Vec<String> = measured.memory.iter().map(Resident::json).collect();
    let verdict = |verdict: &Verdict| {
        let Verdict { claim, found, holds } = verdict;
        format!("{{\"claim\":{},\"found\":{},\"holds\":{holds}}}", quote(claim), quote(found))
    };
    let verdicts: Vec<String> = verdicts.iter().map(verdict).collect();
    let members = [
        ("minutes", measured.options.minutes.to_string()),
        ("times", measured.options.times.to_string()),
        ("capacity", measured.capacity.json()),
        ("overload", overload.json()),
        ("overload_ratio", of_capacity(&overload)),
        ("processes", format!("[{}]", crowd.join(","))),
        ("light", measured.light.json()),
        ("afterwards", measured.afterwards.json()),
        ("afterwards_ratio", of_capacity(&measured.afterwards)),
        ("memory", format!("[{}]", memory.join(","))),
        ("verdicts", format!("[{}]", verdicts.join(","))),
    ];
    let members = members.map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{judge, tests::measured};
    use super::*;
    use crate::json::Json;

    #[test]
    fn every_figure_is_in_the_json() {
        let measured = measured();
        let text = super::json(&measured, &judge(&measured));
        assert!(!text.contains('\n'));
        let json = Json::parse(&text).unwrap();
        let number = |path: &[&str]| path.iter().try_fold(&json, |json, member| json.get(member)).and_then(Json::f64);
        assert_eq!((number(&["minutes"]), number(&["times"])), (Some(2.0), Some(10.0)));
        assert_eq!((number(&["overload", "ops"]), number(&["overload_ratio"])), (Some(800.0), Some(0.8)));
        assert_eq!((number(&["overload", "clients"]), number(&["light", "clients"])), (Some(513.0), Some(1.0)));
        assert_eq!(number(&["overload", "errors", "OVERLOADED"]), Some(7.0));
        assert_eq!(number(&["afterwards_ratio"]), Some(0.99));
        let lengths = ["processes", "memory", "verdicts"].map(|member| json.list(member).len());
        assert_eq!(lengths, [2, 3, 4]);
        assert_eq!(json.list("memory")[1].get("late_growth").and_then(Json::f64), Some(1.25));
        assert_eq!(json.list("memory")[1].list("by_minute_bytes").len(), 2);
        assert_eq!(json.list("verdicts")[0].get("holds"), Some(&Json::Bool(true)));
    }

    #[test]
    fn each_process_has_its_line_below_the_sum() {
        let names: Vec<String> = load_table(&measured()).into_iter().skip(1).map(|row| row[0].clone()).collect();
        assert_eq!(names, ["capacity", "overload", "  process 1", "  process 2", "  light client", "afterwards"]);
    }
}
