//! What a holder does with its lease.

use ringfence_planted::{Bug, planted};
use ringfence_types::{LeaseTtl, Metadata};

use super::record::Tenure;
use super::{HeldAs, Keeper, LeaseRef, Place, fence};
use crate::{Done, Refusal, Reply, Unreadable};

impl Keeper<'_, '_> {
    pub(super) fn renew(
        &mut self,
        lease: &LeaseRef,
        ttl: Option<LeaseTtl>,
        metadata: Option<&Metadata>,
    ) -> Result<Reply, Unreadable> {
        let place = Place::of(&lease.name);
        let mut tenure = match self.own(&place, lease)? {
            Ok(tenure) => tenure,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if tenure.deadline_ms <= self.state.lease_clock_ms {
            let late_ms = self.state.lease_clock_ms - tenure.deadline_ms;
            self.expire(&lease.name, &place, lease.token)?;
            return Ok(Err(Refusal::LeaseExpired { late_ms, clock: self.state.clock }));
        }
        if let Some(ttl) = ttl {
            tenure.ttl = ttl;
            tenure.deadline_ms = self.state.lease_clock_ms.saturating_add(ttl.as_ms());
        }
        let mut revision = self.state.clock;
        if let Some(metadata) = metadata.filter(|metadata| **metadata != tenure.metadata) {
            tenure.metadata = metadata.clone();
            revision = self.next_revision();
        }
        self.save_tenure(&place, lease.token, &tenure);
        let ttl_left_ms = tenure.ttl_left_ms(self.state.lease_clock_ms);
        Ok(Ok(Done::Renewed { ttl_left_ms, revision }))
    }

    /// What is left of a lease that was renewed by this request before. To be told what was left *then* would let its holder believe
    /// in it for too long: it counts from the moment at which it asked again.
    pub(crate) fn renewed(&mut self, lease: &LeaseRef) -> Result<Reply, Unreadable> {
        let tenure = self.own(&Place::of(&lease.name), lease)?;
        let (clock, revision) = (self.state.lease_clock_ms, self.state.clock);
        Ok(tenure.map(|tenure| Done::Renewed { ttl_left_ms: tenure.ttl_left_ms(clock), revision }))
    }

    pub(super) fn release(&mut self, lease: &LeaseRef) -> Result<Reply, Unreadable> {
        let place = Place::of(&lease.name);
        let mut lock = self.lock(&place)?;
        let (token, tenure) = match self.own(&place, lease)? {
            Ok(tenure) => (lease.token, tenure),
            // Planted: whoever holds it loses it, whoever asks.
            Err(_) if planted(Bug::NonOwnerReleases) && lock.held != HeldAs::Free => {
                self.tenures(&place, &lock)?.swap_remove(0)
            }
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.end(&place, &mut lock, token, &tenure)?;
        self.advance(&lease.name, &place, &mut lock)?;
        self.save(&place, &lock)?;
        Ok(Ok(self.accepted()))
    }

    /// The lease, if it is current and the caller's.
    fn own(&mut self, place: &Place, lease: &LeaseRef) -> Result<Result<Tenure, Refusal>, Unreadable> {
        let Some(tenure) = self.tenure(place, lease.token)? else {
            return Ok(Err(fence::refusal(self.overlay, self.state, place, &lease.name, lease.token)?));
        };
        if tenure.holder != lease.holder {
            return Ok(Err(Refusal::NotTheHolder { holder: tenure.holder, clock: self.state.clock }));
        }
        Ok(Ok(tenure))
    }
}
