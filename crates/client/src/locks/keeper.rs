//! Renews a client's leases. One task for all of them, which lives as long as there is one.
//!
//! A lease is due a third of its ttl after the last renewal that was confirmed was sent. Those that are due soon go with it: the
//! session puts what is sent together into one message, and the shard into one entry of its log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::lease::Tenant;
use crate::client::Shared;
use crate::pool::lock;

/// After a renewal that nobody answered, a tenth of the ttl passes before the next, within these bounds.
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The leases of a client that are to be renewed.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    book: Mutex<Book>,
    changed: Notify,
}

/// * A lease that is not under way stands in `due` exactly once.
#[derive(Debug, Default)]
struct Book {
    leases: BTreeMap<u64, Entry>,
    due: BTreeSet<(Instant, u64)>,
    next: u64,
    has_task: bool,
}

#[derive(Debug)]
struct Entry {
    tenant: Arc<Tenant>,
    due: Option<Instant>,
}

/// A lease in the keeper's book. It is crossed out when this is dropped.
#[derive(Debug)]
pub(super) struct Kept {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Kept {
    fn drop(&mut self) {
        lock(&self.shared.keeper.book).remove(self.number);
        self.shared.keeper.changed.notify_one();
    }
}

/// Renews a lease from now on, until what is given back is dropped or the lease is over.
pub(super) fn keep(shared: &Arc<Shared>, tenant: Arc<Tenant>) -> Kept {
    let keeper = &shared.keeper;
    let mut book = lock(&keeper.book);
    let number = book.next;
    book.next += 1;
    let due = tenant.renewal_due();
    book.due.insert((due, number));
    book.leases.insert(number, Entry { tenant, due: Some(due) });
    if !book.has_task {
        book.has_task = true;
        tokio::spawn(run(Arc::clone(shared)));
    }
    drop(book);
    keeper.changed.notify_one();
    Kept { shared: Arc::clone(shared), number }
}

async fn run(shared: Arc<Shared>) {
    let mut under_way = FuturesUnordered::new();
    loop {
        let (ready, next) = {
            let mut book = lock(&shared.keeper.book);
            if book.leases.is_empty() {
                book.has_task = false;
                return; // what is under way is for leases that are gone
            }
            (book.take_due(Instant::now()), book.due.first().map(|(due, _)| *due))
        };
        under_way.extend(ready.into_iter().map(|(number, tenant)| renew(&shared, number, tenant)));
        tokio::select! {
            Some((number, due)) = under_way.next() => lock(&shared.keeper.book).put_back(number, due),
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            () = shared.keeper.changed.notified() => {}
        }
    }
}

/// Renews one, and says when it is due again, if ever.
async fn renew(shared: &Arc<Shared>, number: u64, tenant: Arc<Tenant>) -> (u64, Option<Instant>) {
    let asked = Instant::now();
    let due = match tenant.renew(shared).await {
        _ if tenant.is_lost() => None,
        Ok(()) => Some(tenant.renewal_due()),
        Err(_) => Some(asked.max(Instant::now()) + (tenant.ttl / 10).clamp(RETRY_MIN, RETRY_MAX)),
    };
    (number, due)
}

impl Book {
    /// Those that are due, and those that will be soon, if any is.
    fn take_due(&mut self, now: Instant) -> Vec<(u64, Arc<Tenant>)> {
        let Some((first, number)) = self.due.first().copied().filter(|(first, _)| *first <= now) else {
            return Vec::new();
        };
        let soon = self.leases.get(&number).map_or(Duration::ZERO, |entry| entry.tenant.ttl / 30);
        let mut taken = Vec::new();
        while let Some((due, number)) = self.due.first().copied()
            && due <= now.max(first) + soon
        {
            self.due.pop_first();
            if let Some(entry) = self.leases.get_mut(&number) {
                entry.due = None;
                taken.push((number, Arc::clone(&entry.tenant)));
            }
        }
        taken
    }

    fn put_back(&mut self, number: u64, due: Option<Instant>) {
        let Some(due) = due else { return self.remove(number) };
        if let Some(entry) = self.leases.get_mut(&number) {
            entry.due = Some(due);
            self.due.insert((due, number));
        }
    }

    fn remove(&mut self, number: u64) {
        if let Some(Entry { due: Some(due), .. }) = self.leases.remove(&number) {
            self.due.remove(&(due, number));
        }
    }
}
