//! The only two clocks that this crate reads, behind a trait so that a simulation can hold them still.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A node's clocks.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970. May jump. Only makes revisions readable; decides nothing (guarantee G7).
    fn wall_ms(&self) -> u64;

    /// Time since some moment of this process's life. Never falls, whatever happens to the wall clock.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clocks.
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        // Before 1970 there is no wall time worth having; `apply` then counts up from the shard clock.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}
