//! What each client did, operation by operation. Where one process ends (who doesn't know what became of its request
//! goes on under a new name) and another begins, they share a lane.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use jepsen_checkers::Operation;

use super::account::{Account, given_up_ns, origin, outcome, said};
use super::anomaly::Anomaly;
use super::axis::Axis;
use super::bands::Bands;
use super::chart::Chart;
use super::figures::{at, count, counted, lasting};
use super::lanes::{self, Life};
use super::omitted;
use super::text::text_max;

/// Operations on the page, all workloads together: about 200 bytes each.
const OPERATIONS_MAX: usize = 5_000;

/// Beyond this many lanes a picture is none.
const LANES_MAX: usize = 64;

const LANE: u32 = 16;

pub(super) fn section(accounts: &[Account], bands: &Bands<'_>, anomalies: &[Anomaly<'_>]) -> String {
    let asked = accounts.iter().filter(|account| !account.operations.is_empty()).count();
    if asked == 0 {
        return "<p>Nothing was asked.</p>\n".to_owned();
    }
    let sample = |class: &str, word: &str| format!("<span class=\"sample {class}\"></span> {word}");
    let [ok, refused, unknown] = [("o", "ok"), ("f", "refused"), ("u", "unknown (until the client gave up)")]
        .map(|(class, word)| sample(class, word));
    let hit = match anomalies.is_empty() {
        true => String::new(),
        false => sample("o hit", "part of <a href=\"#anomalies\">what went wrong</a>"),
    };
    let mut html = format!("<p class=\"legend\">A bar from asking to answer: {ok} {refused} {unknown} {hit}</p>\n");
    for (number, account) in (1..).zip(accounts) {
        if !account.operations.is_empty() {
            html += &workload(number, account, bands, anomalies, OPERATIONS_MAX / asked);
        }
    }
    html
}

fn workload(
    number: usize,
    account: &Account,
    bands: &Bands<'_>,
    anomalies: &[Anomaly<'_>],
    operations_max: usize,
) -> String {
    let all = &account.operations;
    let hits: HashSet<(u64, u64)> = anomalies
        .iter()
        .filter(|anomaly| anomaly.workload == account.workload)
        .flat_map(|anomaly| anomaly.explanation.operations.iter().map(origin))
        .collect();
    let (around, why) = interesting(account, bands, anomalies);
    let window = window(all, around, operations_max);
    let shown = &all[window.clone()];
    let end_of_all = bands.axis.end_ns();
    let whole = shown.len() == all.len();
    let own = span(shown, end_of_all);
    let axis = if whole { bands.axis.clone() } else { Axis::even(own.0, own.1) };
    let note = match whole {
        true => String::new(),
        false => {
            let drawn = format!("{} of {}", count(shown.len()), counted(all.len(), "operation"));
            let (first, last) = (at(own.0), at(shown.last().map_or(0, |op| op.start_ns)));
            let file = text_max(format_args!("history-{}.jsonl", account.workload), 120);
            format!(
                "<p class=\"left-out\">Drawn are {drawn}: those asked for from {first} to {last}, {why}. \
                 The others stand in {file}.</p>\n"
            )
        }
    };
    let about = format!("{}: {} by process", account.workload, counted(shown.len(), "operation"));
    let title = format!("{}: {} by process", account.workload, counted(shown.len(), "operation"));
    let mut chart = Chart::new(format!("timeline-{number}"), title, about, &axis).with_operations();
    bands.draw(&mut chart);
    let left_out = processes(&mut chart, shown, &hits, end_of_all);
    chart.times(0);
    let left_out = omitted::note(left_out, "operations of the processes with the latest beginnings are left out");
    format!("<h3>{}</h3>\n{note}{}{left_out}\n", text_max(&account.workload, 80), chart.html())
}

/// Draws them, and says how many had no place.
fn processes(chart: &mut Chart<'_>, shown: &[Operation], hits: &HashSet<(u64, u64)>, end_of_all: u64) -> usize {
    let mut lives: BTreeMap<u64, Life> = BTreeMap::new();
    for op in shown {
        let (from_ns, until_ns) = (op.start_ns, given_up_ns(op, end_of_all));
        let life = lives.entry(op.process).or_insert(Life { from_ns, until_ns, retired: false });
        *life = Life { from_ns: life.from_ns, until_ns, retired: op.is_unknown() };
    }
    let mut by_begin: Vec<(u64, Life)> = lives.into_iter().collect();
    by_begin.sort_by_key(|(process, life)| (life.from_ns, *process));
    let lives: Vec<Life> = by_begin.iter().map(|(_, life)| *life).collect();
    let (places, lanes) = lanes::of_processes(&lives);
    let lane_of: BTreeMap<u64, usize> = by_begin.iter().map(|(process, _)| *process).zip(places).collect();
    let mut names: Vec<Vec<u64>> = vec![Vec::new(); lanes];
    for (process, _) in &by_begin {
        names[lane_of[process]].push(*process);
    }
    chart.grow(4);
    let top = chart.grow(lanes.min(LANES_MAX) as u32 * LANE);
    for (lane, names) in (0..).zip(names.iter().take(LANES_MAX)) {
        let y = top + lane * LANE;
        chart.rule(y + LANE / 2, "grid");
        let more = if names.len() > 1 { format!(" +{}", names.len() - 1) } else { String::new() };
        chart.name(y + 12, "name", &format!("process {}{more}", names[0]));
    }
    let mut left_out = 0;
    for op in shown {
        let lane = lane_of[&op.process];
        if lane >= LANES_MAX {
            left_out += 1;
            continue;
        }
        let (_, letter) = outcome(op);
        let until = given_up_ns(op, end_of_all);
        let hit = if hits.contains(&origin(op)) { " hit" } else { "" };
        let told = format!("{}: {}, {} +{}", op.process, said(op, 40), at(op.start_ns), lasting(until - op.start_ns));
        chart.bar((op.start_ns, until), (top + lane as u32 * LANE + 2, LANE - 4), &format!("{letter}{hit}"), "", &told);
    }
    left_out
}

/// Which moment to show if not all can be shown, and why.
fn interesting(account: &Account, bands: &Bands<'_>, anomalies: &[Anomaly<'_>]) -> (u64, &'static str) {
    let anomaly = anomalies.iter().find(|anomaly| anomaly.workload == account.workload);
    if let Some(culprit) = anomaly.and_then(Anomaly::culprit) {
        return (culprit.end_ns.unwrap_or(culprit.start_ns), "around what went wrong");
    }
    match bands.bands.iter().find(|band| band.fault.bites > 0) {
        Some(band) => (band.fault.from_ns, "around the first fault that bit"),
        None => (bands.axis.begin_ns(), "from the beginning on"),
    }
}

/// So many operations around a moment.
fn window(all: &[Operation], around_ns: u64, most: usize) -> Range<usize> {
    let middle = all.partition_point(|op| op.start_ns < around_ns);
    let from = middle.saturating_sub(most / 2).min(all.len().saturating_sub(most));
    from..all.len().min(from + most)
}

/// From the first asking to the last end; one that goes on for long is cut off.
fn span(shown: &[Operation], end_of_all: u64) -> (u64, u64) {
    let from = shown.first().map_or(0, |op| op.start_ns);
    let last = shown.last().map_or(0, |op| op.start_ns);
    let until = shown.iter().map(|op| given_up_ns(op, end_of_all)).max().unwrap_or(0);
    (from, until.min(last + (last - from) / 20).max(from + 1_000))
}

#[cfg(test)]
mod tests {
    use jepsen_checkers::{Event, Kind};

    use super::*;

    #[test]
    fn a_window_lies_around_its_moment_and_within_the_history() {
        let events: Vec<Event> = (0..1_000)
            .flat_map(|n| [Event::new(10 * n, 0, Kind::Invoke, "read"), Event::new(10 * n + 5, 0, Kind::Ok, "read")])
            .collect();
        let account = Account::new("w", &events);
        assert_eq!(window(&account.operations, 5_000, 100), 450..550);
        assert_eq!(window(&account.operations, 0, 100), 0..100);
        assert_eq!(window(&account.operations, u64::MAX, 100), 900..1_000);
        assert_eq!(window(&account.operations, 0, 5_000), 0..1_000);
    }
}
