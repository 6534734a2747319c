//! What all drawings have in common: names in a gutter at the left, time from left to right beside it.
//!
//! A drawing is two pictures side by side. The gutter keeps its width. The plot takes the rest, and is itself two layers.
//! Shapes are stretched to the width (a dot is a line without length and with a round end, which stretching doesn't
//! touch); words are placed in percent. So a narrower window makes nothing smaller that must be read, and zooming is no
//! more than showing another part of the shapes.

use super::axis::Axis;
use super::text::text;

/// How wide the gutter is, and how much of it a name may take, in characters.
const GUTTER: u32 = 104;
const GUTTER_CHARS: usize = 16;

/// Room for the times below everything.
const FOOT: u32 = 18;

/// A drawing.
pub(super) struct Chart<'a> {
    id: String,
    title: String,
    about: String,
    axis: &'a Axis,
    height: u32,
    gutter: String,
    shapes: String,
    words: String,
    kind: &'static str,
}

impl<'a> Chart<'a> {
    /// An empty one. `about` describes it to those who don't see it.
    pub(super) fn new(id: String, title: String, about: String, axis: &'a Axis) -> Chart<'a> {
        let none = String::new;
        Chart { id, title, about, axis, height: 0, gutter: none(), shapes: none(), words: none(), kind: "zooms" }
    }

    /// One that can't be zoomed into.
    pub(super) fn still(mut self) -> Chart<'a> {
        self.kind = "still";
        self
    }

    /// A class for the script: what can be filtered in it.
    pub(super) fn with_operations(mut self) -> Chart<'a> {
        self.kind = "zooms operations";
        self
    }

    pub(super) fn axis(&self) -> &'a Axis {
        self.axis
    }

    /// Makes room below what is there, and says where it begins.
    pub(super) fn grow(&mut self, height: u32) -> u32 {
        self.height += height;
        self.height - height
    }

    /// A name at the left, at the height of a base line. It is shortened if need be; whoever points at it sees all of
    /// it.
    pub(super) fn name(&mut self, y: u32, class: &str, name: &str) {
        let shown = super::text::shortened(name, GUTTER_CHARS);
        let whole = if shown == name { String::new() } else { format!("<title>{}</title>", text(name)) };
        let x = GUTTER - 8;
        self.gutter += &format!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{whole}{}</text>", text(shown));
    }

    /// Shapes, as markup.
    pub(super) fn shape(&mut self, markup: &str) {
        self.shapes += markup;
    }

    /// A line across.
    pub(super) fn rule(&mut self, y: u32, class: &str) {
        self.shapes += &format!("<path class=\"{class}\" d=\"M0 {y}H100000\"/>");
    }

    /// A box with words for whoever points at it. `class` and `also` are ours.
    pub(super) fn bar(
        &mut self,
        (from, until): (u64, u64),
        (y, height): (u32, u32),
        class: &str,
        also: &str,
        told: &str,
    ) {
        let x = self.axis.x(from);
        let width = (self.axis.x(until) - x).max(0.0);
        let told = if told.is_empty() { String::new() } else { format!("<title>{}</title>", text(told)) };
        let (x, width) = (units(x), units(width));
        self.shapes += &format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"{also}>{told}</rect>"
        );
    }

    /// Words in the plot. The anchor is `start`, `middle` or `end`.
    pub(super) fn word(&mut self, ns: u64, y: u32, anchor: &str, class: &str, word: &str) {
        let x = percent(self.axis.percent(ns));
        let anchor = if anchor == "start" { String::new() } else { format!(" text-anchor=\"{anchor}\"") };
        self.words += &format!("<text class=\"{class}\" x=\"{x}%\" y=\"{y}\"{anchor}>{}</text>", text(word));
    }

    /// Words inside of a bar, from its beginning on.
    pub(super) fn inscribe(&mut self, ns: u64, y: u32, word: &str) {
        self.inscribe_as("inscribed", ns, y, word);
    }

    /// The same in another style, or just behind a bar.
    pub(super) fn inscribe_as(&mut self, class: &str, ns: u64, y: u32, word: &str) {
        let x = percent(self.axis.percent(ns));
        self.words += &format!("<text class=\"{class}\" x=\"{x}%\" dx=\"4\" y=\"{y}\">{}</text>", text(word));
    }

    /// The times below an even axis, with lines up to the top.
    pub(super) fn times(&mut self, top: u32) {
        let ticks = self.axis.ticks();
        self.ticks(top, &ticks);
    }

    /// These times below.
    pub(super) fn ticks(&mut self, top: u32, ticks: &[(u64, String)]) {
        let bottom = self.grow(FOOT);
        let mut lines = String::new();
        for (ns, label) in ticks {
            lines += &format!("M{} {top}V{}", units(self.axis.x(*ns)), bottom + 3);
            let anchor = match self.axis.percent(*ns) {
                0.0..4.0 => "start",
                96.0.. => "end",
                _ => "middle",
            };
            self.word(*ns, bottom + 15, anchor, "tick", label);
        }
        // First, so that all else is drawn over them.
        self.shapes.insert_str(0, &format!("<path class=\"grid\" d=\"{lines}\"/>"));
    }

    /// As markup.
    pub(super) fn html(self) -> String {
        let Chart { id, title, about, axis, height, gutter, shapes, words, kind } = self;
        let (title, about) = (text(title), text(about));
        let (from, until) = (axis.begin_ns(), axis.end_ns());
        format!(
            "<figure class=\"chart {kind}\" data-from=\"{from}\" data-until=\"{until}\">\
             <figcaption>{title}</figcaption><div class=\"sheet\">\
             <svg class=\"gutter\" width=\"{GUTTER}\" height=\"{height}\" aria-hidden=\"true\">{gutter}</svg>\
             <svg class=\"plot\" height=\"{height}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\
             <title id=\"{id}-title\">{title}</title><desc id=\"{id}-desc\">{about}</desc>\
             <svg class=\"shapes\" width=\"100%\" height=\"{height}\" viewBox=\"0 0 100000 {height}\" \
             preserveAspectRatio=\"none\">{shapes}</svg><g class=\"words\">{words}</g></svg></div></figure>\n"
        )
    }
}

/// A place or a length in units, as short as it can be written without anyone seeing the difference.
pub(super) fn units(x: f64) -> String {
    short(x, 1)
}

fn percent(x: f64) -> String {
    short(x, 3)
}

fn short(x: f64, decimals: usize) -> String {
    let text = format!("{x:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
