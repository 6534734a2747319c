//! Ten clients append their name to one list. Each reads, changes, and writes back only if nobody wrote meanwhile; who
//! loses the race reads again. No name is lost.
//!
//! Start a cluster with `ringfence dev`, then `cargo run --release -p ringfence-client --example cas_race`.

use std::error::Error;

use futures::future::try_join_all;
use ringfence_client::{CasError, Client, Condition};

const CLIENTS: usize = 10;
const KEY: &str = "guests";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoints = std::env::var("RINGCTL_ENDPOINTS").unwrap_or_else(|_| "127.0.0.1:7401".to_owned());
    // Separate clients, with nothing in common but the cluster.
    let clients = try_join_all((0..CLIENTS).map(|_| Client::connect(endpoints.split(',')))).await?;
    clients[0].delete(KEY).await?;

    let lost = try_join_all(clients.iter().enumerate().map(|(n, db)| append(db, format!("guest-{n}")))).await?;
    let guests = clients[0].get(KEY).await?.ok_or("somebody deleted the list")?;
    let names = String::from_utf8_lossy(&guests.value);
    println!("{} writes, {} lost races: {names}", guests.version, lost.iter().sum::<usize>());
    assert_eq!(names.split(' ').count(), CLIENTS);
    assert_eq!(guests.version, CLIENTS as u64);
    Ok(())
}

/// Adds a name, and tells how many races it lost.
async fn append(db: &Client, name: String) -> Result<usize, Box<dyn Error>> {
    let mut lost = 0;
    loop {
        let (condition, list) = match db.get(KEY).await? {
            None => (Condition::Absent, name.clone()),
            Some(now) => {
                let names = String::from_utf8(now.value.to_vec())?;
                (Condition::RevisionIs(now.revision), format!("{names} {name}"))
            }
        };
        match db.cas(KEY, condition, list).await {
            Ok(_) => return Ok(lost),
            Err(CasError::ConditionFailed { .. }) => lost += 1,
            Err(error) => return Err(error.into()),
        }
    }
}
