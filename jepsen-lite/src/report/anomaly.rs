//! A broken promise: in words, drawn, and as a table. The picture has the operations of the explanation and no
//! others, process by process, on an axis that is stretched where much happens: what counts is what was before what.

use std::collections::{BTreeMap, HashMap};

use jepsen_checkers::{Explanation, Operation, Outcome};

use super::account::{Account, answered, asked, origin, outcome, said};
use super::axis::Axis;
use super::bands::{Band, Bands};
use super::chart::Chart;
use super::figures::{as_told, at, count, counted, lasting};
use super::omitted;
use super::table::Column::{Number, Words};
use super::table::{number, table};
use super::text::{shortened, text_max};
use crate::results::Results;

/// Whose the checks of the cluster itself are.
pub(super) const CLUSTER: &str = "cluster";

/// What one page can take; a shrunk explanation is far below.
const ANOMALIES_MAX: usize = 12;
const DRAWN_MAX: usize = 60;
const ROWS_MAX: usize = 150;
const TOLD_MAX: usize = 6;

/// A bar, and its words above it.
const BAR: u32 = 12;
const ROW: u32 = 30;

/// A character of the words takes so much of the narrowest plot, in percent.
const CHAR_PERCENT: f64 = 6.7 / 620.0 * 100.0;

/// A rule that was broken.
pub(super) struct Anomaly<'a> {
    /// By whom: the name of a workload, or [`CLUSTER`].
    pub(super) workload: &'a str,
    /// The rule as the workload names it.
    rule: &'a str,
    pub(super) explanation: &'a Explanation,
}

/// All of a run.
pub(super) fn all(results: &Results) -> Vec<Anomaly<'_>> {
    let workloads =
        results.workloads.iter().flat_map(|judged| judged.checks.iter().map(|check| (&*judged.name, check)));
    let broken = workloads.chain(results.cluster.iter().map(|check| (CLUSTER, check)));
    let mut anomalies = Vec::new();
    for (workload, check) in broken {
        if let Some(explanation) = check.verdict.violation() {
            anomalies.push(Anomaly { workload, rule: &check.rule, explanation });
        }
    }
    anomalies
}

impl Anomaly<'_> {
    /// Whether this is that one.
    pub(super) fn is(&self, workload: &str, explanation: &Explanation) -> bool {
        self.workload == workload && std::ptr::eq(self.explanation, explanation)
    }

    /// The operation at which it shows. An explanation doesn't point at it, but its headline speaks of it first, by
    /// its process and its time; else it is the last one to be told something, since before that there was nothing to
    /// see.
    pub(super) fn culprit(&self) -> Option<&Operation> {
        let Explanation { headline, operations, .. } = self.explanation;
        let spoken_of = |op: &Operation| {
            headline
                .find(&format!("process {} ", op.process))
                .or_else(|| headline.find(&format!("process {},", op.process)))?;
            let times = [Some(op.start_ns), op.end_ns].into_iter().flatten();
            times.filter_map(|time| headline.find(&format!("at {}", as_told(time)))).min()
        };
        let named = operations.iter().filter_map(|op| Some((spoken_of(op)?, op))).min_by_key(|(place, _)| *place);
        let last = || operations.iter().filter(|op| op.is_ok()).max_by_key(|op| op.end_ns);
        named.map(|(_, op)| op).or_else(last).or(operations.last())
    }
}

pub(super) fn section(anomalies: &[Anomaly<'_>], accounts: &[Account], bands: &Bands<'_>) -> String {
    let mut html = String::new();
    for (number, anomaly) in (1..).zip(anomalies.iter().take(ANOMALIES_MAX)) {
        let account = accounts.iter().find(|account| account.workload == anomaly.workload);
        let known = account.map(Account::by_origin).unwrap_or_default();
        html += &one(number, anomaly, &known, bands);
    }
    html + &omitted::note(anomalies.len().saturating_sub(ANOMALIES_MAX), "more broken rules stand in results.json")
}

fn one(number: usize, anomaly: &Anomaly<'_>, known: &HashMap<(u64, u64), &Operation>, bands: &Bands<'_>) -> String {
    let Explanation { rule, headline, key, operations } = anomaly.explanation;
    let of = key.as_ref().map(|key| format!(", of <code>{}</code>", text_max(key, 120))).unwrap_or_default();
    let mut html = format!(
        "<article class=\"anomaly\" id=\"anomaly-{number}\"><h3>{}: {}</h3><p class=\"headline\">{}</p>\
         <p>The rule: {}{of}. Shown are {} that are enough to see it.</p>\n",
        text_max(anomaly.workload, 80),
        text_max(anomaly.rule, 200),
        text_max(headline, 2_000),
        text_max(rule, 200),
        counted(operations.len(), "operation"),
    );
    if operations.is_empty() {
        return html + "<p>No single operations show it.</p></article>\n";
    }
    html += &meanwhile(operations, bands);
    let culprit = anomaly.culprit().map(|op| op.id);
    html += &picture(number, anomaly, culprit, bands);
    html += &listed(operations, culprit, known);
    html + "</article>\n"
}

/// The faults under which it happened.
fn meanwhile(operations: &[Operation], bands: &Bands<'_>) -> String {
    let from = operations.iter().map(|op| op.start_ns).min().unwrap_or(0);
    let until = operations.iter().filter_map(|op| op.end_ns).max().unwrap_or(from);
    let during = || bands.bands.iter().filter(|band| band.fault.from_ns <= until && band.until_ns >= from);
    let named = |band: &Band<'_>| {
        format!("F{} {} ({})", band.number, text_max(&band.fault.nemesis, 60), text_max(&band.fault.what, 120))
    };
    let told: Vec<String> = during().take(TOLD_MAX).map(named).collect();
    match during().count() {
        0 => format!("<p>From {} to {}; nothing was broken meanwhile.</p>\n", at(from), at(until)),
        all => {
            let more = if all > TOLD_MAX { format!(", and {} more", count(all - TOLD_MAX)) } else { String::new() };
            format!("<p>From {} to {}. Meanwhile: {}{more}.</p>\n", at(from), at(until), told.join(", "))
        }
    }
}

/// The first few and the last, if they are too many: that which shows it is mostly among the last.
fn drawn<'a>(operations: &'a [Operation], culprit: Option<usize>, most: usize) -> Vec<&'a Operation> {
    let first = most / 6;
    let last = most - first;
    let near_an_end = |place: usize| place < first || place + last >= operations.len();
    let few = operations.len() <= most;
    let chosen = |(place, op): &(usize, &'a Operation)| few || near_an_end(*place) || Some(op.id) == culprit;
    operations.iter().enumerate().filter(chosen).map(|(_, op)| op).collect()
}

fn picture(number: usize, anomaly: &Anomaly<'_>, culprit: Option<usize>, bands: &Bands<'_>) -> String {
    let operations = &anomaly.explanation.operations;
    let drawn = drawn(operations, culprit, DRAWN_MAX);
    let axis = Axis::around(drawn.iter().flat_map(|op| [Some(op.start_ns), op.end_ns]).flatten());
    let about = format!("{}: {} by process", anomaly.workload, counted(drawn.len(), "operation"));
    let title = "The operations, by process. Order is exact; the axis is stretched where much happens";
    let mut chart = Chart::new(format!("anomaly-{number}-plot"), title.to_owned(), about, &axis).still();
    bands.draw(&mut chart);
    chart.grow(4);
    let mut processes: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
    for op in &drawn {
        processes.entry(op.process).or_default().push(op);
    }
    // In the order in which they first asked.
    let mut processes: Vec<(u64, Vec<&Operation>)> = processes.into_iter().collect();
    processes.sort_by_key(|(process, operations)| (operations[0].start_ns, *process));
    for (process, operations) in processes {
        rows(&mut chart, process, &operations, culprit);
    }
    let times: Vec<(u64, String)> = axis.knots_apart(11.0).into_iter().map(|ns| (ns, at(ns))).collect();
    chart.ticks(0, &times);
    chart.html() + &omitted::note(operations.len() - drawn.len(), "operations in the middle are not drawn")
}

/// One process: as many rows as its words need.
fn rows(chart: &mut Chart<'_>, process: u64, operations: &[&Operation], culprit: Option<usize>) {
    let axis = chart.axis();
    let mut rows: Vec<f64> = Vec::new();
    let mut placed = Vec::new();
    for op in operations {
        let is_culprit = Some(op.id) == culprit;
        let mut words = shortened(said(op, 26), 56);
        if is_culprit {
            words += "  ◀ here it shows";
        }
        let begin = axis.percent(op.start_ns);
        let long = words.chars().count() as f64 * CHAR_PERCENT;
        // From the bar's beginning to the right; from its end to the left if there is no room.
        let (from, until, anchor) = match begin + long <= 100.0 {
            true => (begin, begin + long, "start"),
            false => (shown_end(op, axis) - long, shown_end(op, axis), "end"),
        };
        let row = rows.iter().position(|taken| *taken + 1.0 <= from.min(begin)).unwrap_or(rows.len());
        let taken = until.max(shown_end(op, axis));
        match rows.get_mut(row) {
            Some(end) => *end = taken,
            None => rows.push(taken),
        }
        placed.push((op, row as u32, words, anchor, is_culprit));
    }
    chart.grow(6);
    let top = chart.grow(rows.len() as u32 * ROW);
    chart.rule(top, "grid");
    chart.name(top + ROW - 7, "name", &format!("process {process}"));
    for (op, row, words, anchor, is_culprit) in placed {
        let y = top + row * ROW;
        let (word, letter) = outcome(op);
        let class = format!("{letter}{}", if is_culprit { " culprit" } else { "" });
        let end = op.ended().unwrap_or(axis.end_ns());
        let told = format!("{word}: {}", said(op, 200));
        let also = format!(" data-op=\"{}\"", op.id);
        chart.bar((op.start_ns, end), (y + 15, BAR), &class, &also, &told);
        let at = if anchor == "end" { end } else { op.start_ns };
        let class = if is_culprit { "said bad" } else { "said" };
        chart.word(at, y + 12, anchor, class, &words);
    }
}

/// Where the bar of an operation ends, in percent: what is unknown never does.
fn shown_end(op: &Operation, axis: &Axis) -> f64 {
    op.ended().map_or(100.0, |end| axis.percent(end))
}

fn listed(operations: &[Operation], culprit: Option<usize>, known: &HashMap<(u64, u64), &Operation>) -> String {
    let shown = drawn(operations, culprit, ROWS_MAX);
    let mut rows = String::new();
    for op in &shown {
        let is_culprit = Some(op.id) == culprit;
        let (class, mark) = if is_culprit { (" class=\"culprit\"", " ◀") } else { ("", "") };
        let (word, letter) = outcome(op);
        let took = match (op.outcome, op.end_ns) {
            (Outcome::Unknown, Some(end)) => format!("given up after {}", lasting(end - op.start_ns)),
            (_, Some(end)) => lasting(end - op.start_ns),
            (_, None) => "no end".to_owned(),
        };
        let also: Vec<String> = [
            op.node.as_ref().map(|node| format!("node {}", shortened(node, 40))),
            op.shard.map(|shard| format!("shard {shard}")),
            op.revision.map(|revision| format!("revision {revision}")),
            op.level.as_ref().map(|level| shortened(level, 40)),
        ]
        .into_iter()
        .flatten()
        .collect();
        // Judging knows the lines of what was judged; the file beside the page also has the faults in it.
        let lines = known.get(&origin(op)).map(|op| match op.end_line {
            Some(end) => format!("{} and {end}", op.line),
            None => op.line.to_string(),
        });
        rows += &format!("<tr{class}><th scope=\"row\">{}{mark}</th>", op.process);
        rows += &format!("<td><code>{}</code></td>", text_max(asked(op, 200), 300));
        rows += &format!("<td><span class=\"sample {letter}\"></span> {word}</td>");
        rows += &format!("<td><code>{}</code></td>", text_max(answered(op, 300), 300));
        rows += &format!("{}{}", number(at(op.start_ns)), number(took));
        rows += &format!("<td>{}</td><td>{}</td></tr>\n", text_max(also.join(", "), 120), lines.unwrap_or_default());
    }
    let columns = [
        Words("process"),
        Words("asked"),
        Words("outcome"),
        Words("answered"),
        Number("at"),
        Number("took"),
        Words("also"),
        Words("lines of the history"),
    ];
    let left_out = operations.len() - shown.len();
    let note = omitted::note(left_out, "operations in the middle are left out; they stand in results.json");
    table("operations", &columns, &rows) + &note
}
