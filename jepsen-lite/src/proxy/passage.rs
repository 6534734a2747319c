//! One way of one connection: what was read from the source and is not yet written to the sink, and when it is due.
//!
//! A plain value without sockets or a clock. Every load gets the moment it is due when it comes, counted from then, so that a
//! delay of 50 ms holds everything back by 50 ms and nothing by more, however much is under way. When the way turns, everything
//! that waits is dated anew, as if the new way had been there when it came.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

use bytes::{Buf, Bytes};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::bites::WayBites;
use super::weather::Way;

/// Read at once at most. Loopback is as fast with this as with more.
pub(super) const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// May wait for a receiver that is slower than the sender, on a clear way: a few chunks, so that reading and writing overlap,
/// and the sender soon feels it.
pub(super) const CLEAR_BYTES_MAX: usize = 256 * 1024;

/// May be under way on a slow one. It limits what goes through in one delay: 80 MB/s at 50 ms.
pub(super) const SLOW_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a load counts beside its bytes, so that many tiny ones are bounded too.
pub(super) const LOAD_BYTES: usize = 128;

/// What a link with a limited rate takes ahead, in time.
const AHEAD: Duration = Duration::from_millis(250);

/// How finely such a link doles bytes out.
const PIECES_PER_SECOND: u64 = 50;

/// TCP's shortest wait for a retransmission on Linux, and how often in a row one may be lost here.
const RETRANSMISSION: Duration = Duration::from_millis(200);
const RETRANSMISSIONS_MAX: u32 = 4;

/// What the source sends.
#[derive(Debug, Clone)]
pub(super) enum Load {
    Bytes(Bytes),
    /// It has closed its side: nothing more comes, but it still listens.
    End,
    /// It has reset the connection.
    Reset,
}

/// What to do about the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Leave it alone: there is no room, or it has said its last.
    Nothing,
    /// Read at most so many bytes.
    Read(usize),
    /// Look how much waits, once.
    Look,
}

/// The connection broke: a reset was drawn.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Severed;

/// * Loads are due in the order in which they came.
/// * Once something is lost, nothing is due any more.
/// * `weight` is what the loads count together.
pub(super) struct Passage {
    way: Way,
    loads: VecDeque<Waiting>,
    weight: usize,
    /// The source has said its last.
    ended: bool,
    /// The sink has been told so.
    told: bool,
    /// The sink is gone.
    deaf: bool,
    /// Something was swallowed.
    lost: bool,
    /// The source was looked at since the way is held.
    looked: bool,
    /// No load is due before this.
    last_due: Instant,
    /// When a link with a limited rate has sent what it took so far.
    sent: Instant,
    dice: StdRng,
    /// What was done since it was last taken.
    pub(super) bites: WayBites,
}

struct Waiting {
    load: Load,
    came: Instant,
    due: Instant,
}

impl Passage {
    pub(super) fn new(way: Way, now: Instant, dice: StdRng) -> Passage {
        Passage {
            way,
            loads: VecDeque::new(),
            weight: 0,
            ended: false,
            told: false,
            deaf: false,
            lost: false,
            looked: false,
            last_due: now,
            sent: now,
            dice,
            bites: WayBites::default(),
        }
    }

    /// The way is like this from now on.
    pub(super) fn turn(&mut self, way: Way, now: Instant) {
        if way == self.way {
            return;
        }
        self.way = way;
        self.last_due = now;
        self.sent = now;
        match way {
            Way::Clear | Way::Slow { .. } | Way::Lossy { .. } => self.date_anew(),
            Way::Held => {
                self.looked = false;
                self.bites.held += self.queued_bytes() as u64;
            }
            Way::Blackhole => self.swallow(),
            Way::Cut => {} // the connection ends, and that swallows
        }
    }

    /// What to do about the source now.
    pub(super) fn want(&self) -> Want {
        match self.way {
            _ if self.ended => Want::Nothing,
            Way::Blackhole => Want::Read(CHUNK_BYTES_MAX),
            Way::Held if self.looked => Want::Nothing,
            Way::Held => Want::Look,
            Way::Cut => Want::Nothing,
            Way::Clear | Way::Slow { .. } | Way::Lossy { .. } if self.deaf || self.lost => Want::Nothing,
            Way::Clear | Way::Slow { .. } | Way::Lossy { .. } => match self.bytes_max().saturating_sub(self.weight) {
                0 => Want::Nothing,
                room => Want::Read(room.min(CHUNK_BYTES_MAX)),
            },
        }
    }

    /// So many bytes wait at the source of a held way, at least.
    pub(super) fn looked(&mut self, bytes: usize) {
        self.looked = true;
        self.bites.held += bytes as u64;
    }

    /// Takes what came from the source.
    pub(super) fn take(&mut self, load: Load, now: Instant) -> Result<(), Severed> {
        assert!(!self.ended || matches!(load, Load::Reset), "a source that has ended says nothing more");
        self.ended |= !matches!(load, Load::Bytes(_));
        if self.deaf {
            self.bites.swallowed += if self.way == Way::Blackhole { load.len() as u64 } else { 0 };
            return Ok(());
        }
        match (self.way, load) {
            (Way::Blackhole, load) => {
                self.bites.swallowed += load.len() as u64;
                self.lost = true;
            }
            (Way::Slow { bytes_per_second: Some(rate), .. }, Load::Bytes(mut bytes)) => {
                // In pieces, else the first byte would wait until the last is sent.
                let piece_bytes = usize::try_from(rate.get() / PIECES_PER_SECOND).unwrap_or(CHUNK_BYTES_MAX);
                let piece_bytes = piece_bytes.clamp(16, CHUNK_BYTES_MAX);
                while !bytes.is_empty() {
                    let piece = bytes.split_to(piece_bytes.min(bytes.len()));
                    self.queue(Load::Bytes(piece), now, Duration::ZERO);
                }
            }
            (Way::Lossy { stall, reset }, load @ Load::Bytes(_)) => {
                // Always three draws, so that what is drawn for one chunk does not depend on those before.
                let (resets, stalls, losses) = (self.dice.random(), self.dice.random(), self.dice.random::<u32>());
                if happens(reset, resets) {
                    self.queue(load, now, Duration::ZERO); // it will be counted with the rest that is lost
                    return Err(Severed);
                }
                let wait = if happens(stall, stalls) { retransmissions(losses) } else { Duration::ZERO };
                self.queue(load, now, wait);
            }
            (_, load) => self.queue(load, now, Duration::ZERO),
        }
        Ok(())
    }

    /// The first load, if it is due.
    pub(super) fn due(&self, now: Instant) -> Option<&Load> {
        self.loads.front().filter(|first| self.delivers() && first.due <= now).map(|first| &first.load)
    }

    /// The bytes that are due and can be written together.
    pub(super) fn due_bytes(&self, now: Instant) -> impl Iterator<Item = &Bytes> {
        let due = self.loads.iter().take_while(move |waiting| self.delivers() && waiting.due <= now);
        due.map_while(|waiting| match &waiting.load {
            Load::Bytes(bytes) => Some(bytes),
            Load::End | Load::Reset => None,
        })
    }

    /// When the first load is due, if that will come.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.loads.front().filter(|_| self.delivers()).map(|first| first.due)
    }

    /// So many of the bytes that were due have been written.
    pub(super) fn written(&mut self, mut bytes: usize) {
        self.bites.passed += bytes as u64;
        self.weight -= bytes;
        while bytes > 0 {
            let Some(Waiting { load: Load::Bytes(first), .. }) = self.loads.front_mut() else {
                unreachable!("more was written than was due");
            };
            let here = bytes.min(first.len());
            bytes -= here;
            if here < first.len() {
                first.advance(here);
            } else {
                self.loads.pop_front();
                self.weight -= LOAD_BYTES;
            }
        }
    }

    /// The sink has been told of the end that was due.
    pub(super) fn told_of_end(&mut self) {
        self.told = true;
        self.loads.pop_front();
        self.weight -= LOAD_BYTES;
    }

    /// The sink is gone.
    pub(super) fn deafen(&mut self) {
        self.deaf = true;
        self.loads.clear();
        self.weight = 0;
    }

    /// The link has ended the connection: what is under way is lost by its doing.
    pub(super) fn sever(&mut self) {
        self.swallow();
        self.deafen();
    }

    /// Whether a connection with this way cannot go on: it is healed, and bytes are missing.
    pub(super) fn healed_with_loss(&self) -> bool {
        self.lost && self.way.passes()
    }

    /// Whether the sink hears when the link resets it.
    pub(super) fn tells_of_reset(&self) -> bool {
        self.way.passes() || self.way == Way::Cut
    }

    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// Whether the source has closed its side and the sink knows.
    pub(super) fn is_finished(&self) -> bool {
        self.told
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    fn delivers(&self) -> bool {
        self.way.passes() && !self.lost
    }

    fn queue(&mut self, load: Load, now: Instant, wait: Duration) {
        let due = self.date(now, load.len(), wait);
        if due > now {
            self.bites.delayed += load.len() as u64;
        }
        if self.way == Way::Held {
            self.bites.held += load.len() as u64; // it was read just before
        }
        self.weight += load.len() + LOAD_BYTES;
        self.loads.push_back(Waiting { load, came: now, due });
    }

    /// When something that came then is due.
    fn date(&mut self, came: Instant, bytes: usize, wait: Duration) -> Instant {
        let due = match self.way {
            Way::Slow { delay, jitter, bytes_per_second } => {
                let sent = match bytes_per_second {
                    Some(rate) => {
                        self.sent = self.sent.max(came) + time_for(bytes, rate);
                        self.sent
                    }
                    None => came,
                };
                sent + delay + jitter.mul_f64(self.dice.random())
            }
            _ => came + wait,
        };
        self.last_due = self.last_due.max(due);
        self.last_due
    }

    fn date_anew(&mut self) {
        let mut loads = std::mem::take(&mut self.loads);
        for waiting in &mut loads {
            waiting.due = self.date(waiting.came, waiting.load.len(), Duration::ZERO);
        }
        self.loads = loads;
    }

    /// What is under way goes nowhere.
    fn swallow(&mut self) {
        self.lost |= !self.loads.is_empty();
        self.bites.swallowed += self.queued_bytes() as u64;
        self.loads.clear();
        self.weight = 0;
    }

    fn queued_bytes(&self) -> usize {
        self.weight - self.loads.len() * LOAD_BYTES
    }

    fn bytes_max(&self) -> usize {
        match self.way {
            Way::Slow { delay, jitter, bytes_per_second: Some(rate) } => {
                let seconds = (AHEAD + delay + jitter).as_secs_f64();
                let per_second = rate.get() as f64 + (PIECES_PER_SECOND * LOAD_BYTES as u64) as f64;
                ((seconds * per_second) as usize).clamp(4 * LOAD_BYTES, SLOW_BYTES_MAX)
            }
            Way::Slow { .. } | Way::Lossy { .. } => SLOW_BYTES_MAX,
            Way::Clear | Way::Blackhole | Way::Held | Way::Cut => CLEAR_BYTES_MAX,
        }
    }
}

impl Load {
    fn len(&self) -> usize {
        match self {
            Load::Bytes(bytes) => bytes.len(),
            Load::End | Load::Reset => 0,
        }
    }
}

/// Whether something of this probability happens, by a number from 0 to below 1.
fn happens(probability: f64, drawn: f64) -> bool {
    drawn < probability
}

/// 200 ms; with every further bit of `losses` that is set, in a row, twice as long as before on top.
fn retransmissions(losses: u32) -> Duration {
    let lost = losses.trailing_ones().min(RETRANSMISSIONS_MAX - 1);
    RETRANSMISSION * ((1 << (lost + 1)) - 1)
}

fn time_for(bytes: usize, rate: NonZeroU64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate.get() as f64)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use rand::SeedableRng;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DELAY: Duration = Duration::from_millis(50);

    fn passage(way: Way, now: Instant) -> Passage {
        Passage::new(way, now, StdRng::seed_from_u64(7))
    }

    fn bytes(count: usize) -> Load {
        Load::Bytes(Bytes::from(vec![0; count]))
    }

    fn dues(passage: &Passage) -> Vec<Instant> {
        passage.loads.iter().map(|waiting| waiting.due).collect()
    }

    fn due_bytes(passage: &Passage, now: Instant) -> usize {
        passage.due_bytes(now).map(Bytes::len).sum()
    }

    /// Else a delay would be a limit of one chunk per delay.
    #[test]
    fn a_delay_is_the_same_for_all_however_many_are_under_way() {
        let start = Instant::now();
        let mut passage = passage(Way::slow(DELAY), start);
        for millisecond in 0..1000 {
            passage.take(bytes(1000), start + Duration::from_millis(millisecond)).unwrap();
        }
        let expected: Vec<Instant> =
            (0..1000).map(|millisecond| start + Duration::from_millis(millisecond) + DELAY).collect();
        assert_eq!(dues(&passage), expected);
        assert_eq!(passage.bites.delayed, 1_000_000);
    }

    #[test]
    fn jitter_keeps_the_order_and_its_bounds() {
        let start = Instant::now();
        let mut passage = passage(Way::Slow { delay: DELAY, jitter: SECOND, bytes_per_second: None }, start);
        (0..1000).for_each(|_| passage.take(bytes(1), start).unwrap());
        let dues = dues(&passage);
        assert!(dues.is_sorted());
        assert!(dues[0] >= start + DELAY && dues[999] <= start + DELAY + SECOND);
        assert!(dues[999] > dues[0], "it jitters");
    }

    #[test]
    fn a_limited_rate_doles_out_evenly_and_takes_little_ahead() {
        let start = Instant::now();
        let bytes_per_second = NonZeroU64::new(50_000);
        let mut passage = passage(Way::Slow { delay: Duration::ZERO, jitter: Duration::ZERO, bytes_per_second }, start);
        passage.take(bytes(50_000), start).unwrap();
        for percent in 0..=100 {
            let due = due_bytes(&passage, start + SECOND * percent / 100 + Duration::from_micros(1));
            let fair = 500 * percent as usize;
            assert!(due <= fair && due + 1000 >= fair, "{due} bytes after {percent} % of a second");
        }
        assert_eq!(passage.want(), Want::Nothing, "a second's worth is more than is taken ahead");

        // A pause is not made up for later.
        let later = start + 10 * SECOND;
        passage.written(50_000);
        passage.take(bytes(50_000), later).unwrap();
        assert!(due_bytes(&passage, later + SECOND / 2) <= 25_000);
    }

    #[test]
    fn what_waits_is_dated_anew_when_the_way_turns() {
        let start = Instant::now();
        let mut passage = passage(Way::slow(1000 * SECOND), start);
        passage.take(bytes(1), start).unwrap();
        passage.take(bytes(1), start + SECOND).unwrap();

        passage.turn(Way::slow(5 * SECOND), start + 2 * SECOND);
        assert_eq!(dues(&passage), [start + 5 * SECOND, start + 6 * SECOND]);

        passage.turn(Way::Held, start + 3 * SECOND);
        assert_eq!((passage.next_due(), due_bytes(&passage, start + 100 * SECOND)), (None, 0));
        assert_eq!(passage.bites.held, 2);

        passage.turn(Way::Clear, start + 4 * SECOND);
        assert_eq!(due_bytes(&passage, start + 4 * SECOND), 2);
    }

    #[test]
    fn once_something_is_lost_nothing_passes() {
        let now = Instant::now();
        for lost in [bytes(10), Load::End, Load::Reset] {
            let count = lost.len() as u64;
            let mut before = passage(Way::Clear, now); // lost while it waits
            before.take(lost.clone(), now).unwrap();
            before.turn(Way::Blackhole, now);
            let mut during = passage(Way::Blackhole, now); // lost as it comes
            during.take(lost, now).unwrap();
            for mut passage in [before, during] {
                assert_eq!(passage.bites.swallowed, count);
                passage.turn(Way::Held, now);
                assert!(!passage.healed_with_loss(), "not healed yet");
                passage.turn(Way::Clear, now);
                assert!(passage.healed_with_loss());
                assert_eq!(passage.want(), Want::Nothing);
                if !passage.has_ended() {
                    passage.take(bytes(10), now).unwrap(); // it was already read
                }
                assert!(passage.due(now).is_none() && passage.next_due().is_none());
            }
        }
        let mut nothing = passage(Way::Blackhole, now);
        nothing.turn(Way::Clear, now);
        assert!(!nothing.healed_with_loss());
    }

    /// Whatever is offered, in chunks of any size.
    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let slow = |bytes_per_second| Way::Slow { delay: SECOND, jitter: SECOND, bytes_per_second };
        let ways = [
            (Way::Clear, CLEAR_BYTES_MAX),
            (Way::Lossy { stall: 1.0, reset: 0.0 }, SLOW_BYTES_MAX),
            (slow(None), SLOW_BYTES_MAX),
            (slow(NonZeroU64::new(1)), SLOW_BYTES_MAX),
            (slow(NonZeroU64::new(u64::MAX)), SLOW_BYTES_MAX),
        ];
        for (way, bytes_max) in ways {
            for offered in [1, 1000, CHUNK_BYTES_MAX] {
                let mut passage = passage(way, now);
                while let Want::Read(room) = passage.want() {
                    passage.take(bytes(offered.min(room)), now).unwrap();
                    assert!(passage.queued_bytes() <= bytes_max, "{way}");
                    assert!(passage.loads.len() <= bytes_max / LOAD_BYTES + CHUNK_BYTES_MAX / 16, "{way}");
                }
            }
        }
    }

    #[test]
    fn a_seed_draws_the_same_losses_again() {
        let start = Instant::now();
        let way = Way::Lossy { stall: 0.1, reset: 0.01 };
        let story = |seed| {
            let mut passage = Passage::new(way, start, StdRng::seed_from_u64(seed));
            let mut story = Vec::new();
            for second in 0..1000 {
                let now = start + 10 * second * SECOND;
                let Ok(()) = passage.take(bytes(1), now) else { break };
                story.push(passage.next_due().unwrap() - now);
                passage.written(1);
            }
            story
        };
        let stories: Vec<Vec<Duration>> = (0..100).map(story).collect();
        assert_eq!(stories, (0..100).map(story).collect::<Vec<_>>());

        let mut waits: Vec<Duration> = stories.concat();
        let (chunks, resets) = (waits.len(), stories.iter().filter(|story| story.len() < 1000).count());
        let stalls = waits.iter().filter(|wait| !wait.is_zero()).count();
        assert!((chunks / 20..chunks / 5).contains(&stalls), "{stalls} stalls of {chunks} chunks");
        assert!(resets > 90, "{resets} resets");
        waits.sort();
        waits.dedup();
        assert_eq!(waits, [0, 200, 600, 1400, 3000].map(Duration::from_millis));
    }
}
