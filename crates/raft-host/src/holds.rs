//! What of the log a follower will need that is being sent a snapshot.
//!
//! A snapshot is of one moment, and sending it takes a while. If what was logged meanwhile were cut, the follower would need the
//! next snapshot as soon as it had the first, and under steady load it would never catch up. So the log is not cut above the
//! position of a snapshot on its way, nor for [`AFTER`] when it has arrived. How much may be kept so is bounded by the
//! compactor.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringfence_types::ReplicaId;
use tokio::time::Instant;

/// How long a follower has to take the entries behind its snapshot.
const AFTER: Duration = Duration::from_secs(5);

/// The followers of one replica that have been sent a snapshot lately.
#[derive(Clone, Default)]
pub(crate) struct Holds(Arc<Mutex<BTreeMap<ReplicaId, Hold>>>);

struct Hold {
    /// Entries after this one are needed.
    after: u64,
    /// `None` while the snapshot is being sent.
    until: Option<Instant>,
}

/// A snapshot that is being sent.
pub(crate) struct Sending {
    holds: Holds,
    to: ReplicaId,
}

impl Holds {
    /// Keeps what comes after a snapshot of this position, for one follower. An earlier hold for it is replaced.
    pub(crate) fn sending(&self, to: ReplicaId, after: u64) -> Sending {
        self.0.lock().expect("never poisoned").insert(to, Hold { after, until: None });
        Sending { holds: self.clone(), to }
    }

    /// Where the log must not be cut above.
    pub(crate) fn lowest(&self) -> Option<u64> {
        let mut holds = self.0.lock().expect("never poisoned");
        let now = Instant::now();
        holds.retain(|_, hold| hold.until.is_none_or(|until| now < until));
        holds.values().map(|hold| hold.after).min()
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(hold) = self.holds.0.lock().expect("never poisoned").get_mut(&self.to) {
            hold.until = Some(Instant::now() + AFTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hold_lasts_while_a_snapshot_is_sent_and_a_while_longer() {
        let holds = Holds::default();
        assert_eq!(holds.lowest(), None);
        let one = holds.sending(ReplicaId(1), 70);
        let other = holds.sending(ReplicaId(2), 50);
        tokio::time::advance(10 * AFTER).await;
        assert_eq!(holds.lowest(), Some(50));
        drop(other);
        tokio::time::advance(AFTER / 2).await;
        assert_eq!(holds.lowest(), Some(50));
        tokio::time::advance(AFTER).await;
        assert_eq!(holds.lowest(), Some(70));
        drop(one);
        tokio::time::advance(2 * AFTER).await;
        assert_eq!(holds.lowest(), None);
    }
}
