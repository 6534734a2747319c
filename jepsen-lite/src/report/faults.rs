//! The faults, as a table: when, who, what, and how it bit.

use super::bands::Bands;
use super::figures::{at, count, lasting};
use super::omitted;
use super::table::Column::{Number, Words};
use super::table::{number, table};
use super::text::text_max;

/// A page of an hour need not list every fault.
const ROWS_MAX: usize = 400;

pub(super) fn section(bands: &Bands<'_>) -> String {
    if bands.bands.is_empty() {
        return "<p>No fault was inflicted.</p>\n".to_owned();
    }
    let mut rows = String::new();
    for band in bands.bands.iter().take(ROWS_MAX) {
        let fault = band.fault;
        let nodes: Vec<String> = fault.nodes.iter().map(|node| format!("n{node}")).collect();
        let (mark, word) = if fault.bites > 0 { ("kept", "bit") } else { ("open", "did not bite") };
        let bites = if fault.bites > 0 { format!(" ({})", count(fault.bites as usize)) } else { String::new() };
        let open = if fault.until_ns < fault.from_ns { ", not lifted" } else { "" };
        let range = format!("data-from=\"{}\" data-until=\"{}\"", fault.from_ns, band.until_ns);
        rows += &format!(
            "<tr {range}><th scope=\"row\"><span class=\"swatch n{}\"></span>F{}</th>",
            band.colour, band.number
        );
        rows += &format!("<td>{}</td>{}", text_max(&fault.nemesis, 60), number(at(fault.from_ns)));
        rows += &number(format!("{}{open}", lasting(band.until_ns - fault.from_ns)));
        rows += &format!("<td>{}</td><td>{}</td>", text_max(nodes.join(", "), 60), text_max(&fault.what, 300));
        let evidence = text_max(&fault.evidence, 300);
        rows += &format!("<td><span class=\"mark {mark}\">{word}</span>{bites}<small>{evidence}</small></td></tr>\n");
    }
    let columns = [
        Words("fault"),
        Words("nemesis"),
        Number("from"),
        Number("for"),
        Words("nodes"),
        Words("what"),
        Words("how it bit"),
    ];
    let left_out = bands.bands.len().saturating_sub(ROWS_MAX);
    table("faults", &columns, &rows)
        + &omitted::note(left_out, "later faults are left out here; they stand in results.json")
}
