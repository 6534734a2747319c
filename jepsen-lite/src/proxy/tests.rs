//! Links between real sockets. A test waits for what should happen, and for as long as it takes; that something does not
//! happen is read from the link's own count of what it did instead.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::passage::{CLEAR_BYTES_MAX, SLOW_BYTES_MAX};
use super::*;

/// How long a condition may take to come true before a test fails. Not a speed that anything depends on.
const PATIENCE: Duration = Duration::from_secs(120);

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const NAME: LinkName = LinkName { from: Peer::Clients, to: NodeId(1) };
const HOUR: Duration = Duration::from_secs(3600);

const DARK_FORWARD: Weather = Weather { forward: Way::Blackhole, backward: Way::Clear };
const DARK_BACKWARD: Weather = Weather { forward: Way::Clear, backward: Way::Blackhole };

/// A link and what it leads to.
struct Line {
    link: Link,
    target: TcpListener,
}

impl Line {
    async fn new() -> Line {
        let target = TcpListener::bind(LOOPBACK).await.unwrap();
        let link = Link::start(NAME, LOOPBACK, target.local_addr().unwrap(), 1).await.unwrap();
        Line { link, target }
    }

    async fn connect(&self) -> TcpStream {
        patiently(TcpStream::connect(self.link.address())).await.unwrap()
    }

    async fn accept(&self) -> TcpStream {
        patiently(self.target.accept()).await.unwrap().0
    }

    /// Both ends of a connection that works.
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let (mut near, mut far) = (self.connect().await, self.accept().await);
        talk(&mut near, &mut far).await;
        talk(&mut far, &mut near).await;
        (near, far)
    }

    async fn bites(&self, what: &str, done: impl Fn(&Bites) -> bool) -> Bites {
        eventually(what, || Some(self.link.bites()).filter(|bites| done(bites))).await
    }
}

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("this would have happened by now")
}

async fn eventually<T>(what: &str, check: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn say(speaker: &mut TcpStream, what: &[u8]) {
    patiently(speaker.write_all(what)).await.unwrap();
}

async fn hear(hearer: &mut TcpStream, what: &[u8]) {
    let mut heard = vec![0; what.len()];
    patiently(hearer.read_exact(&mut heard)).await.unwrap();
    assert_eq!(heard, what);
}

async fn talk(speaker: &mut TcpStream, hearer: &mut TcpStream) {
    say(speaker, b"hello").await;
    hear(hearer, b"hello").await;
}

/// The other side is gone for good, and has not merely closed.
async fn is_reset(stream: &mut TcpStream) {
    let read = patiently(stream.read_to_end(&mut Vec::new())).await;
    assert_eq!(read.map_err(|e| e.kind()), Err(ErrorKind::ConnectionReset));
}

/// Nothing is there to read, not even an end. The link has already said why; this only makes sure.
async fn is_silent(stream: &TcpStream) {
    let read = timeout(Duration::from_millis(10), stream.peek(&mut [0])).await;
    assert!(read.is_err(), "heard {read:?}");
}

/// Nobody has been connected on.
async fn is_lonely(target: &TcpListener) {
    let accepted = timeout(Duration::from_millis(10), target.accept()).await;
    assert!(accepted.is_err(), "accepted {accepted:?}");
}

#[tokio::test]
async fn a_clear_link_passes_bytes_and_ends() {
    let line = Line::new().await;
    let (mut near, mut far) = line.pair().await;
    near.shutdown().await.unwrap();
    assert_eq!(patiently(far.read(&mut [0])).await.unwrap(), 0, "a close is passed on");
    talk(&mut far, &mut near).await; // and is only half
    drop(far);
    assert_eq!(patiently(near.read(&mut [0])).await.unwrap(), 0);

    let (near, mut far) = line.pair().await;
    near.set_zero_linger().unwrap();
    drop(near);
    is_reset(&mut far).await;

    let bites = line.link.bites();
    assert_eq!((bites.opened, bites.forward.passed, bites.backward.passed), (2, 10, 15));
    assert!(!bites.any());
}

#[tokio::test]
async fn a_side_that_closes_wholly_is_noticed() {
    let line = Line::new().await;
    // By what is written to it …
    let (near, mut far) = line.pair().await;
    drop(near);
    assert_eq!(patiently(far.read(&mut [0])).await.unwrap(), 0);
    far.write_all(b"anyone?").await.unwrap();
    is_reset_after_all(&far).await;
    // … though that shows only once …
    let (mut near, far) = line.pair().await;
    line.link.set(Weather { forward: Way::Clear, backward: Way::Held });
    far.set_zero_linger().unwrap();
    drop(far);
    say(&mut near, b"anyone?").await;
    tokio::time::sleep(Duration::from_millis(20)).await; // for the link to try; where that is too short this proves less
    line.link.set(Weather::CLEAR);
    is_reset(&mut near).await;
    // … also with nothing to read any more from there.
    let (mut near, mut far) = line.pair().await;
    far.shutdown().await.unwrap();
    assert_eq!(patiently(near.read(&mut [0])).await.unwrap(), 0);
    far.set_zero_linger().unwrap();
    drop(far);
    is_reset_after_all(&near).await;
}

/// As [`is_reset`], for a stream whose end was read before: reading shows no more.
async fn is_reset_after_all(stream: &TcpStream) {
    patiently(stream.ready(Interest::ERROR)).await.unwrap();
}

#[tokio::test]
async fn a_blackhole_takes_bytes_one_way_and_the_connection_ends_with_it() {
    for (weather, forward) in [(DARK_FORWARD, true), (DARK_BACKWARD, false)] {
        let line = Line::new().await;
        let (near, far) = line.pair().await;
        let (mut speaker, mut hearer) = if forward { (near, far) } else { (far, near) };
        line.link.set(weather);
        let swallowed = |bites: &Bites| if forward { bites.forward.swallowed } else { bites.backward.swallowed };

        say(&mut speaker, &[1; 1_000_000]).await; // more than any buffer: it is taken
        line.bites("all is swallowed", |bites| swallowed(bites) == 1_000_000).await;
        is_silent(&hearer).await;
        talk(&mut hearer, &mut speaker).await; // the other way works
        is_silent(&hearer).await;

        line.link.set(Weather::CLEAR);
        is_reset(&mut speaker).await;
        is_reset(&mut hearer).await;
        let bites = line.bites("the cut is counted", |bites| bites.cut == 1).await;
        assert_eq!((bites.refused, bites.unreachable), (0, 0));
        line.pair().await;
    }
}

#[tokio::test]
async fn a_connection_that_lost_nothing_survives_a_blackhole() {
    let line = Line::new().await;
    let (mut near, mut far) = line.pair().await;
    line.link.set(Weather::both(Way::Blackhole));
    line.link.set(Weather::CLEAR);
    talk(&mut near, &mut far).await;
    talk(&mut far, &mut near).await;
    assert!(!line.link.bites().any());
}

/// As when a machine is lost behind a partition: nobody tells those who talk to it.
#[tokio::test]
async fn ends_are_not_heard_through_a_blackhole() {
    let line = Line::new().await;
    let ((mut near, far), (mut other_near, other_far)) = (line.pair().await, line.pair().await);
    line.link.set(DARK_BACKWARD);
    drop(far);
    other_far.set_zero_linger().unwrap();
    drop(other_far);
    for near in [&near, &other_near] {
        is_silent(near).await;
    }
    line.link.set(Weather::CLEAR);
    is_reset(&mut near).await;
    is_reset(&mut other_near).await;
}

#[tokio::test]
async fn a_way_that_is_dark_hides_the_reset_that_healing_the_other_brings() {
    let line = Line::new().await;
    let (mut near, mut far) = line.pair().await;
    line.link.set(Weather::both(Way::Blackhole));
    say(&mut near, b"lost").await;
    line.bites("it is swallowed", |bites| bites.forward.swallowed == 4).await;
    line.link.set(DARK_BACKWARD);
    is_reset(&mut far).await;
    is_silent(&near).await;
    line.link.set(Weather::CLEAR);
    is_reset(&mut near).await;
    assert_eq!(line.link.bites().cut, 1);
}

#[tokio::test]
async fn new_connections_wait_for_the_way_to_the_target() {
    let line = Line::new().await;
    line.link.set(DARK_FORWARD);
    let (mut loser, mut waiter) = (line.connect().await, line.connect().await);
    say(&mut loser, b"lost").await;
    let bites = line.bites("both are there", |bites| bites.kept_waiting == 2 && bites.forward.swallowed == 4).await;
    assert_eq!(bites.opened, 0);
    is_lonely(&line.target).await;

    line.link.set(Weather::CLEAR);
    is_reset(&mut loser).await;
    let mut far = line.accept().await; // the waiter's
    talk(&mut waiter, &mut far).await;
    is_lonely(&line.target).await;

    // The way back is of no matter to that: the target is reached, and its answers are not.
    line.link.set(DARK_BACKWARD);
    let (mut near, mut far) = (line.connect().await, line.accept().await);
    talk(&mut near, &mut far).await;
    say(&mut far, b"lost").await;
    line.bites("it is swallowed", |bites| bites.backward.swallowed == 4).await;
    is_silent(&near).await;
    line.link.set(Weather::CLEAR);
    is_reset(&mut near).await;
    is_reset(&mut far).await;
    assert_eq!(line.link.bites().kept_waiting, 2);
}

#[tokio::test]
async fn what_is_held_arrives_after_healing() {
    for forward in [true, false] {
        let line = Line::new().await;
        let (near, far) = line.pair().await;
        let (mut speaker, mut hearer) = if forward { (near, far) } else { (far, near) };
        let (held, clear) = (Way::Held, Way::Clear);
        line.link.set(if forward {
            Weather { forward: held, backward: clear }
        } else {
            Weather { forward: clear, backward: held }
        });
        say(&mut speaker, b"early").await;
        line.bites("it is held", |bites| if forward { bites.forward.held > 0 } else { bites.backward.held > 0 }).await;
        say(&mut speaker, b" late").await;
        speaker.shutdown().await.unwrap();
        is_silent(&hearer).await;
        talk(&mut hearer, &mut speaker).await;

        line.link.set(Weather::CLEAR);
        hear(&mut hearer, b"early late").await;
        assert_eq!(patiently(hearer.read(&mut [0])).await.unwrap(), 0, "the end was held, too");
        talk(&mut hearer, &mut speaker).await;
        assert_eq!(line.link.bites().cut, 0);
    }
}

#[tokio::test]
async fn new_connections_are_held_too() {
    let line = Line::new().await;
    line.link.set(Weather { forward: Way::Held, backward: Way::Clear });
    let mut near = line.connect().await;
    say(&mut near, b"hello").await;
    let bites = line.bites("it is held", |bites| bites.forward.held == 5).await;
    assert_eq!((bites.opened, bites.kept_waiting), (0, 1));
    is_lonely(&line.target).await;
    drop(near); // what was said before is said
    line.link.set(Weather::CLEAR);
    let mut far = line.accept().await;
    hear(&mut far, b"hello").await;
    assert_eq!(patiently(far.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_cut_resets_what_is_there_and_what_comes() {
    let only_forward = Weather { forward: Way::Cut, backward: Way::Clear };
    let only_backward = Weather { forward: Way::Clear, backward: Way::Cut };
    for weather in [Weather::both(Way::Cut), only_forward, only_backward] {
        let line = Line::new().await;
        let (mut near, mut far) = line.pair().await;
        line.link.set(weather);
        is_reset(&mut near).await;
        is_reset(&mut far).await;
        for _ in 0..3 {
            // The reset may come before `connect` has looked.
            if let Ok(mut near) = TcpStream::connect(line.link.address()).await {
                is_reset(&mut near).await;
            }
        }
        let bites = line.bites("all is counted", |bites| bites.refused == 3).await;
        assert_eq!((bites.cut, bites.opened), (1, 1));
        is_lonely(&line.target).await;
        line.link.set(Weather::CLEAR);
        line.pair().await;
    }
}

/// However short it is: connections are not asked whether they have noticed.
#[tokio::test]
async fn a_cut_that_is_over_at_once_still_cuts() {
    let line = Line::new().await;
    let mut pairs = Vec::new();
    for _ in 0..5 {
        pairs.push(line.pair().await);
    }
    line.link.set(Weather::both(Way::Cut));
    line.link.set(Weather::CLEAR);
    for (mut near, mut far) in pairs {
        is_reset(&mut near).await;
        is_reset(&mut far).await;
    }
    assert_eq!(line.link.bites().cut, 5);
    line.pair().await;
}

#[tokio::test]
async fn a_slow_link_delays_each_way_by_its_own_time() {
    let line = Line::new().await;
    let (there, back) = (Duration::from_millis(50), Duration::from_millis(20));
    let (mut near, mut far) = line.pair().await;
    line.link.set(Weather { forward: Way::slow(there), backward: Way::slow(back) });
    for _ in 0..3 {
        let start = Instant::now();
        talk(&mut near, &mut far).await;
        assert!(start.elapsed() >= there);
        let start = Instant::now();
        talk(&mut far, &mut near).await;
        assert!(start.elapsed() >= back);
    }
    let bites = line.link.bites();
    assert_eq!((bites.forward.delayed, bites.backward.delayed), (15, 15));
    let (mut near, mut far) = (line.connect().await, line.accept().await); // new ones too
    let start = Instant::now();
    talk(&mut near, &mut far).await;
    assert!(start.elapsed() >= there);
    // Healed at once, also for what is under way.
    line.link.set(Weather::both(Way::slow(HOUR)));
    say(&mut near, b"hello").await;
    line.bites("it is under way", |bites| bites.forward.delayed == 25).await;
    line.link.set(Weather::CLEAR);
    hear(&mut far, b"hello").await;
}

#[tokio::test]
async fn a_limited_rate_is_kept() {
    let line = Line::new().await;
    let (mut near, mut far) = line.pair().await;
    let bytes_per_second = NonZeroU64::new(100_000);
    line.link.set(Weather::both(Way::Slow { delay: Duration::ZERO, jitter: Duration::ZERO, bytes_per_second }));
    let start = Instant::now();
    say(&mut near, &[1; 50_000]).await;
    hear(&mut far, &[1; 50_000]).await;
    assert!(start.elapsed() >= Duration::from_millis(500));
}

#[tokio::test]
async fn a_lossy_link_stalls_and_resets() {
    let line = Line::new().await;
    let (mut near, mut far) = line.pair().await;
    line.link.set(Weather { forward: Way::Lossy { stall: 1.0, reset: 0.0 }, backward: Way::Clear });
    let start = Instant::now();
    talk(&mut near, &mut far).await;
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(line.link.bites().forward.delayed, 5);
    talk(&mut far, &mut near).await;

    line.link.set(Weather { forward: Way::Clear, backward: Way::Lossy { stall: 0.0, reset: 1.0 } });
    talk(&mut near, &mut far).await;
    say(&mut far, b"lost").await;
    is_reset(&mut near).await;
    is_reset(&mut far).await;
    let bites = line.link.bites();
    assert_eq!((bites.cut, bites.backward.swallowed), (1, 4));
}

/// A fault is noted in the history when it is set: nothing that is said later may still slip through.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_said_after_the_weather_changed_meets_the_new_weather() {
    let line = Line::new().await;
    let (near, far) = line.pair().await;
    let (mut near_read, mut near_write) = near.into_split();
    // Other bytes keep the link busy, else it would always look at the weather before it looks at ours.
    let busy = tokio::spawn(async move { while near_write.write_all(&[0; 100_000]).await.is_ok() {} });
    let (mut far_read, mut far_write) = far.into_split();
    let drain = tokio::spawn(async move { tokio::io::copy(&mut far_read, &mut tokio::io::sink()).await });
    for _ in 0..300 {
        let before = line.link.bites().backward;
        line.link.set(Weather { forward: Way::Clear, backward: Way::Held });
        far_write.write_all(b"x").await.unwrap();
        let bites = line.bites("it is held", |bites| bites.backward.held > before.held).await;
        assert_eq!(bites.backward.passed, before.passed);
        line.link.set(Weather::CLEAR);
        patiently(near_read.read_exact(&mut [0])).await.unwrap();
        line.bites("it is counted", |bites| bites.backward.passed > before.passed).await;
    }
    busy.abort();
    drain.abort();

    let line = Line::new().await;
    for round in 1..=100 {
        let (mut near, mut far) = line.pair().await;
        line.link.set(DARK_FORWARD);
        say(&mut near, b"x").await;
        line.bites("it is swallowed", |bites| bites.forward.swallowed == round).await;
        line.link.set(Weather::CLEAR);
        is_reset(&mut far).await; // and `far` heard nothing before
    }
}

#[tokio::test]
async fn a_target_that_is_down_resets_what_comes() {
    let line = Line::new().await;
    let Line { link, target } = line;
    let address = target.local_addr().unwrap();
    drop(target);
    if let Ok(mut near) = TcpStream::connect(link.address()).await {
        is_reset(&mut near).await;
    }
    let bites = eventually("it is counted", || Some(link.bites()).filter(|bites| bites.unreachable == 1)).await;
    assert_eq!(bites, Bites { unreachable: 1, ..Bites::default() });
    assert!(!bites.any() && link.trouble().is_none());
    // It comes up again.
    let line = Line { link, target: TcpListener::bind(address).await.unwrap() };
    line.pair().await;
}

#[tokio::test]
async fn a_link_that_stops_resets_its_connections_and_can_come_back() {
    let mut line = Line::new().await;
    for _ in 0..5 {
        let (mut near, mut far) = line.pair().await;
        let (mut held, mut held_far) = line.pair().await;
        line.link.set(Weather::both(Way::Held));
        say(&mut held, b"hello").await;
        let Line { link, target } = line;
        let address = link.address();
        patiently(link.stop()).await;
        for end in [&mut near, &mut far, &mut held, &mut held_far] {
            is_reset(end).await;
        }
        let refused = TcpStream::connect(address).await.map_err(|e| e.kind());
        assert!(matches!(refused, Err(ErrorKind::ConnectionRefused)), "{refused:?}");
        let link = Link::start(NAME, address, target.local_addr().unwrap(), 1).await.unwrap();
        assert_eq!((link.address(), link.weather(), link.bites()), (address, Weather::CLEAR, Bites::default()));
        line = Line { link, target };
    }

    // As if stopped, when nobody can change its weather any more.
    let (mut near, mut far) = line.pair().await;
    drop(line.link);
    is_reset(&mut near).await;
    is_reset(&mut far).await;
}

/// With a receiver that does not read, and with a delay that does not end.
#[tokio::test]
async fn a_link_takes_only_so_much_ahead() {
    const OFFERED: usize = 64 * 1024 * 1024;
    for (way, bytes_max) in [(Way::Clear, CLEAR_BYTES_MAX), (Way::slow(HOUR), SLOW_BYTES_MAX)] {
        let line = Line::new().await;
        let (near, mut far) = line.pair().await;
        line.link.set(Weather { forward: way, backward: Way::Clear });
        let writer = tokio::spawn(async move {
            let mut near = near;
            write_numbered(&mut near, OFFERED, 0).await.unwrap();
            near
        });
        if way != Way::Clear {
            line.bites("it is full", |bites| bites.forward.delayed as usize >= bytes_max / 10 * 9).await;
        }
        // Time to take more. Where that is too short this proves less, and is not wrong.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!writer.is_finished(), "all was taken");
        assert!(line.link.bites().forward.delayed as usize <= bytes_max);
        line.link.set(Weather::CLEAR);
        let (read, ()) = tokio::join!(read_numbered(&mut far), async { drop(writer.await.unwrap()) });
        assert_eq!(read.unwrap(), (OFFERED, true));
    }
}

/// Byte `i` of a stream in which a hole, a repetition and a swap all show.
fn numbered(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(|i| (i as u64 / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[i % 8]).collect()
}

/// In writes of random length, and closes.
async fn write_numbered(to: &mut (impl AsyncWrite + Unpin), count: usize, seed: u64) -> io::Result<()> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut written = 0;
    while written < count {
        let length = 1 << dice.random_range(0..18);
        let until = count.min(written + dice.random_range(1..=length));
        to.write_all(&numbered(written..until)).await?;
        written = until;
    }
    to.shutdown().await
}

/// How much came, and whether it ended with a close; else it was reset.
async fn read_numbered(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(usize, bool)> {
    let mut buffer = vec![0; 100_000];
    let mut read = 0;
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return Ok((read, true)),
            Ok(count) => {
                assert!(buffer[..count] == numbered(read..read + count), "bytes from {read} on are not what was sent");
                read += count;
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return Ok((read, false)),
            Err(e) => return Err(e),
        }
    }
}

fn random_way(dice: &mut StdRng, loses: bool) -> Way {
    let milliseconds = |dice: &mut StdRng| Duration::from_millis(dice.random_range(0..5));
    let bytes_per_second = dice.random_bool(0.5).then(|| NonZeroU64::new(dice.random_range(1..50_000_000)).unwrap());
    let slow = Way::Slow { delay: milliseconds(dice), jitter: milliseconds(dice), bytes_per_second };
    let lossy = Way::Lossy { stall: 0.1, reset: if loses { 0.01 } else { 0.0 } };
    let harmless = [Way::Clear, Way::Held, slow, lossy];
    let harmful = [Way::Clear, Way::Held, slow, lossy, Way::Blackhole, Way::Cut];
    *if loses { harmful.choose(dice).unwrap() } else { harmless.choose(dice).unwrap() }
}

/// Several connections at once, both ways, with the weather changing all the time. What it did, and how many transfers
/// were broken off after the first byte.
async fn storm(seed: u64, loses: bool) -> (Bites, usize) {
    const BYTES: usize = 4_000_000;
    let line = Line::new().await;
    let mut transfers = tokio::task::JoinSet::new();
    for connection in 0..4 {
        let (near, far) = line.pair().await;
        let (mut near_read, mut near_write) = near.into_split();
        let (mut far_read, mut far_write) = far.into_split();
        transfers.spawn(async move {
            let (near_wrote, far_wrote, near_read, far_read) = tokio::join!(
                write_numbered(&mut near_write, BYTES, connection),
                write_numbered(&mut far_write, BYTES, connection + 100),
                read_numbered(&mut near_read),
                read_numbered(&mut far_read),
            );
            // A socket tells once that it was reset. If that was when it was written to, it reads as closed.
            [(near_wrote, near_read), (far_wrote, far_read)].map(|(wrote, read)| {
                let (bytes, closed) = read.unwrap();
                (bytes, closed && wrote.is_ok())
            })
        });
    }
    let mut dice = StdRng::seed_from_u64(seed);
    for _ in 0..100 {
        line.link.set(Weather { forward: random_way(&mut dice, loses), backward: random_way(&mut dice, loses) });
        tokio::time::sleep(Duration::from_micros(dice.random_range(0..3000))).await;
    }
    line.link.set(Weather::CLEAR);
    let ended: Vec<(usize, bool)> = patiently(transfers.join_all()).await.into_iter().flatten().collect();
    for &(bytes, closed) in &ended {
        assert!(bytes == BYTES || !closed, "seed {seed}: closed after {bytes} bytes");
        assert!(closed || loses, "seed {seed}: reset after {bytes} bytes");
    }
    assert_eq!(line.link.trouble(), None);
    (line.link.bites(), ended.iter().filter(|(bytes, closed)| *bytes > 0 && !closed).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weather_that_loses_nothing_changes_nothing() {
    let mut all = Bites::default();
    for seed in 0..10 {
        all += storm(seed, false).await.0;
    }
    assert!(all.forward.held > 0 && all.forward.delayed > 0, "{all:?}");
    assert!(all.backward.held > 0 && all.backward.delayed > 0, "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_is_the_beginning_of_what_was_sent() {
    let (mut all, mut broken_off) = (Bites::default(), 0);
    for seed in 0..20 {
        let (bites, broken) = storm(seed, true).await;
        all += bites;
        broken_off += broken;
    }
    assert!(all.cut > 0 && all.forward.swallowed > 0 && all.backward.swallowed > 0 && broken_off > 0, "{all:?}");
}

/// A net whose nodes are plain listeners, and a connection over each link.
struct Village {
    net: Net,
    nodes: BTreeMap<NodeId, TcpListener>,
}

impl Village {
    async fn new(nodes: u64) -> Village {
        let mut listeners = BTreeMap::new();
        for node in 1..=nodes {
            listeners.insert(NodeId(node), TcpListener::bind(LOOPBACK).await.unwrap());
        }
        let addresses = listeners.iter().map(|(node, listener)| (*node, listener.local_addr().unwrap())).collect();
        Village { net: Net::start(&addresses, 1).await.unwrap(), nodes: listeners }
    }

    /// Who hears whom under a fault: a row for each that speaks, a column for each that hears, the clients last.
    ///
    /// What one says to another has two carriers, the connection that it made and the one that it was asked for; they agree.
    async fn picture(&self, shape: &Shape, way: Way) -> String {
        let mut pairs = Vec::new();
        for link in self.net.links() {
            let near = patiently(TcpStream::connect(self.net.address(link.name().from, link.name().to))).await.unwrap();
            let far = patiently(self.nodes[&link.name().to].accept()).await.unwrap().0;
            pairs.push((link, near, far));
        }
        let fault = self.net.apply(shape, way);
        assert_eq!(self.net.bites(&fault), 0);
        let mut heard: BTreeMap<(Peer, Peer), BTreeSet<bool>> = BTreeMap::new();
        for (link, near, far) in &mut pairs {
            let LinkName { from, to } = link.name();
            heard.entry((from, to.into())).or_default().insert(is_heard(near, far, link, true).await);
            heard.entry((to.into(), from)).or_default().insert(is_heard(far, near, link, false).await);
        }
        let deaf = heard.values().filter(|heard| heard.contains(&false)).count() as u64;
        assert!(self.net.bites(&fault) >= deaf && deaf > 0, "{}", fault.description);
        self.net.heal();
        assert!(self.net.links().all(|link| link.weather() == Weather::CLEAR));

        let peers = || self.nodes.keys().copied().map(Peer::from).chain([Peer::Clients]);
        let cell = |from, to| match heard.get(&(from, to)) {
            None => '-',
            Some(heard) if *heard == [true].into() => '#',
            Some(heard) if *heard == [false].into() => '.',
            Some(_) => panic!("{}: {from} is heard by {to} half of the time", fault.description),
        };
        let rows = peers().map(|from| peers().map(|to| cell(from, to)).collect::<String>());
        rows.collect::<Vec<_>>().join(" ")
    }
}

async fn is_heard(speaker: &mut TcpStream, hearer: &TcpStream, link: &Link, forward: bool) -> bool {
    let swallowed = || match forward {
        true => link.bites().forward.swallowed,
        false => link.bites().backward.swallowed,
    };
    let before = swallowed();
    say(speaker, b"x").await;
    let mut byte = [0];
    tokio::select! {
        read = patiently(hearer.peek(&mut byte)) => {
            assert_eq!(read.unwrap(), 1);
            true
        }
        () = eventually("it is heard or swallowed", || (swallowed() > before).then_some(())) => false,
    }
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn group(ids: &[u64]) -> BTreeSet<NodeId> {
    nodes(ids).into_iter().collect()
}

#[tokio::test]
async fn a_shape_tells_apart_exactly_whom_it_says() {
    let village = Village::new(5).await;
    let shapes = [
        (Shape::Isolated(NodeId(3)), "-#.### #-.### ..-..# ##.-## ##.#-# #####-"),
        (Shape::Halves(group(&[2, 5])), "-.##.# .-..## #.-#.# #.#-.# .#..-# #####-"),
        (Shape::OneWay(NodeId(4).into(), NodeId(1).into()), "-##### #-#### ##-### .##-## ####-# #####-"),
        (Shape::OneWay(Peer::Clients, NodeId(1).into()), "-##### #-#### ##-### ###-## ####-# .####-"),
        (Shape::OneWay(NodeId(1).into(), Peer::Clients), "-####. #-#### ##-### ###-## ####-# #####-"),
        (Shape::MajoritiesRing(nodes(&[1, 2, 3, 4, 5])), "-#..## #-#..# .#-#.# ..#-## #..#-# #####-"),
        (Shape::MajoritiesRing(nodes(&[1, 3, 5, 2, 4])), "-.##.# .-.### #.-.## ##.-.# .##.-# #####-"),
        (Shape::Bridge(NodeId(3), group(&[1, 2])), "-##..# #-#..# ##-### ..#-## ..##-# #####-"),
        (Shape::Unreachable(NodeId(2)), "-##### #-###. ##-### ###-## ####-# #.###-"),
        (Shape::Around(NodeId(2)), "-.#### .-.... #.-### #.#-## #.##-# #.###-"),
        (Shape::Everywhere, "-..... .-.... ..-... ...-.. ....-. .....-"),
    ];
    for (shape, expected) in shapes {
        assert_eq!(village.picture(&shape, Way::Blackhole).await, expected, "{shape}");
    }
    assert_eq!(village.net.trouble(), None);
    patiently(village.net.stop()).await;
}

#[tokio::test]
async fn a_ring_of_any_size_shows_everyone_a_majority_and_no_two_the_same() {
    for count in 3..=12 {
        let ids: Vec<u64> = (1..=count).collect();
        let cut = Shape::MajoritiesRing(nodes(&ids)).ways(&group(&ids));
        let seen = |by: NodeId| -> BTreeSet<NodeId> {
            let hears = |from: &NodeId| !cut.contains(&((*from).into(), by.into()));
            nodes(&ids).into_iter().filter(hears).collect()
        };
        let views: BTreeSet<BTreeSet<NodeId>> = nodes(&ids).into_iter().map(seen).collect();
        assert_eq!(views.len(), ids.len(), "no two of {count} the same");
        assert!(views.iter().all(|view| view.len() > ids.len() / 2), "a majority of {count}");
        assert!(cut.iter().all(|(from, to)| cut.contains(&(*to, *from))), "both ways");
    }
}

#[test]
#[should_panic(expected = "not of this cluster")]
fn a_shape_of_strangers_is_refused() {
    Shape::Isolated(NodeId(6)).ways(&group(&[1, 2, 3]));
}

#[test]
#[should_panic(expected = "tells nobody apart")]
fn a_half_that_is_the_whole_is_refused() {
    Shape::Halves(group(&[1, 2, 3])).ways(&group(&[1, 2, 3]));
}

#[tokio::test]
async fn faults_lie_over_each_other() {
    let village = Village::new(3).await;
    let (one, two, three) = (NodeId(1), NodeId(2), NodeId(3));
    let slow = village.net.apply(&Shape::Around(two), Way::slow(HOUR));
    let cut = village.net.apply(&Shape::OneWay(one.into(), two.into()), Way::Cut);
    assert_eq!(
        (slow.description.as_str(), cut.description.as_str()),
        ("around n2: slow by 3600s", "n1 not heard by n2: cut")
    );
    let weather = |from: Peer, to| village.net.link(from, to).weather();
    assert_eq!(weather(one.into(), two), Weather { forward: Way::Cut, backward: Way::slow(HOUR) });
    assert_eq!(weather(two.into(), one), Weather { forward: Way::slow(HOUR), backward: Way::Cut });
    assert_eq!(weather(Peer::Clients, two), Weather::both(Way::slow(HOUR)));
    assert_eq!(weather(one.into(), three), Weather::CLEAR);

    let _near = TcpStream::connect(village.net.address(two, one)).await;
    eventually("the cut bites", || (village.net.bites(&cut) == 1).then_some(())).await;
    assert_eq!(village.net.bites(&slow), 0, "each fault has its own");

    village.net.lift(&cut);
    assert_eq!(weather(one.into(), two), Weather { forward: Way::Clear, backward: Way::slow(HOUR) });
    village.net.heal();
    assert_eq!(weather(one.into(), two), Weather::CLEAR);
}
