//! The network between the nodes, in our hands: a TCP proxy on every link, and weather on every proxy.
//!
//! It needs no privilege. A node reaches each other node, and a client each node, at the address of a [`Link`] that connects on
//! to the real one. A [`Net`] has all links of a cluster, and lays a [`Shape`] (who does not hear whom) and a [`Way`] (what
//! happens to what they say) over them:
//!
//! ```ignore
//! let net = Net::start(&addresses, seed).await?;        // node → where it really listens
//! let peer = net.address(NodeId(1), NodeId(2));         // where node 1 is told that node 2 is
//! let fault = net.apply(&Shape::Isolated(NodeId(1)), Way::Blackhole);
//! // …
//! net.heal();
//! assert!(net.bites(&fault) > 0, "did not bite: {}", fault.description);
//! ```
//!
//! # What a proxy can and cannot do
//!
//! It sits above TCP, so it cannot lose a packet: the systems below would not send it again. What a loss looks like to
//! programs is what it makes: bytes that come late and in order, or a connection that ends. Three rules keep that honest:
//!
//! * **Bytes of a way arrive in the order they were sent, each once, with none left out before another.** A connection that
//!   lost bytes to a blackhole carries nothing more that way; when the way heals, it is reset.
//! * **The end of a connection travels like its bytes.** While a way is dark, no close or reset of the one end reaches the
//!   other, as when a machine dies behind a partition. So does its beginning: where the way to the target is dark,
//!   the system still accepts (it answers before we are asked), but the target hears of it only after healing.
//! * **What is sent after [`Link::set`] has returned meets the new weather.** What was sent before meets one or the other.
//!
//! Not covered: a connection attempt that gets no answer, a refusal or a late one (it always opens at once, and then is silent,
//! slow or reset), packets out of order, and anything that is seen only below TCP. A connection that is given up while its way is
//! dark stays with the link until healing, and takes a file descriptor: a long fault needs a limit of some thousands.
//!
//! # Inside
//!
//! `Passage` is one way of one connection, as a plain value: what was read, and when it is due. `Connection` is
//! the task around two of them and two sockets. `Link` accepts.

mod bites;
mod connection;
mod link;
mod net;
mod passage;
mod shape;
#[cfg(test)]
mod tests;
mod weather;

pub use bites::{Bites, WayBites};
pub use link::{Link, LinkName, NodeId, Peer};
pub use net::{Fault, Net, Snapshot};
pub use shape::Shape;
pub use weather::{Way, Weather};
