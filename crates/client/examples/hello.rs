//! Writes a key and reads it back.
//!
//! Start a cluster with `ringfence dev`, then `cargo run --release -p ringfence-client --example hello`.

use std::error::Error;

use ringfence_client::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoints = std::env::var("RINGCTL_ENDPOINTS").unwrap_or_else(|_| "127.0.0.1:7401".to_owned());
    let db = Client::connect(endpoints.split(',')).await?;

    let written = db.put("greeting", "hello").await?;
    println!("wrote `greeting` at revision {}, version {}", written.revision, written.version);

    let greeting = db.get("greeting").await?.ok_or("somebody deleted it meanwhile")?;
    println!("read  {:?}", greeting.value);

    assert!(db.get("nothing here").await?.is_none());
    Ok(())
}
