//! Found by `isolated-leader`: a leader that is apart from the other nodes, but not from its clients, must not keep them.

use std::time::Duration;

use jepsen_lite::cluster::{Cluster, Demands};
use jepsen_lite::proxy::{Shape, Way};
use ringfence_client::Client;
use ringfence_tests::{binary, eventually, temporary_directory};

/// The partition lasts until the clients have left, so this does not end while they stay.
#[tokio::test(flavor = "multi_thread")]
async fn clients_leave_a_leader_that_has_no_majority() {
    let dir = temporary_directory();
    let mut cluster =
        Cluster::start(dir.path(), &binary("ringfence"), 3, 1, Demands::default()).await.expect("a cluster");
    let client = Client::connect(cluster.endpoints().into_values()).await.expect("a client");
    for n in 0..50 {
        client.put(format!("k{n}"), "before").await.expect("nothing is broken yet");
    }
    for way in [Way::Blackhole, Way::Held] {
        let old = cluster.leader(1).await;
        let fault = cluster.net.apply(&Shape::Isolated(old), way);
        // The same client, which believes that the old leader leads, and one that only knows where the nodes are.
        let fresh = Client::connect(cluster.endpoints().into_values()).await.expect("a client");
        for client in [&client, &fresh] {
            // Many in a row, each well within what one wrong turn costs: so they do not begin at the old leader again.
            let mut in_a_row = 0;
            eventually("the clients are served by the others", async || {
                for n in 0..50 {
                    let put = client.put(format!("k{n}"), "during");
                    match tokio::time::timeout(Duration::from_secs(1), put).await {
                        Ok(Ok(_)) => in_a_row += 1,
                        Ok(Err(_)) | Err(_) => in_a_row = 0,
                    }
                }
                (in_a_row >= 50).then_some(())
            })
            .await;
        }
        cluster.net.lift(&fault);
        cluster.well().await.expect("all is well again");
    }
    for n in 0..50 {
        let found = client.get(format!("k{n}")).await.expect("all is well").expect("it was put");
        assert_eq!(found.value, "during".as_bytes());
    }
}
