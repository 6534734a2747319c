//! How a node comes back whose disk cannot be trusted any more.
//!
//! # Why the whole node
//!
//! A replica that forgot entries it acknowledged could help to elect a leader without them (guarantee G3). If one replica's log
//! misses something, the disk has lied, and it holds the logs of all replicas of the node in the same files: another one may
//! miss entries of which no trace is left here, because they were neither applied nor known to be committed. So what is
//! replaced is never one replica but the node's databases as a whole. The node keeps its id and its address; its directory
//! becomes another *incarnation* of it.
//!
//! A node is *distrusted* when
//!
//! * one of its databases cannot be opened because it is damaged, or a part of it is gone;
//! * a replica's log ends before what the replica is known to have had, or a read of its state finds damage
//!   ([`examine`](ringfence_raft_host::examine));
//! * damage is found while it runs: it leaves a mark in its directory and stops, and is distrusted when it starts again;
//! * its directory is empty, and the others remember that it has served before: it is told when it asks
//!   ([`newcomer`](crate::newcomer)), or when it speaks ([`incarnation`](crate::incarnation)).
//!
//! A full disk, a missing permission, a failed sync or files of a newer release are none of these: they end the process, and
//! nothing is given up. Nor are bytes that are whole by their checksums and make no sense: see
//! [`examine`](ringfence_raft_host::examine).
//!
//! # The way back
//!
//! ```text
//!  directory          registry            each shard, and the meta group
//!  ──────────────     ────────────────    ─────────────────────────────────────────────────────────
//!  set aside      ─▶  new incarnation ─▶  fresh replica here ─▶ the old one is removed ─▶ the fresh one
//!  fresh, empty       takes the old       (a new id, empty)      (its leader does that)   learns ─▶ votes
//! ```
//!
//! 1. The databases are moved to `distrusted-N`, never deleted, and empty ones take their place
//!    ([`birth::open_trusted`](crate::birth)). From here on the node takes requests and forwards them, and hosts nothing.
//! 2. With `on_distrust = wait` it waits for `ringctl node replace`, see [`Rejoin::consent`].
//! 3. It registers its new incarnation, which must name the old one as given up.
//! 4. For each shard that had a replica here it gets a fresh replica id from the meta group, and hosts an empty replica under
//!    it. An empty replica knows no membership, so it never stands for election.
//! 5. It asks each shard's leader to take the fresh replica, until it votes (`membership` in raft-host has the steps).
//! 6. When all are taken the mark is removed from the directory.
//!
//! Steps 3 to 6 are one task (`tasks/rejoin.rs`) that only proposes and asks, and may be done again from the beginning at any
//! time: registering twice changes nothing, an id that was allotted and not used is lost, hosting is remembered in the state
//! DB, and a leader that is asked again finds in its membership what is left to do. So a crash anywhere is mended by the next
//! start.
//!
//! # What it cannot do
//!
//! A shard whose majority is lost cannot change its membership: with two of three nodes distrusted at once nobody is left
//! who could vouch for what was acknowledged. The node says so and goes on trying; if one of the lost directories is whole
//! after all, put it back. A cluster of one node has nobody to be filled from, and refuses to start instead. And if a node is
//! wiped a second time just after a shard's leader has removed the lost replica and before it has added the fresh one, nothing
//! remembers that the shard should have a replica there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ringfence_types::ShardId;
use tokio::sync::watch;

use crate::life::{Distrust, Life};
use crate::node::StartError;

/// Where the node is, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Waits for an operator.
    Waiting,
    /// Registers its new incarnation.
    Registering,
    /// Is being filled.
    Filling,
    /// Is a node like any other.
    Back,
}

/// A node's way back.
pub(crate) struct Rejoin {
    life: Arc<Life>,
    distrust: Distrust,
    way: watch::Sender<Way>,
    /// Per replica: filled, or what stands in the way.
    replicas: Mutex<BTreeMap<ShardId, Filling>>,
}

/// How far a replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filling {
    /// It votes.
    Filled,
    /// It is on its way.
    UnderWay,
    /// Nothing moves, for this reason.
    Stuck(String),
}

/// What is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Why the node is distrusted.
    pub reason: String,
    /// It waits for consent.
    pub waiting: bool,
    /// Replicas that vote again.
    pub filled: usize,
    /// All of them, as far as is known.
    pub replicas: usize,
    /// What stands in the way.
    pub obstacles: Vec<String>,
}

impl Rejoin {
    /// If the directory says that the node is on its way back.
    pub(crate) fn of(life: &Arc<Life>) -> Option<Rejoin> {
        let distrust = life.record().distrust?;
        let way = if distrust.consent { Way::Registering } else { Way::Waiting };
        Some(Rejoin { life: life.clone(), distrust, way: watch::Sender::new(way), replicas: Mutex::default() })
    }

    /// Incarnations that are given up.
    pub(crate) fn given_up(&self) -> Vec<u64> {
        self.life.record().given_up
    }

    /// Shards that are to have a replica here again, as an earlier try knew them.
    pub(crate) fn shards(&self) -> Vec<ShardId> {
        self.life.record().distrust.map(|distrust| distrust.shards).unwrap_or_default()
    }

    /// Remembers them for a later try. Blocks on the disk.
    pub(crate) fn keep_shards(&self, shards: Vec<ShardId>) -> Result<(), StartError> {
        self.life.change(|record| {
            if let Some(distrust) = record.rejoining() {
                distrust.shards = shards;
            }
        })
    }

    /// Returns when the node has come this far.
    pub(crate) async fn reached(&self, way: Way) {
        let mut now = self.way.subscribe();
        let _ = now.wait_for(|now| *now >= way).await; // the sender lives in `self`
    }

    /// The node has come this far.
    pub(crate) fn advance(&self, way: Way) {
        self.way.send_if_modified(|now| {
            let news = way > *now;
            *now = way.max(*now);
            news
        });
    }

    /// An operator's consent. Durable on return; again changes nothing. Blocks on the disk.
    pub(crate) fn consent(&self) -> Result<(), StartError> {
        self.life.change(|record| {
            if let Some(distrust) = record.rejoining() {
                distrust.consent = true;
            }
        })?;
        self.advance(Way::Registering);
        Ok(())
    }

    /// The node is a node like any other. Durable on return. Blocks on the disk.
    pub(crate) fn finish(&self) -> Result<(), StartError> {
        self.life.change(|record| {
            if record.rejoining().is_some() {
                record.distrust = None;
            }
        })?;
        self.advance(Way::Back);
        Ok(())
    }

    /// How far a replica is.
    pub(crate) fn note(&self, shard: ShardId, filling: Filling) {
        let mut replicas = self.replicas.lock().expect("no code panics while it holds this lock");
        if replicas.get(&shard) != Some(&filling) {
            if let Filling::Stuck(why) = &filling {
                tracing::warn!(shard = shard.0, "the fresh replica is not filled yet: {why}");
            }
            replicas.insert(shard, filling);
        }
    }

    /// `None` once the node is back.
    pub(crate) fn progress(&self) -> Option<Progress> {
        let way = *self.way.borrow();
        if way == Way::Back {
            return None;
        }
        let replicas = self.replicas.lock().expect("no code panics while it holds this lock");
        let stuck = replicas.iter().filter_map(|(shard, filling)| match filling {
            Filling::Stuck(why) => Some(format!("{shard}: {why}")),
            Filling::Filled | Filling::UnderWay => None,
        });
        Some(Progress {
            reason: self.distrust.reason.clone(),
            waiting: way == Way::Waiting,
            filled: replicas.values().filter(|filling| **filling == Filling::Filled).count(),
            replicas: replicas.len(),
            obstacles: stuck.collect(),
        })
    }
}
