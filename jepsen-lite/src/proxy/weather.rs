//! What can be done to the bytes of a link.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// What happens to what is sent one way.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Way {
    /// Bytes go through as fast as they come.
    #[default]
    Clear,
    /// Bytes are taken and go nowhere, those under way too. The connection stays open; once healed, it is reset if it has lost
    /// anything, and goes on if it has not.
    Blackhole,
    /// Nothing is read on: the sender meets TCP's back-pressure, and after healing everything arrives.
    Held,
    /// Bytes arrive late.
    Slow {
        /// How late, at least.
        delay: Duration,
        /// How much later than that, at most: drawn anew for every chunk. Order is kept, so a chunk may wait for the one before.
        jitter: Duration,
        /// How many go through in a second. A sender that is faster than this has a quarter of a second's worth taken
        /// from it, on top of what the delay keeps under way, and then meets back-pressure.
        bytes_per_second: Option<NonZeroU64>,
    },
    /// What packet loss makes of a connection. Both are probabilities, for every chunk: what one read returns.
    Lossy {
        /// That it, and all behind it, waits for a retransmission: 200 ms, and while that is lost too (even odds) 400,
        /// 800 and 1600 ms more.
        stall: f64,
        /// That the connection is reset instead.
        reset: f64,
    },
    /// Connections are reset, and new ones as soon as they open. Of both ways, even if only one is cut.
    Cut,
}

impl Way {
    /// By a fixed time, and nothing else.
    pub const fn slow(delay: Duration) -> Way {
        Way::Slow { delay, jitter: Duration::ZERO, bytes_per_second: None }
    }

    /// Whether bytes arrive, be it late.
    pub(super) fn passes(self) -> bool {
        match self {
            Way::Clear | Way::Slow { .. } | Way::Lossy { .. } => true,
            Way::Blackhole | Way::Held | Way::Cut => false,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Clear => f.write_str("clear"),
            Way::Blackhole => f.write_str("blackhole"),
            Way::Held => f.write_str("held"),
            Way::Slow { delay, jitter, bytes_per_second } => {
                write!(f, "slow by {delay:?}")?;
                if !jitter.is_zero() {
                    write!(f, " and up to {jitter:?} more")?;
                }
                match bytes_per_second {
                    Some(rate) => write!(f, ", {rate} bytes/s"),
                    None => Ok(()),
                }
            }
            Way::Lossy { stall, reset } => write!(f, "lossy (stall {stall}, reset {reset})"),
            Way::Cut => f.write_str("cut"),
        }
    }
}

/// Both ways of a link.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Weather {
    /// What the connecting side sends.
    pub forward: Way,
    /// What it is sent.
    pub backward: Way,
}

impl Weather {
    /// Nothing is wrong.
    pub const CLEAR: Weather = Weather::both(Way::Clear);

    /// The same both ways.
    pub const fn both(way: Way) -> Weather {
        Weather { forward: way, backward: way }
    }

    /// What the connecting side sends, and what it is sent.
    pub(super) const fn ways(self) -> [Way; 2] {
        [self.forward, self.backward]
    }

    pub(super) fn is_cut(self) -> bool {
        self.ways().contains(&Way::Cut)
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.forward == self.backward {
            true => self.forward.fmt(f),
            false => write!(f, "{} forward, {} backward", self.forward, self.backward),
        }
    }
}
