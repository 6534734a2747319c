//! One connection: two sockets, a passage each way between them, and the task that moves bytes.
//!
//! One task does both ways, so that what happens to the one end and what the other is told stay together.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use futures::FutureExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::bites::Bites;
use super::link::{Book, Sky};
use super::passage::{CHUNK_BYTES_MAX, Load, Passage, Want};

/// What the connecting side sends. A way's number is also that of the end it comes from; it leads to the other.
const FORWARD: usize = 0;
const BACKWARD: usize = 1;

/// The side that connected to us.
const NEAR: usize = 0;
/// The target.
const FAR: usize = 1;

/// Written together at most.
const SLICES_MAX: usize = 16;

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

enum End {
    /// Not asked to connect yet, or it has not answered.
    Awaited,
    Open(TcpStream),
    /// It has reset the connection, or was told that it is reset.
    Gone,
}

/// What can happen to an end that is worth waking up for.
#[derive(Clone, Copy, PartialEq)]
enum Stir {
    Nothing,
    Readable,
    /// It has closed its side; it may still reset the connection.
    Death,
}

/// * A broken connection carries nothing. An end of it is reset as soon as the way towards it lets news through.
/// * The passage towards an end that is gone is deaf; the one from it has ended.
pub(super) struct Connection {
    ends: [End; 2],
    passages: [Passage; 2],
    buffers: [BytesMut; 2],
    /// Writing to this end failed: when it has nothing more to read, that was a reset.
    refuses: [bool; 2],
    connecting: Option<Connecting>,
    target: SocketAddr,
    sky: watch::Receiver<Sky>,
    cuts: u64,
    stopped: bool,
    broken: bool,
    /// What was done since it was last written into the book.
    bites: Bites,
    book: Arc<Book>,
}

impl Connection {
    pub(super) fn new(
        near: TcpStream,
        target: SocketAddr,
        seeds: [u64; 2],
        mut sky: watch::Receiver<Sky>,
        book: Arc<Book>,
    ) -> Connection {
        let _ = near.set_nodelay(true); // fails only where the other side is gone already
        let now = Instant::now();
        let Sky { weather, cuts, stopped } = *sky.borrow_and_update();
        let passage = |way: usize| Passage::new(weather.ways()[way], now, StdRng::seed_from_u64(seeds[way]));
        let mut connection = Connection {
            ends: [End::Open(near), End::Awaited],
            passages: [passage(FORWARD), passage(BACKWARD)],
            buffers: [BytesMut::new(), BytesMut::new()],
            refuses: [false; 2],
            connecting: None,
            target,
            sky,
            cuts,
            stopped,
            broken: false,
            bites: Bites::default(),
            book,
        };
        if weather.is_cut() {
            connection.bites.refused += 1;
            connection.break_off();
        } else if !weather.forward.passes() {
            connection.bites.kept_waiting += 1;
        }
        connection
    }

    pub(super) async fn run(mut self) {
        loop {
            self.look_up();
            for way in [FORWARD, BACKWARD] {
                self.read(way);
                self.deliver(way).await;
            }
            self.settle();
            self.report();
            if self.stopped || self.is_over() {
                break;
            }
            self.wait().await;
        }
        if self.stopped {
            self.reset(NEAR);
            self.reset(FAR);
        }
    }

    /// Takes in what the weather is now.
    fn look_up(&mut self) {
        match self.sky.has_changed() {
            Ok(false) => return,
            Ok(true) => {}
            Err(_) => self.stopped = true, // nobody has a handle to the link any more
        }
        let sky = *self.sky.borrow_and_update();
        self.stopped |= sky.stopped;
        let now = Instant::now();
        for (passage, way) in self.passages.iter_mut().zip(sky.weather.ways()) {
            passage.turn(way, now);
        }
        if self.broken {
            return;
        }
        if sky.cuts > self.cuts || self.passages.iter().any(Passage::healed_with_loss) {
            self.bites.cut += 1;
            self.break_off();
        }
    }

    /// Reads once from the end where this way begins, if there is room.
    fn read(&mut self, way: usize) {
        let End::Open(source) = &self.ends[way] else { return };
        let read = match self.passages[way].want() {
            Want::Nothing => return,
            Want::Look => {
                let mut waiting = vec![0; CHUNK_BYTES_MAX];
                if let Some(Ok(bytes)) = source.peek(&mut waiting).now_or_never() {
                    self.passages[way].looked(bytes);
                }
                return;
            }
            Want::Read(bytes_max) => {
                let buffer = &mut self.buffers[way];
                if buffer.capacity() < CHUNK_BYTES_MAX / 4 {
                    buffer.reserve(CHUNK_BYTES_MAX);
                }
                source.try_read_buf(&mut buffer.limit(bytes_max))
            }
        };
        // Only now: what was sent after the weather changed must meet the new weather, and may be among what was read.
        self.look_up();
        match read {
            Ok(0) if self.refuses[way] => self.lose(way),
            Ok(0) => self.take(way, Load::End),
            Ok(_) => {
                let bytes = self.buffers[way].split().freeze();
                self.take(way, Load::Bytes(bytes));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.lose(way),
        }
    }

    /// Writes what is due this way.
    async fn deliver(&mut self, way: usize) {
        let now = Instant::now();
        let (passage, to) = (&mut self.passages[way], 1 - way);
        while let (End::Open(sink), Some(load)) = (&mut self.ends[to], passage.due(now)) {
            let done = match load {
                Load::Bytes(_) => {
                    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                    slices
                        .iter_mut()
                        .zip(passage.due_bytes(now))
                        .for_each(|(slice, bytes)| *slice = IoSlice::new(bytes));
                    sink.try_write_vectored(&slices).map(|bytes| passage.written(bytes))
                }
                Load::End => sink.shutdown().await.map(|()| passage.told_of_end()),
                Load::Reset => return self.reset(to),
            };
            match done {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    // It has reset the connection. The other end hears of it the way it hears all else from there: after
                    // what was sent before.
                    passage.deafen();
                    self.refuses[to] = true;
                    if self.passages[to].has_ended() {
                        self.lose(to);
                    }
                    return;
                }
            }
        }
    }

    fn take(&mut self, way: usize, load: Load) {
        if self.passages[way].take(load, Instant::now()).is_err() {
            self.bites.cut += 1;
            self.break_off();
        }
    }

    /// An end has reset the connection, and cannot be told anything any more.
    fn lose(&mut self, end: usize) {
        self.ends[end] = End::Gone;
        self.passages[1 - end].deafen();
        self.take(end, Load::Reset);
    }

    /// The connection is over, by the link's own doing.
    fn break_off(&mut self) {
        self.broken = true;
        self.connecting = None;
        self.passages.iter_mut().for_each(Passage::sever);
        if let End::Awaited = self.ends[FAR] {
            self.ends[FAR] = End::Gone;
        }
    }

    /// Tells an end that the connection is reset.
    fn reset(&mut self, end: usize) {
        if let End::Open(stream) = std::mem::replace(&mut self.ends[end], End::Gone) {
            let _ = stream.set_zero_linger(); // fails only where it is closed already
        }
        self.passages[1 - end].deafen();
    }

    /// Connects on, or tells of the break, where the weather lets it.
    fn settle(&mut self) {
        if self.broken {
            for end in [NEAR, FAR] {
                if self.passages[1 - end].tells_of_reset() {
                    self.reset(end);
                }
            }
        } else if matches!(self.ends[FAR], End::Awaited)
            && self.connecting.is_none()
            && self.passages[FORWARD].way().passes()
        {
            self.connecting = Some(Box::pin(connect(self.target)));
        }
    }

    fn connected(&mut self, connected: io::Result<TcpStream>) {
        self.connecting = None;
        match connected {
            Ok(stream) => {
                self.ends[FAR] = End::Open(stream);
                self.bites.opened += 1;
            }
            Err(e) => {
                match e.kind() {
                    ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::TimedOut => {
                        self.bites.unreachable += 1;
                    }
                    _ => self.book.trouble(|| format!("cannot connect to {}: {e}", self.target)),
                }
                // As if it had answered with a reset; what was sent so far is not our doing.
                self.lose(FAR);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.ends.iter().all(|end| matches!(end, End::Gone)) || self.passages.iter().all(Passage::is_finished)
    }

    fn report(&mut self) {
        self.bites.forward = std::mem::take(&mut self.passages[FORWARD].bites);
        self.bites.backward = std::mem::take(&mut self.passages[BACKWARD].bites);
        if self.bites != Bites::default() {
            self.book.add(std::mem::take(&mut self.bites));
        }
    }

    /// Until there is something to do.
    async fn wait(&mut self) {
        let now = Instant::now();
        let stirs = [self.stir(NEAR), self.stir(FAR)];
        let due = [FORWARD, BACKWARD].map(|way| match self.ends[1 - way] {
            End::Open(_) => self.passages[way].next_due(),
            End::Awaited | End::Gone => None,
        });
        let is_due = |way: usize| due[way].is_some_and(|due| due <= now);
        let wake = due.into_iter().flatten().filter(|due| *due > now).min();
        let [near, far] = &self.ends;
        let connecting = async {
            match &mut self.connecting {
                Some(connecting) => connecting.await,
                None => std::future::pending().await,
            }
        };
        let mut connected = None;
        let mut died = None;
        tokio::select! {
            _ = self.sky.changed() => self.sky.mark_changed(), // seen, but not yet looked at: that is for `look_up`
            result = connecting => connected = Some(result),
            () = stirred(near, stirs[NEAR]), if stirs[NEAR] != Stir::Nothing => died = Some(NEAR),
            () = stirred(far, stirs[FAR]), if stirs[FAR] != Stir::Nothing => died = Some(FAR),
            () = writable(far), if is_due(FORWARD) => {}
            () = writable(near), if is_due(BACKWARD) => {}
            () = sleep_until(wake) => {}
        }
        if let Some(result) = connected {
            self.connected(result);
        }
        if let Some(end) = died.filter(|end| stirs[*end] == Stir::Death) {
            self.look_up();
            self.lose(end);
        }
    }

    fn stir(&self, end: usize) -> Stir {
        match (&self.ends[end], self.passages[end].want()) {
            (End::Awaited | End::Gone, _) => Stir::Nothing,
            (End::Open(_), Want::Read(_) | Want::Look) => Stir::Readable,
            (End::Open(_), Want::Nothing) if self.passages[end].has_ended() => Stir::Death,
            (End::Open(_), Want::Nothing) => Stir::Nothing,
        }
    }
}

/// A connection to the target.
async fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target).await?;
    if stream.local_addr()? == stream.peer_addr()? {
        // TCP can connect a socket to itself, when the port that it was given is the one it asks for. Kept, it would take the
        // port of a node that is down.
        stream.set_zero_linger()?;
        return Err(ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn stirred(end: &End, stir: Stir) {
    let End::Open(stream) = end else { return std::future::pending().await };
    let interest = if stir == Stir::Death { Interest::ERROR } else { Interest::READABLE };
    let _ = stream.ready(interest).await; // fails only where the runtime ends
}

async fn writable(end: &End) {
    let End::Open(stream) = end else { return std::future::pending().await };
    let _ = stream.writable().await; // as above
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
