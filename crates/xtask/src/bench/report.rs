//! The tables that a person reads.

use super::figures::{Figures, Halves, ratio};
use super::limits::Limit;
use super::rows::{Path, Row};
use super::{Measured, Options};
use crate::say::{self, Table};

pub(crate) fn print(measured: &[Measured], limits: &[Limit], options: &Options) {
    let rounds = if options.rounds == 1 { "one round".into() } else { format!("medians of {} rounds", options.rounds) };
    say::step(format!("what was measured ({rounds}): three nodes, fsync on, 64-byte keys, 256-byte values"));
    if options.quick {
        say::note("--quick: too short to decide anything by");
    }
    say::table(&figures_table(measured));
    say::note("CPU/op: microseconds of all three servers + of the load generator");
    if measured.iter().any(|measured| !measured.peers.is_empty()) {
        say::step("ratios: Ringfence to etcd");
        say::table(&ratio_table(measured));
    }
    if measured.iter().any(|measured| measured.row.workload.starts_with("lock")) {
        say::step("locks: p50 of either half, to that of our own put with as many clients");
        say::table(&halves_table(measured));
    }
    if !limits.is_empty() {
        say::step("the limits of this machine, and how far it is to them");
        say::table(&limits_table(limits));
        say::table(&distance_table(measured, limits));
    }
}

fn figures_table(measured: &[Measured]) -> Table {
    let mut table = say::header(&["row", "ops/s", "p50", "p99", "CPU/op", "errors"]);
    let mut push = |name: String, figures: Option<Figures>| {
        let Some(figures) = figures else { return };
        table.push(vec![
            name,
            say::thousands(figures.ops.round() as usize),
            say::latency(figures.p50_us),
            say::latency(figures.p99_us),
            format!("{:.0} + {:.0} µs", figures.server_us_per_op, figures.client_us_per_op),
            if figures.errors > 0 { figures.errors.to_string() } else { String::new() },
        ]);
    };
    for (place, each) in measured.iter().enumerate() {
        let Row { workload, clients, path } = each.row;
        push(each.row.name(), Figures::median(&each.ours));
        let next = measured.get(place + 1).map(|next| (next.row.workload, next.row.clients));
        if next != Some((workload, clients)) || path == Path::Unary {
            push(format!("{workload}-{clients} etcd"), Figures::median(&each.peers));
        }
    }
    table
}

fn ratio_table(measured: &[Measured]) -> Table {
    let mut table = say::header(&["row", "ops", "p99", "p50", "server CPU/op", "client CPU/op", "goal", ""]);
    for Measured { row, ours, peers } in measured {
        let (Some(ours), Some(peer)) = (Figures::median(ours), Figures::median(peers)) else { continue };
        let of = |figure: fn(&Figures) -> f64| ratio(figure(&ours), figure(&peer));
        let (ops, p99, p50) = (of(|f| f.ops), of(|f| f.p99_us), of(|f| f.p50_us));
        let show = |ratio: Option<f64>| ratio.map_or_else(|| "?".into(), |ratio| format!("{ratio:.2} ×"));
        let goal = row.goal();
        let goals = [
            goal.ops.map(|goal| (format!("ops ≥ {goal} ×"), ops.is_some_and(|ratio| ratio >= goal))),
            goal.p99.map(|goal| (format!("p99 ≤ {goal} ×"), p99.is_some_and(|ratio| ratio <= goal))),
            goal.p50.map(|goal| (format!("p50 ≤ {goal} ×"), p50.is_some_and(|ratio| ratio <= goal))),
        ];
        let goals: Vec<(String, bool)> = goals.into_iter().flatten().collect();
        let missed = goals.iter().filter(|(_, reached)| !reached).map(|(goal, _)| goal.split(' ').next().unwrap_or(""));
        let missed: Vec<&str> = missed.collect();
        table.push(vec![
            row.name(),
            show(ops),
            show(p99),
            show(p50),
            show(of(|f| f.server_us_per_op)),
            show(of(|f| f.client_us_per_op)),
            goals.iter().map(|(goal, _)| goal.as_str()).collect::<Vec<_>>().join(", "),
            if goals.is_empty() { String::new() } else { verdict(&missed) },
        ]);
    }
    table
}

fn verdict(missed: &[&str]) -> String {
    if missed.is_empty() { "reached".into() } else { format!("MISSED: {}", missed.join(", ")) }
}

/// Only rows of one client have a goal: with more, a lock takes as long as others hold it, or the cores.
fn halves_table(measured: &[Measured]) -> Table {
    let mut table = say::header(&["row", "acquire", "release", "put", "acquire/put", "release/put", "goal", ""]);
    for Measured { row, ours, .. } in measured {
        let Some(Halves { acquire_p50_us, release_p50_us }) = Figures::median(ours).and_then(|ours| ours.halves) else {
            continue;
        };
        let is_put = |other: &&Measured| other.row == Row { workload: "put", ..*row };
        let put = measured.iter().find(is_put).and_then(|put| Figures::median(&put.ours)).map(|put| put.p50_us);
        let to_put = |p50_us: f64| put.and_then(|put| ratio(p50_us, put));
        let (acquire, release) = (to_put(acquire_p50_us), to_put(release_p50_us));
        let show = |ratio: Option<f64>| ratio.map_or_else(|| "?".into(), |ratio| format!("{ratio:.2} ×"));
        let goal = row.goal().halves_to_put;
        let missed = |goal: f64| {
            let halves = [("acquire", acquire), ("release", release)];
            let missed = halves.into_iter().filter(|(_, ratio)| ratio.is_none_or(|ratio| ratio > goal));
            missed.map(|(half, _)| half).collect::<Vec<_>>()
        };
        table.push(vec![
            row.name(),
            say::latency(acquire_p50_us),
            say::latency(release_p50_us),
            put.map_or_else(|| "?".into(), say::latency),
            show(acquire),
            show(release),
            goal.map_or_else(String::new, |goal| format!("each ≤ {goal} ×")),
            match goal {
                Some(_) if put.is_none() => "(no put in this run)".into(),
                Some(goal) => verdict(&missed(goal)),
                None => String::new(),
            },
        ]);
    }
    table
}

fn limits_table(limits: &[Limit]) -> Table {
    let mut table = say::header(&["limit", "ops/s", "p50", "p99"]);
    for limit in limits {
        let name = if limit.name.starts_with("echo") {
            format!("{}-{}", limit.name, limit.clients)
        } else {
            limit.name.clone()
        };
        let ops = say::thousands(limit.ops().round() as usize);
        table.push(vec![name, ops, say::latency(limit.p50_us()), say::latency(limit.p99_us())]);
    }
    table
}

/// Gets beside an echo that does nothing, puts beside a RocksDB that does nothing else.
fn distance_table(measured: &[Measured], limits: &[Limit]) -> Table {
    let mut table = say::header(&["row", "of", "limit", "p50 above it"]);
    for Measured { row, ours, .. } in measured {
        let Some(ours) = Figures::median(ours) else { continue };
        let (name, clients) = match (row.workload, row.path) {
            ("get", Path::Sdk) => ("echo-stream", row.clients),
            ("get", Path::Unary) => ("echo-unary", row.clients),
            ("put", _) => ("rocksdb", 1),
            _ => continue,
        };
        let Some(limit) = limits.iter().find(|limit| limit.name == name && limit.clients == clients) else { continue };
        let share = ratio(ours.ops, limit.ops()).map_or_else(|| "?".into(), |share| format!("{:.1} %", share * 100.0));
        table.push(vec![row.name(), share, name.into(), say::latency((ours.p50_us - limit.p50_us()).max(0.0))]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(ops: f64, p99_us: f64) -> Figures {
        Figures {
            ops,
            p50_us: p99_us / 2.0,
            p99_us,
            halves: None,
            server_us_per_op: 10.0,
            client_us_per_op: 5.0,
            server_cores: 1.0,
            client_cores: 0.5,
            errors: 0,
        }
    }

    fn row(name: &str) -> Row {
        Row::all().into_iter().find(|row| row.name() == name).unwrap()
    }

    #[test]
    fn goals_are_judged_by_the_ratios() {
        let verdict = |name: &str, ours: Figures| {
            let measured = [Measured { row: row(name), ours: vec![ours], peers: vec![figures(100.0, 1000.0)] }];
            ratio_table(&measured)[1].last().unwrap().clone()
        };
        assert_eq!(verdict("put-64-sdk", figures(400.0, 500.0)), "reached");
        assert_eq!(verdict("put-64-sdk", figures(399.0, 500.0)), "MISSED: ops");
        assert_eq!(verdict("put-64-sdk", figures(100.0, 900.0)), "MISSED: ops, p99");
        assert_eq!(verdict("put-64-unary", figures(200.0, 1000.0)), "reached");
        assert_eq!(verdict("get-1-sdk", figures(1.0, 600.0)), "reached");
        assert_eq!(verdict("get-1-sdk", figures(1.0, 700.0)), "MISSED: p50");
    }

    /// The peer has no part in this goal.
    #[test]
    fn a_lock_alone_is_judged_by_our_own_put() {
        let lock = |acquire_p50_us: f64, release_p50_us: f64| {
            let halves = Some(Halves { acquire_p50_us, release_p50_us });
            let figures = Figures { halves, ..figures(100.0, 4000.0) };
            Measured { row: row("lock-1-sdk"), ours: vec![figures], peers: vec![] }
        };
        let put = || Measured { row: row("put-1-sdk"), ours: vec![figures(100.0, 2000.0)], peers: vec![] };
        let other = || Measured { row: row("put-1-unary"), ours: vec![figures(100.0, 9000.0)], peers: vec![] };
        let verdict = |measured: &[Measured]| halves_table(measured)[1].last().unwrap().clone();
        assert_eq!(verdict(&[other(), put(), lock(1200.0, 900.0)]), "reached");
        assert_eq!(verdict(&[put(), lock(1201.0, 900.0)]), "MISSED: acquire");
        assert_eq!(verdict(&[put(), lock(1300.0, 1300.0)]), "MISSED: acquire, release");
        assert_eq!(verdict(&[other(), lock(1.0, 1.0)]), "(no put in this run)");
    }

    /// What was measured of the peer once stands in the table once.
    #[test]
    fn a_peer_that_rows_share_is_listed_once() {
        let measured = ["put-64-sdk", "put-64-unary", "put-256-sdk"].map(|name| Measured {
            row: row(name),
            ours: vec![figures(1.0, 1.0)],
            peers: vec![figures(1.0, 1.0)],
        });
        let names: Vec<String> = figures_table(&measured).into_iter().skip(1).map(|row| row[0].clone()).collect();
        assert_eq!(names, ["put-64-sdk", "put-64-unary", "put-64 etcd", "put-256-sdk", "put-256 etcd"]);
    }
}
