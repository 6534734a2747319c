//! The recipes in `crates/client/examples` are what services will copy. So each is run as a reader would run it, as a program of its
//! own, against three real nodes. It asserts its property itself; here we see that it ran to its end, and said what it promises.

use std::process::Stdio;
use std::time::Duration;

use ringfence_tests::{Cluster, binary};
use tokio::process::Command;
use tokio::time::timeout;

/// Recipes wait for conditions, so one whose condition never comes true would wait for ever.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_misses_one_computes() {
    shows("cache_stampede", &["10000 requests missed at once", "filled 1 time", "a filler that was late was refused"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_ticks() {
    shows("singleton_scheduler", &["40 ticks, each once, in "]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_seat_is_sold_twice() {
    shows("seat_holds", &["20 tickets for 20 seats; 5 holds were paid too late and refused"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flash_sale_sells_what_there_is() {
    shows("flash_sale", &["4000 buyers, 5334 clicks: 1000 sold, 0 left", "are settled"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_workers_that_come_and_go_are_unique() {
    shows("worker_ids", &["16 workers with numbers {0", "different ones"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_is_acknowledged_once() {
    shows("job_queue", &["200 of 200 jobs acknowledged once each"]).await;
}

/// Runs a recipe: it must succeed, and say all of this.
async fn shows(recipe: &str, said: &[&str]) {
    let cluster = Cluster::start(3).await;
    let mut program = Command::new(binary(&format!("examples/{recipe}")));
    program.env("RINGCTL_ENDPOINTS", cluster.endpoints().join(",")).stdin(Stdio::null()).kill_on_drop(true);
    let ended = timeout(PATIENCE, program.output());
    let ended = ended.await.unwrap_or_else(|_| panic!("{recipe} has not ended after {PATIENCE:?}"));
    let ended = ended.expect("a program that is built can be started");
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{recipe} ended with {}:\n{out}{err}", ended.status);
    for said in said {
        assert!(out.contains(said), "{recipe} did not say `{said}`:\n{out}{err}");
    }
}
