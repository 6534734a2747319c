//! Bounded memory: how many bytes of requests a node has under way, and how many of one caller.
//!
//! A request is charged when it arrives and for as long as it is worked on; what does not fit is refused at once with
//! `OVERLOADED`, because a queue would only let the caller's deadline pass. Reads are charged for their answers.
//!
//! A caller may hold no more than is free for all others: so one alone can take half of the budget, two that ask for as
//! much as they can get take a third each, and there is always something left for one that asks for little. No share has
//! to be set, and what nobody uses is not kept back for anybody. (Choudhury and Hahne, *Dynamic queue length thresholds for
//! shared-memory packet switches*, 1998.)

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ringfence_proto::v1;
use ringfence_raft_host::Lane;
use tokio::sync::Notify;

use crate::grpc::status;

/// What every request costs beside its bytes: futures, headers, its place in queues.
pub(crate) const REQUEST_BYTES: usize = 1024;

/// When to try again: about the time in which a full budget drains on a healthy node.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The budget of a node. A cheap handle.
#[derive(Clone)]
pub(crate) struct Admission {
    budget: Arc<Budget>,
}

struct Budget {
    bytes_max: usize,
    used: Mutex<Used>,
    emptied: Notify,
}

/// * `bytes` is the sum of `by_lane`, in which nobody holds nothing.
#[derive(Default)]
struct Used {
    bytes: usize,
    by_lane: HashMap<Lane, usize>,
}

/// Bytes that a request holds until this is dropped.
pub(crate) struct Admitted {
    budget: Arc<Budget>,
    lane: Lane,
    bytes: usize,
}

impl Budget {
    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().expect("no code panics while it holds this lock")
    }
}

impl Admission {
    pub(crate) fn new(bytes_max: u32) -> Admission {
        let budget = Budget { bytes_max: bytes_max as usize, used: Mutex::default(), emptied: Notify::new() };
        Admission { budget: Arc::new(budget) }
    }

    /// Takes `bytes` from the budget for a caller, or refuses.
    pub(crate) fn admit(&self, lane: Lane, bytes: usize) -> Result<Admitted, v1::Error> {
        let mut used = self.budget.lock();
        let free = self.budget.bytes_max.saturating_sub(used.bytes);
        let held = used.by_lane.get(&lane).copied().unwrap_or(0);
        // A request larger than all that is free is let in when nothing else is under way.
        if held + bytes > free.saturating_sub(bytes) && used.bytes > 0 {
            drop(used);
            let what = match held > 0 {
                true => "this client's requests under way fill its share of this node's memory budget",
                false => "the requests under way fill this node's memory budget",
            };
            return Err(status::overloaded(what, RETRY_AFTER));
        }
        used.bytes += bytes;
        *used.by_lane.entry(lane).or_default() += bytes;
        Ok(Admitted { budget: self.budget.clone(), lane, bytes })
    }

    /// Returns when nothing is under way.
    pub(crate) async fn idle(&self) {
        loop {
            let emptied = self.budget.emptied.notified();
            if self.budget.lock().bytes == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut used = self.budget.lock();
        used.bytes -= self.bytes;
        if let Some(held) = used.by_lane.get_mut(&self.lane) {
            *held -= self.bytes;
            if *held == 0 {
                used.by_lane.remove(&self.lane);
            }
        }
        if used.bytes == 0 {
            self.budget.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use ringfence_proto::Reason;

    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_a_time_to_retry_and_fits_again_later() {
        let admission = Admission::new(100);
        let first = admission.admit(Lane(1), 50).unwrap();
        let refused = admission.admit(Lane(2), 60).err().unwrap();
        assert_eq!(refused.reason(), Some(Reason::Overloaded));
        assert!(refused.retry_info().is_some());
        drop(first);
        assert!(admission.admit(Lane(1), 1000).is_ok(), "alone, a request of any size is let in");
    }

    /// Takes one byte after another until it is refused.
    fn take_all(admission: &Admission, lane: Lane) -> Vec<Admitted> {
        std::iter::from_fn(|| admission.admit(lane, 1).ok()).collect()
    }

    #[test]
    fn whoever_asks_for_all_leaves_something_for_others() {
        let admission = Admission::new(900);
        let greedy = take_all(&admission, Lane(1));
        assert_eq!(greedy.len(), 450, "alone it gets half");
        let second = take_all(&admission, Lane(2));
        assert_eq!(second.len(), 225, "as much as it leaves free");
        assert!(admission.admit(Lane(1), 1).is_err(), "who has more than is free gets no more");
        assert!(admission.admit(Lane(3), 1).is_ok(), "who has nothing gets something");
        drop(greedy);
        assert_eq!(take_all(&admission, Lane(2)).len(), 225, "and now half");
        drop(second);
    }

    #[tokio::test]
    async fn idle_waits_for_the_last_request() {
        let admission = Admission::new(100);
        let (first, second) = (admission.admit(Lane(1), 10).unwrap(), admission.admit(Lane(2), 10).unwrap());
        let waiting = tokio::spawn({
            let admission = admission.clone();
            async move { admission.idle().await }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
        assert!(admission.budget.lock().by_lane.is_empty());
    }
}
