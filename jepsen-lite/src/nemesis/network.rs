//! What the proxies do to the links: who does not hear whom, and how badly.
//!
//! What each of them lays over the net is drawn by [`Kind::draw`], which touches nothing. It bites when bytes or
//! connections met it, and the links count those themselves.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

use futures::future::BoxFuture;
use ringfence_tests::Dice;
use tokio::time::Instant;

use super::{Bite, Nemesis, Struck, shuffled, victim};
use crate::cluster::Cluster;
use crate::proxy::{Bites, Fault, LinkName, Net, NodeId, Peer, Shape, Way};
use crate::trouble::Trouble;

/// Which of them it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    IsolatedLeader,
    Halves,
    OneWay,
    MajorityRing,
    Bridge,
    Slow,
    Lossy,
    Unreachable,
    Cut,
    Flapping,
}

impl Kind {
    pub(super) const ALL: [Kind; 10] = [
        Kind::IsolatedLeader,
        Kind::Halves,
        Kind::OneWay,
        Kind::MajorityRing,
        Kind::Bridge,
        Kind::Slow,
        Kind::Lossy,
        Kind::Unreachable,
        Kind::Cut,
        Kind::Flapping,
    ];

    fn name(self) -> &'static str {
        match self {
            Kind::IsolatedLeader => "isolated-leader",
            Kind::Halves => "halves",
            Kind::OneWay => "one-way",
            Kind::MajorityRing => "majority-ring",
            Kind::Bridge => "bridge",
            Kind::Slow => "slow",
            Kind::Lossy => "lossy",
            Kind::Unreachable => "unreachable",
            Kind::Cut => "cut",
            Kind::Flapping => "flapping",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Kind::IsolatedLeader => "a node is apart from all others, but not from the clients",
            Kind::Halves => "some nodes are apart from the others",
            Kind::OneWay => {
                "a node is not heard by another, or by all others, or does not hear them; the other way is clear"
            }
            Kind::MajorityRing => "every node hears a majority, and no two the same",
            Kind::Bridge => "two sides do not hear each other, and a node between them hears both",
            Kind::Slow => {
                "what is sent arrives late, everywhere or around a node, and sometimes little of it at a time"
            }
            Kind::Lossy => "what is sent waits for retransmissions, and connections end, everywhere or around a node",
            Kind::Unreachable => "a node is apart from the clients, but not from the other nodes",
            Kind::Cut => "connections are reset, and new ones as soon as they open, everywhere or around a node",
            Kind::Flapping => "a node is apart from the others and is not, several times a second",
        }
    }

    /// What it lays over a cluster, if it falls on this node: chosen by lot, and nothing is done yet.
    fn draw(self, nodes: &[NodeId], victim: NodeId, dice: &mut Dice) -> Vec<(Shape, Way)> {
        let dark = if dice.percent(70) { Way::Blackhole } else { Way::Held };
        let others: Vec<NodeId> = nodes.iter().copied().filter(|node| *node != victim).collect();
        let ms = |dice: &mut Dice, range| Duration::from_millis(dice.within(range));
        let widely = |dice: &mut Dice| if dice.percent(40) { Shape::Everywhere } else { Shape::Around(victim) };
        match self {
            Kind::IsolatedLeader => vec![(Shape::Isolated(victim), dark)],
            Kind::Halves => {
                // The victim is most often among the fewer: there its leadership is worth nothing.
                let fewer = 1 + dice.within(0..(nodes.len() as u64 - 1) / 2) as usize;
                let mut half: BTreeSet<NodeId> = shuffled(&others, dice).into_iter().take(fewer - 1).collect();
                half.insert(victim);
                if dice.percent(30) {
                    half = nodes.iter().copied().filter(|node| !half.contains(node)).collect();
                }
                vec![(Shape::Halves(half), dark)]
            }
            Kind::OneWay => {
                let way = |from: NodeId, to: NodeId| (Shape::OneWay(from.into(), to.into()), dark);
                match dice.within(0..3) {
                    0 => vec![way(victim, *dice.one_of(&others))],
                    1 => others.iter().map(|other| way(victim, *other)).collect(),
                    _ => others.iter().map(|other| way(*other, victim)).collect(),
                }
            }
            Kind::MajorityRing => vec![(Shape::MajoritiesRing(shuffled(nodes, dice)), dark)],
            Kind::Bridge => {
                let bridge = *dice.one_of(&others);
                let side = 1 + dice.within(0..others.len() as u64 - 1) as usize;
                let rest: Vec<NodeId> = others.iter().copied().filter(|node| *node != bridge).collect();
                let mut half: BTreeSet<NodeId> = shuffled(&rest, dice).into_iter().take(side - 1).collect();
                half.insert(victim);
                vec![(Shape::Bridge(bridge, half), dark)]
            }
            Kind::Slow => {
                let rate = dice.percent(30).then(|| dice.within(20_000..200_000)).and_then(NonZeroU64::new);
                let slow = Way::Slow { delay: ms(dice, 5..200), jitter: ms(dice, 0..200), bytes_per_second: rate };
                vec![(widely(dice), slow)]
            }
            Kind::Lossy => {
                let (stall, reset) = (dice.within(1..10) as f64 / 100.0, dice.within(0..15) as f64 / 1000.0);
                vec![(widely(dice), Way::Lossy { stall, reset })]
            }
            Kind::Unreachable => vec![(Shape::Unreachable(victim), dark)],
            Kind::Cut => {
                let shape = if dice.percent(30) { Shape::Isolated(victim) } else { widely(dice) };
                vec![(shape, Way::Cut)]
            }
            Kind::Flapping => {
                let way = if dice.percent(50) { Way::Cut } else { dark };
                vec![(if dice.percent(50) { Shape::Isolated(victim) } else { Shape::Around(victim) }, way)]
            }
        }
    }
}

/// See the module.
pub(super) struct Network {
    kind: Kind,
    /// What it lays over the net.
    drawn: Vec<(Shape, Way)>,
    /// What lies there now.
    laid: Vec<Fault>,
    /// Of this strike, and not of what lies there now.
    bitten: Bitten,
    /// When a flapping link changes next.
    flaps: Option<Instant>,
}

/// How often it was laid, what met it, and what the links did meanwhile.
#[derive(Default)]
struct Bitten {
    times: u64,
    count: u64,
    links: Bites,
}

impl Network {
    pub(super) fn of(kind: Kind) -> Network {
        Network { kind, drawn: Vec::new(), laid: Vec::new(), bitten: Bitten::default(), flaps: None }
    }

    fn lay(&mut self, net: &Net) {
        self.laid = self.drawn.iter().map(|(shape, way)| net.apply(shape, *way)).collect();
        self.bitten.times += 1;
    }

    fn clear(&mut self, net: &Net) {
        for fault in std::mem::take(&mut self.laid) {
            self.bitten.count += net.bites(&fault);
            let since = net.bites_since(&fault.before);
            self.bitten.links += links(&fault).iter().fold(Bites::default(), |mut all, name| {
                all += since.get(name).copied().unwrap_or_default();
                all
            });
            net.lift(&fault);
        }
    }
}

impl Nemesis for Network {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn about(&self) -> &'static str {
        self.kind.about()
    }

    fn inflict<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        dice: &'a mut Dice,
    ) -> BoxFuture<'a, Result<Struck, Trouble>> {
        Box::pin(async move {
            let node = victim(cluster, dice).await;
            self.drawn = self.kind.draw(&cluster.nodes(), node, dice);
            self.bitten = Bitten::default();
            self.lay(&cluster.net);
            self.flaps = (self.kind == Kind::Flapping).then(Instant::now);
            let what: Vec<&str> = self.laid.iter().map(|fault| fault.description.as_str()).collect();
            let flapping = if self.flaps.is_some() { ", on and off" } else { "" };
            let nodes = self.drawn.iter().flat_map(|(shape, _)| concerned(shape, node)).collect::<BTreeSet<_>>();
            Ok(Struck { what: what.join("; ") + flapping, nodes: nodes.into_iter().collect() })
        })
    }

    fn step<'a>(&'a mut self, cluster: &'a mut Cluster, dice: &'a mut Dice) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(async move {
            if self.flaps.is_none_or(|next| Instant::now() < next) {
                return Ok(());
            }
            match self.laid.is_empty() {
                true => self.lay(&cluster.net),
                false => self.clear(&cluster.net),
            }
            self.flaps = Some(Instant::now() + Duration::from_millis(dice.within(100..500)));
            Ok(())
        })
    }

    fn lift<'a>(&'a mut self, cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>> {
        Box::pin(async move {
            self.clear(&cluster.net);
            self.flaps = None;
            let Bitten { times, count, links } = std::mem::take(&mut self.bitten);
            let times = if times > 1 { format!("{times} times; ") } else { String::new() };
            Ok(Bite { count, evidence: times + &told(&links) })
        })
    }
}

/// The links that carry what it concerns.
fn links(fault: &Fault) -> BTreeSet<LinkName> {
    let by = |from: Peer, to: Peer| to.node().map(|to| LinkName { from, to });
    fault.ways.iter().flat_map(|(from, to)| [by(*from, *to), by(*to, *from)]).flatten().collect()
}

/// Whose doing it looks like, for the report.
fn concerned(shape: &Shape, victim: NodeId) -> Vec<NodeId> {
    match shape {
        Shape::Halves(half) => half.iter().copied().collect(),
        Shape::Bridge(bridge, half) => half.iter().copied().chain([*bridge]).collect(),
        Shape::OneWay(from, to) => [from, to].into_iter().filter_map(|peer| peer.node()).collect(),
        Shape::MajoritiesRing(ring) => ring.clone(),
        Shape::Everywhere => Vec::new(),
        Shape::Isolated(_) | Shape::Unreachable(_) | Shape::Around(_) => vec![victim],
    }
}

/// What is not nothing, in words.
fn told(bites: &Bites) -> String {
    let bytes = |part: fn(&crate::proxy::WayBites) -> u64| part(&bites.forward) + part(&bites.backward);
    let parts = [
        (bites.cut, "connections cut"),
        (bites.refused, "connections refused"),
        (bites.kept_waiting, "connections that nobody answered"),
        (bytes(|way| way.swallowed), "bytes lost"),
        (bytes(|way| way.held), "bytes held back"),
        (bytes(|way| way.delayed), "bytes late"),
        (bytes(|way| way.passed), "bytes passed"),
    ];
    let told: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if told.is_empty() { "nobody said anything".to_owned() } else { told.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u64) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    /// A shape that a cluster of this size cannot have would end the run, and one that concerns nobody would not bite.
    #[test]
    fn whatever_is_drawn_fits_the_cluster() {
        let mut dice = Dice::new(1, "network", 0);
        for kind in Kind::ALL {
            for count in [3, 4, 5, 9] {
                let nodes = nodes(count);
                for _ in 0..200 {
                    let victim = *dice.one_of(&nodes);
                    let drawn = kind.draw(&nodes, victim, &mut dice);
                    assert!(!drawn.is_empty());
                    for (shape, way) in drawn {
                        assert!(!shape.ways(&nodes.iter().copied().collect()).is_empty(), "{kind:?}: {shape}, {way}");
                        assert_ne!(way, Way::Clear);
                    }
                }
            }
        }
    }

    /// Halves of a cluster must leave a majority somewhere, and every node must be on the losing side some day.
    #[test]
    fn halves_are_of_every_size() {
        let mut dice = Dice::new(2, "network", 0);
        let nodes = nodes(5);
        let sizes: BTreeSet<usize> = (0..200)
            .filter_map(|_| match &Kind::Halves.draw(&nodes, NodeId(2), &mut dice)[0].0 {
                Shape::Halves(half) => Some(half.len()),
                _ => None,
            })
            .collect();
        assert_eq!(sizes, [1, 2, 3, 4].into());
    }

    #[tokio::test]
    async fn a_fault_that_met_no_traffic_does_not_count() {
        let addresses = nodes(3).into_iter().map(|node| (node, ([127, 0, 0, 1], 1).into())).collect();
        let net = Net::start(&addresses, 1).await.unwrap();
        let mut network = Network::of(Kind::IsolatedLeader);
        network.drawn = vec![(Shape::Isolated(NodeId(1)), Way::Cut)];
        network.lay(&net);
        network.clear(&net);
        assert_eq!((network.bitten.count, network.bitten.times), (0, 1));
        assert_eq!(told(&network.bitten.links), "nobody said anything");

        network.lay(&net);
        let refused = tokio::net::TcpStream::connect(net.address(NodeId(1), NodeId(2))).await.unwrap();
        while net.bites(&network.laid[0]) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(refused);
        network.clear(&net);
        assert_eq!(told(&network.bitten.links), "1 connections refused");
        assert!(network.bitten.count > 0);
        net.stop().await;
    }
}
