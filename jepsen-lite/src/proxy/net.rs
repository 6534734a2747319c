//! All links of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use super::bites::Bites;
use super::link::{Link, LinkName, NodeId, Peer};
use super::shape::Shape;
use super::weather::{Way, Weather};

/// A link for each ordered pair of nodes, and one for all clients to each node.
pub struct Net {
    nodes: BTreeSet<NodeId>,
    links: BTreeMap<LinkName, Link>,
}

/// What every link had done at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<LinkName, Bites>);

/// A fault that was laid over the net.
#[derive(Debug, Clone)]
pub struct Fault {
    /// For people: who, and what.
    pub description: String,
    /// From whom to whom.
    pub ways: BTreeSet<(Peer, Peer)>,
    /// What happens there.
    pub way: Way,
    /// What every link had done before.
    pub before: Snapshot,
}

impl Net {
    /// Starts all links on loopback, to where the nodes really listen; they need not run yet.
    pub async fn start(nodes: &BTreeMap<NodeId, SocketAddr>, seed: u64) -> io::Result<Net> {
        let mut seeds = StdRng::seed_from_u64(seed);
        let mut links = BTreeMap::new();
        for (to, target) in nodes {
            let others = nodes.keys().filter(|from| *from != to).copied().map(Peer::from);
            for from in others.chain([Peer::Clients]) {
                let name = LinkName { from, to: *to };
                let link = Link::start(name, (Ipv4Addr::LOCALHOST, 0).into(), *target, seeds.next_u64()).await?;
                links.insert(name, link);
            }
        }
        Ok(Net { nodes: nodes.keys().copied().collect(), links })
    }

    /// The nodes.
    pub fn nodes(&self) -> &BTreeSet<NodeId> {
        &self.nodes
    }

    /// Where one finds a node.
    pub fn address(&self, from: impl Into<Peer>, to: NodeId) -> SocketAddr {
        self.link(from, to).address()
    }

    /// The link from one to a node.
    pub fn link(&self, from: impl Into<Peer>, to: NodeId) -> &Link {
        let name = LinkName { from: from.into(), to };
        self.links.get(&name).unwrap_or_else(|| panic!("no link {name}"))
    }

    /// All of them.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// Lays a fault over the ways of a shape. All other ways stay as they are, so faults can be laid over each other; where two
    /// meet, the later counts.
    pub fn apply(&self, shape: &Shape, way: Way) -> Fault {
        let fault = Fault {
            description: format!("{shape}: {way}"),
            ways: shape.ways(&self.nodes),
            way,
            before: self.snapshot(),
        };
        self.turn(&fault.ways, way);
        fault
    }

    /// Takes a fault away: clears its ways, whatever else was laid over them.
    pub fn lift(&self, fault: &Fault) {
        self.turn(&fault.ways, Way::Clear);
    }

    /// Clears all ways.
    pub fn heal(&self) {
        self.links().for_each(|link| link.set(Weather::CLEAR));
    }

    /// What every link has done so far.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.links.iter().map(|(name, link)| (*name, link.bites())).collect())
    }

    /// What each link has done since then.
    pub fn bites_since(&self, before: &Snapshot) -> BTreeMap<LinkName, Bites> {
        self.links.iter().map(|(name, link)| (*name, link.bites() - before.0[name])).collect()
    }

    /// How much a fault has bitten since it was laid: bytes and connections that met it. 0 means that nothing did.
    ///
    /// Connections that a blackhole has cost are counted by what they lost, not when they are reset on healing.
    pub fn bites(&self, fault: &Fault) -> u64 {
        let since = self.bites_since(&fault.before);
        let ways = fault.ways.iter().flat_map(|(from, to)| self.carriers(*from, *to));
        ways.map(|(name, forward)| since[&name].of(fault.way, forward)).sum()
    }

    /// The first thing that went wrong that is neither weather nor a node's doing. A run with any proves nothing.
    pub fn trouble(&self) -> Option<String> {
        self.links().find_map(|link| link.trouble().map(|trouble| format!("{}: {trouble}", link.name())))
    }

    /// Resets all connections and closes all ports.
    pub async fn stop(self) {
        for link in self.links.into_values() {
            link.stop().await;
        }
    }

    /// The links that carry what one says to another, and whether that is their forward way: the one it connects by, and the
    /// one it is connected to by.
    fn carriers(&self, from: Peer, to: Peer) -> impl Iterator<Item = (LinkName, bool)> {
        let by = |from: Peer, to: Peer, forward| to.node().map(|to| (LinkName { from, to }, forward));
        [by(from, to, true), by(to, from, false)].into_iter().flatten()
    }

    fn turn(&self, ways: &BTreeSet<(Peer, Peer)>, way: Way) {
        for (name, forward) in ways.iter().flat_map(|(from, to)| self.carriers(*from, *to)) {
            self.links[&name].change(|weather| match forward {
                true => weather.forward = way,
                false => weather.backward = way,
            });
        }
    }
}
