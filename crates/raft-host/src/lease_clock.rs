//! A leader's reckoning of its shard's lease clock (DESIGN section 7).
//!
//! The lease clock is replicated milliseconds for ttls; never wall time. A leader starts from the highest reading in its
//! log and adds only the time that its own *monotonic* clock has run since it took office. So neither a wall clock, nor a
//! failover, nor a leader that was stuck for an hour can end a ttl early: the hour counts only if the leader stayed in
//! office throughout, and then it really passed.

use std::time::Duration;

use ringfence_planted::{Bug, planted};

use crate::clock::Clock;

/// One term's reckoning. Made when every entry of earlier terms has been applied, and thrown away with the term.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseClock {
    base_ms: u64,
    since: Duration,
}

impl LeaseClock {
    /// `highest_ms`: the highest reading in the log, i.e. the applied one once the term's first entry is applied.
    /// `now`: the monotonic clock at a moment not before that.
    pub(crate) fn take_office(highest_ms: u64, now: Duration) -> LeaseClock {
        // Planted: as if it had been in office all its life.
        let since = if planted(Bug::LeaseClockReset) { Duration::ZERO } else { now };
        LeaseClock { base_ms: highest_ms, since }
    }

    /// The reading to stamp into an entry made at monotonic time `now`.
    pub(crate) fn reading_ms(&self, now: Duration) -> u64 {
        self.base_ms + now.saturating_sub(self.since).as_millis() as u64
    }
}

/// The clock that it runs by.
pub(crate) fn time(clock: &dyn Clock) -> Duration {
    // Planted: the other one.
    if planted(Bug::ExpiryByWallClock) { Duration::from_millis(clock.wall_ms()) } else { clock.monotonic() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new leader neither resets the clock nor adds the time without a leader.
    #[test]
    fn a_new_leader_goes_on_where_the_log_ended() {
        let first = LeaseClock::take_office(0, Duration::from_secs(100));
        let written = first.reading_ms(Duration::from_secs(107));
        assert_eq!(written, 7_000);
        let second = LeaseClock::take_office(written, Duration::from_secs(5_000));
        assert_eq!(second.reading_ms(Duration::from_secs(5_000)), 7_000);
        assert_eq!(second.reading_ms(Duration::from_secs(5_001)), 8_000);
    }
}
