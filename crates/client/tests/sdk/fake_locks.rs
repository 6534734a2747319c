//! The fake cluster's locks: exclusive, without expiry.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ringfence_proto::v1::acquire_response::Outcome;
use ringfence_proto::v1::operation::Kind as Ask;
use ringfence_proto::v1::result::Kind as Told;
use ringfence_proto::{Reason, metadata, v1};

#[derive(Debug, Default)]
pub(crate) struct Locks {
    by_name: BTreeMap<Bytes, Lock>,
    /// How often a lease was renewed.
    pub(crate) renewals: usize,
}

#[derive(Debug, Default)]
struct Lock {
    /// Token, the ticket it was waited with, ttl.
    lease: Option<(i64, i64, i64)>,
    /// Tickets and ttls.
    queue: VecDeque<(i64, i64)>,
}

impl Locks {
    /// Tokens of all leases.
    pub(crate) fn leases(&self) -> Vec<i64> {
        self.by_name.values().filter_map(|lock| lock.lease.map(|(token, ..)| token)).collect()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.by_name.values().map(|lock| lock.queue.len()).sum()
    }

    /// Ends all leases, and forgets who waits.
    pub(crate) fn clear(&mut self) {
        self.by_name.clear();
    }

    pub(crate) fn execute(&mut self, ask: Ask, clock: i64, header: Option<v1::ResponseHeader>) -> Told {
        match ask {
            Ask::Acquire(acquire) => {
                let lock = self.by_name.entry(acquire.name).or_default();
                let outcome = match lock.lease {
                    None => {
                        lock.lease = Some((clock, clock, acquire.ttl_ms));
                        granted(clock, acquire.ttl_ms)
                    }
                    Some((token, ..)) if acquire.wait_ms == 0 => {
                        return refused(v1::Error::new(Reason::LockHeld, "held").with(metadata::TOKEN, token));
                    }
                    Some(_) => {
                        lock.queue.push_back((clock, acquire.ttl_ms));
                        queued(clock)
                    }
                };
                Told::Acquire(v1::AcquireResponse { header, outcome })
            }
            Ask::Wait(wait) => {
                let lock = self.by_name.entry(wait.name).or_default();
                let outcome = match lock.lease {
                    Some((token, ticket, ttl_ms)) if ticket == wait.ticket => granted(token, ttl_ms),
                    _ if lock.queue.iter().any(|(ticket, _)| *ticket == wait.ticket) => queued(wait.ticket),
                    _ => return refused(v1::Error::new(Reason::LeaseOver, "over")),
                };
                Told::Wait(v1::AcquireResponse { header, outcome })
            }
            Ask::GiveUp(give_up) => {
                let lock = self.by_name.entry(give_up.name).or_default();
                lock.queue.retain(|(ticket, _)| *ticket != give_up.ticket);
                if lock.lease.is_some_and(|(_, ticket, _)| ticket == give_up.ticket) {
                    lock.next(clock);
                }
                Told::GiveUp(v1::GiveUpResponse { header })
            }
            Ask::Renew(renew) => match self.by_name.get(&renew.name).and_then(|lock| lock.lease) {
                Some((token, ..)) if token == renew.token => {
                    self.renewals += 1;
                    let ttl_left_ms = renew.ttl_ms.unwrap_or(1000) as u64;
                    Told::Renew(v1::RenewResponse { header, ttl_left_ms })
                }
                Some((token, ..)) => refused(v1::Error::new(Reason::Fenced, "over").with(metadata::TOKEN, token)),
                None => refused(v1::Error::new(Reason::Fenced, "over")),
            },
            Ask::Release(release) => {
                let lock = self.by_name.entry(release.name).or_default();
                match lock.lease {
                    Some((token, ..)) if token == release.token => {
                        lock.next(clock);
                        Told::Release(v1::ReleaseResponse { header })
                    }
                    _ => refused(v1::Error::new(Reason::Fenced, "over")),
                }
            }
            other => panic!("the fake does not know {other:?}"),
        }
    }
}

impl Lock {
    fn next(&mut self, clock: i64) {
        self.lease = self.queue.pop_front().map(|(ticket, ttl_ms)| (clock, ticket, ttl_ms));
    }
}

fn granted(token: i64, ttl_ms: i64) -> Option<Outcome> {
    Some(Outcome::Granted(v1::Granted { token, generation: token, permit: 0, ttl_left_ms: ttl_ms as u64 }))
}

fn queued(ticket: i64) -> Option<Outcome> {
    Some(Outcome::Queued(v1::Queued { ticket, waiting: 1 }))
}

fn refused(error: v1::Error) -> Told {
    Told::Error(error)
}
