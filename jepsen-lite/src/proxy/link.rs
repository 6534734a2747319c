//! One link: listens, and connects on to its target for every connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::bites::Bites;
use super::connection::Connection;
use super::weather::Weather;

/// Connections that wait to be accepted: as many as servers usually allow.
const BACKLOG: u32 = 1024;

/// Before the next try when the system has no more sockets for us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A node of the cluster under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// One who speaks over a link: a node, or any of the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// All of them: they share the links.
    Clients,
    /// One node.
    Node(NodeId),
}

impl Peer {
    /// The node, if it is one.
    pub fn node(self) -> Option<NodeId> {
        match self {
            Peer::Clients => None,
            Peer::Node(node) => Some(node),
        }
    }
}

impl From<NodeId> for Peer {
    fn from(node: NodeId) -> Peer {
        Peer::Node(node)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Clients => f.write_str("clients"),
            Peer::Node(node) => node.fmt(f),
        }
    }
}

/// Who connects to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName {
    /// Who connects.
    pub from: Peer,
    /// Whose server it reaches.
    pub to: NodeId,
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}→{}", self.from, self.to)
    }
}

/// A handle to a running link. When the last is dropped the link stops, and its connections are reset.
#[derive(Clone)]
pub struct Link {
    name: LinkName,
    address: SocketAddr,
    sky: Arc<watch::Sender<Sky>>,
    book: Arc<Book>,
}

/// What a link tells its connections.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sky {
    pub(super) weather: Weather,
    /// How often the link was cut: a cut counts for every connection that was there, however soon it is over.
    pub(super) cuts: u64,
    pub(super) stopped: bool,
}

/// What the connections of a link tell it.
#[derive(Default)]
pub(super) struct Book {
    bites: Mutex<Bites>,
    trouble: OnceLock<String>,
}

impl Book {
    pub(super) fn add(&self, bites: Bites) {
        *self.bites.lock().unwrap_or_else(PoisonError::into_inner) += bites;
    }

    /// Something went wrong that is neither weather nor the target's doing.
    pub(super) fn trouble(&self, what: impl FnOnce() -> String) {
        self.trouble.get_or_init(what);
    }

    fn bites(&self) -> Bites {
        *self.bites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Listens, with clear weather. With port 0 the system chooses one; a link that was stopped can come back at the same.
    ///
    /// All random choices come from the seed, in the order in which connections open and chunks are read.
    pub async fn start(name: LinkName, listen: SocketAddr, target: SocketAddr, seed: u64) -> io::Result<Link> {
        let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?; // connections of an earlier life do not keep the port
        socket.bind(listen)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let (sender, sky) = watch::channel(Sky::default());
        let link = Link { name, address, sky: Arc::new(sender), book: Arc::default() };
        tokio::spawn(serve(listener, target, StdRng::seed_from_u64(seed), sky, Arc::clone(&link.book)));
        Ok(link)
    }

    /// Who connects to whom here.
    pub fn name(&self) -> LinkName {
        self.name
    }

    /// Where to connect to instead of the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather, for the connections that are open and for new ones.
    pub fn set(&self, weather: Weather) {
        self.change(|now| *now = weather);
    }

    /// Changes the weather, starting from what it is.
    pub(super) fn change(&self, change: impl FnOnce(&mut Weather)) {
        self.sky.send_modify(|sky| {
            change(&mut sky.weather);
            sky.cuts += u64::from(sky.weather.is_cut());
        });
    }

    /// The weather now.
    pub fn weather(&self) -> Weather {
        self.sky.borrow().weather
    }

    /// What it has done so far.
    pub fn bites(&self) -> Bites {
        self.book.bites()
    }

    /// The first thing that went wrong that is neither weather nor the target's doing, such as a lack of sockets. A run with
    /// any proves nothing.
    pub fn trouble(&self) -> Option<&str> {
        self.book.trouble.get().map(String::as_str)
    }

    /// Resets all connections and closes the port; returns when that is done. Other handles are of no use then.
    pub async fn stop(self) {
        self.sky.send_modify(|sky| sky.stopped = true);
        self.sky.closed().await;
    }
}

async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    mut dice: StdRng,
    mut sky: watch::Receiver<Sky>,
    book: Arc<Book>,
) {
    let mut connections = JoinSet::new();
    while !sky.borrow_and_update().stopped {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((near, _)) => {
                    let seeds = [dice.next_u64(), dice.next_u64()];
                    connections.spawn(Connection::new(near, target, seeds, sky.clone(), Arc::clone(&book)).run());
                }
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    book.trouble(|| format!("cannot accept: {e}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => note(ended, &book),
            changed = sky.changed() => if changed.is_err() {
                break; // nobody has a handle any more
            },
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        note(ended, &book);
    }
    drop(sky); // last: `stop` waits for it
}

fn note(ended: Result<(), tokio::task::JoinError>, book: &Book) {
    if let Err(e) = ended {
        book.trouble(|| format!("a connection's task ended: {e}"));
    }
}
