//! A node that does not trust its disk: what an operator is told of it, and that it takes no part.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use ringfence_proto::v1::PutRequest;
use ringfence_proto::v1::kv_client::KvClient;

use crate::damage::copy;
use crate::process::binary;
use crate::{Cluster, Load, eventually};

/// What is damaged, what a bad disk does to the data directory, and a word of what the node must say.
pub struct Damage(pub &'static str, pub fn(&Path), pub &'static str);

impl Cluster {
    /// The problems that `ringctl cluster status` lists.
    pub fn problems(&self) -> Vec<String> {
        let endpoints = self.running().into_iter().map(|node| self.address(node)).collect::<Vec<_>>().join(",");
        let mut ringctl = Command::new(binary("ringctl"));
        ringctl.args(["--endpoints", &endpoints, "cluster", "status", "-w", "json"]);
        let output = ringctl.output().expect("ringctl can be run");
        let answer = String::from_utf8_lossy(&output.stdout);
        let problems = answer.split_once("\"problems\"").map_or("", |(_, problems)| problems);
        problems.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// Waits until a node says that it is distrusted and waits for an operator, and `ringctl cluster status` says so too;
    /// gives the reason.
    pub async fn distrusted(&self, node: u64) -> String {
        let reason = eventually(&format!("node {node} says that it is distrusted"), async || {
            let distrust = self.status(node).await?.distrust?;
            distrust.waiting.then_some(distrust.reason)
        })
        .await;
        eventually("ringctl says so", async || {
            let problems = self.problems();
            let told = |problem: &String| problem.starts_with(&format!("n{node} is distrusted"));
            problems.iter().any(told).then_some(())
        })
        .await;
        assert!(self.server(node).log().contains(&reason), "the log says why: {reason}");
        reason
    }

    /// Damages the data of a node that does not run: started again it must say so, and take no part, by its votes neither if that
    /// is asked for. In the end it gets its directory back, whole, and all is well.
    pub async fn takes_no_part_with(&mut self, node: u64, damage: &Damage, votes: bool, load: &Load) {
        let Damage(what, damage, says) = damage;
        let (data, kept) = (self.data_dir(node), self.path("kept"));
        copy(&data, &kept);
        println!("node {node}: {what}");
        damage(&data);

        self.start_node(node);
        let reason = self.distrusted(node).await;
        assert!(reason.contains(says), "{what}: {reason}");
        load.goes_on(100).await;
        if votes {
            self.gives_no_votes(node).await;
            load.goes_on(100).await;
        }

        // The disk was not that bad: nothing was given up, so the old directory, whole, is as good as ever.
        self.kill(node);
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::rename(&kept, &data).unwrap();
        self.start_node(node);
        self.level_within(64).await;
    }

    /// A distrusted node must not help anybody to a majority: with it and one other of three no shard takes a write.
    pub async fn gives_no_votes(&mut self, node: u64) {
        let others: Vec<u64> = self.running().into_iter().filter(|other| *other != node).collect();
        let [stopped, other] = others[..] else { panic!("three nodes run") };
        self.kill(stopped);
        // Long enough for several elections; keys enough for every shard.
        let puts = (0..12).map(|n| {
            let mut kv = KvClient::new(self.channel(other));
            let put = PutRequest { key: format!("in vain/{n}").into(), ..PutRequest::default() };
            let mut request = tonic::Request::new(put);
            request.set_timeout(Duration::from_secs(5));
            async move { kv.put(request).await }
        });
        for answer in join_all(puts).await {
            assert!(answer.is_err(), "node {node} is distrusted, and helped to a majority: {answer:?}");
        }
        self.start_node(stopped);
        self.led().await;
    }
}
