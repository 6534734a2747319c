//! One cluster from its founding to its end: round after round of blows and read backs.
//!
//! A round: load, blow, load without the victims, start them, wait until every shard is led, hold the load, read back what
//! was written since the round before. What was told in one round is believed in all later ones, so a loss that shows late
//! is seen late, but seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::known::Fault;
use super::load::Load;
use super::schedule::{Life, Means, NODES, Round, Victims};
use super::tally::{Tally, Watch};
use super::{Stop, Violation};
use crate::Dice;
use crate::{Cluster, Disk, data_dir, temporary_directory};

/// Short, so that a failover takes half a second. The least that a machine with more processes than processors keeps.
const TIMING: [&str; 3] = ["--heartbeat-ms=50", "--election-min-ms=150", "--election-max-ms=300"];

/// A disk of a node's own. The image is sparse.
const DISK_BYTES: u64 = 1 << 30;

/// Everything is read back after so many rounds, and at the end.
const READ_EVERYTHING_AFTER: usize = 20;

/// How long a cluster may take to be led again. Not a speed that anything depends on.
const LED_PATIENCE: Duration = Duration::from_secs(90);

/// A cluster under fire.
struct Trial {
    load: Load,
    watch: Arc<Watch>,
    tally: Arc<Tally>,
    /// Power losses only. They are mounted in the cluster's directory, so they go before it, and after the servers.
    disks: BTreeMap<u64, Disk>,
    cluster: Cluster,
}

/// What the nodes say of themselves at one moment.
struct Standing {
    /// Who leads each shard, the meta group first.
    leaders: BTreeMap<u64, Option<u64>>,
    /// Replicas that are not well.
    problems: Vec<String>,
}

/// Lives it. On a violation, or when something breaks, the data and the logs stay where the error says.
pub(super) async fn live(seed: u64, life: &Life, tally: &Arc<Tally>, ended: &dyn Fn()) -> Result<(), Stop> {
    let mut trial = Trial::begin(seed, life, tally).await?;
    tally.count(|counts| counts.lives += 1);
    let outcome = trial.rounds(life, ended).await;
    match outcome {
        Ok(()) => Ok(()),
        Err(stop) => Err(trial.preserve(stop).await),
    }
}

impl Trial {
    async fn begin(seed: u64, life: &Life, tally: &Arc<Tally>) -> Result<Trial, Stop> {
        let dir = temporary_directory();
        let disks = if life.means == Means::PowerLoss { disks(&dir)? } else { BTreeMap::new() };
        let cluster = Cluster::start_in(dir, NODES, &TIMING).await;
        let watch = Arc::new(Watch::new(cluster.shards().await.len()));
        let dice = Dice::new(seed, life.means.word(), life.rounds[0].number);
        let load = Load::start(&cluster, &dice, watch.clone(), tally.clone()).await?;
        Ok(Trial { load, watch, tally: tally.clone(), disks, cluster })
    }

    async fn rounds(&mut self, life: &Life, ended: &dyn Fn()) -> Result<(), Stop> {
        for (place, round) in life.rounds.iter().enumerate() {
            let everything = (place + 1) % READ_EVERYTHING_AFTER == 0;
            let done = self.round(round, everything).await;
            done.map_err(|stop| stop.during(&format!("round {} of cluster {}. {round}", place + 1, life.number)))?;
            ended();
        }
        self.read_everything_everywhere()
            .await
            .map_err(|stop| stop.during(&format!("the end of cluster {}", life.number)))
    }

    async fn read_everything_everywhere(&self) -> Result<(), Stop> {
        let quiet = self.load.quiet().await?;
        quiet.read_back(true).await?;
        quiet.read_through_every_node().await
    }

    async fn round(&mut self, round: &Round, everything: bool) -> Result<(), Stop> {
        self.watch.resume(round);
        sleep(round.after).await;
        let victims = self.victims(round.victims).await;
        let in_flight = self.watch.in_flight();
        self.blow(round, &victims).await?;
        self.start(&victims, &round.down).await?;
        if let Some(again) = round.again {
            sleep(again).await;
            self.blow(round, &victims).await?;
            self.start(&victims, &vec![Duration::ZERO; victims.len()]).await?;
        }
        self.led().await?;
        self.load.quiet().await?.read_back(everything).await?;
        self.tally.count(|counts| counts.round(round, in_flight));
        Ok(())
    }

    /// Who it hits. A shard that nobody leads just then is taken for led by some node.
    async fn victims(&self, victims: Victims) -> Vec<u64> {
        let nodes = 1..=NODES;
        match victims {
            Victims::One(node) => vec![node],
            Victims::AllBut(spared) => nodes.filter(|node| *node != spared).collect(),
            Victims::All => nodes.collect(),
            Victims::LeaderOf(place) => {
                let standing = self.standing().await;
                // The meta group stands first, and is nobody's data.
                let leader = standing.and_then(|standing| standing.leaders.values().nth(place + 1).copied().flatten());
                vec![leader.unwrap_or(place as u64 % NODES + 1)]
            }
        }
    }

    async fn blow(&mut self, round: &Round, victims: &[u64]) -> Result<(), Stop> {
        let ends_majority = victims.len() as u64 > NODES / 2;
        let mut stopped = 0;
        if round.means == Means::PowerLoss {
            let hit = self.disks.iter_mut().filter(|(node, _)| victims.contains(node)).map(|(_, disk)| disk);
            // ext4 may call a sync done that was under way when it was shut down, though nothing of it is on the disk. A machine
            // without power tells nobody; so whoever is to go on stands behind its last sync in this moment.
            let goes_on = !round.linger.is_zero();
            let servers: Vec<_> = victims.iter().map(|node| self.cluster.server(*node)).collect();
            block_in_place(|| {
                servers.iter().for_each(|server| server.freeze(goes_on));
                Disk::cut_power(hit)
            })?;
            self.watch.dark(ends_majority);
            if goes_on {
                servers.iter().for_each(|server| server.pause(false));
            }
            sleep(round.linger).await;
            stopped = victims.iter().filter(|node| !self.cluster.is_running(**node)).count() as u64;
        }
        block_in_place(|| self.cluster.kill_together(victims));
        self.watch.dark(ends_majority);
        let lingered = !round.linger.is_zero();
        self.tally.count(|counts| counts.blow(round.means, victims.len() as u64, stopped, lingered));
        self.load.check()
    }

    /// Starts the victims, each after its own time.
    async fn start(&mut self, victims: &[u64], down: &[Duration]) -> Result<(), Stop> {
        let since = Instant::now();
        let mut order: Vec<(Duration, u64)> = down.iter().copied().zip(victims.iter().copied()).collect();
        order.sort();
        for (down, node) in order {
            sleep(down.saturating_sub(since.elapsed())).await;
            if let Some(disk) = self.disks.get_mut(&node) {
                block_in_place(|| disk.restore_power())?;
            }
            self.load.check()?;
            self.watch.dark(false);
            self.cluster.start_node(node);
        }
        Ok(())
    }

    /// Waits until all nodes are back and every shard is led. A replica that is not well after nothing but a crash is a
    /// violation: it would be missing in the next one.
    async fn led(&mut self) -> Result<(), Stop> {
        let begun = Instant::now();
        loop {
            for node in 1..=NODES {
                if !self.cluster.is_running(node) {
                    let log = self.cluster.server(node).log();
                    return Err(Stop::Broken(format!(
                        "node {node} has ended by itself. Its log ends:\n{}",
                        tail(&log, 8)
                    )));
                }
            }
            if let Some(standing) = self.standing().await {
                if let Some(problem) = standing.problems.first() {
                    let expected = "replicas that are well again".to_owned();
                    let fault = Fault { what: "a crash takes no replica", expected, found: problem.clone() };
                    let when = "after the restart".to_owned();
                    return Err(Stop::Violation(Box::new(Violation::new("(no key)".to_owned(), fault, when))));
                }
                if standing.leaders.values().all(Option::is_some) {
                    return Ok(());
                }
            }
            if begun.elapsed() > LED_PATIENCE {
                return Err(Stop::Broken(format!(
                    "{LED_PATIENCE:?} after all nodes were started not every shard is led"
                )));
            }
            sleep(Duration::from_millis(15)).await;
        }
    }

    /// `None` while a node that should run does not answer.
    async fn standing(&self) -> Option<Standing> {
        let asked = self
            .cluster
            .running()
            .into_iter()
            .map(|node| async move { Some((node, self.cluster.status(node).await?)) });
        let statuses = join_all(asked).await.into_iter().collect::<Option<Vec<_>>>()?;
        let mut standing = Standing { leaders: BTreeMap::new(), problems: Vec::new() };
        let mut terms: BTreeMap<u64, u64> = BTreeMap::new();
        for (node, status) in statuses {
            for replica in status.replicas {
                let shard = replica.shard.as_ref()?.shard;
                let leader = standing.leaders.entry(shard).or_default();
                let term = terms.entry(shard).or_default();
                if replica.role == "leader" && replica.term > *term {
                    (*leader, *term) = (Some(node), replica.term);
                }
                if !replica.problem.is_empty() {
                    standing.problems.push(format!("node {node}, shard {shard}: {}", replica.problem));
                }
            }
        }
        Some(standing)
    }

    /// Leaves everything as it was found, for whoever looks into it.
    async fn preserve(&mut self, mut stop: Stop) -> Stop {
        if let Stop::Violation(violation) = &mut stop {
            violation.evidence = self.load.ask_around(&violation.key).await;
        }
        for disk in self.disks.values_mut() {
            disk.keep_image();
        }
        let images = if self.disks.is_empty() { "" } else { "; each node's disk is an image there (mount -o loop)" };
        stop.during(&format!("data and logs are kept in {}{images}", self.cluster.keep().display()))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let running = self.cluster.running();
        self.cluster.kill_together(&running); // a disk in use cannot be unmounted
    }
}

fn disks(dir: &TempDir) -> Result<BTreeMap<u64, Disk>, Stop> {
    let disk = |node| {
        let image = dir.path().join(format!("disk-{node}.img"));
        Ok((node, Disk::create(&image, &data_dir(dir.path(), node), DISK_BYTES)?))
    };
    (1..=NODES).map(disk).collect()
}

/// The last lines of a log.
fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
