//! Which wall time a leader may stamp into entries.
//!
//! Wall time only makes revisions readable, but a runaway clock would drag every shard clock it leads years ahead, and
//! later leaders with good clocks would have to count up from there. So a leader uses its wall time only while it lies
//! within ten seconds of the median of the nodes' clocks, and otherwise stamps 0, with which `apply` counts up by one.
//!
//! Every envelope carries its sender's wall time. Network delay makes a clock look late by that delay, which ten seconds
//! swallow. A node that wakes from a long sleep reads what was sent to it meanwhile, and for that moment all others look late;
//! so an operator is only told of what lasts.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use ringfence_types::NodeId;

use crate::clock::Clock;

/// How far from the median a clock may be.
const TRUST: Duration = Duration::from_secs(10);

/// How long our clock must have been far off before that is worth an alarm.
const ALARM_AFTER: Duration = Duration::from_secs(5);

/// What an offset is worth after this long without news: nothing.
const OFFSET_LIFE: Duration = Duration::from_secs(60);

/// How far other nodes' clocks are from ours.
#[derive(Default)]
pub(crate) struct WallTime {
    offsets: Mutex<BTreeMap<NodeId, Offset>>,
    alarm: Mutex<Alarm>,
}

/// What an operator has been told of our clock.
#[derive(Default)]
struct Alarm {
    far_since: Option<Duration>,
    is_raised: bool,
}

/// What to tell now.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Far,
    Near,
}

impl Alarm {
    fn observe(&mut self, trusted: bool, now: Duration) -> Option<News> {
        if trusted {
            self.far_since = None;
            return std::mem::take(&mut self.is_raised).then_some(News::Near);
        }
        let since = *self.far_since.get_or_insert(now);
        if self.is_raised || now.saturating_sub(since) < ALARM_AFTER {
            return None;
        }
        self.is_raised = true;
        Some(News::Far)
    }
}

struct Offset {
    /// Theirs minus ours, in milliseconds.
    ms: i64,
    heard: Duration,
}

impl WallTime {
    /// An envelope from `node` said that its clock shows `wall_ms`.
    pub(crate) fn heard(&self, node: NodeId, wall_ms: u64, clock: &dyn Clock) {
        let offset = Offset { ms: wall_ms as i64 - clock.wall_ms() as i64, heard: clock.monotonic() };
        self.offsets.lock().expect("never poisoned").insert(node, offset);
    }

    /// What to stamp into an entry: our wall time, or 0 if it cannot be trusted.
    pub(crate) fn stamp(&self, clock: &dyn Clock) -> u64 {
        let now = clock.monotonic();
        let mut offsets: Vec<i64> = {
            let mut known = self.offsets.lock().expect("never poisoned");
            known.retain(|_, o| now.saturating_sub(o.heard) <= OFFSET_LIFE);
            known.values().map(|o| o.ms).collect()
        };
        offsets.push(0);
        let trusted = is_near_median(&mut offsets);
        match self.alarm.lock().expect("never poisoned").observe(trusted, now) {
            Some(News::Far) => tracing::error!(
                "this node's wall clock is more than {} s from the median of the cluster; revisions count up without it \
                 until the clock is set right",
                TRUST.as_secs()
            ),
            Some(News::Near) => tracing::info!("this node's wall clock is back near the median of the cluster"),
            None => {}
        }
        if trusted { clock.wall_ms() } else { 0 }
    }
}

/// Whether 0 (ourselves) lies within [`TRUST`] of the median. With an even count, of either middle one.
fn is_near_median(offsets: &mut [i64]) -> bool {
    offsets.sort_unstable();
    let near = |ms: i64| ms.unsigned_abs() <= TRUST.as_millis() as u64;
    near(offsets[offsets.len() / 2]) || near(offsets[(offsets.len() - 1) / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One runaway clock among three must not be used; two good ones must not be blamed for it.
    #[test]
    fn only_the_clock_far_from_the_median_is_distrusted() {
        let hour = 3_600_000;
        assert!(is_near_median(&mut [0]));
        assert!(is_near_median(&mut [0, 40, hour])); // another node runs ahead
        assert!(!is_near_median(&mut [0, -hour, -hour + 40])); // we run ahead
        assert!(!is_near_median(&mut [0, hour, hour]));
        assert!(is_near_median(&mut [0, hour])); // two nodes: nobody can tell who is wrong
    }

    #[test]
    fn an_operator_is_told_once_of_what_lasts() {
        let mut alarm = Alarm::default();
        let mut observe = |trusted, ms| alarm.observe(trusted, Duration::from_millis(ms));
        assert_eq!([observe(false, 0), observe(false, 4_900), observe(true, 5_000)], [None, None, None], "it woke up");
        assert_eq!([observe(false, 6_000), observe(false, 10_900)], [None, None]);
        assert_eq!([observe(false, 11_000), observe(false, 20_000)], [Some(News::Far), None]);
        assert_eq!([observe(true, 21_000), observe(true, 22_000)], [Some(News::Near), None]);
    }
}
