//! What breaks things. A file for each kind.
//!
//! A run strikes again and again: it inflicts a fault, holds it, lifts it, and lets the cluster breathe. With several
//! nemeses at once their faults overlap. Each fault must *show that it bit*: connections cut, processes gone, time
//! moved, bytes lost. A nemesis that never bit makes a run vacuous, and one whose means doesn't work here is *not
//! covered*; neither is a pass.

mod clock;
mod flipped;
mod full_disk;
mod kill;
mod network;
mod pause;
mod power;
mod preload;
mod rolling;
mod slow_disk;
mod snapshot;
mod transfer;
mod wiped;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use futures::future::BoxFuture;
use ringfence_tests::Dice;

use crate::cluster::{Cluster, Demands};
use crate::proxy::NodeId;
use crate::trouble::Trouble;

/// A fault that was inflicted.
#[derive(Clone, Debug)]
pub struct Struck {
    /// For people: who, and what.
    pub what: String,
    /// Whom it hit, if anyone in particular.
    pub nodes: Vec<NodeId>,
}

/// That a fault did something.
#[derive(Clone, Debug)]
pub struct Bite {
    /// How much; 0 if it hit nothing.
    pub count: u64,
    /// Of what, with the figures: `3 connections and 1,204 bytes met it`.
    pub evidence: String,
}

/// What breaks things. One value lives through a run; it remembers the fault that it has inflicted and not lifted.
pub trait Nemesis: Send {
    /// Its name: short, kebab-case.
    fn name(&self) -> &'static str;

    /// What it does, in a sentence, for people.
    fn about(&self) -> &'static str;

    /// Tests the means, in a directory of its own: [`Trouble::NotCovered`] if this machine can't do it. Done once
    /// before the cluster starts. A means that could fail silently must be tried for real here.
    fn self_test<'a>(&'a mut self, _dir: &'a Path) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(async { Ok(()) })
    }

    /// What must be there before the nodes start.
    fn demand(&mut self, _dir: &Path, _nodes: u64, _demands: &mut Demands) -> Result<(), Trouble> {
        Ok(())
    }

    /// Begins a fault. Returns soon, unless the fault is itself a course of events (a rolling restart).
    fn inflict<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        dice: &'a mut Dice,
    ) -> BoxFuture<'a, Result<Struck, Trouble>>;

    /// Called every 100 ms or so while the fault is held, for faults that move.
    fn step<'a>(&'a mut self, _cluster: &'a mut Cluster, _dice: &'a mut Dice) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(async { Ok(()) })
    }

    /// Ends it, and says how it bit. What it broke for longer than the fault itself (a node that must be filled again)
    /// it waits for in [`Cluster::well`]; the run does that after every lift.
    fn lift<'a>(&'a mut self, cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>>;
}

/// All of them.
pub fn all() -> Vec<Box<dyn Nemesis>> {
    let mut all: Vec<Box<dyn Nemesis>> = vec![
        Box::new(kill::Kill::one()),
        Box::new(kill::Kill::all()),
        Box::new(pause::Pause::default()),
        Box::new(power::Power::one()),
        Box::new(power::Power::all()),
        Box::new(clock::Clock::jump()),
        Box::new(clock::Clock::strobe()),
        Box::new(slow_disk::SlowDisk::slow()),
        Box::new(slow_disk::SlowDisk::hung()),
        Box::new(full_disk::FullDisk::default()),
        Box::new(flipped::Flipped::default()),
        Box::new(wiped::Wiped::default()),
        Box::new(rolling::Rolling::default()),
        Box::new(snapshot::Snapshot::default()),
        Box::new(transfer::Transfer::default()),
    ];
    for kind in network::Kind::ALL {
        all.push(Box::new(network::Network::of(kind)));
    }
    all
}

/// Combinations that are more than the sum of their parts: what one breaks is what the other needs. Those that have
/// found the most elsewhere come first.
pub fn pairs() -> Vec<Vec<NemesisName>> {
    let pairs: [&[&str]; 8] = [
        &["isolated-leader", "kill"],
        &["pause", "clock-jump"],
        &["power-loss", "halves"],
        &["forced-snapshot", "kill"],
        &["pause", "forced-snapshot"],
        &["lossy", "rolling-restart"],
        &["wiped-node", "power-loss"],
        &["transfer-storm", "slow"],
    ];
    pairs.iter().map(|pair| pair.iter().map(|name| NemesisName((*name).to_owned())).collect()).collect()
}

/// Some node that runs, by lot: often one that leads something, since that hurts most. Any node, if none runs.
async fn victim(cluster: &mut Cluster, dice: &mut Dice) -> NodeId {
    let able = cluster.able();
    if dice.percent(60) {
        let leaders = cluster.standing().await.leaders.into_values().flatten();
        let leaders: Vec<NodeId> = leaders.filter(|leader| able.contains(leader)).collect();
        if !leaders.is_empty() {
            return *dice.one_of(&leaders);
        }
    }
    let anyone = cluster.nodes();
    *dice.one_of(if able.is_empty() { &anyone } else { &able })
}

/// In some order.
fn shuffled(nodes: &[NodeId], dice: &mut Dice) -> Vec<NodeId> {
    let mut nodes = nodes.to_vec();
    for place in (1..nodes.len()).rev() {
        nodes.swap(place, dice.within(0..place as u64 + 1) as usize);
    }
    nodes
}

/// For people.
fn list(nodes: &[NodeId]) -> String {
    match nodes {
        [] => "nobody".to_owned(),
        nodes => nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" "),
    }
}

/// The name of a nemesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NemesisName(pub String);

impl NemesisName {
    /// A fresh nemesis of that name.
    pub fn nemesis(&self) -> Box<dyn Nemesis> {
        all().into_iter().find(|nemesis| nemesis.name() == self.0).expect("a name is made from a nemesis")
    }
}

impl FromStr for NemesisName {
    type Err = String;

    fn from_str(name: &str) -> Result<NemesisName, String> {
        let names: Vec<&str> = all().iter().map(|nemesis| nemesis.name()).collect();
        match names.contains(&name) {
            true => Ok(NemesisName(name.to_owned())),
            false => Err(format!("there is no nemesis {name:?}; expected {}", names.join(", "))),
        }
    }
}

impl fmt::Display for NemesisName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that nobody has would end `all` in the middle.
    #[test]
    fn every_nemesis_has_a_name_of_its_own_and_pairs_are_made_of_them() {
        let names: Vec<&str> = all().iter().map(|nemesis| nemesis.name()).collect();
        let distinct: std::collections::BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), distinct.len());
        for name in pairs().into_iter().flatten() {
            assert_eq!(name.nemesis().name(), name.to_string());
        }
        assert!("nothing".parse::<NemesisName>().is_err());
    }
}
