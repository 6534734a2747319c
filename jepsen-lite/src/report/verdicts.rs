//! The verdict: large, in words, with its reasons; then what each workload did and each nemesis, in a line.

use jepsen_checkers::Verdict;

use super::anomaly::Anomaly;
use super::figures::count;
use super::omitted;
use super::page;
use super::table::Column::{Number, Words};
use super::table::{number, table};
use super::text::{text, text_max};
use crate::results::{Check, Coverage, Judged, Results};

/// Of one reason, and of all together, so much is shown. The whole stands in `results.json`.
const REASON_CHARS_MAX: usize = 4_000;
const REASONS_MAX: usize = 40;

pub(super) fn section(results: &Results, anomalies: &[Anomaly<'_>]) -> String {
    [
        banner(results, anomalies),
        command(results),
        workloads(&results.workloads, anomalies),
        nemeses(&results.nemeses),
        cluster(&results.cluster, anomalies),
    ]
    .concat()
}

fn banner(results: &Results, anomalies: &[Anomaly<'_>]) -> String {
    let Results { verdict, exit_code, reasons, .. } = results;
    // Drawn, not a letter: not every machine has a font with a tick.
    let (class, sentence, sign) = match verdict.as_str() {
        "valid" if results.nemeses.is_empty() => {
            ("valid", "Every promise that was tested was kept. Nothing was broken meanwhile.", "M5 13l5 5L20 6")
        }
        "valid" => ("valid", "Every promise that was tested was kept, while every nemesis bit.", "M5 13l5 5L20 6"),
        "violation" => ("violation", "A promise was broken.", "M5 5l14 14M19 5L5 19"),
        "unknown" => (
            "unknown",
            "Nothing was refuted, but not enough was shown either: this is not a pass.",
            "M12 5v9M12 18v1.5",
        ),
        _ => (
            "harness",
            "The harness itself failed. This says nothing about the cluster.",
            "M4 19L12 5l8 14zM12 10v4M12 16.5v.5",
        ),
    };
    let word = page::word(results);
    let shown: String = reasons.iter().take(REASONS_MAX).map(|one| reason(one)).collect();
    let more = omitted::note(reasons.len().saturating_sub(REASONS_MAX), "more stand in results.json");
    let reasons = if reasons.is_empty() { String::new() } else { format!("<ol class=\"reasons\">{shown}</ol>{more}") };
    let link = match anomalies.len() {
        0 => "",
        _ => "<p><a href=\"#anomalies\">What went wrong, explained and drawn</a></p>",
    };
    format!(
        "<div class=\"banner {class}\">\
         <svg class=\"sign\" viewBox=\"0 0 24 24\" width=\"48\" height=\"48\" aria-hidden=\"true\">\
         <path d=\"{sign}\"/></svg>\
         <div><p class=\"word\">{word}</p><p>{sentence} Exit code {exit_code}.</p></div></div>{reasons}{link}\n"
    )
}

/// The first line says what; the others are operations.
fn reason(reason: &str) -> String {
    let (first, rest) = reason.trim_end().split_once('\n').unwrap_or((reason.trim_end(), ""));
    let first = text_max(first, REASON_CHARS_MAX);
    match rest.is_empty() {
        true => format!("<li>{first}</li>"),
        false => {
            let rest = text_max(rest, REASON_CHARS_MAX);
            format!("<li>{first}<details><summary>operations</summary><pre>{rest}</pre></details></li>")
        }
    }
}

fn command(results: &Results) -> String {
    let options: String = results
        .options
        .iter()
        .map(|(name, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>", text_max(name, 100), text_max(value, 600)))
        .collect();
    format!(
        "<h3>To repeat it</h3><pre class=\"command\">{}</pre><dl class=\"options\">{options}</dl>\n",
        text(&results.command)
    )
}

fn workloads(workloads: &[Judged], anomalies: &[Anomaly<'_>]) -> String {
    if workloads.is_empty() {
        return "<h3>Workloads</h3><p>No workload was judged.</p>\n".to_owned();
    }
    let mut rows = String::new();
    for judged in workloads {
        let rules: String = judged.checks.iter().map(|check| rule(&judged.name, check, anomalies)).collect();
        let (name, about) = (text_max(&judged.name, 80), text_max(&judged.about, 400));
        rows += &format!("<tr><th scope=\"row\">{name}<small>{about}</small></th>");
        for counted in [judged.ok, judged.failed, judged.unknown, judged.ok_after_healing] {
            rows += &number(count(counted));
        }
        rows += &format!("<td><ul class=\"rules\">{rules}</ul></td></tr>\n");
    }
    let columns = [
        Words("workload"),
        Number("ok"),
        Number("refused"),
        Number("unknown"),
        Number("ok after healing"),
        Words("rules"),
    ];
    format!("<h3>Workloads</h3>{}", table("workloads", &columns, &rows))
}

fn rule(whose: &str, Check { rule, verdict }: &Check, anomalies: &[Anomaly<'_>]) -> String {
    let rule = text_max(rule, 200);
    match verdict {
        Verdict::Valid { checked } => {
            format!("<li><span class=\"mark kept\">kept</span> {rule}<small>{}</small></li>", text(checked))
        }
        Verdict::Unknown { why, checked } => format!(
            "<li><span class=\"mark open\">unknown</span> {rule}<small>{}; {}</small></li>",
            text_max(why, 400),
            text(checked)
        ),
        Verdict::Invalid { explanation } => {
            let drawn = anomalies.iter().position(|anomaly| anomaly.is(whose, explanation));
            let link = drawn.map(|n| format!(" <a href=\"#anomaly-{}\">drawn below</a>", n + 1)).unwrap_or_default();
            let headline = text_max(&explanation.headline, 400);
            format!("<li><span class=\"mark broken\">broken</span> {rule}<small>{headline}{link}</small></li>")
        }
    }
}

fn nemeses(nemeses: &[Coverage]) -> String {
    if nemeses.is_empty() {
        return "<h3>Nemeses</h3><p>None: nothing was broken in this run.</p>\n".to_owned();
    }
    let mut rows = String::new();
    for Coverage { nemesis, about, not_covered, struck, bit } in nemeses {
        let mark = match (not_covered, bit) {
            (Some(why), _) => format!("<span class=\"mark open\">not covered</span> {}", text_max(why, 400)),
            (None, 0) => "<span class=\"mark open\">did not bite</span>".to_owned(),
            (None, _) => "<span class=\"mark kept\">bit</span>".to_owned(),
        };
        let (nemesis, about) = (text_max(nemesis, 80), text_max(about, 400));
        rows += &format!("<tr><th scope=\"row\">{nemesis}<small>{about}</small></th>");
        rows += &format!("{}{}<td>{mark}</td></tr>\n", number(count(*struck)), number(count(*bit)));
    }
    let columns = [Words("nemesis"), Number("struck"), Number("bit"), Words("so it was")];
    format!("<h3>Nemeses</h3>{}", table("nemeses", &columns, &rows))
}

fn cluster(checks: &[Check], anomalies: &[Anomaly<'_>]) -> String {
    if checks.is_empty() {
        return String::new();
    }
    let rules: String = checks.iter().map(|check| rule(super::anomaly::CLUSTER, check, anomalies)).collect();
    format!("<h3>The cluster itself</h3><ul class=\"rules\">{rules}</ul>\n")
}
