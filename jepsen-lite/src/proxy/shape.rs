//! Who does not hear whom. Pure: a shape is a set of ways, and what happens on them is another matter.

use std::collections::BTreeSet;
use std::fmt;

use super::link::{NodeId, Peer};

/// Ways of a cluster that belong together. What the clients say and hear is part of none of them, unless it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Between this node and all others, both ways.
    Isolated(NodeId),
    /// Between these nodes and the others, both ways.
    Halves(BTreeSet<NodeId>),
    /// From one to another only. Clients may be either.
    OneWay(Peer, Peer),
    /// In a ring of this order each node hears its neighbours, as many on either side as make a majority with itself, and
    /// nobody else: everyone sees a majority, and no two the same. In a ring of three that would be all, so it is cut open
    /// between the last and the first.
    MajoritiesRing(Vec<NodeId>),
    /// Between these nodes and the others, except for the first given, which belongs to both sides.
    Bridge(NodeId, BTreeSet<NodeId>),
    /// Between this node and the clients, both ways.
    Unreachable(NodeId),
    /// Between this node and everyone, clients too, both ways.
    Around(NodeId),
    /// Between everyone, clients too.
    Everywhere,
}

impl Shape {
    /// The ways, from whom to whom, in a cluster of these nodes.
    pub fn ways(&self, nodes: &BTreeSet<NodeId>) -> BTreeSet<(Peer, Peer)> {
        self.assert_fits(nodes);
        let peers = || nodes.iter().copied().map(Peer::from).chain([Peer::Clients]);
        let pairs = peers().flat_map(|from| peers().map(move |to| (from, to)));
        let ways: BTreeSet<_> = pairs.filter(|(from, to)| from != to && self.concerns(*from, *to)).collect();
        assert!(!ways.is_empty(), "{self}: tells nobody apart");
        ways
    }

    fn concerns(&self, from: Peer, to: Peer) -> bool {
        match (self, from, to) {
            (Shape::OneWay(speaker, hearer), _, _) => (from, to) == (*speaker, *hearer),
            (Shape::Everywhere, _, _) => true,
            (Shape::Around(node), _, _) => [from, to].contains(&Peer::Node(*node)),
            (Shape::Unreachable(node), Peer::Clients, Peer::Node(other))
            | (Shape::Unreachable(node), Peer::Node(other), Peer::Clients) => other == *node,
            (Shape::Unreachable(_), _, _) | (_, Peer::Clients, _) | (_, _, Peer::Clients) => false,
            (Shape::Isolated(node), Peer::Node(from), Peer::Node(to)) => [from, to].contains(node),
            (Shape::Halves(half), Peer::Node(from), Peer::Node(to)) => half.contains(&from) != half.contains(&to),
            (Shape::Bridge(bridge, half), Peer::Node(from), Peer::Node(to)) => {
                ![from, to].contains(bridge) && half.contains(&from) != half.contains(&to)
            }
            (Shape::MajoritiesRing(ring), Peer::Node(from), Peer::Node(to)) => !are_neighbours(ring, from, to),
        }
    }

    /// A shape that names others than the nodes of this cluster would be a fault that cannot bite.
    fn assert_fits(&self, nodes: &BTreeSet<NodeId>) {
        let named: BTreeSet<NodeId> = match self {
            Shape::Isolated(node) | Shape::Unreachable(node) | Shape::Around(node) => [*node].into(),
            Shape::Halves(half) => half.clone(),
            Shape::OneWay(from, to) => {
                assert!(from != to, "{self}: from one to itself");
                [from, to].into_iter().filter_map(|peer| peer.node()).collect()
            }
            Shape::MajoritiesRing(ring) => {
                assert!(
                    ring.len() == nodes.len() && ring.len() >= 3,
                    "{self}: a ring has every node, and at least three"
                );
                ring.iter().copied().collect()
            }
            Shape::Bridge(bridge, half) => half.iter().copied().chain([*bridge]).collect(),
            Shape::Everywhere => return,
        };
        assert!(named.is_subset(nodes), "{self}: not of this cluster");
        assert!(!matches!(self, Shape::MajoritiesRing(_)) || named == *nodes, "{self}: a node twice");
    }
}

/// Whether two nodes of a ring hear each other.
fn are_neighbours(ring: &[NodeId], one: NodeId, other: NodeId) -> bool {
    let place = |node| ring.iter().position(|there| *there == node).expect("a ring has every node");
    let apart = place(one).abs_diff(place(other));
    let to_each_side = (ring.len() / 2).div_ceil(2); // a majority without oneself, in two halves
    match ring.len() {
        3 => apart == 1,
        nodes => apart.min(nodes - apart) <= to_each_side,
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Isolated(node) => write!(f, "{node} isolated"),
            Shape::Halves(half) => write!(f, "{} apart from the others", list(half)),
            Shape::OneWay(from, to) => write!(f, "{from} not heard by {to}"),
            Shape::MajoritiesRing(ring) => write!(f, "ring of majorities {}", list(ring)),
            Shape::Bridge(bridge, half) => {
                write!(f, "{} apart from the others, bridged by {bridge}", list(half.iter().filter(|n| *n != bridge)))
            }
            Shape::Unreachable(node) => write!(f, "{node} apart from the clients"),
            Shape::Around(node) => write!(f, "around {node}"),
            Shape::Everywhere => f.write_str("everywhere"),
        }
    }
}

fn list<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let nodes: Vec<String> = nodes.into_iter().map(NodeId::to_string).collect();
    nodes.join(" ")
}
