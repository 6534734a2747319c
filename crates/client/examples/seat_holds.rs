//! Twenty seats, a hundred buyers. A buyer holds a seat for a while to pay in peace; a hold that is over cannot be confirmed;
//! no seat is sold twice.
//!
//! **The naive way** marks the seat "held by me until 20:15", and at the end checks the time and marks it "sold". Whose time?
//! Servers' clocks differ. And between check and mark a payment provider may take a minute: the seat was given to the next
//! buyer meanwhile, and both have paid for it.
//!
//! **What makes this right.**
//!
//! * A hold is a lease for a *fixed term*: nobody renews it, and it ends by the cluster's lease clock, which no wall clock
//!   touches. `remaining()` is what the buyer sees counting down.
//! * The sale is one write, fenced by the hold, on the condition that the seat is unsold. Whether the hold still runs is decided
//!   in the same step in which the seat is sold. A buyer who is late is refused, even if nobody wanted the seat meanwhile.
//! * Money: reserve it on the card before the sale, take it after. A refused sale then costs a reservation and no refund.
//!
//! All seats of one show share a hash tag, so that the plan of the hall is one ordered read of one shard.
//!
//! Start a cluster with `ringfence dev`, then `cargo run --release -p ringfence-client --example seat_holds`.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::{try_join, try_join_all};
use rand::Rng;
use rand::seq::IndexedRandom;
use ringfence_client::{AcquireError, CasError, Client, Condition, Lease};
use tokio::time::sleep;

const SEATS: usize = 20;
const BUYERS: usize = 100;
/// Who hold a seat and then look for their card for too long.
const DAWDLERS: usize = 5;
const HOLD: Duration = Duration::from_millis(700);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoints = std::env::var("RINGCTL_ENDPOINTS").unwrap_or_else(|_| "127.0.0.1:7401".to_owned());
    let tag = format!("show-{:08x}", rand::random::<u32>());
    let show = Show { db: Client::connect(endpoints.split(',')).await?, tag };

    let dawdlers = (0..DAWDLERS).map(|seat| show.hold(seat, format!("dawdler-{seat}")));
    let dawdlers = try_join_all(dawdlers).await?;
    let late = dawdlers.into_iter().enumerate().map(|(seat, hold)| show.pay_late(seat, hold));
    let bought = (0..BUYERS).map(|n| show.buy(format!("buyer-{n}")));
    let (bought, _) = try_join(try_join_all(bought), try_join_all(late)).await?;

    let tickets: Vec<(usize, String)> = bought.into_iter().flatten().collect();
    println!("{} tickets for {SEATS} seats; {DAWDLERS} holds were paid too late and refused", tickets.len());
    let holders: BTreeMap<usize, String> = tickets.iter().cloned().collect();
    assert_eq!((tickets.len(), holders.len()), (SEATS, SEATS), "each seat has one ticket");
    assert_eq!(show.sold().await?, holders, "and the hall's plan says the same");
    Ok(())
}

struct Show {
    db: Client,
    tag: String,
}

enum Sale {
    Sold,
    SoldToAnother,
    HoldIsOver,
}

impl Show {
    /// Tries until it has a seat, or there are no more.
    async fn buy(&self, buyer: String) -> Result<Option<(usize, String)>, Box<dyn Error>> {
        loop {
            let sold = self.sold().await?;
            let free: Vec<usize> = (0..SEATS).filter(|seat| !sold.contains_key(seat)).collect();
            let Some(seat) = free.choose(&mut rand::rng()).copied() else { return Ok(None) };
            if let Some(hold) = self.hold(seat, buyer.clone()).await? {
                pause(10..100).await; // the buyer pays, in time unless the machine is very slow
                match self.confirm(seat, &hold).await? {
                    Sale::Sold => return Ok(Some((seat, buyer))),
                    // Between our look at the plan and our hold; or our own hold ran out.
                    Sale::SoldToAnother | Sale::HoldIsOver => continue,
                }
            }
            pause(50..300).await; // somebody else holds it, and may not buy
        }
    }

    /// `None` if another holds the seat.
    async fn hold(&self, seat: usize, buyer: String) -> Result<Option<Lease>, Box<dyn Error>> {
        match self.db.lock(self.hold_of(seat)).holder(buyer).ttl(HOLD).fixed_term().without_waiting().await {
            Ok(hold) => Ok(Some(hold)),
            Err(AcquireError::Held(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sells a seat to whoever holds it.
    async fn confirm(&self, seat: usize, hold: &Lease) -> Result<Sale, Box<dyn Error>> {
        let buyer = hold.holder().bytes().clone();
        match self.db.cas(self.seat(seat), Condition::Absent, buyer).fence(hold).await {
            Ok(_) => Ok(Sale::Sold),
            Err(CasError::ConditionFailed { .. }) => Ok(Sale::SoldToAnother),
            Err(CasError::Fenced { .. }) => Ok(Sale::HoldIsOver),
            Err(error) => Err(error.into()),
        }
    }

    /// Confirms a hold after its end. (Not after `lost()`, which comes a little earlier.)
    async fn pay_late(&self, seat: usize, hold: Option<Lease>) -> Result<(), Box<dyn Error>> {
        let hold = hold.ok_or("the first to come found a seat held")?;
        while self.db.inspect_lock(hold.name()).await?.leases.iter().any(|lease| lease.token == hold.token()) {
            sleep(Duration::from_millis(50)).await;
        }
        let sale = self.confirm(seat, &hold).await?;
        assert!(matches!(sale, Sale::HoldIsOver), "a hold was confirmed after its end");
        Ok(())
    }

    /// Who has which seat.
    async fn sold(&self) -> Result<BTreeMap<usize, String>, Box<dyn Error>> {
        let seats = self.db.scan_tag(&self.tag).start("seat/").end("seat0").stream();
        let seats: Vec<_> = seats.try_collect().await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let number = |key: &[u8]| text(key).rsplit('/').next().and_then(|n| n.parse().ok());
        Ok(seats.iter().filter_map(|seat| Some((number(&seat.key)?, text(&seat.value)))).collect())
    }

    fn seat(&self, seat: usize) -> String {
        format!("{{{}}}seat/{seat:02}", self.tag)
    }

    fn hold_of(&self, seat: usize) -> String {
        format!("{{{}}}hold/{seat:02}", self.tag)
    }
}

async fn pause(ms: std::ops::Range<u64>) {
    sleep(Duration::from_millis(rand::rng().random_range(ms))).await;
}
