//! Bounded memory: how many bytes of requests a node has under way.
//!
//! A request is charged when it arrives and for as long as it is worked on; what does not fit is refused at once with
//! `OVERLOADED`, because a queue would only let the caller's deadline pass. Reads are charged for their answers.

use std::sync::Arc;
use std::time::Duration;

use ringfence_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::grpc::status;

/// What every request costs beside its bytes: futures, headers, its place in queues.
pub(crate) const REQUEST_BYTES: usize = 1024;

/// When to try again: about the time in which a full budget drains on a healthy node.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The budget of a node. A cheap handle.
#[derive(Clone)]
pub(crate) struct Admission {
    budget: Arc<Semaphore>,
    bytes_max: u32,
}

/// Bytes that a request holds until this is dropped.
pub(crate) struct Admitted {
    _bytes: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(bytes_max: u32) -> Admission {
        Admission { budget: Arc::new(Semaphore::new(bytes_max as usize)), bytes_max }
    }

    /// Takes `bytes` from the budget, or refuses.
    pub(crate) fn admit(&self, bytes: usize) -> Result<Admitted, v1::Error> {
        // A request larger than the whole budget is let in when nothing else is under way.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        match self.budget.clone().try_acquire_many_owned(bytes) {
            Ok(permit) => Ok(Admitted { _bytes: permit }),
            Err(_) => Err(status::overloaded("the requests under way fill this node's memory budget", RETRY_AFTER)),
        }
    }

    /// Returns when nothing is under way.
    pub(crate) async fn idle(&self) {
        let _ = self.budget.acquire_many(self.bytes_max).await;
    }
}

#[cfg(test)]
mod tests {
    use ringfence_proto::Reason;

    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_a_time_to_retry_and_fits_again_later() {
        let admission = Admission::new(100);
        let first = admission.admit(70).unwrap();
        let refused = admission.admit(40).err().unwrap();
        assert_eq!(refused.reason(), Some(Reason::Overloaded));
        assert!(refused.retry_info().is_some());
        drop(first);
        assert!(admission.admit(1000).is_ok());
    }
}
