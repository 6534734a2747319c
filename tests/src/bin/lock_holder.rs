//! `lock_holder ENDPOINTS HOLDER LOCK TTL_MS KEYS`: takes a lock and writes under it for ever, each time another key that begins with
//! KEYS, with the fence of its lease. It is a bad holder: it never looks whether it has lost the lock. What it was told goes to
//! stdout, a line each:
//!
//! ```text
//! granted TOKEN
//! ok N REVISION                          the key KEYS + N was written
//! fenced N CURRENT REMAINING_MS IS_LOST  it was not; what the lease says of itself right after
//! unknown N WHY
//! failed N WHY
//! lost                                   once, as soon as the lease says so
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ringfence_client::{Client, ClientConfig, Outcome, PutError};

/// Between two writes: so that what was said can be read.
const PAUSE: Duration = Duration::from_millis(5);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoints, holder, lock, ttl_ms, keys] = &arguments[..] else {
        eprintln!("usage: lock_holder ENDPOINTS HOLDER LOCK TTL_MS KEYS");
        return ExitCode::from(3);
    };
    let ttl = Duration::from_millis(ttl_ms.parse().expect("TTL_MS is a number"));
    let mut config = ClientConfig::new(endpoints.split(','));
    config.timeout = Duration::from_secs(60);
    let client = Client::with_config(config).await.expect("the cluster is there");
    let lease = client.lock(lock).holder(holder.clone()).ttl(ttl).await.expect("whoever waits is granted the lock");
    println!("granted {}", lease.token());
    let lease = Arc::new(lease);
    let watched = Arc::clone(&lease);
    tokio::spawn(async move {
        watched.lost().await;
        println!("lost");
    });
    for n in 0_u64.. {
        match client.put(format!("{keys}{n}"), lease.token().to_string()).fence(&*lease).await {
            Ok(written) => println!("ok {n} {}", written.revision),
            Err(PutError::Fenced { current }) => {
                let current = current.map_or("none".to_owned(), |token| token.to_string());
                println!("fenced {n} {current} {} {}", lease.remaining().as_millis(), lease.is_lost());
            }
            Err(e) if e.outcome() == Outcome::Unknown => println!("unknown {n} {e}"),
            Err(e) => println!("failed {n} {e}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    ExitCode::SUCCESS
}
