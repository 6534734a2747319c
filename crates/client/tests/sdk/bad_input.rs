//! A request that cannot work fails before anything is sent; one that the cluster refuses is sent once.

use std::time::Duration;

use ringfence_client::{AddError, CasError, Condition, DeleteError, GetError, Outcome, PutError, Reason, Rejected};

use crate::fake::{Cluster, answer};

#[tokio::test]
async fn what_cannot_be_a_key_a_value_or_a_ttl_is_not_sent() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client().await;
    let long = "k".repeat(4097);
    assert!(matches!(db.get("").await, Err(GetError::InvalidKey(_))));
    assert!(matches!(db.put(&long, "v").await, Err(PutError::InvalidKey(_))));
    assert!(matches!(db.delete(&long).await, Err(DeleteError::InvalidKey(_))));
    assert!(matches!(db.add("", 1).await, Err(AddError::InvalidKey(_))));
    assert!(matches!(db.put("k", vec![0; (1 << 20) + 1]).await, Err(PutError::InvalidValue(_))));
    assert!(matches!(db.put("k", "v").ttl(Duration::ZERO).await, Err(PutError::InvalidTtl(_))));
    let cas = db.cas("k", Condition::Exists, "v").ttl(Duration::MAX).await;
    assert!(matches!(&cas, Err(CasError::InvalidTtl(_))));
    assert_eq!(cas.unwrap_err().outcome(), Outcome::Refused);
    assert!(cluster.arrivals().is_empty());
}

#[tokio::test]
async fn what_the_cluster_refuses_is_sent_once_and_told_with_its_reason() {
    let cluster = Cluster::start(2).await;
    let db = cluster.client().await;
    cluster.fault(1, answer(Reason::DiskFull));
    let error = db.put("k", "v").await.unwrap_err();
    let message = "DISK_FULL, says the fake".to_owned();
    assert_eq!(error, PutError::Rejected(Rejected { reason: Some(Reason::DiskFull), message }));
    cluster.fault(1, answer(Reason::NotAnInteger));
    assert_eq!(db.add("k", 1).await, Err(AddError::NotAnInteger));
    assert_eq!(db.add("n", -1).min(0).await, Err(AddError::OutOfBounds { current: Some(0) }));
    assert_eq!(cluster.arrivals().len(), 3);
}

/// The same over plain unary calls, where errors travel as google.rpc.Status.
#[tokio::test]
async fn unary_calls_tell_the_same() {
    let cluster = Cluster::start(1).await;
    let db = cluster.client_with(|config| config.unary = true).await;
    let written = db.put("k", "v").await.unwrap();
    assert_eq!(db.get("k").await.unwrap().unwrap().revision, written.revision);
    let failed = db.cas("k", Condition::Absent, "w").await.unwrap_err();
    assert_eq!(failed, CasError::ConditionFailed { revision: written.revision, version: 1 });
    let held = db.delete("k").condition(Condition::RevisionIs(written.revision)).await.unwrap();
    assert!(held.existed);
    assert_eq!(db.add("n", -1).min(0).await, Err(AddError::OutOfBounds { current: Some(0) }));
    assert_eq!(cluster.state.lock().unwrap().messages, 0);
}
