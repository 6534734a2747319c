//! Time, from left to right.
//!
//! Shapes are drawn [`WIDE`] units wide and stretched to whatever width the window leaves; texts are placed in
//! percent, and so keep their size. Most axes are even. That of an anomaly is not: it may be about a read of a
//! millisecond and a write ten seconds before.

/// How wide every drawing is, in its own units.
pub(super) const WIDE: f64 = 100_000.0;

/// Which time stands where.
///
/// * At least two knots; times and places rise.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    knots: Vec<(u64, f64)>,
}

impl Axis {
    /// An even one.
    pub(super) fn even(from_ns: u64, until_ns: u64) -> Axis {
        assert!(from_ns < until_ns, "an axis has a length");
        Axis { knots: vec![(from_ns, 0.0), (until_ns, WIDE)] }
    }

    /// One that is stretched where many of these times lie: order stays visible, whatever lies between. A span that
    /// is 10,000 times another looks ten times as long.
    pub(super) fn around(times: impl IntoIterator<Item = u64>) -> Axis {
        let mut times: Vec<u64> = times.into_iter().collect();
        times.sort_unstable();
        times.dedup();
        let (first, last) = (times.first().copied().unwrap_or(0), times.last().copied().unwrap_or(0));
        // Some room on both sides, so that nothing begins at the very edge.
        let room = (last - first).max(1_000) / 1_000 + 1;
        times.insert(0, first.saturating_sub(room));
        times.push(last + room);
        times.dedup();
        let weight = |pair: &[u64]| ((pair[1] - pair[0]) as f64).powf(0.25);
        let total: f64 = times.windows(2).map(weight).sum();
        let mut place = 0.0;
        let mut knots = vec![(times[0], 0.0)];
        for pair in times.windows(2) {
            place += weight(pair) / total * WIDE;
            knots.push((pair[1], place));
        }
        Axis { knots }
    }

    pub(super) fn begin_ns(&self) -> u64 {
        self.knots[0].0
    }

    pub(super) fn end_ns(&self) -> u64 {
        self.knots[self.knots.len() - 1].0
    }

    /// Whether something that lasts so long can be seen.
    pub(super) fn shows(&self, from_ns: u64, until_ns: u64) -> bool {
        from_ns <= self.end_ns() && until_ns >= self.begin_ns()
    }

    /// Where a time stands, in units; what is beyond an end stands at that end.
    pub(super) fn x(&self, ns: u64) -> f64 {
        let ns = ns.clamp(self.begin_ns(), self.end_ns());
        let next = self.knots.partition_point(|(time, _)| *time < ns).max(1);
        let ((t0, x0), (t1, x1)) = (self.knots[next - 1], self.knots[next]);
        x0 + (ns - t0) as f64 / (t1 - t0) as f64 * (x1 - x0)
    }

    /// The same in percent.
    pub(super) fn percent(&self, ns: u64) -> f64 {
        self.x(ns) / WIDE * 100.0
    }

    /// Round times for the labels of an even axis, at most ten, with their text.
    pub(super) fn ticks(&self) -> Vec<(u64, String)> {
        let (from, until) = (self.begin_ns(), self.end_ns());
        let step = step((until - from) as f64 / 8.0);
        let decimals = 9usize.saturating_sub(step.ilog10() as usize);
        let first = from.div_ceil(step);
        let ticks = (first..).map(|n| n * step).take_while(|ns| *ns <= until);
        ticks.map(|ns| (ns, format!("{:.decimals$} s", ns as f64 / 1e9))).collect()
    }

    /// For a stretched one: its knots, but none closer to the one before than so many percent.
    pub(super) fn knots_apart(&self, percent: f64) -> Vec<u64> {
        let mut shown = Vec::new();
        let mut last = f64::NEG_INFINITY;
        for (ns, x) in &self.knots[1..self.knots.len() - 1] {
            if x - last >= percent / 100.0 * WIDE {
                shown.push(*ns);
                last = *x;
            }
        }
        shown
    }
}

/// 1, 2 or 5 times a power of ten, and not less than this.
pub(super) fn step(least: f64) -> u64 {
    let mut power = 1;
    loop {
        for factor in [1, 2, 5] {
            if (factor * power) as f64 >= least {
                return factor * power;
            }
        }
        power *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_axis_is_even() {
        let axis = Axis::even(10_000_000_000, 20_000_000_000);
        assert_eq!(
            [axis.percent(10_000_000_000), axis.percent(15_000_000_000), axis.percent(99_000_000_000)],
            [0.0, 50.0, 100.0]
        );
        let ticks: Vec<String> = axis.ticks().into_iter().map(|(_, text)| text).collect();
        assert_eq!(ticks, ["10 s", "12 s", "14 s", "16 s", "18 s", "20 s"]);
        let ticks = Axis::even(0, 8_000_000).ticks();
        assert_eq!(ticks[1], (1_000_000, "0.001 s".to_owned()));
        assert!(Axis::even(0, 10).ticks().len() <= 10);
    }

    /// What is a thousand times longer must not make the rest invisible, and must not change places with it.
    #[test]
    fn a_stretched_axis_keeps_the_order_and_shows_everything() {
        let ms = 1_000_000;
        let times = [50 * ms, 52 * ms, 53 * ms, 9_000 * ms, 9_001 * ms];
        let axis = Axis::around(times);
        let places: Vec<f64> = times.iter().map(|ns| axis.percent(*ns)).collect();
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] > 4.0), "{places:?}");
        assert!(places[0] > 0.0 && places[4] < 100.0, "{places:?}");
        assert_eq!(axis.knots_apart(0.0), times);
        assert!(axis.knots_apart(30.0).len() <= 4);
        let lone = Axis::around([5]);
        assert!(lone.percent(5) > 0.0 && lone.percent(5) < 100.0);
    }
}
