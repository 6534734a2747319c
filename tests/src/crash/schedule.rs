//! What happens to whom, and when: all of it from the seed, none of it from what a run meets.
//!
//! A *life* is one cluster from its founding to its end, and goes through about a hundred rounds. Lives are dealt out to the
//! clusters that run side by side in a fixed order. So a seed gives the same schedule every time. What it does not give is
//! the same run: threads, sockets and disks have a timing of their own, and which requests were under way when a kill hit is
//! different each time. A violation that was seen once will be seen again with the same seed, but perhaps not at once.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::Dice;

/// Nodes of a cluster.
pub(super) const NODES: u64 = 3;

/// Rounds of one life.
const LIFE_ROUNDS: Range<u64> = 80..121;

/// What is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// The process, with SIGKILL: what it handed to the operating system stays.
    Kill,
    /// The disk's power: what was not synced is gone. Then the process.
    PowerLoss,
}

/// Whom it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victims {
    /// This node, whatever it does.
    One(u64),
    /// Whoever leads this shard at that moment, by its place in ring order.
    LeaderOf(usize),
    /// All but this node, at the same moment: the shards lose their majority.
    AllBut(u64),
    /// All at the same moment.
    All,
}

/// One round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// Of its means, from 1, over all lives.
    pub number: u64,
    pub means: Means,
    pub victims: Victims,
    /// From the beginning of the round, under load, to the blow.
    pub after: Duration,
    /// Power losses only: for how long the processes go on without their disks before they are killed, too.
    pub linger: Duration,
    /// From the blow until the victims are started again: each after its own time.
    pub down: Vec<Duration>,
    /// The victims are hit once more, so long after they were started: perhaps in the middle of their recovery.
    pub again: Option<Duration>,
}

/// One cluster's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// Which of the clusters that run side by side lives it.
    pub place: u64,
    pub means: Means,
    /// Of its means, from 0.
    pub number: u64,
    /// At least one.
    pub rounds: Vec<Round>,
}

/// All lives of one means, in the order in which their places live them.
pub(super) fn lives(seed: u64, means: Means, rounds: u64, places: u64) -> Vec<Life> {
    let mut lives = Vec::new();
    let mut next = 1;
    // As many lives as there are places at least, so that a short run keeps all of them busy.
    let share = rounds.div_ceil(places).max(1);
    while next <= rounds {
        let number = lives.len() as u64;
        let length = Dice::new(seed, means.word(), number).within(LIFE_ROUNDS).min(share).min(rounds - next + 1);
        lives.push(Life {
            place: number % places,
            means,
            number,
            rounds: (next..next + length).map(|number| round(seed, means, number)).collect(),
        });
        next += length;
    }
    lives
}

fn round(seed: u64, means: Means, number: u64) -> Round {
    let mut dice = Dice::new(seed, &format!("{} round", means.word()), number);
    let victims = match dice.within(0..100) {
        0..40 => Victims::LeaderOf(dice.within(0..3) as usize),
        40..60 => Victims::One(dice.within(1..NODES + 1)),
        60..78 => Victims::AllBut(dice.within(1..NODES + 1)),
        _ => Victims::All,
    };
    let after = ms(&mut dice, 20..300);
    let linger = match (means, dice.within(0..3)) {
        (Means::PowerLoss, 1..) => ms(&mut dice, 1..600),
        _ => Duration::ZERO, // the machine goes with the disk
    };
    // Mostly so short that nobody has noticed, sometimes long enough for an election and a new leader at work.
    let away = if dice.percent(65) { 0..150 } else { 300..900 };
    let down = (0..victims.count()).map(|_| ms(&mut dice, away.clone())).collect();
    let again = dice.percent(20).then(|| ms(&mut dice, 0..400));
    Round { number, means, victims, after, linger, down, again }
}

fn ms(dice: &mut Dice, range: Range<u64>) -> Duration {
    Duration::from_millis(dice.within(range))
}

impl Means {
    pub(super) fn word(self) -> &'static str {
        match self {
            Means::Kill => "kill",
            Means::PowerLoss => "power loss",
        }
    }
}

impl Victims {
    /// How many nodes.
    pub(super) fn count(self) -> usize {
        match self {
            Victims::One(_) | Victims::LeaderOf(_) => 1,
            Victims::AllBut(_) => NODES as usize - 1,
            Victims::All => NODES as usize,
        }
    }

    /// For the tally.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Victims::One(_) => "one node",
            Victims::LeaderOf(_) => "a leader",
            Victims::AllBut(_) => "two nodes",
            Victims::All => "all nodes",
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: after {:?} ", self.means.word(), self.number, self.after)?;
        match self.victims {
            Victims::One(node) => write!(f, "node {node}")?,
            Victims::LeaderOf(shard) => write!(f, "the leader of shard no. {shard}")?,
            Victims::AllBut(node) => write!(f, "all but node {node}")?,
            Victims::All => write!(f, "all nodes")?,
        }
        if !self.linger.is_zero() {
            write!(f, ", killed {:?} later", self.linger)?;
        }
        write!(f, ", down for {:?}", self.down)?;
        if let Some(again) = self.again {
            write!(f, ", and once more {again:?} after the start")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_schedule_again_and_another_seed_another() {
        let plan = |seed| lives(seed, Means::Kill, 1_000, 3);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    /// What is promised on the command line is dealt out entirely, each round once and in order.
    #[test]
    fn every_round_is_lived_once_by_some_place() {
        for (rounds, places) in [(1_000, 3), (200, 3), (6, 1), (1, 3), (7, 3), (0, 3)] {
            for means in [Means::Kill, Means::PowerLoss] {
                let lives = lives(7, means, rounds, places);
                let numbers: Vec<u64> = lives.iter().flat_map(|life| &life.rounds).map(|round| round.number).collect();
                assert_eq!(numbers, (1..=rounds).collect::<Vec<_>>());
                assert!(lives.iter().all(|life| life.place < places && !life.rounds.is_empty()));
                let busy = lives.iter().map(|life| life.place).collect::<std::collections::BTreeSet<_>>().len() as u64;
                assert_eq!(busy, places.min(rounds), "{rounds} rounds on {places} places");
            }
        }
    }

    /// A thousand rounds without one of the kinds would prove less than they say.
    #[test]
    fn all_kinds_of_rounds_come_up() {
        for means in [Means::Kill, Means::PowerLoss] {
            let rounds: Vec<Round> = lives(7, means, 200, 3).into_iter().flat_map(|life| life.rounds).collect();
            for kind in ["one node", "a leader", "two nodes", "all nodes"] {
                assert!(rounds.iter().filter(|round| round.victims.kind() == kind).count() > 20, "{kind}");
            }
            assert!(rounds.iter().filter(|round| round.again.is_some()).count() > 20);
            assert!(rounds.iter().all(|round| round.down.len() == round.victims.count()));
            let lingering = rounds.iter().filter(|round| !round.linger.is_zero()).count();
            assert_eq!(lingering > 0, means == Means::PowerLoss);
        }
    }
}
