//! When faults begin and end. Drawn from the seed alone; who is hit is up to each nemesis, which looks at the cluster.

use std::time::Duration;

use ringfence_tests::Dice;

/// One strike of all nemeses of a run: each begins a little after the one before, and they are lifted in some order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strike {
    /// Nothing is broken for so long.
    pub(super) calm: Duration,
    /// The order in which they begin.
    pub(super) begin: Vec<usize>,
    /// From one nemesis to the next.
    pub(super) between: Duration,
    /// With all of them at once.
    pub(super) hold: Duration,
    /// The order in which they are lifted.
    pub(super) lift: Vec<usize>,
}

impl Strike {
    /// The next one. Some faults are shorter than an election, some longer than a lease. They take turns in who begins: the first
    /// one in turn 0.
    pub(super) fn next(dice: &mut Dice, nemeses: usize, turn: usize) -> Strike {
        let ms = |dice: &mut Dice, range| Duration::from_millis(dice.within(range));
        let calm = ms(dice, 300..2_000);
        let between = ms(dice, 0..800);
        let hold = if dice.percent(30) { ms(dice, 100..1_000) } else { ms(dice, 1_000..6_000) };
        let mut lift: Vec<usize> = (0..nemeses).collect();
        for place in (1..nemeses).rev() {
            lift.swap(place, dice.within(0..place as u64 + 1) as usize);
        }
        let begin = (0..nemeses).map(|place| (place + turn) % nemeses).collect();
        Strike { calm, begin, between, hold, lift }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `--seed` repeats the schedule.
    #[test]
    fn a_seed_gives_the_same_schedule() {
        let draw = |seed| {
            let mut dice = Dice::new(seed, "schedule", 0);
            (0..20).map(|turn| Strike::next(&mut dice, 3, turn)).collect::<Vec<_>>()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
        assert_eq!(draw(5)[1].begin, [1, 2, 0]);
        let mut lift = draw(5)[0].lift.clone();
        lift.sort_unstable();
        assert_eq!(lift, [0, 1, 2], "every fault is lifted once");
    }
}
