//! A thousand units, four thousand buyers, all in the same second; some click twice, some of the shop's servers die in the
//! middle of a purchase. Nobody gets two, nothing is sold that is not there, and in the end every unit is accounted for.
//!
//! **The naive way** reads the stock, compares, and writes it back: two servers read "1 left", and both sell it. A lock around
//! that is right, but lets the buyers through one by one. And either way a server that dies between taking a unit and
//! writing the order leaves a unit that nobody has, and a buyer who clicks again and gets a second one.
//!
//! **What makes this right**, without any lock:
//!
//! 1. *The order, once:* `cas(order, Absent, "pending")`. Only the click that made the order goes on; others are told what
//!    became of it. (What the SDK sends again by itself carries the same request id, and counts once in any case.)
//! 2. *The unit:* `add(stock, -1).min(0)`. The bound is checked in the same step as the subtraction.
//! 3. *The result:* the order becomes "sold" or "sold out".
//!
//! A server that died on the way leaves a pending order, with a unit taken for it or not. Nobody can tell which, and nobody has
//! to: units are all alike. After the sale, as many orders must be sold as units have left the stock; [`Sale::settle`]
//! makes up the difference from the oldest pending orders.
//!
//! Start a cluster with `ringfence dev`, then `cargo run --release -p ringfence-client --example flash_sale`.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::try_join_all;
use ringfence_client::{AddError, CasError, Client, ClientConfig, Condition, KeyValue};

const STOCK: i64 = 1_000;
const BUYERS: usize = 4_000;

const PENDING: &str = "pending";
const SOLD: &str = "sold";
const SOLD_OUT: &str = "sold out";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoints = std::env::var("RINGCTL_ENDPOINTS").unwrap_or_else(|_| "127.0.0.1:7401".to_owned());
    // Rather wait a minute than be told "perhaps".
    let config = ClientConfig { timeout: Duration::from_secs(60), ..ClientConfig::new(endpoints.split(',')) };
    let tag = format!("sale-{:08x}", rand::random::<u32>());
    let server = |db| Sale { db, tag: tag.clone(), stock: format!("{{{tag}}}stock") };
    let servers = [server(Client::with_config(config.clone()).await?), server(Client::with_config(config).await?)];
    let [sale, another] = &servers;
    sale.db.put(&sale.stock, STOCK.to_string()).await?;

    let mut clicks = Vec::new();
    for buyer in 0..BUYERS {
        let dies = match buyer % 50 {
            7 => Some(Dies::BeforeTheUnit),
            23 => Some(Dies::AfterTheUnit),
            _ => None,
        };
        clicks.push(sale.buy(buyer, dies));
        if buyer % 3 == 0 {
            clicks.push(another.buy(buyer, None)); // clicks again at once, and comes to another server
        }
    }
    let answers = try_join_all(clicks).await?;

    let settled = sale.settle().await?;
    let orders = sale.orders().await?;
    let sold = count_sold(&orders);
    let left = sale.left().await?;
    println!("{BUYERS} buyers, {} clicks: {sold} sold, {left} left", answers.len());
    println!("{settled} orders were left pending by servers that died, and are settled");
    assert_eq!(sold + left, STOCK);
    assert_eq!(orders.len(), BUYERS, "one order each");
    assert!(orders.iter().all(|order| order.version == 2), "an order was not made once and decided once");
    // What a buyer was told is what stands in the order, for good.
    assert!(answers.iter().all(|(buyer, told)| told == PENDING || orders[*buyer].value == told));
    Ok(())
}

/// Where a server dies, for the sake of the example.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dies {
    BeforeTheUnit,
    AfterTheUnit,
}

/// The sale, as one of the shop's servers sees it.
struct Sale {
    db: Client,
    tag: String,
    stock: String,
}

impl Sale {
    /// One click. Gives the buyer, and what it is told: sold, sold out, or to look again later.
    async fn buy(&self, buyer: usize, dies: Option<Dies>) -> Result<(usize, Bytes), Box<dyn Error>> {
        let order = format!("{{{}}}order/{buyer:06}", self.tag);
        match self.db.cas(&order, Condition::Absent, PENDING).await {
            Ok(_) => {}
            Err(CasError::ConditionFailed { .. }) => {
                return Ok((buyer, self.db.get(&order).await?.ok_or("orders are never deleted")?.value));
            }
            Err(error) => return Err(error.into()),
        }
        if dies == Some(Dies::BeforeTheUnit) {
            return Ok((buyer, PENDING.into()));
        }
        let result = match self.db.add(&self.stock, -1).min(0).await {
            Ok(_) => SOLD,
            Err(AddError::OutOfBounds { .. }) => SOLD_OUT,
            Err(AddError::OutcomeUnknown(_)) => return Ok((buyer, PENDING.into())), // perhaps taken: never try again
            Err(error) => return Err(error.into()),
        };
        if dies == Some(Dies::AfterTheUnit) {
            return Ok((buyer, PENDING.into()));
        }
        self.db.put(&order, result).await?;
        Ok((buyer, result.into()))
    }

    /// When the sale is over: decides the orders that are pending, and says how many those were.
    async fn settle(&self) -> Result<usize, Box<dyn Error>> {
        // So nothing can leave the stock any more, not even by a request that is still on its way.
        assert_eq!(self.left().await?, 0, "the sale is not over, or was not stopped in time");
        let orders = self.orders().await?;
        let owed = usize::try_from(STOCK - count_sold(&orders))?;
        let mut pending: Vec<KeyValue> = orders.into_iter().filter(|order| order.value == PENDING).collect();
        pending.sort_by_key(|order| order.create_revision);
        assert!(owed <= pending.len(), "a unit left the stock without an order");
        for (n, order) in pending.iter().enumerate() {
            let result = if n < owed { SOLD } else { SOLD_OUT };
            self.db.cas(&order.key, Condition::RevisionIs(order.revision), result).await?;
        }
        Ok(pending.len())
    }

    async fn left(&self) -> Result<i64, Box<dyn Error>> {
        let stock = self.db.get(&self.stock).await?.ok_or("somebody deleted the stock")?;
        Ok(std::str::from_utf8(&stock.value)?.parse()?)
    }

    /// In the order of buyers.
    async fn orders(&self) -> Result<Vec<KeyValue>, Box<dyn Error>> {
        Ok(self.db.scan_tag(&self.tag).start("order/").end("order0").stream().try_collect().await?)
    }
}

fn count_sold(orders: &[KeyValue]) -> i64 {
    orders.iter().filter(|order| order.value == SOLD).count() as i64
}
