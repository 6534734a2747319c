//! Plays a run: sets the stage, lets workers and nemeses act, heals, and asks for what must be there in the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use jepsen_checkers::{Checked, Event, Explanation, History, Verdict, Why};
use ringfence_client::{Agreement, Client, ClientConfig};
use ringfence_tests::Dice;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Endpoint;

use super::RunOptions;
use super::judgement::Judgement;
use super::schedule::Strike;
use super::sightings::Eyes;
use crate::cluster::{Cluster, Demands, PATIENCE};
use crate::nemesis::Nemesis;
use crate::recorder::{Origin, Recorder};
use crate::results::{Check, Coverage, FaultBand, Results};
use crate::scene::{CALL_TIMEOUT, Scene};
use crate::trouble::Trouble;
use crate::workload::Workload;

/// SDK clients of each workload.
const CLIENTS: usize = 3;

/// How long final reads may take, once all is well again.
const FINISH: Duration = Duration::from_secs(120);

/// Operations that each workload must get done after healing, asked for after it.
pub(super) const AFTER_HEALING: usize = 5;

/// How much longer than asked for a run goes on where too little got done.
const LONGER_MAX: Duration = Duration::from_secs(180);

/// How much longer than asked for the nemeses go on while one of them has not bitten.
const BITE_MAX: Duration = Duration::from_secs(60);

/// How long replicas may take to come to stand at the same position, once nobody asks for anything.
const COMPARE: Duration = Duration::from_secs(60);

/// How often a held fault gets a step.
const STEP: Duration = Duration::from_millis(100);

/// Plays it, and judges. Whatever goes wrong stands in the results.
pub(super) async fn play(
    options: &RunOptions,
    work: &Path,
    say: &mut (dyn FnMut(&str) + Send),
) -> (Results, Vec<(String, Vec<Event>)>) {
    let mut judgement = Judgement::new(options);
    let mut nemeses = Vec::new();
    for name in &options.nemesis {
        let mut nemesis = name.nemesis();
        let mut coverage = Coverage {
            nemesis: nemesis.name().to_owned(),
            about: nemesis.about().to_owned(),
            not_covered: None,
            struck: 0,
            bit: 0,
        };
        let dir = work.join(format!("self-test-{name}"));
        let tried = match std::fs::create_dir_all(&dir) {
            Ok(()) => nemesis.self_test(&dir).await,
            Err(error) => Err(Trouble::harness("a directory for a self-test", error)),
        };
        match tried {
            Ok(()) => nemeses.push((judgement.nemeses.len(), nemesis)),
            Err(Trouble::NotCovered(why)) => {
                say(&format!("not covered: {name}: {why}"));
                coverage.not_covered = Some(why);
            }
            Err(trouble) => judgement.trouble(trouble),
        }
        judgement.nemeses.push(coverage);
    }
    let workloads: Vec<Box<dyn Workload>> = options.workload.iter().map(|name| name.workload()).collect();
    let origin = Origin::new();
    let recorders: Vec<Recorder> = workloads.iter().map(|_| Recorder::new(&origin)).collect();
    let can_play = judgement.is_open() && (options.nemesis.is_empty() || !nemeses.is_empty());
    if can_play {
        let mut play =
            Play { options, origin, workloads: &workloads, recorders: &recorders, judgement: &mut judgement };
        if let Err(trouble) = play.acts(work, &mut nemeses, say).await {
            judgement.trouble(trouble);
        }
    }
    // Of what was not played there is nothing to judge.
    let judged = if can_play { workloads.len() } else { 0 };
    judgement.judge(&workloads[..judged], &recorders)
}

struct Play<'a> {
    options: &'a RunOptions,
    origin: Arc<Origin>,
    workloads: &'a [Box<dyn Workload>],
    recorders: &'a [Recorder],
    judgement: &'a mut Judgement,
}

/// A nemesis, and its place in the list of those that were asked for.
type Placed = (usize, Box<dyn Nemesis>);

impl Play<'_> {
    async fn acts(
        &mut self,
        work: &Path,
        nemeses: &mut [Placed],
        say: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), Trouble> {
        let seed = self.options.seed.expect("settled");
        let mut demands = Demands::default();
        if let Some(bug) = &self.options.plant {
            demands.environment.push(("RINGFENCE_PLANTED_BUG".into(), bug.into()));
        }
        for (_, nemesis) in nemeses.iter_mut() {
            nemesis.demand(work, self.options.nodes, &mut demands)?;
        }
        let program = self.options.program();
        if !program.exists() {
            return Err(Trouble::Harness(format!("there is no {}; build it first", program.display())));
        }
        let mut cluster = Cluster::start(work, &program, self.options.nodes, seed, demands).await?;
        let eyes = Eyes::open(&self.origin, &cluster.direct_endpoints());
        let over = Arc::new(AtomicBool::new(false));
        let scenes = self.scenes(&cluster, &over).await?;
        let began_ns = self.origin.now_ns();
        let workers = self.workers(&scenes);
        let mut struck = self.strikes(&mut cluster, nemeses, seed, say).await;
        if struck.is_ok() {
            struck = self.recovery(&mut cluster, say).await;
        }
        if struck.is_ok() {
            self.until_enough(say).await;
        }
        over.store(true, Ordering::Relaxed);
        self.judgement.worked_ns = (began_ns, self.origin.now_ns());
        let ended = self.workers_end(workers).await;
        let outcome = match struck.and(ended) {
            Ok(()) => self.ending(&mut cluster, &scenes, say).await,
            Err(trouble) => Err(trouble),
        };
        self.judgement.sightings = eyes.close();
        drop(scenes);
        if let Some(trouble) = cluster.net.trouble() {
            self.judgement.trouble(Trouble::Harness(trouble));
        }
        outcome
    }

    async fn scenes(&self, cluster: &Cluster, over: &Arc<AtomicBool>) -> Result<Vec<Scene>, Trouble> {
        let endpoints: Vec<String> = cluster.endpoints().into_values().collect();
        let mut scenes = Vec::new();
        for (workload, recorder) in self.workloads.iter().zip(self.recorders) {
            let config = ClientConfig { timeout: CALL_TIMEOUT, ..ClientConfig::new(endpoints.clone()) };
            let clients = join_all((0..CLIENTS).map(|_| Client::with_config(config.clone()))).await;
            let clients = clients.into_iter().collect::<Result<Vec<_>, _>>();
            let plain = cluster.endpoints().into_iter().map(|(node, address)| {
                let channel = Endpoint::from_shared(format!("http://{address}")).expect("a port makes an address");
                (node, channel.connect_timeout(Duration::from_secs(1)).connect_lazy())
            });
            scenes.push(Scene {
                clients: clients.map_err(|error| Trouble::harness("no client of a cluster that is well", error))?,
                plain: plain.collect(),
                recorder: recorder.clone(),
                seed: self.options.seed.expect("settled"),
                name: workload.name(),
                over: Arc::clone(over),
            });
        }
        Ok(scenes)
    }

    fn workers(&self, scenes: &[Scene]) -> Vec<(String, JoinHandle<Result<(), String>>)> {
        let mut workers = Vec::new();
        for (workload, scene) in self.workloads.iter().zip(scenes) {
            for worker in 0..workload.workers() {
                let work = tokio::spawn(workload.work(scene.clone(), worker));
                workers.push((format!("{} {worker}", workload.name()), work));
            }
        }
        workers
    }

    /// Until the time is over and each has bitten: strike, hold, lift, well again. Where one is in the other's way (nobody can cut
    /// a log while a leader is isolated and a node is gone) they take turns in who begins, and go on for a while.
    async fn strikes(
        &mut self,
        cluster: &mut Cluster,
        nemeses: &mut [Placed],
        seed: u64,
        say: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), Trouble> {
        let until = Instant::now() + Duration::from_secs(self.options.time);
        if nemeses.is_empty() {
            tokio::time::sleep_until(until).await;
            return Ok(());
        }
        let mut schedule = Dice::new(seed, "schedule", 0);
        let mut dice = Dice::new(seed, "nemesis", 0);
        for turn in 0.. {
            let strike = Strike::next(&mut schedule, nemeses.len(), turn);
            if Instant::now() + strike.calm >= until {
                let harmless = nemeses.iter().find(|(place, _)| self.judgement.nemeses[*place].bit == 0);
                match harmless {
                    Some((_, nemesis)) if Instant::now() < until + BITE_MAX => {
                        say(&format!("going on: {} has not bitten yet", nemesis.name()));
                    }
                    _ => {
                        tokio::time::sleep_until(until).await;
                        break;
                    }
                }
            }
            sleep(strike.calm).await;
            let mut bands = BTreeMap::new();
            let outcome = self.strike(cluster, nemeses, &strike, &mut dice, &mut bands, say).await;
            let lifted = self.lift(cluster, nemeses, &strike, &mut bands).await;
            outcome.and(lifted)?;
            cluster.well().await?;
        }
        Ok(())
    }

    async fn strike(
        &mut self,
        cluster: &mut Cluster,
        nemeses: &mut [Placed],
        strike: &Strike,
        dice: &mut Dice,
        bands: &mut BTreeMap<usize, FaultBand>,
        say: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), Trouble> {
        for (nth, which) in strike.begin.iter().copied().enumerate() {
            if nth > 0 {
                sleep(strike.between).await;
            }
            let (_, nemesis) = &mut nemeses[which];
            let from_ns = self.origin.now_ns();
            let struck = nemesis.inflict(cluster, dice).await?;
            say(&format!("{:7.2} s  {}", from_ns as f64 / 1e9, struck.what));
            bands.insert(
                which,
                FaultBand {
                    nemesis: nemesis.name().to_owned(),
                    what: struck.what,
                    nodes: struck.nodes.iter().map(|node| node.0).collect(),
                    from_ns,
                    until_ns: 0,
                    bites: 0,
                    evidence: String::new(),
                },
            );
        }
        let until = Instant::now() + strike.hold;
        while Instant::now() < until {
            for (_, nemesis) in nemeses.iter_mut() {
                nemesis.step(cluster, dice).await?;
            }
            sleep(STEP.min(until.saturating_duration_since(Instant::now()))).await;
        }
        Ok(())
    }

    /// Lifts what was inflicted, also after something went wrong.
    async fn lift(
        &mut self,
        cluster: &mut Cluster,
        nemeses: &mut [Placed],
        strike: &Strike,
        bands: &mut BTreeMap<usize, FaultBand>,
    ) -> Result<(), Trouble> {
        for which in &strike.lift {
            let Some(mut band) = bands.remove(which) else { continue };
            let (place, nemesis) = &mut nemeses[*which];
            let bite = nemesis.lift(cluster).await?;
            (band.until_ns, band.bites, band.evidence) = (self.origin.now_ns(), bite.count, bite.evidence);
            let coverage = &mut self.judgement.nemeses[*place];
            coverage.struck += 1;
            coverage.bit += usize::from(band.bites > 0);
            self.judgement.faults.push(band);
        }
        Ok(())
    }

    /// With all faults gone: every node is well, and every workload gets something done.
    async fn recovery(&mut self, cluster: &mut Cluster, say: &mut (dyn FnMut(&str) + Send)) -> Result<(), Trouble> {
        cluster.net.heal();
        for node in cluster.nodes() {
            cluster.resume(node);
            cluster.start_node(node)?;
        }
        cluster.well().await?;
        let healed_ns = self.origin.now_ns();
        self.judgement.healed_ns = Some(healed_ns);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done: Vec<usize> = self.recorders.iter().map(|recorder| recorder.ok_since(healed_ns)).collect();
            let Some(waiting) = done.iter().position(|done| *done < AFTER_HEALING) else { break };
            if Instant::now() >= deadline {
                let name = self.workloads[waiting].name();
                return Err(Trouble::violation(
                    "liveness after healing",
                    format!(
                        "{PATIENCE:?} after all nodes were well again, {name} has got {} things done",
                        done[waiting]
                    ),
                ));
            }
            sleep(Duration::from_millis(50)).await;
        }
        say("all is well again");
        Ok(())
    }

    /// A slow machine needs longer to get done what makes a judgement worth something. What is still too little then will be judged
    /// as that.
    async fn until_enough(&self, say: &mut (dyn FnMut(&str) + Send)) {
        let until = Instant::now() + LONGER_MAX;
        loop {
            let short = self.workloads.iter().zip(self.recorders).find(|(workload, recorder)| {
                let history = History::from_events(recorder.events());
                let checks = history.ok().and_then(|history| workload.judge(&history, self.options.time).ok());
                let is_short = |verdict: &Verdict| matches!(verdict, Verdict::Unknown { why: Why::Vacuous { .. }, .. });
                checks.is_some_and(|checks| checks.iter().any(|(_, verdict)| is_short(verdict)))
            });
            let Some((short, _)) = short else { return };
            if Instant::now() >= until {
                return;
            }
            say(&format!("going on: too little of {}", short.name()));
            sleep(Duration::from_secs(2)).await;
        }
    }

    async fn workers_end(&self, workers: Vec<(String, JoinHandle<Result<(), String>>)>) -> Result<(), Trouble> {
        let deadline = Instant::now() + FINISH;
        for (name, worker) in workers {
            match tokio::time::timeout_at(deadline, worker).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(problem))) => return Err(Trouble::Harness(format!("{name}: {problem}"))),
                Ok(Err(panicked)) => return Err(Trouble::Harness(format!("{name}: {panicked}"))),
                Err(_) => return Err(Trouble::Harness(format!("{name} does not come to an end"))),
            }
        }
        Ok(())
    }

    async fn ending(
        &mut self,
        cluster: &mut Cluster,
        scenes: &[Scene],
        say: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), Trouble> {
        let finishes = self.workloads.iter().zip(scenes).map(|(workload, scene)| {
            let finish = workload.finish(scene.clone());
            async move { (workload.name(), timeout(FINISH, finish).await) }
        });
        for (name, finished) in join_all(finishes).await {
            match finished {
                Ok(Ok(())) => {}
                Ok(Err(problem)) => return Err(Trouble::Harness(format!("the end of {name}: {problem}"))),
                Err(_) => {
                    let what =
                        format!("{FINISH:?} after all nodes were well again, {name} has not had its final reads");
                    return Err(Trouble::violation("liveness after healing", what));
                }
            }
        }
        say("read back");
        cluster.well().await?;
        self.replicas_alike(cluster).await?;
        say("replicas compared");
        Ok(())
    }

    /// Whether all replicas of every shard hold the same.
    async fn replicas_alike(&mut self, cluster: &Cluster) -> Result<(), Trouble> {
        let client = Client::connect(cluster.endpoints().into_values()).await;
        let client = client.map_err(|error| Trouble::harness("no client of a cluster that is well", error))?;
        let shards = client.compare_replicas(COMPARE).await;
        let shards = shards.map_err(|error| Trouble::harness("replicas cannot be compared", error))?;
        for shard in shards {
            let of = |replicas: usize| Checked { ok: replicas, telling: replicas, keys: 1, ..Checked::default() };
            let verdict = match shard.agreement {
                Agreement::Equal { replicas } => Verdict::Valid { checked: of(replicas.len()) },
                Agreement::NotComparable { why, replicas } => {
                    Verdict::Unknown { why: Why::Unread { missing: why }, checked: of(replicas.len()) }
                }
                Agreement::Differ { replicas } => {
                    let hashes: Vec<String> =
                        replicas.iter().map(|hash| format!("{} holds {:032x}", hash.node, hash.hash.0)).collect();
                    let headline = format!(
                        "replicas of {} that have applied the same entries do not hold the same: {}",
                        shard.shard,
                        hashes.join(", ")
                    );
                    let (rule, operations) = ("equal replicas".to_owned(), Vec::new());
                    Verdict::Invalid { explanation: Explanation { rule, headline, key: None, operations } }
                }
            };
            self.judgement.cluster.push(Check { rule: format!("replicas of {} are alike", shard.shard), verdict });
        }
        Ok(())
    }
}
