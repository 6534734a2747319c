//! How long operations took, and how many there were in a second, workload by workload.

use std::collections::BTreeSet;
use std::ops::Range;

use jepsen_checkers::{Operation, Outcome};

use super::account::Account;
use super::axis::{Axis, step};
use super::bands::Bands;
use super::chart::{Chart, units};
use super::figures::{count, counted, lasting, percentile};
use super::omitted;
use super::text::text_max;

/// Dots on the page, all workloads together. Of those that would cover each other one is drawn; the bound is for the
/// rest.
const DOTS_MAX: usize = 40_000;

/// So few may be larger, and so many must be smaller.
const FEW: usize = 200;
const MANY: usize = 1_000;

/// Dots closer than this, in units and in pixels down, cover each other.
const DOT_WIDE: f64 = 120.0;
const DOT_HIGH: f64 = 1.5;

const LATENCY_HIGH: u32 = 170;
const RATE_HIGH: u32 = 80;

/// Of fewer in a step a percentile says nothing that their dots don't.
const TELLING: usize = 10;

/// At most so many steps of a line.
const BUCKETS_MAX: u64 = 120;

const SECOND: u64 = 1_000_000_000;

pub(super) fn section(accounts: &[Account], bands: &Bands<'_>) -> String {
    let mut html = legend();
    let dots_max = DOTS_MAX / accounts.len().max(1);
    for (number, account) in (1..).zip(accounts) {
        html += &format!("<h3>{}</h3>\n", text_max(&account.workload, 80));
        html += &match (&account.malformed, account.operations.is_empty()) {
            (Some(problem), _) => {
                format!("<p class=\"bad\">Its history is malformed: {}</p>\n", text_max(problem, 400))
            }
            (None, true) => "<p>Nothing was asked.</p>\n".to_owned(),
            (None, false) => workload(number, account, bands, dots_max),
        };
    }
    html
}

/// What the signs mean; colours never say it alone.
fn legend() -> String {
    let sign = |class: &str, d: &str, word: &str| {
        let drawn =
            format!("<svg width=\"26\" height=\"14\" aria-hidden=\"true\"><path class=\"{class}\" d=\"{d}\"/></svg>");
        format!("<li>{drawn}{word}</li>")
    };
    let signs = [
        sign("dots o", "M8 7h0M18 7h0", "ok (a dot)"),
        sign("dots f", "M8 7h0M18 7h0", "refused: certainly did not happen (a square)"),
        sign("dots u", "M8 2v10M18 2v10", "unknown: may have happened (an upright line, when the client gave up)"),
        sign("line p50", "M1 7H25", "half of what was ok was faster (p50)"),
        sign("line p95", "M1 7H25", "95 % (p95)"),
        sign("line p99", "M1 7H25", "99 % (p99)"),
    ];
    format!(
        "<ul class=\"legend\">{}<li><span class=\"swatch n0\"></span>a fault, by its number in the \
         <a href=\"#faults\">table</a>; hollow if it did not bite</li></ul>\n",
        signs.concat()
    )
}

fn workload(number: usize, account: &Account, bands: &Bands<'_>, dots_max: usize) -> String {
    let axis = &bands.axis;
    let of = |outcome| account.operations.iter().filter(move |op| op.outcome == outcome);
    let mut took: Vec<u64> = of(Outcome::Ok).filter_map(latency).collect();
    took.sort_unstable();
    let summary = match (percentile(&took, 50), percentile(&took, 95), percentile(&took, 99), took.last()) {
        (Some(p50), Some(p95), Some(p99), Some(max)) => {
            let [p50, p95, p99, max] = [p50, p95, p99, *max].map(lasting);
            format!("ok: p50 {p50}, p95 {p95}, p99 {p99}, longest {max}")
        }
        _ => "nothing was ok".to_owned(),
    };
    let about = format!(
        "{}: {} ok, {} refused, {} unknown, under {}",
        account.workload,
        count(took.len()),
        count(of(Outcome::Fail).count()),
        count(of(Outcome::Unknown).count()),
        counted(bands.bands.len(), "fault")
    );
    let title =
        format!("{}: latency (log scale), and operations that ended in each second. {summary}", account.workload);
    let mut chart = Chart::new(format!("plot-{number}"), title, about, axis);
    bands.draw(&mut chart);
    let left_out = latencies(&mut chart, account, dots_max);
    rates(&mut chart, account);
    chart.times(0);
    chart.html() + &omitted::note(left_out, "dots too many for this page are left out; lines and numbers count all")
}

fn latency(op: &Operation) -> Option<u64> {
    Some((op.end_ns? - op.start_ns).max(1_000))
}

/// A log scale.
struct Log {
    low: f64,
    high: f64,
    top: u32,
}

impl Log {
    fn y(&self, ns: u64) -> f64 {
        let part = ((ns as f64).log10() - self.low) / (self.high - self.low);
        f64::from(self.top) + (1.0 - part.clamp(0.0, 1.0)) * f64::from(LATENCY_HIGH)
    }
}

/// Draws them, and says how many dots were too many.
fn latencies(chart: &mut Chart<'_>, account: &Account, dots_max: usize) -> usize {
    let all = || account.operations.iter().filter_map(latency);
    let (least, most) = (all().min().unwrap_or(100_000), all().max().unwrap_or(1_000_000));
    chart.grow(8);
    let top = chart.grow(LATENCY_HIGH + 6);
    let low = (least as f64).log10().floor();
    let scale = Log { low, high: (most as f64).log10().ceil().max(low + 1.0), top };
    for decade in scale.low as u32..=scale.high as u32 {
        let ns = 10u64.pow(decade);
        let y = scale.y(ns).round() as u32;
        chart.rule(y, "grid");
        let name = lasting(ns).replace(".00", "").replace(".0", "");
        chart.name(y + 4, "tick", &name);
    }
    let mut left_out = 0;
    for (outcome, class) in [(Outcome::Ok, "o"), (Outcome::Fail, "f"), (Outcome::Unknown, "u")] {
        let mut cells = BTreeSet::new();
        for op in account.operations.iter().filter(|op| op.outcome == outcome) {
            let Some(took) = latency(op) else { continue };
            let (x, y) = (chart.axis().x(op.start_ns), scale.y(took));
            cells.insert(((x / DOT_WIDE) as u32, (y / DOT_HIGH) as u32));
        }
        // What is rare is drawn whole; of the rest every so many-th.
        let each = cells.len().div_ceil(dots_max.max(1)).max(1);
        let drawn = cells.len().div_ceil(each);
        left_out += cells.len() - drawn;
        let mut dots = String::new();
        for (column, row) in cells.into_iter().step_by(each) {
            let (x, y) = ((f64::from(column) + 0.5) * DOT_WIDE, (f64::from(row) + 0.5) * DOT_HIGH);
            dots += &match outcome {
                Outcome::Unknown => format!("M{} {}v10", units(x), units(y - 5.0)),
                _ => format!("M{} {}h0", units(x), units(y)),
            };
        }
        if !dots.is_empty() {
            let size = match drawn {
                0..FEW => " few",
                FEW..MANY => "",
                _ => " many",
            };
            chart.shape(&format!("<path class=\"dots {class}{size}\" d=\"{dots}\"/>"));
        }
    }
    percentiles(chart, account, &scale);
    left_out
}

fn percentiles(chart: &mut Chart<'_>, account: &Account, scale: &Log) {
    let buckets = buckets(chart.axis());
    let mut took: Vec<Vec<u64>> = buckets.iter().map(|_| Vec::new()).collect();
    for op in account.operations.iter().filter(|op| op.is_ok()) {
        if let (Some(latency), Some(bucket)) = (latency(op), bucket(&buckets, op.start_ns)) {
            took[bucket].push(latency);
        }
    }
    took.iter_mut().for_each(|took| took.sort_unstable());
    for percent in [50, 95, 99] {
        let mut line = String::new();
        let mut open = false;
        for (bucket, took) in buckets.iter().zip(&took) {
            let Some(ns) = percentile(took, percent).filter(|_| took.len() >= TELLING) else {
                open = false;
                continue;
            };
            let (from, until) = (units(chart.axis().x(bucket.start)), units(chart.axis().x(bucket.end)));
            let y = units(scale.y(ns));
            line += &format!("{}{from} {y}H{until}", if open { "L" } else { "M" });
            open = true;
        }
        chart.shape(&format!("<path class=\"line p{percent}\" d=\"{line}\"/>"));
    }
}

/// How many ended in each second: ok as an area, the others as lines.
fn rates(chart: &mut Chart<'_>, account: &Account) {
    let buckets = buckets(chart.axis());
    let rate = |outcome| {
        let mut ended = vec![0u64; buckets.len()];
        for op in account.operations.iter().filter(|op| op.outcome == outcome) {
            if let Some(bucket) = op.end_ns.and_then(|end| bucket(&buckets, end)) {
                ended[bucket] += 1;
            }
        }
        let seconds = |bucket: &Range<u64>| (bucket.end - bucket.start) as f64 / SECOND as f64;
        buckets.iter().zip(ended).map(|(bucket, ended)| ended as f64 / seconds(bucket)).collect::<Vec<f64>>()
    };
    let rates = [Outcome::Ok, Outcome::Fail, Outcome::Unknown].map(rate);
    let most = rates.iter().flatten().fold(1.0, |most: f64, rate| most.max(*rate));
    let high = step(most / 2.0) * 2;
    chart.grow(20);
    let top = chart.grow(RATE_HIGH);
    let bottom = top + RATE_HIGH;
    for part in 0..=2 {
        let y = bottom - part as u32 * RATE_HIGH / 2;
        chart.rule(y, "grid");
        let unit = if part == 2 { " /s" } else { "" };
        chart.name(y + 4, "tick", &format!("{}{unit}", count((high * part / 2) as usize)));
    }
    for (rates, class) in rates.iter().zip(["o", "f", "u"]) {
        if class != "o" && rates.iter().all(|rate| *rate == 0.0) {
            continue;
        }
        let mut line = String::new();
        for (bucket, rate) in buckets.iter().zip(rates) {
            let y = f64::from(bottom) - rate / high as f64 * f64::from(RATE_HIGH);
            let (from, until) = (units(chart.axis().x(bucket.start)), units(chart.axis().x(bucket.end)));
            line += &format!("{}{from} {}H{until}", if line.is_empty() { "M" } else { "L" }, units(y));
        }
        if class == "o" {
            chart.shape(&format!("<path class=\"area o\" d=\"{line}V{bottom}H0z\"/>"));
        }
        chart.shape(&format!("<path class=\"line {class}\" d=\"{line}\"/>"));
    }
}

/// Seconds, or as many at a time as it takes for a line to stay a line. The last one may be shorter, but no sliver.
fn buckets(axis: &Axis) -> Vec<Range<u64>> {
    let (from, until) = (axis.begin_ns(), axis.end_ns());
    let width = (until - from).div_ceil(BUCKETS_MAX * SECOND).max(1) * SECOND;
    let mut buckets: Vec<Range<u64>> = Vec::new();
    let mut start = from;
    while start < until {
        let end = (start + width).min(until);
        match buckets.last_mut() {
            Some(last) if end - start < width / 2 => last.end = end,
            _ => buckets.push(start..end),
        }
        start = end;
    }
    buckets
}

fn bucket(buckets: &[Range<u64>], ns: u64) -> Option<usize> {
    let after = buckets.partition_point(|bucket| bucket.start <= ns);
    (after > 0).then(|| after - 1)
}
