//! The leases of a shard by their deadlines, in memory: what the expiry of leases looks at.
//!
//! Every replica keeps one, from what it applies, so a new leader need not read through all locks first. It is a copy, and
//! decides nothing: whether a lease really is due is decided in `apply`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ringfence_state_machine::{LeaseTimes, ShardState, Unreadable, View, Write, lease_of_write, lease_times};
use ringfence_types::{FencingToken, LeaseTtl, LockName, ShardId};

/// While a lease lives something is logged at least so often, whatever its ttl: else a new leader, which goes on from the
/// highest reading in the log, would add the whole silence to it.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// A cheap handle.
#[derive(Clone, Default)]
pub(crate) struct LeaseBook {
    shared: Arc<Mutex<Leases>>,
}

/// * Each lease stands in `by_deadline` exactly once, and is counted in `by_ttl` exactly once.
#[derive(Default)]
struct Leases {
    times: BTreeMap<(LockName, FencingToken), LeaseTimes>,
    by_deadline: BTreeSet<(u64, LockName, FencingToken)>,
    by_ttl: BTreeMap<LeaseTtl, usize>,
}

/// A lease that began, was renewed, or has ended.
pub(crate) type Change = (LockName, FencingToken, Option<LeaseTimes>);

/// What an entry's writes do to leases.
pub(crate) fn changes(writes: &[Write]) -> Vec<Change> {
    writes.iter().filter_map(lease_of_write).collect()
}

impl LeaseBook {
    /// Reads all leases anew: at the start, and after a snapshot.
    pub(crate) fn reload(&self, view: &dyn View, shard: ShardId) -> Result<(), Unreadable> {
        let mut leases = Leases::default();
        if shard != ShardId::META
            && let Some(state) = ShardState::load(view, shard)?
        {
            lease_times(view, &state.descriptor.range, &mut |name, token, times| leases.set(name, token, Some(times)))?;
        }
        *self.leases() = leases;
        Ok(())
    }

    /// Takes notice of what was applied.
    pub(crate) fn follow(&self, changes: Vec<Change>) {
        if !changes.is_empty() {
            let mut leases = self.leases();
            changes.into_iter().for_each(|(name, token, times)| leases.set(name, token, times));
        }
    }

    /// Leases whose deadline is not after this reading of the lease clock, the oldest first.
    pub(crate) fn due(&self, lease_clock_ms: u64, most: usize) -> Vec<(LockName, FencingToken)> {
        let leases = self.leases();
        let due = leases.by_deadline.iter().take_while(|(deadline_ms, ..)| *deadline_ms <= lease_clock_ms);
        due.take(most).map(|(_, name, token)| (name.clone(), *token)).collect()
    }

    /// How long nothing may be logged: a third of the shortest ttl, and 5 s at the most (guarantee G6). `None` if there are no
    /// leases.
    pub(crate) fn silence_max(&self) -> Option<Duration> {
        let leases = self.leases();
        let (shortest, _) = leases.by_ttl.first_key_value()?;
        Some((Duration::from_millis(shortest.as_ms()) / 3).min(SILENCE_MAX))
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.shared.lock().expect("no code panics while it holds this lock")
    }
}

impl Leases {
    fn set(&mut self, name: LockName, token: FencingToken, times: Option<LeaseTimes>) {
        let lease = (name, token);
        if let Some(LeaseTimes { deadline_ms, ttl }) = self.times.remove(&lease) {
            self.by_deadline.remove(&(deadline_ms, lease.0.clone(), token));
            let count = self.by_ttl.get_mut(&ttl).expect("every lease is counted");
            *count -= 1;
            if *count == 0 {
                self.by_ttl.remove(&ttl);
            }
        }
        if let Some(times) = times {
            self.by_deadline.insert((times.deadline_ms, lease.0.clone(), token));
            *self.by_ttl.entry(times.ttl).or_default() += 1;
            self.times.insert(lease, times);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_types::Revision;

    #[test]
    fn leases_come_due_in_the_order_of_their_latest_deadlines_and_the_shortest_ttl_sets_the_pace() {
        let book = LeaseBook::default();
        let name = |name: &str| LockName::new(name.to_string()).unwrap();
        let token = |token| FencingToken(Revision(token));
        let times = |deadline_ms, ttl_ms| Some(LeaseTimes { deadline_ms, ttl: LeaseTtl::from_ms(ttl_ms).unwrap() });
        assert_eq!((book.due(u64::MAX, 9), book.silence_max()), (Vec::new(), None));
        book.leases().set(name("a"), token(1), times(50, 60_000));
        assert_eq!(book.silence_max(), Some(Duration::from_secs(5)));
        book.leases().set(name("b"), token(2), times(40, 300));
        book.leases().set(name("c"), token(3), times(30, 300));
        assert_eq!(book.silence_max(), Some(Duration::from_millis(100)));
        book.leases().set(name("c"), token(3), times(60, 600)); // renewed
        assert_eq!(book.due(39, 9), []);
        assert_eq!(book.due(50, 9), [(name("b"), token(2)), (name("a"), token(1))]);
        assert_eq!(book.due(60, 1), [(name("b"), token(2))]);
        book.leases().set(name("b"), token(2), None); // released
        assert_eq!(book.due(60, 9), [(name("a"), token(1)), (name("c"), token(3))]);
        assert_eq!(book.silence_max(), Some(Duration::from_millis(200)));
        book.leases().set(name("b"), token(2), None); // and once more
        assert_eq!(book.leases().by_deadline.len(), 2);
    }
}
