//! Whether the replicas of a shard hold the same.
//!
//! Hashes say something only where both replicas have applied the same entries. An idle shard stands still, and each of its replicas
//! is asked at the highest position of any. One that takes writes never does. Then all of its replicas are asked for the same
//! entry a little ahead, further the faster the shard moves, and each hashes itself when it comes by.
//!
//! Two hashes of one position that differ are a verdict, whoever else is silent. "Equal" needs all of them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use ringfence_shard_router::ShardDescriptor;
use ringfence_types::{NodeId, ReplicaId, ShardId};
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::errors::Unavailable;

use super::{HashedAt, ReplicaHash};

/// Shards that are compared at the same time.
const SHARDS_AT_ONCE: usize = 4;

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(100);

/// How far ahead the common entry lies, in time: longer than it takes to ask.
const AHEAD: Duration = Duration::from_millis(300);

/// How long a replica may take to get there.
const REACH_MAX: Duration = Duration::from_secs(2);

/// Replicas further apart than this are not worth reading yet: one of them is being filled.
const LAG_MAX: u64 = 10_000;

/// Whether the replicas of a shard hold the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// All of them, voters and learners, had the same hash at the same position.
    Equal {
        /// What each holds.
        replicas: Vec<ReplicaHash>,
    },
    /// At least two had different hashes at the same position: one of them is wrong.
    Differ {
        /// What those hold that were at that position.
        replicas: Vec<ReplicaHash>,
    },
    /// They were never seen at the same position in the time that there was. Those that were, if any, were equal.
    NotComparable {
        /// What stood in the way at last.
        why: String,
        /// What those hold that could be asked.
        replicas: Vec<ReplicaHash>,
    },
}

/// A shard, or the meta group, and whether its replicas hold the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardAgreement {
    /// Which.
    pub shard: ShardId,
    /// Of its replicas.
    pub agreement: Agreement,
}

impl Client {
    /// Compares all replicas of the meta group and of every shard, by their hashes. Each shard has `within` to be seen at one
    /// position, writes or not; reading the replicas takes what it takes.
    pub async fn compare_replicas(&self, within: Duration) -> Result<Vec<ShardAgreement>, Unavailable> {
        let info = self.describe().await?;
        let mut shards: Vec<ShardId> =
            info.meta.iter().chain(&info.shards).map(|shard| shard.descriptor.shard).collect();
        shards.sort();
        let compared = shards.into_iter().map(|shard| async move {
            ShardAgreement { shard, agreement: self.compare_replicas_of(shard, within).await }
        });
        Ok(stream::iter(compared).buffered(SHARDS_AT_ONCE).collect().await)
    }

    /// Compares the replicas of one shard.
    pub async fn compare_replicas_of(&self, shard: ShardId, within: Duration) -> Agreement {
        let deadline = Instant::now() + within;
        let mut pace = Pace::default();
        loop {
            let last = Instant::now() + PAUSE >= deadline;
            match self.round(shard, &mut pace, last).await {
                Verdict::Is(agreement) => return agreement,
                Verdict::Again { why, replicas } if last => return Agreement::NotComparable { why, replicas },
                Verdict::Again { .. } => sleep(PAUSE).await,
            }
        }
    }

    /// Looks where the replicas are, and has them hashed if there is a position that all of them can come by. In the `last` round
    /// also if only some can.
    async fn round(&self, shard: ShardId, pace: &mut Pace, last: bool) -> Verdict {
        let again = |why| Verdict::Again { why, replicas: Vec::new() };
        let descriptor = match self.describe().await {
            Ok(info) => info.meta.into_iter().chain(info.shards).find(|info| info.descriptor.shard == shard),
            Err(error) => return again(error.to_string()),
        };
        let Some(descriptor) = descriptor.map(|info| info.descriptor) else {
            return again(format!("{shard} is not a shard of this cluster; `describe` lists them"));
        };
        let stands = join_all(descriptor.replicas.iter().map(|replica| self.stands(replica.node, shard))).await;
        let indexes: Vec<u64> = stands.iter().filter_map(|stands| stands.as_ref().ok().copied()).collect();
        let (Some(highest), Some(lowest)) = (indexes.iter().max().copied(), indexes.iter().min().copied()) else {
            return again(missing(&stands));
        };
        let ahead = pace.ahead(highest);
        if !last && indexes.len() < stands.len() {
            return again(missing(&stands));
        }
        if !last && highest - lowest > LAG_MAX {
            return again(format!("its replicas are {} entries apart", highest - lowest));
        }
        let ask = descriptor.replicas.iter().map(|replica| async move {
            let hashed = self.replica_hash_at(replica.node, shard, highest + ahead, REACH_MAX).await;
            hashed.map_err(|error| error.to_string())
        });
        judge(&descriptor, join_all(ask).await)
    }

    /// Up to where a node's replica has applied its log.
    async fn stands(&self, node: NodeId, shard: ShardId) -> Result<u64, String> {
        let status = self.status_of(node, shard).await.map_err(|error| error.to_string())?;
        let here = status.replicas.iter().find(|replica| replica.shard.descriptor.shard == shard);
        let replica = here.ok_or_else(|| format!("{node} has no replica of it"))?;
        match &replica.problem {
            Some(problem) => Err(format!("{} on {node}: {problem}", replica.replica)),
            None => Ok(replica.applied_index),
        }
    }
}

fn missing<T>(stands: &[Result<T, String>]) -> String {
    stands.iter().filter_map(|stands| stands.as_ref().err()).cloned().collect::<Vec<_>>().join("; ")
}

/// How fast a shard moves.
#[derive(Debug, Default)]
struct Pace {
    before: Option<(Instant, u64)>,
}

impl Pace {
    /// How many entries will come in the time that is needed. None if none came since the last look.
    fn ahead(&mut self, index: u64) -> u64 {
        let now = Instant::now();
        let before = self.before.replace((now, index));
        before.map_or(0, |(then, was)| entries_in(AHEAD, index.saturating_sub(was), now - then))
    }
}

/// How many entries come in a time if so many came in another. Rounded up.
fn entries_in(time: Duration, entries: u64, came_in: Duration) -> u64 {
    let (time, came_in) = (time.as_micros(), came_in.as_micros().max(1));
    u64::try_from((u128::from(entries) * time).div_ceil(came_in)).unwrap_or(u64::MAX / 2)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Is(Agreement),
    Again { why: String, replicas: Vec<ReplicaHash> },
}

/// What the answers of all replicas of a shard to one question say, in the order of its descriptor.
fn judge(descriptor: &ShardDescriptor, answers: Vec<Result<HashedAt, String>>) -> Verdict {
    let (mut replicas, mut why) = (Vec::new(), Vec::new());
    for (replica, answer) in descriptor.replicas.iter().zip(answers) {
        match answer {
            Ok(HashedAt::There(hash)) if hash.replica != replica.id => {
                why.push(format!("{} has {} where {} was expected", hash.node, hash.replica, replica.id));
            }
            Ok(HashedAt::There(hash)) => replicas.push(hash),
            Ok(HashedAt::Elsewhere { applied_index, .. }) => {
                why.push(format!("{} on {} stood elsewhere, at {applied_index}", replica.id, replica.node));
            }
            Err(error) => why.push(error),
        }
    }
    let versions: BTreeSet<&str> = replicas.iter().map(|replica| replica.version.as_str()).collect();
    let states: BTreeSet<_> = replicas.iter().map(|r| (r.applied_term, r.applied_index, r.hash)).collect();
    let asked: BTreeSet<ReplicaId> = descriptor.replicas.iter().map(|replica| replica.id).collect();
    match (states.len(), versions.len()) {
        (2.., 2..) => {
            let versions = versions.into_iter().collect::<Vec<_>>().join(" and ");
            let why =
                format!("its nodes run different releases, {versions}, which may store the same thing differently");
            Verdict::Is(Agreement::NotComparable { why, replicas })
        }
        (2.., _) => Verdict::Is(Agreement::Differ { replicas }),
        _ if replicas.len() == asked.len() && !replicas.is_empty() => Verdict::Is(Agreement::Equal { replicas }),
        _ => Verdict::Again { why: why.join("; "), replicas },
    }
}

#[cfg(test)]
mod tests {
    use ringfence_shard_router::{Epoch, Replica, Role, ShardRange};
    use ringfence_types::Revision;

    use super::*;
    use crate::cluster::StateHash;

    fn descriptor() -> ShardDescriptor {
        let replica = |n| Replica { id: ReplicaId(10 + n), node: NodeId(n), role: Role::Voter };
        let replicas = (1..=3).map(replica).collect();
        ShardDescriptor { shard: ShardId(1), range: ShardRange::ALL, epoch: Epoch::default(), replicas }
    }

    fn hash(node: u64, hash: u128) -> ReplicaHash {
        ReplicaHash {
            node: NodeId(node),
            shard: ShardId(1),
            replica: ReplicaId(10 + node),
            applied_index: 7,
            applied_term: 2,
            revision: Revision(1),
            hash: StateHash(hash),
            keys: 0,
            records: 0,
            bytes: 0,
            version: "1".into(),
        }
    }

    fn there(hash: ReplicaHash) -> Result<HashedAt, String> {
        Ok(HashedAt::There(hash))
    }

    /// A false alarm sends somebody to rebuild a good replica; a missed one leaves a bad one in place.
    #[test]
    fn equal_needs_all_of_them_and_differ_needs_two() {
        let elsewhere = || Ok(HashedAt::Elsewhere { applied_index: 9, applied_term: 2 });
        let of = |answers| judge(&descriptor(), answers);
        let three = [1, 2, 3].map(|n| hash(n, 5));
        let equal = Verdict::Is(Agreement::Equal { replicas: three.to_vec() });
        assert_eq!(of(three.clone().map(there).to_vec()), equal);

        let differ = |replicas: &[ReplicaHash]| Verdict::Is(Agreement::Differ { replicas: replicas.to_vec() });
        let third = hash(3, 6);
        assert_eq!(of(vec![Err("down".into()), elsewhere(), there(third.clone())]), {
            let why = "down; r12 on n2 stood elsewhere, at 9".to_owned();
            Verdict::Again { why, replicas: vec![third.clone()] }
        });
        let two = [hash(1, 5), third.clone()];
        assert_eq!(of(vec![there(two[0].clone()), elsewhere(), there(third.clone())]), differ(&two));
        // The same entry came in one term, or somebody's log is wrong.
        let other_term = ReplicaHash { applied_term: 3, ..hash(3, 5) };
        let said = of(vec![there(three[0].clone()), there(three[1].clone()), there(other_term)]);
        assert!(matches!(said, Verdict::Is(Agreement::Differ { .. })), "{said:?}");

        let newer = ReplicaHash { version: "2".into(), ..third };
        let said = of(vec![there(three[0].clone()), there(three[1].clone()), there(newer)]);
        assert!(matches!(said, Verdict::Is(Agreement::NotComparable { .. })), "{said:?}");
        // It was replaced meanwhile: the descriptor is old.
        let replaced = ReplicaHash { replica: ReplicaId(99), ..hash(3, 5) };
        let said = of(vec![there(three[0].clone()), there(three[1].clone()), there(replaced)]);
        assert!(matches!(&said, Verdict::Again { why, .. } if why.contains("r99")), "{said:?}");
    }

    #[test]
    fn the_faster_a_shard_moves_the_further_ahead_it_is_asked() {
        assert_eq!(entries_in(AHEAD, 0, Duration::from_secs(1)), 0, "an idle shard is asked where it stands");
        assert_eq!(entries_in(AHEAD, 1, Duration::from_secs(2)), 1);
        assert_eq!(entries_in(AHEAD, 1_000, Duration::from_secs(1)), 300);
        assert_eq!(entries_in(AHEAD, 5, Duration::ZERO), 1_500_000);
    }
}
