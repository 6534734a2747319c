//! What breaks things. A file for each kind.
//!
//! A run strikes again and again: it inflicts a fault, holds it, lifts it, and lets the cluster breathe. With several nemeses
//! at once their faults overlap. Each fault must *show that it bit*: connections cut, processes gone, time moved, bytes
//! lost. A nemesis that never bit makes a run vacuous, and one whose means doesn't work here is *not covered*; neither is a pass.

mod kill;
mod network;

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

    /// Tests the means, in a directory of its own: [`Trouble::NotCovered`] if this machine can't do it. Done once before the
    /// cluster starts. A means that could fail silently must be tried for real here.
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

    /// Ends it, and says how it bit. What it broke for longer than the fault itself (a node that must be filled again) it waits
    /// for in [`Cluster::well`]; the run does that after every lift.
    fn lift<'a>(&'a mut self, cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>>;
}

/// All of them.
pub fn all() -> Vec<Box<dyn Nemesis>> {
    vec![Box::new(kill::Kill::one()), Box::new(kill::Kill::all()), Box::new(network::Network::isolated_leader())]
}

/// Those that are most telling together.
pub fn pairs() -> Vec<Vec<NemesisName>> {
    let names = |names: &[&str]| names.iter().map(|name| NemesisName((*name).to_owned())).collect();
    vec![names(&["kill", "isolated-leader"])]
}

/// Some node, by lot: often one that leads something, since that hurts most.
async fn victim(cluster: &Cluster, dice: &mut Dice) -> NodeId {
    let nodes = cluster.nodes();
    if dice.percent(60) {
        let leaders: Vec<NodeId> = cluster.standing().await.leaders.into_values().flatten().collect();
        if !leaders.is_empty() {
            return *dice.one_of(&leaders);
        }
    }
    *dice.one_of(&nodes)
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
