//! More than a node can hold is refused at once, with the time after which to try again, and nothing piles up (G12). Without a
//! majority every write waits, which is the quickest way to fill a node.

use std::time::{Duration, Instant};

use futures::future::join_all;
use ringfence_proto::Reason;
use ringfence_proto::v1::kv_client::KvClient;
use ringfence_proto::v1::{Error, PutRequest};
use ringfence_tests::Cluster;
use tonic::Request;

/// Of the writes that wait in vain.
const DEADLINE: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_at_once_and_the_rest_is_not_lost() {
    let mut cluster = Cluster::start_with(3, &["--inflight-bytes-max=33554432"]).await;
    cluster.kill(2);
    cluster.kill(3);
    let put = |n: u32| {
        let request =
            PutRequest { key: format!("big/{n}").into(), value: vec![b'v'; 1 << 20].into(), ..PutRequest::default() };
        let mut request = Request::new(request);
        request.set_timeout(DEADLINE);
        request
    };
    let began = Instant::now();
    let answers = join_all((0..64).map(|n| {
        let mut kv = KvClient::new(cluster.channel(1));
        async move { (kv.put(put(n)).await.map_err(Error::from), began.elapsed()) }
    }))
    .await;
    let overloaded: Vec<_> =
        answers.iter().filter(|(a, _)| a.as_ref().is_err_and(|e| e.reason() == Some(Reason::Overloaded))).collect();
    // 32 MiB fit, 64 MiB came.
    assert!((24..=48).contains(&overloaded.len()), "{} of 64 were refused", overloaded.len());
    for (answer, after) in &overloaded {
        assert!(*after < DEADLINE, "refused at once, not at its deadline");
        let error = answer.as_ref().unwrap_err();
        assert!(error.retry_after_ms > 0, "{error:?}");
    }
    assert!(answers.iter().all(|(answer, _)| answer.is_err()), "nothing is acknowledged without a majority");

    // When the others are back all is well again.
    cluster.start_node(2);
    cluster.start_node(3);
    cluster.led().await;
    let client = cluster.client().await;
    for n in 0..64 {
        client.put(format!("big/{n}"), vec![b'w'; 1 << 20]).await.unwrap();
    }
    for n in 0..64 {
        assert_eq!(client.get(format!("big/{n}")).await.unwrap().unwrap().value, vec![b'w'; 1 << 20]);
    }
}
