//! Scans page by cursor and look like one stream.

use futures::TryStreamExt;
use ringfence_client::{Reason, ScanError};

use crate::fake::{Cluster, answer};

#[tokio::test]
async fn a_scan_streams_over_pages_and_survives_a_failure_in_the_middle() {
    let cluster = Cluster::start(2).await;
    let db = cluster.client().await;
    for n in 0..25 {
        db.put(format!("{{user:42}}:{n:02}"), "v").await.unwrap();
    }
    db.put("{user:43}:00", "v").await.unwrap();

    let mut stream = std::pin::pin!(db.scan_tag("user:42").page_items(10).stream());
    let mut keys = Vec::new();
    while let Some(kv) = stream.try_next().await.unwrap() {
        if keys.len() == 5 {
            cluster.fault(1, answer(Reason::NoQuorum)); // meets the second page
        }
        keys.push(kv.key);
    }
    let wanted: Vec<_> = (0..25).map(|n| format!("{{user:42}}:{n:02}")).collect();
    assert_eq!(keys, wanted);

    let page = db.scan_prefix("{user:4").page_items(10).page(None).await.unwrap();
    assert_eq!((page.items.len(), page.next.is_some()), (10, true));
}

#[tokio::test]
async fn scans_that_cannot_be_are_refused_before_anything_is_sent() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    for tag in ["", "a}b"] {
        assert!(matches!(db.scan_tag(tag).page(None).await, Err(ScanError::InvalidTag(_))), "{tag}");
    }
    assert!(matches!(db.scan_prefix("a").start("b").page(None).await, Err(ScanError::Rejected(_))));
    assert!(cluster.arrivals().is_empty());
}
