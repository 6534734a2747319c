//! A hundred buyers, forty shoes: the bound of `add` is checked where the write happens, so stock never oversells, however
//! many buy at once and whatever has to be sent twice.
//!
//! Start a cluster with `ringfence dev`, then `cargo run --release -p ringfence-client --example stock`.

use std::error::Error;

use futures::future::join_all;
use ringfence_client::{AddError, Client};

const STOCK: i64 = 40;
const BUYERS: i64 = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoints = std::env::var("RINGCTL_ENDPOINTS").unwrap_or_else(|_| "127.0.0.1:7401".to_owned());
    let db = Client::connect(endpoints.split(',')).await?;
    let stock = "{shoe:42}:stock";
    db.put(stock, STOCK.to_string()).await?;

    let buyers = (0..BUYERS).map(|_| {
        let db = db.clone();
        async move { db.add(stock, -1).min(0).await }
    });
    let (mut sold, mut refused) = (0, 0);
    for outcome in join_all(buyers).await {
        match outcome {
            Ok(_) => sold += 1,
            Err(AddError::OutOfBounds { .. }) => refused += 1,
            // Perhaps sold: a shop would look the order up before it answers the buyer.
            Err(error) => return Err(error.into()),
        }
    }
    let left = db.get(stock).await?.ok_or("somebody deleted the stock")?;
    println!("{sold} sold, {refused} too late, {:?} left", left.value);
    assert_eq!((sold, refused), (STOCK, BUYERS - STOCK));
    assert_eq!(left.value, "0");
    Ok(())
}
