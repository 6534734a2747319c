use std::time::Duration;

use tokio::time::Instant;

/// Clocks run at slightly different rates; no monotonic clock is off by so much.
const DRIFT_PART: u32 = 500;

/// For the way from the timer to the code that acts on it.
const WAKE_UP: Duration = Duration::from_millis(1);

/// How long a lease may be believed in, by this process's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tenure {
    /// When the request was sent that was confirmed.
    pub(super) sent: Instant,
    /// Not beyond this.
    pub(super) until: Instant,
}

impl Tenure {
    /// `ttl_left`: as the answer to a request told that was sent at `sent`. The server counted it from a later moment, so it ends
    /// there later than here.
    pub(super) fn new(sent: Instant, ttl_left: Duration) -> Tenure {
        let margin = ttl_left / DRIFT_PART + WAKE_UP;
        Tenure { sent, until: sent + ttl_left.saturating_sub(margin) }
    }

    /// What is left of it.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }

    /// With what a renewal was told. A tenure that is over stays over, whatever comes late: others have acted on that.
    pub(super) fn renewed(self, by: Tenure, now: Instant) -> Option<Tenure> {
        (now < self.until).then(|| if by.until > self.until { by } else { self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_ends_before_the_server_ends_it_and_never_comes_back() {
        let sent = Instant::now();
        let tenure = Tenure::new(sent, Duration::from_secs(10));
        assert!(tenure.until < sent + Duration::from_secs(10));
        assert!(tenure.until > sent + Duration::from_millis(9_900), "and not much before");
        assert_eq!(Tenure::new(sent, Duration::ZERO).left(sent), Duration::ZERO);

        let later = Tenure::new(sent + Duration::from_secs(3), Duration::from_secs(10));
        assert_eq!(tenure.renewed(later, sent + Duration::from_secs(4)), Some(later));
        assert_eq!(later.renewed(tenure, sent + Duration::from_secs(4)), Some(later), "an answer that was overtaken");
        assert_eq!(tenure.renewed(later, tenure.until), None);
    }
}
