use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// Bounds what a client has under way, in calls and in bytes, so that a slow cluster cannot fill its memory.
#[derive(Debug)]
pub(crate) struct Gate {
    calls: Semaphore,
    bytes: Semaphore,
    bytes_max: u32,
}

/// Room for one call, until it is dropped.
pub(crate) struct Room<'a> {
    _call: SemaphorePermit<'a>,
    _bytes: SemaphorePermit<'a>,
}

impl Gate {
    pub(crate) fn new(calls_max: usize, bytes_max: usize) -> Gate {
        let calls_max = calls_max.clamp(1, Semaphore::MAX_PERMITS);
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX).max(1);
        Gate {
            calls: Semaphore::new(calls_max),
            bytes: Semaphore::new((bytes_max as usize).min(Semaphore::MAX_PERMITS)),
            bytes_max,
        }
    }

    /// Waits for room, first come first served. `None` when the deadline passes first. A call larger than the whole
    /// budget takes all of it, rather than wait for ever.
    pub(crate) async fn enter(&self, bytes: usize, deadline: Instant) -> Option<Room<'_>> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let room = async {
            let call = self.calls.acquire().await.ok()?;
            let bytes = self.bytes.acquire_many(bytes).await.ok()?;
            Some(Room { _call: call, _bytes: bytes })
        };
        timeout_at(deadline, room).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_waits_until_the_deadline() {
        let gate = Gate::new(2, 100);
        let soon = || Instant::now() + Duration::from_millis(5);
        let large = gate.enter(1_000_000, soon()).await;
        assert!(large.is_some(), "larger than the budget: goes alone");
        assert!(gate.enter(1, soon()).await.is_none(), "no bytes left");
        drop(large);
        let both = (gate.enter(1, soon()).await, gate.enter(1, soon()).await);
        assert!(both.0.is_some() && both.1.is_some());
        assert!(gate.enter(1, soon()).await.is_none(), "no calls left");
    }
}
