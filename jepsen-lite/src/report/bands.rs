//! The faults, as bands behind what is drawn: a lane for each nemesis with its faults by number, and a tint of them
//! across everything below.
//!
//! Most drawings show the whole run. For these the bands are written down once ([`Bands::definitions`]) and used again.

use super::axis::{Axis, WIDE};
use super::chart::{Chart, units};
use super::figures::at;
use super::lanes;
use super::text::{shortened, text};
use crate::results::{FaultBand, Results};

/// How many nemeses have a colour of their own; then they begin again. The style knows them.
const COLOURS: usize = 8;

/// How high a lane is.
const LANE: u32 = 16;

/// A character of a number in a band takes so much of the narrowest plot, in percent.
const CHAR_PERCENT: f64 = 7.0 / 560.0 * 100.0;

/// One fault, as it is drawn.
pub(super) struct Band<'a> {
    /// `F7`, as in the table.
    pub(super) number: usize,
    pub(super) fault: &'a FaultBand,
    /// When it was over; the end of all if that was not written down.
    pub(super) until_ns: u64,
    pub(super) colour: usize,
    lane: usize,
}

/// All faults of a run, by their beginnings.
pub(super) struct Bands<'a> {
    pub(super) bands: Vec<Band<'a>>,
    /// Whose each lane is.
    lanes: Vec<String>,
    /// That of the whole run.
    pub(super) axis: Axis,
}

impl<'a> Bands<'a> {
    pub(super) fn new(results: &'a Results, from_ns: u64, until_ns: u64) -> Bands<'a> {
        let mut names: Vec<&str> = results.nemeses.iter().map(|coverage| coverage.nemesis.as_str()).collect();
        for fault in &results.faults {
            if !names.contains(&fault.nemesis.as_str()) {
                names.push(&fault.nemesis);
            }
        }
        let mut faults: Vec<&FaultBand> = results.faults.iter().collect();
        faults.sort_by_key(|fault| fault.from_ns);
        let end = |fault: &FaultBand| if fault.until_ns < fault.from_ns { until_ns } else { fault.until_ns };
        let (mut bands, mut lane_names) = (Vec::new(), Vec::new());
        for (colour, name) in names.into_iter().enumerate() {
            let own = || faults.iter().zip(1..).filter(|(fault, _)| fault.nemesis == name);
            let (places, count) = lanes::assign(own().map(|(fault, _)| (fault.from_ns, end(fault))));
            for ((fault, number), place) in own().zip(places) {
                let (colour, lane) = (colour % COLOURS, lane_names.len() + place);
                bands.push(Band { number, fault, until_ns: end(fault), colour, lane });
            }
            lane_names.extend((0..count).map(|_| name.to_owned()));
        }
        bands.sort_by_key(|band| band.number);
        Bands { bands, lanes: lane_names, axis: Axis::even(from_ns, until_ns) }
    }

    /// How high the lanes are together.
    fn height(&self) -> u32 {
        self.lanes.len() as u32 * LANE
    }

    /// Written into the page once, for the drawings of the whole run.
    pub(super) fn definitions(&self) -> String {
        let bands = || self.bands.iter();
        let tints: String = bands().map(|band| self.tint(band, &self.axis)).collect();
        let bars: String = bands().map(|band| self.bar(band, &self.axis)).collect();
        let groups = format!("<g id=\"tints\">{tints}</g><g id=\"bands\">{bars}</g>");
        format!("<svg class=\"definitions\" aria-hidden=\"true\"><defs>{groups}</defs></svg>")
    }

    /// At the top of a drawing: the lanes, named and numbered, and the tints behind all that will come below them.
    pub(super) fn draw(&self, chart: &mut Chart<'_>) {
        if self.bands.is_empty() {
            return;
        }
        let axis = chart.axis();
        let top = chart.grow(self.height() + 4);
        assert_eq!(top, 0, "bands come first");
        for (lane, name) in (0..).zip(&self.lanes) {
            chart.name(lane * LANE + 12, "name", name);
        }
        let whole = (axis.begin_ns(), axis.end_ns()) == (self.axis.begin_ns(), self.axis.end_ns());
        let shown = || self.bands.iter().filter(|band| axis.shows(band.fault.from_ns, band.until_ns));
        if whole {
            chart.shape("<use href=\"#tints\"/><use href=\"#bands\"/>");
        } else {
            let tints: String = shown().map(|band| self.tint(band, axis)).collect();
            let bars: String = shown().map(|band| self.bar(band, axis)).collect();
            chart.shape(&(tints + &bars));
        }
        for (place, band) in
            self.bands.iter().enumerate().filter(|(_, band)| axis.shows(band.fault.from_ns, band.until_ns))
        {
            let (from, until) = (band.fault.from_ns.max(axis.begin_ns()), band.until_ns.min(axis.end_ns()));
            let number = format!("F{}", band.number);
            let needed = CHAR_PERCENT * (number.len() + 1) as f64;
            let next = self.bands[place + 1..].iter().find(|other| other.lane == band.lane);
            let free = next.map_or(100.0, |next| axis.percent(next.fault.from_ns)) - axis.percent(until);
            let y = band.lane as u32 * LANE + 12;
            if axis.percent(until) - axis.percent(from) >= needed {
                let class = if band.fault.bites > 0 { "in-band" } else { "by-band" };
                chart.inscribe_as(class, from, y, &number);
            } else if free >= needed {
                chart.inscribe_as("by-band", until, y, &number);
            }
        }
    }

    /// Behind everything: the drawing cuts off what is too high.
    fn tint(&self, band: &Band<'_>, axis: &Axis) -> String {
        let (x, width) = place(band, axis);
        let y = band.lane as u32 * LANE;
        format!("<rect class=\"tint n{}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"9000\"/>", band.colour)
    }

    fn bar(&self, band: &Band<'_>, axis: &Axis) -> String {
        let (x, width) = place(band, axis);
        let y = band.lane as u32 * LANE + 1;
        let Band { number, fault, colour, until_ns, .. } = band;
        let bit = if fault.bites > 0 { "" } else { " toothless" };
        let told = format!(
            "F{number} {}: {} ({} to {})",
            fault.nemesis,
            shortened(&fault.what, 120),
            at(fault.from_ns),
            at(*until_ns)
        );
        let (told, height) = (text(told), LANE - 3);
        let place = format!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"");
        format!("<rect class=\"band n{colour}{bit}\" data-fault=\"{number}\" {place}><title>{told}</title></rect>")
    }
}

fn place(band: &Band<'_>, axis: &Axis) -> (String, String) {
    let x = axis.x(band.fault.from_ns);
    // A fault of a moment is to be seen, too.
    let width = (axis.x(band.until_ns) - x).max(WIDE / 2_000.0);
    (units(x), units(width))
}
