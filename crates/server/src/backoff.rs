//! Waiting between tries: longer each time, capped, and never in step with others.

use std::time::Duration;

/// The waits of one series of tries.
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// The first wait is up to `first`; each later one up to twice the one before, never above `max`.
    pub(crate) const fn new(first: Duration, max: Duration) -> Backoff {
        Backoff { next: first, max }
    }

    /// How long to wait now: half fixed, half random, so that what failed together does not try again together.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next.mul_f64(rand::random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.max);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_stay_there() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
        for most in [10, 20, 40, 50, 50] {
            let wait = backoff.next();
            assert!(wait <= Duration::from_millis(most) && wait * 2 >= Duration::from_millis(most), "{wait:?}");
        }
    }
}
