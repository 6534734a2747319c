//! What the answers of all nodes say together. Pure: answers in, findings out.
//!
//! Each node tells only what it sees. A shard's leader is the replica that says so with the highest term: an old leader that
//! was cut off may believe in itself for a while.

use std::collections::BTreeMap;

use ringfence_client::{ClusterInfo, Distrust, NodeInfo, NodeStatus, ReplicaStatus, Role, ShardId, ShardInfo};
use serde::Serialize;

/// What became of asking one node.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whom we asked.
    pub node: NodeInfo,
    /// What it said, or why it said nothing.
    pub answer: Result<NodeStatus, String>,
}

/// The cluster as all its nodes see it, in the words of our JSON: 64-bit numbers are strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Which cluster.
    pub cluster: String,
    /// The highest that any replica has reached.
    pub revision: String,
    /// Every registered node.
    pub nodes: Vec<NodeHealth>,
    /// The meta group and every shard.
    pub shards: Vec<ShardHealth>,
    /// What is wrong, for people. Empty when all is well.
    pub problems: Vec<String>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeHealth {
    /// Which.
    pub node: String,
    /// `host:port`.
    pub address: String,
    /// As in `zone=a`.
    pub labels: String,
    /// Whether it answered.
    pub up: bool,
    /// Of its program, if it answered.
    pub version: Option<String>,
    /// What it says of its replicas; none if it did not answer.
    pub replicas: Vec<ReplicaHealth>,
    /// `null` if it trusts what it has on its disk.
    pub distrust: Option<DistrustHealth>,
}

/// A node that does not trust what it had on its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DistrustHealth {
    /// What it found.
    pub reason: String,
    /// Waits for `ringctl node replace`.
    pub waiting: bool,
    /// Replicas that the others have filled anew.
    pub replicas_filled: u32,
    /// All that it is to have.
    pub replicas: u32,
    /// What stands in the way.
    pub obstacles: Vec<String>,
}

/// One replica, as its own node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaHealth {
    /// Of this shard.
    pub shard: String,
    /// Which.
    pub replica: String,
    /// `leader`, `follower`, `candidate`, `learner` or `stopped`.
    pub role: String,
    /// Why it stopped or is distrusted.
    pub problem: Option<String>,
    /// Raft term.
    pub term: String,
    /// Last entry in its log.
    pub last_log_index: String,
    /// Last entry that it knows to be committed.
    pub committed_index: String,
    /// Last entry that it has applied.
    pub applied_index: String,
    /// Its clock.
    pub revision: String,
    /// As its store estimates.
    pub keys_estimate: String,
    /// As its store estimates.
    pub bytes_estimate: String,
}

/// One shard, as its leader sees it; numbers are empty without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardHealth {
    /// Which; 0 is the meta group.
    pub shard: String,
    /// Where the replica runs that says it leads.
    pub leader_node: Option<String>,
    /// How many there should be.
    pub replicas: usize,
    /// How many answered and run.
    pub replicas_up: usize,
    /// Raft term of the leader.
    pub term: String,
    /// Last entry that the leader has applied.
    pub applied_index: String,
    /// As the leader's store estimates.
    pub keys_estimate: String,
    /// As the leader's store estimates.
    pub bytes_estimate: String,
}

const STOPPED: &str = "stopped";

impl Health {
    /// Puts the answers together.
    pub fn of(info: &ClusterInfo, answers: Vec<Answer>) -> Health {
        let mut problems = Vec::new();
        let mut revision = info.revision;
        let mut by_shard: BTreeMap<ShardId, Vec<(&NodeInfo, &ReplicaStatus)>> = BTreeMap::new();
        let answers: Vec<Answer> = answers.into_iter().map(|answer| refuse_strangers(info, answer)).collect();
        for Answer { node, answer } in &answers {
            let replicas = match answer {
                Ok(status) => {
                    problems.extend(status.distrust.as_ref().map(|distrust| distrusted(node, distrust)));
                    if let Some(disk) = status.disk.filter(|disk| disk.full) {
                        problems.push(format!(
                            "the disk of {} has {} MiB left, less than its reserve of {} MiB, so it takes no more data. Free \
                             some space there or enlarge the volume",
                            node.node,
                            disk.available_bytes >> 20,
                            disk.reserve_bytes >> 20
                        ));
                    }
                    status.replicas.as_slice()
                }
                Err(why) => {
                    problems.push(format!("{} at {} does not answer: {why}", node.node, node.address));
                    &[]
                }
            };
            for replica in replicas {
                let shard = replica.shard.descriptor.shard;
                revision = revision.max(replica.revision);
                if let Some(problem) = &replica.problem {
                    problems.push(format!("{} of {shard} on {}: {problem}", replica.replica, node.node));
                }
                by_shard.entry(shard).or_default().push((node, replica));
            }
        }
        let shards = info.meta.iter().chain(&info.shards).map(|shard| {
            let seen = by_shard.get(&shard.descriptor.shard).map(Vec::as_slice).unwrap_or_default();
            shard_health(shard, seen, &mut problems)
        });
        let shards = shards.collect();
        let nodes = answers.iter().map(NodeHealth::from).collect();
        Health { cluster: info.cluster.0.to_string(), revision: revision.to_string(), nodes, shards, problems }
    }
}

fn distrusted(node: &NodeInfo, distrust: &Distrust) -> String {
    let Distrust { reason, waiting, replicas_filled, replicas, obstacles } = distrust;
    let state = match waiting {
        true => format!("It waits for you: `ringctl node replace {}` lets the others fill it anew", node.node.0),
        false => format!("The others fill it anew: {replicas_filled} of {replicas} replicas so far"),
    };
    let obstacles: String = obstacles.iter().map(|obstacle| format!("; {obstacle}")).collect();
    format!("{} is distrusted: {reason}. {state}{obstacles}", node.node)
}

/// Whoever answers at a node's address must be that node, else its replicas would be counted as another's.
fn refuse_strangers(info: &ClusterInfo, Answer { node, answer }: Answer) -> Answer {
    let answer = answer.and_then(|status| match (status.cluster, status.node) == (info.cluster, node.node) {
        true => Ok(status),
        false => Err(format!("{} of cluster {} is at this address", status.node, status.cluster.0)),
    });
    Answer { node, answer }
}

fn shard_health(shard: &ShardInfo, seen: &[(&NodeInfo, &ReplicaStatus)], problems: &mut Vec<String>) -> ShardHealth {
    let descriptor = &shard.descriptor;
    let runs = |replica: &ReplicaStatus| replica.role != STOPPED;
    let is_member = |replica: &ReplicaStatus| descriptor.replicas.iter().any(|member| member.id == replica.replica);
    let running = |role: Option<Role>| {
        let members = descriptor.replicas.iter().filter(|member| role.is_none_or(|role| member.role == role));
        members.filter(|member| seen.iter().any(|(_, replica)| replica.replica == member.id && runs(replica))).count()
    };
    let leads = |(_, replica): &&(&NodeInfo, &ReplicaStatus)| replica.role == "leader" && is_member(replica);
    let leader = seen.iter().filter(leads).max_by_key(|(_, replica)| replica.term);

    let voters = descriptor.voters().count();
    let voters_running = running(Some(Role::Voter));
    if voters_running * 2 <= voters {
        problems.push(format!(
            "{}: only {voters_running} of its {voters} voting replicas run, so it cannot take requests. Start their nodes",
            descriptor.shard
        ));
    } else if leader.is_none() {
        problems
            .push(format!("{}: no replica says that it leads. An election takes seconds; ask again", descriptor.shard));
    }
    let number = |of: fn(&ReplicaStatus) -> u64| leader.map(|(_, replica)| of(replica).to_string()).unwrap_or_default();
    ShardHealth {
        shard: descriptor.shard.0.to_string(),
        leader_node: leader.map(|(node, _)| node.node.0.to_string()),
        replicas: descriptor.replicas.len(),
        replicas_up: running(None),
        term: number(|replica| replica.term),
        applied_index: number(|replica| replica.applied_index),
        keys_estimate: number(|replica| replica.keys_estimate),
        bytes_estimate: number(|replica| replica.bytes_estimate),
    }
}

impl From<&Answer> for NodeHealth {
    fn from(Answer { node, answer }: &Answer) -> NodeHealth {
        let answer = answer.as_ref().ok();
        NodeHealth {
            node: node.node.0.to_string(),
            address: node.address.clone(),
            labels: node.labels.clone(),
            up: answer.is_some(),
            version: answer.map(|status| status.version.clone()),
            replicas: answer
                .map(|status| status.replicas.iter().map(ReplicaHealth::from).collect())
                .unwrap_or_default(),
            distrust: answer.and_then(|status| status.distrust.as_ref()).map(DistrustHealth::from),
        }
    }
}

impl From<&Distrust> for DistrustHealth {
    fn from(distrust: &Distrust) -> DistrustHealth {
        DistrustHealth {
            reason: distrust.reason.clone(),
            waiting: distrust.waiting,
            replicas_filled: distrust.replicas_filled,
            replicas: distrust.replicas,
            obstacles: distrust.obstacles.clone(),
        }
    }
}

impl From<&ReplicaStatus> for ReplicaHealth {
    fn from(status: &ReplicaStatus) -> ReplicaHealth {
        ReplicaHealth {
            shard: status.shard.descriptor.shard.0.to_string(),
            replica: status.replica.0.to_string(),
            role: status.role.clone(),
            problem: status.problem.clone(),
            term: status.term.to_string(),
            last_log_index: status.last_log_index.to_string(),
            committed_index: status.committed_index.to_string(),
            applied_index: status.applied_index.to_string(),
            revision: status.revision.to_string(),
            keys_estimate: status.keys_estimate.to_string(),
            bytes_estimate: status.bytes_estimate.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ringfence_client::{ClusterId, Epoch, NodeId, Replica, ReplicaId, Revision, ShardDescriptor, ShardRange};

    use super::*;

    /// One shard on three nodes; the meta group is left out.
    fn cluster() -> ClusterInfo {
        let replica = |n| Replica { id: ReplicaId(10 + n), node: NodeId(n), role: Role::Voter };
        let descriptor = ShardDescriptor {
            shard: ShardId(1),
            range: ShardRange::ALL,
            epoch: Epoch { range: 1, membership: 1 },
            replicas: (1..=3).map(replica).collect(),
        };
        let node = |n| NodeInfo { node: NodeId(n), address: format!("h{n}:1"), labels: String::new() };
        ClusterInfo {
            cluster: ClusterId(7),
            node: NodeId(1),
            nodes: (1..=3).map(node).collect(),
            shards: vec![ShardInfo { descriptor, leader: Some(NodeId(1)) }],
            meta: None,
            revision: Revision(5),
            version: "1".into(),
        }
    }

    fn says(info: &ClusterInfo, node: u64, role: &str, term: u64) -> Answer {
        let replica = ReplicaStatus {
            shard: info.shards[0].clone(),
            replica: ReplicaId(10 + node),
            role: role.into(),
            problem: None,
            term,
            last_log_index: 9,
            committed_index: 9,
            applied_index: 9,
            revision: Revision(6),
            keys_estimate: 1,
            bytes_estimate: 1,
        };
        let status = NodeStatus {
            cluster: info.cluster,
            node: NodeId(node),
            version: "1".into(),
            replicas: vec![replica],
            distrust: None,
            disk: None,
        };
        Answer { node: info.nodes[node as usize - 1].clone(), answer: Ok(status) }
    }

    fn silent(info: &ClusterInfo, node: u64) -> Answer {
        Answer { node: info.nodes[node as usize - 1].clone(), answer: Err("refused".into()) }
    }

    #[test]
    fn all_is_well() {
        let info = cluster();
        let health = Health::of(
            &info,
            vec![says(&info, 1, "follower", 2), says(&info, 2, "leader", 2), says(&info, 3, "follower", 2)],
        );
        assert_eq!(health.problems, [] as [&str; 0]);
        assert_eq!(health.revision, "6");
        assert_eq!((health.shards[0].leader_node.as_deref(), health.shards[0].replicas_up), (Some("2"), 3));
    }

    /// A leader that was cut off goes on believing in itself.
    #[test]
    fn of_two_leaders_the_one_with_the_higher_term_leads() {
        let info = cluster();
        let health = Health::of(
            &info,
            vec![says(&info, 1, "leader", 2), says(&info, 2, "follower", 3), says(&info, 3, "leader", 3)],
        );
        assert_eq!(health.shards[0].leader_node.as_deref(), Some("3"));
    }

    #[test]
    fn one_silent_node_is_a_problem_but_the_shard_goes_on() {
        let info = cluster();
        let health =
            Health::of(&info, vec![silent(&info, 1), says(&info, 2, "leader", 2), says(&info, 3, "follower", 2)]);
        assert_eq!(health.problems, ["n1 at h1:1 does not answer: refused"]);
        assert_eq!((health.nodes[0].up, health.shards[0].replicas_up), (false, 2));
    }

    #[test]
    fn a_distrusted_node_says_what_it_waits_for() {
        let info = cluster();
        let mut waits = says(&info, 3, "follower", 2);
        let reason = "a file is missing".to_owned();
        let mut distrust = Distrust { reason, waiting: true, replicas_filled: 0, replicas: 0, obstacles: Vec::new() };
        if let Ok(status) = &mut waits.answer {
            status.replicas.clear();
            status.distrust = Some(distrust.clone());
        }
        let others = [says(&info, 1, "leader", 2), says(&info, 2, "follower", 2)];
        let health = Health::of(&info, others.into_iter().chain([waits]).collect());
        assert_eq!(health.problems.len(), 1);
        assert!(
            health.problems[0]
                .starts_with("n3 is distrusted: a file is missing. It waits for you: `ringctl node replace 3`")
        );
        distrust.waiting = false;
        distrust.obstacles.push("s1: no leader".into());
        let said = distrusted(&info.nodes[2], &distrust);
        assert!(said.ends_with("0 of 0 replicas so far; s1: no leader"), "{said}");
    }

    /// The old leader may answer "leader" while its followers are gone: it cannot commit anything.
    #[test]
    fn a_shard_without_a_majority_is_a_problem_even_with_a_leader() {
        let info = cluster();
        let health = Health::of(&info, vec![says(&info, 1, "leader", 2), silent(&info, 2), says(&info, 3, STOPPED, 2)]);
        assert!(health.problems[1].starts_with("s1: only 1 of its 3 voting replicas run"), "{:?}", health.problems);
    }

    #[test]
    fn a_shard_in_election_and_a_stranger_at_an_address_are_problems() {
        let info = cluster();
        let mut stranger = says(&info, 1, "leader", 9);
        if let Ok(status) = &mut stranger.answer {
            status.node = NodeId(9);
        }
        let health = Health::of(&info, vec![stranger, says(&info, 2, "candidate", 2), says(&info, 3, "follower", 2)]);
        assert_eq!(health.problems[0], "n1 at h1:1 does not answer: n9 of cluster 7 is at this address");
        assert_eq!((health.nodes[0].up, health.nodes[0].replicas.len()), (false, 0));
        assert!(health.problems[1].starts_with("s1: no replica says that it leads"), "{:?}", health.problems);
    }
}
