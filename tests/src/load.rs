//! Writers that run while a scenario does its worst, and what they were told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use ringfence_client::{Client, Outcome};
use tokio::task::JoinHandle;

/// Writers, each with keys and a counter of its own.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    recorded: Arc<Mutex<Recorded>>,
    writers: Vec<JoinHandle<()>>,
    client: Client,
}

/// What the writers were told.
#[derive(Default)]
pub struct Recorded {
    /// Acknowledged puts: each key was put once.
    pub puts: BTreeMap<String, String>,
    /// Per counter: additions of 1 that were acknowledged, and those of which nothing is known.
    pub additions: BTreeMap<String, (i64, i64)>,
    /// Keys of puts that certainly did not happen.
    pub refused: Vec<String>,
}

impl Load {
    /// Starts this many writers. Each puts a fresh key and then adds 1 to its counter, again and again.
    pub fn start(client: &Client, writers: usize) -> Load {
        let (stop, acknowledged, recorded) = (Arc::default(), Arc::default(), Arc::default());
        let writers = (0..writers)
            .map(|writer| {
                let client = client.clone();
                let (stop, acknowledged, recorded) =
                    (Arc::clone(&stop), Arc::clone(&acknowledged), Arc::clone(&recorded));
                tokio::spawn(async move { write(writer, client, &stop, &acknowledged, &recorded).await })
            })
            .collect();
        Load { stop, acknowledged, recorded, writers, client: client.clone() }
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until this many more writes were acknowledged.
    pub async fn goes_on(&self, more: u64) {
        let goal = self.acknowledged() + more;
        crate::eventually("writes are acknowledged again", async || (self.acknowledged() >= goal).then_some(())).await;
    }

    /// Stops the writers and checks, by linearizable reads, that everything they were told is true. Returns how many writes
    /// were acknowledged.
    pub async fn stop_and_check(self) -> u64 {
        let (client, acknowledged) = (self.client.clone(), self.acknowledged.clone());
        self.stop().await.check(&client).await;
        acknowledged.load(Ordering::Relaxed)
    }

    /// Stops the writers, and gives what they were told.
    pub async fn stop(self) -> Recorded {
        self.stop.store(true, Ordering::Relaxed);
        for ended in join_all(self.writers).await {
            ended.expect("a writer does not panic");
        }
        std::mem::take(&mut *self.recorded.lock().expect("never poisoned"))
    }
}

async fn write(writer: usize, client: Client, stop: &AtomicBool, acknowledged: &AtomicU64, recorded: &Mutex<Recorded>) {
    let counter = format!("counter/{writer}");
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let (key, value) = (format!("load/{writer}/{n}"), format!("value {n} of {writer}"));
        let put = client.put(&key, value.clone()).await;
        match put {
            Ok(written) => {
                assert_eq!(written.version, 1, "{key} was written twice");
                acknowledged.fetch_add(1, Ordering::Relaxed);
                recorded.lock().expect("never poisoned").puts.insert(key, value);
            }
            Err(e) if e.outcome() == Outcome::Refused => recorded.lock().expect("never poisoned").refused.push(key),
            Err(_) => {}
        }
        let added = client.add(&counter, 1).await;
        let mut recorded = recorded.lock().expect("never poisoned");
        let (counted, unknown) = recorded.additions.entry(counter.clone()).or_default();
        match added {
            Ok(_) => {
                *counted += 1;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(e) if e.outcome() == Outcome::Refused => {}
            Err(_) => *unknown += 1,
        }
    }
}

impl Recorded {
    /// Every acknowledged put is there, once; no refused one is; and the counters say what was acknowledged.
    pub async fn check(&self, client: &Client) {
        for (key, value) in &self.puts {
            let found = client.get(key).await.expect("a healthy cluster answers reads");
            let found = found.unwrap_or_else(|| panic!("{key} was acknowledged and is gone"));
            assert_eq!(found.value, value.as_bytes(), "{key} has another value");
            assert_eq!(found.version, 1, "{key} was written once, but has another version");
        }
        for key in &self.refused {
            let found = client.get(key).await.expect("a healthy cluster answers reads");
            assert!(found.is_none(), "{key} was refused and is there");
        }
        for (counter, (counted, unknown)) in &self.additions {
            let found = client.get(counter).await.expect("a healthy cluster answers reads");
            let value: i64 = found.map_or(0, |kv| String::from_utf8_lossy(&kv.value).parse().expect("an integer"));
            assert!(
                *counted <= value && value <= counted + unknown,
                "{counter} is {value}; {counted} additions were acknowledged and {unknown} are unknown"
            );
        }
    }
}
