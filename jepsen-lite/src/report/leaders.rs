//! Which node led which shard, as the harness's eyes saw it: they look at every node some times a second, past all
//! faults.
//!
//! A node that is silent may go on to lead, or not: nobody sees it. Its bars go on, thin, until it says something else.

use std::collections::{BTreeMap, BTreeSet};

use super::bands::Bands;
use super::chart::Chart;
use super::figures::{at, counted};
use super::omitted;
use super::text::text_max;
use crate::results::{Results, Sighting};

/// What one page can take.
const LANES_MAX: usize = 60;
const TENURES_MAX: usize = 1_500;
const PROBLEMS_MAX: usize = 50;

const LANE: u32 = 15;

/// A time during which a node was seen to lead a shard.
#[derive(Debug, PartialEq, Eq)]
struct Tenure {
    node: u64,
    shard: u64,
    from_ns: u64,
    until_ns: u64,
    what: String,
}

/// A time during which a node did not answer.
#[derive(Debug, PartialEq, Eq)]
struct Silence {
    node: u64,
    from_ns: u64,
    until_ns: u64,
}

pub(super) fn section(results: &Results, bands: &Bands<'_>) -> String {
    let sightings = &results.sightings;
    if sightings.is_empty() {
        return "<p>Nothing was seen of the nodes.</p>\n".to_owned();
    }
    let end = bands.axis.end_ns();
    let (tenures, silences) = (tenures(sightings, end), silences(sightings, end));
    let problems: Vec<&Sighting> = sightings.iter().filter(|sighting| sighting.kind == "problem").collect();
    let nodes: BTreeSet<u64> = sightings.iter().map(|sighting| sighting.node).collect();
    let changes = tenures.len();
    let about = format!(
        "{}; {} of a shard's lead, {} of a node, {}",
        counted(nodes.len(), "node"),
        counted(changes, "time"),
        counted(silences.len(), "silence"),
        counted(problems.len(), "problem")
    );
    let title = "Each node's lanes: when it was silent (grey), which shards it led, by term (thin: silent meanwhile), \
                 and problems (crosses)";
    let mut chart = Chart::new("leaders".into(), title.to_owned(), about, &bands.axis);
    bands.draw(&mut chart);
    let mut left_out = 0;
    let mut lanes = 0;
    let mut drawn = 0;
    for node in nodes {
        chart.grow(6);
        let y = chart.grow(LANE);
        chart.rule(y, "grid");
        chart.name(y + 11, "node", &format!("node {node}"));
        for silence in silences.iter().filter(|silence| silence.node == node) {
            let told = format!("node {node} silent, {} to {}", at(silence.from_ns), at(silence.until_ns));
            chart.bar((silence.from_ns, silence.until_ns), (y + 2, LANE - 4), "silent", "", &told);
        }
        for problem in problems.iter().filter(|problem| problem.node == node).take(PROBLEMS_MAX) {
            chart.word(problem.at_ns, y + 11, "middle", "bad", "×");
        }
        let mut shards: BTreeMap<u64, Vec<&Tenure>> = BTreeMap::new();
        for tenure in tenures.iter().filter(|tenure| tenure.node == node) {
            shards.entry(tenure.shard).or_default().push(tenure);
        }
        for (shard, led) in shards {
            lanes += 1;
            if lanes > LANES_MAX || drawn + led.len() > TENURES_MAX {
                left_out += led.len();
                continue;
            }
            drawn += led.len();
            let y = chart.grow(LANE);
            chart.name(y + 11, "name", &format!("shard {shard}"));
            for tenure in led {
                let own = silences.iter().filter(|silence| silence.node == node);
                lead(&mut chart, tenure, own, shard, y);
            }
        }
    }
    chart.grow(4);
    chart.times(0);
    let note = omitted::note(left_out, "more times of a lead are left out; they stand in results.json");
    chart.html() + &note + &problem_list(&problems)
}

/// Solid while the node said so itself, thin while it said nothing.
fn lead<'a>(chart: &mut Chart<'_>, tenure: &Tenure, silences: impl Iterator<Item = &'a Silence>, shard: u64, y: u32) {
    let colour = format!("lead s{}", shard % 6);
    let told = format!("{}, {} to {}", tenure.what, at(tenure.from_ns), at(tenure.until_ns));
    let mut from = tenure.from_ns;
    for silence in silences {
        let (begin, end) = (silence.from_ns.max(from), silence.until_ns.min(tenure.until_ns));
        if begin >= end {
            continue;
        }
        chart.bar((from, begin), (y + 2, LANE - 4), &colour, "", &told);
        chart.bar((begin, end), (y + LANE / 2 - 1, 2), &colour, "", &format!("{told}; silent meanwhile"));
        from = end;
    }
    chart.bar((from, tenure.until_ns), (y + 2, LANE - 4), &colour, "", &told);
    let axis = chart.axis();
    let term = tenure.what.rsplit_once("in term ").map(|(_, term)| format!("t{term}"));
    let begin = tenure.from_ns.max(axis.begin_ns());
    if let Some(term) = term
        && axis.percent(tenure.until_ns) - axis.percent(begin) > 1.1 * term.len() as f64 + 1.5
    {
        chart.inscribe(begin, y + 11, &term);
    }
}

fn problem_list(problems: &[&Sighting]) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let items: String = problems
        .iter()
        .take(PROBLEMS_MAX)
        .map(|problem| format!("<li>{}: {}</li>", at(problem.at_ns), text_max(&problem.what, 300)))
        .collect();
    let more = omitted::note(problems.len().saturating_sub(PROBLEMS_MAX), "more stand in results.json");
    format!("<h3>Problems that nodes reported</h3><ul>{items}</ul>{more}\n")
}

/// From `leads` to the next that is said of the same node and shard.
fn tenures(sightings: &[Sighting], end: u64) -> Vec<Tenure> {
    let mut open: BTreeMap<(u64, u64), Tenure> = BTreeMap::new();
    let mut tenures = Vec::new();
    for sighting in sightings {
        let Some(shard) = sighting.shard.filter(|_| matches!(sighting.kind.as_str(), "leads" | "follows")) else {
            continue;
        };
        let Sighting { node, at_ns, .. } = *sighting;
        if let Some(tenure) = open.remove(&(node, shard)) {
            tenures.push(Tenure { until_ns: at_ns, ..tenure });
        }
        if sighting.kind == "leads" {
            let tenure = Tenure { node, shard, from_ns: at_ns, until_ns: end, what: sighting.what.clone() };
            open.insert((node, shard), tenure);
        }
    }
    tenures.extend(open.into_values());
    tenures.sort_by_key(|tenure| tenure.from_ns);
    tenures
}

fn silences(sightings: &[Sighting], end: u64) -> Vec<Silence> {
    let mut open: BTreeMap<u64, u64> = BTreeMap::new();
    let mut silences = Vec::new();
    for Sighting { node, at_ns, kind, .. } in sightings {
        match kind.as_str() {
            "silent" => {
                open.entry(*node).or_insert(*at_ns);
            }
            "answers" => {
                let since = open.remove(node);
                silences.extend(since.map(|from_ns| Silence { node: *node, from_ns, until_ns: *at_ns }));
            }
            _ => {}
        }
    }
    silences.extend(open.into_iter().map(|(node, from_ns)| Silence { node, from_ns, until_ns: end }));
    silences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(at_ns: u64, node: u64, shard: Option<u64>, kind: &str) -> Sighting {
        Sighting { at_ns, node, shard, kind: kind.into(), what: String::new() }
    }

    /// A node that is silent is not seen to lose anything: only its own next word ends its lead.
    #[test]
    fn a_lead_ends_when_the_node_says_so() {
        let sightings = [
            seen(1, 1, Some(7), "leads"),
            seen(5, 1, None, "silent"),
            seen(6, 2, Some(7), "leads"),
            seen(9, 1, None, "answers"),
            seen(9, 1, Some(7), "follows"),
        ];
        let spans: Vec<(u64, u64, u64)> =
            tenures(&sightings, 20).iter().map(|tenure| (tenure.node, tenure.from_ns, tenure.until_ns)).collect();
        assert_eq!(spans, [(1, 1, 9), (2, 6, 20)]);
        assert_eq!(silences(&sightings, 20), [Silence { node: 1, from_ns: 5, until_ns: 9 }]);
    }
}
