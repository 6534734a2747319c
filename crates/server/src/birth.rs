//! How a node comes into the world, and how it is found again.
//!
//! Every founder of a cluster is given the same [`Founding`], computes the same first shards from it, and seeds its own
//! replicas of them: nobody has to be told anything, and the groups elect leaders as if they had always been there. This
//! happens once in the life of a data directory. `founding.json` in it ([`life`]) says how, so that a later start needs nothing
//! but the directory, and can tell a typo in the configuration from another cluster:
//!
//! | the configuration now | |
//! |---|---|
//! | another cluster name, or other founders | refused: it is another cluster's |
//! | other addresses of the same founders | taken: they have moved |
//! | other shards, replication or limits | ignored, and said so: they count only at the founding |
//!
//! A directory whose databases cannot be trusted is not opened as it is: they are set aside, and the node gets fresh ones.
//! [`rejoin`](crate::rejoin) tells the whole story; here is its beginning, [`open_trusted`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringfence_raft_host::examine;
use ringfence_shard_router::{ShardDescriptor, plan};
use ringfence_state_machine::NodeInfo;
use ringfence_storage::{ClaimedDir, DataDir, StorageError};
use ringfence_types::NodeId;

use crate::config::{Config, Founding, OnDistrust};
use crate::life::{self, Life, Record, Stage};
use crate::newcomer::LivedBefore;
use crate::node::StartError;

/// What else is set aside with the databases: what the node had learnt, and what was on its way to it.
const SET_ASIDE_TOO: &[&str] = &["known.json", "staging"];

/// With so many directories set aside already the node waits for an operator, whatever its configuration says: a disk that
/// is damaged again and again should be looked at, and it would be filled up.
const SET_ASIDE_MAX: usize = 3;

/// How long databases that were found damaged may take to close.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// An open directory of a node that is in the world.
pub(crate) struct Born {
    /// The directory, locked.
    pub dir: DataDir,
    /// What it remembers: cluster, incarnation, distrust.
    pub life: Arc<Life>,
    /// As the cluster was founded.
    pub founders: Vec<NodeInfo>,
    /// The meta group, as it was founded.
    pub meta: ShardDescriptor,
    /// The shards, as they were founded.
    pub shards: Vec<ShardDescriptor>,
}

/// Opens the data directory; at the first start, seeds the replicas. Blocks on the disk.
///
/// `lived_before`: the directory is new, and others know that the node is not.
pub(crate) fn open_or_found(config: &Config, lived_before: Option<LivedBefore>) -> Result<Born, StartError> {
    let path = &config.data_dir;
    let recorded = match DataDir::peek(path)? {
        Some(_) => life::read(path)?,
        None => None,
    };
    if let Some(recorded) = &recorded {
        check_same_cluster(path, &recorded.founding, &config.founding)?;
    }
    let cluster = recorded.as_ref().map_or_else(|| config.founding.cluster(), |recorded| recorded.cluster);
    let claimed = ClaimedDir::claim(path, cluster, config.node)?;

    let life = match recorded {
        Some(recorded) => Life::of(path, recorded),
        None => {
            let life = Life::of(path, Record::new(cluster, config.founding.clone(), fresh_incarnation()));
            life.change(|record| {
                if let Some(lived_before) = lived_before {
                    record.distrust(lived_before.reason);
                    lived_before.incarnations.into_iter().for_each(|incarnation| record.came_after(incarnation));
                }
            })?;
            life
        }
    };
    let dir = open_trusted(config, &life, claimed)?;
    let record = life.record();
    let founding = &record.founding;
    let nodes: Vec<NodeId> = founding.founders.iter().map(|founder| founder.node).collect();
    let (meta, shards) =
        plan::initial(&nodes, founding.shards, founding.replication).map_err(crate::ConfigError::Plan)?;
    let founders = founders(founding);
    if !record.born {
        // No replica has voted or acknowledged anything before this is recorded, so after a crash it is done again.
        ringfence_raft_host::bootstrap(&dir.storage(), config.node, &meta, &shards, &founders, founding.limits)?;
        life.change(|record| record.born = true)?;
        tracing::info!(
            shards = shards.len(),
            replication = record.founding.replication,
            "founded the cluster's first shards here"
        );
    }
    Ok(Born { dir, life: Arc::new(life), founders, meta, shards })
}

/// Opens the databases, and examines them before anything in them is used. What cannot be trusted is set aside first.
///
/// A crash may come between any two steps:
///
/// | recorded | in place of the databases | what happens |
/// |---|---|---|
/// | `Found` | the damaged ones | a new incarnation is recorded, and where they go |
/// | `SettingAside` | damaged, gone, or new and empty | those that are not there yet are moved; new ones are made |
/// | `Rejoining` | new ones | they are opened and examined like any other |
fn open_trusted(config: &Config, life: &Life, mut claimed: ClaimedDir) -> Result<DataDir, StartError> {
    loop {
        let record = life.record();
        let stage = record.distrust.as_ref().map(|distrust| distrust.stage);
        let opened = match (stage, &record.distrust) {
            (Some(Stage::Found), _) => {
                let (_, number) = claimed.set_asides()?;
                life.change(|record| {
                    record.become_another(fresh_incarnation());
                    if let Some(distrust) = &mut record.distrust {
                        distrust.stage = Stage::SettingAside { number };
                    }
                })?;
                continue;
            }
            (Some(Stage::SettingAside { number }), Some(distrust)) => {
                let aside = claimed.set_aside(number, &distrust.reason, SET_ASIDE_TOO)?;
                tracing::error!(
                    "what this node had on its disk is not trusted any more: {}. It was set aside in {}; delete that directory \
                     when nobody needs to look at it any more",
                    distrust.reason,
                    aside.display()
                );
                claimed.open()
            }
            _ if record.born && !claimed.has_databases() => {
                let what = "the databases are gone, or a part of them".to_owned();
                Err((claimed, StorageError::Corrupt { what }))
            }
            _ => claimed.open(),
        };
        let examined = opened.map(|dir| {
            let examined = examine(&dir.storage()); // no handle of the databases may be left, or they could not be closed
            (dir, examined)
        });
        let damage = match examined {
            Ok((dir, examined)) => match examined {
                Ok(()) => {
                    let (set_asides, _) = dir.claimed().set_asides()?;
                    if record.distrust.is_some() {
                        life.change(|record| {
                            if let Some(distrust) = &mut record.distrust {
                                distrust.stage = Stage::Rejoining;
                                if config.on_distrust == OnDistrust::Replace && set_asides <= SET_ASIDE_MAX {
                                    distrust.consent = true;
                                } else if config.on_distrust == OnDistrust::Replace && !distrust.consent {
                                    tracing::error!(
                                        "{set_asides} directories were set aside here already: look at the disk, and delete \
                                         them. This node waits for an operator now, as if on_distrust were `wait`"
                                    );
                                }
                            }
                        })?;
                    }
                    return Ok(dir);
                }
                Err(error) if error.is_damage() => {
                    let in_use = || StorageError::InUse { path: config.data_dir.clone() };
                    claimed = dir.back_to_claimed(CLOSE_MAX).ok_or_else(in_use)?;
                    error.to_string()
                }
                Err(error) => return Err(error.into()),
            },
            Err((back, StorageError::Corrupt { what })) => {
                claimed = back;
                what
            }
            Err((_, error)) => return Err(error.into()),
        };
        if record.founding.founders.len() == 1 {
            return Err(StartError::NobodyToFillFrom { path: config.data_dir.clone(), reason: damage });
        }
        if matches!(stage, Some(Stage::SettingAside { .. })) {
            // They were made a moment ago.
            let doing = format!("make new databases in {}", config.data_dir.display());
            return Err(StorageError::Io { doing, reason: damage }.into());
        }
        life.change(|record| record.distrust(damage))?;
    }
}

fn fresh_incarnation() -> u64 {
    rand::random_range(1..=u64::MAX)
}

/// The founders, as the registry knows them from birth.
pub(crate) fn founders(founding: &Founding) -> Vec<NodeInfo> {
    let info = |founder: &crate::config::Founder| NodeInfo {
        node: founder.node,
        address: founder.address.clone(),
        labels: String::new(),
        incarnation: 0,
    };
    founding.founders.iter().map(info).collect()
}

fn check_same_cluster(path: &Path, recorded: &Founding, configured: &Founding) -> Result<(), StorageError> {
    let foreign = |what| Err(StorageError::Foreign { path: path.to_owned(), what });
    if recorded.cluster_name != configured.cluster_name {
        return foreign(format!(
            "this directory belongs to cluster {:?}, the configuration is for {:?}. Give the node its own directory, or \
             correct cluster_name",
            recorded.cluster_name, configured.cluster_name
        ));
    }
    let ids = |founding: &Founding| founding.founders.iter().map(|founder| founder.node.0).collect::<Vec<_>>();
    if ids(recorded) != ids(configured) {
        return foreign(format!(
            "this directory belongs to a cluster that was founded by nodes {:?}, the configuration has {:?}. Give the node \
             its own directory, or correct initial_cluster",
            ids(recorded),
            ids(configured)
        ));
    }
    if (recorded.shards, recorded.replication, recorded.limits)
        != (configured.shards, configured.replication, configured.limits)
    {
        tracing::warn!(
            "shards, replication or value_bytes_max differ from those that this cluster was founded with; they count only \
             at the founding and are ignored now"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ringfence_types::ShardId;

    use super::*;
    use crate::config::RawConfig;

    fn config(dir: &Path) -> Config {
        let members = ["1=127.0.0.1:1", "2=127.0.0.1:2", "3=127.0.0.1:3"].map(str::to_owned).to_vec();
        let node = RawConfig {
            node: Some(1),
            data_dir: Some(dir.to_owned()),
            initial_cluster: Some(members),
            ..RawConfig::default()
        };
        Config::from_raw(node).unwrap()
    }

    fn replicas(born: &Born) -> usize {
        born.dir.storage().state.replicas().unwrap().len()
    }

    /// A directory with the first replicas in it, closed, and its incarnation.
    fn founded(dir: &Path) -> u64 {
        let born = open_or_found(&config(dir), None).unwrap();
        assert_eq!(replicas(&born), 4);
        born.life.record().incarnation
    }

    fn change(dir: &Path, change: impl FnOnce(&mut Record)) {
        Life::of(dir, life::read(dir).unwrap().unwrap()).change(change).unwrap();
    }

    /// Wherever a crash comes, the next start ends with fresh databases, without any replica, under a new incarnation, and
    /// with the old ones kept. Neither the old replicas nor the founders' may ever start again (G3).
    #[test]
    fn a_crash_at_any_step_of_setting_aside_is_mended_by_the_next_start() {
        fn record_number(dir: &Path) {
            change(dir, |record| {
                let given_up = std::mem::replace(&mut record.incarnation, 77);
                record.given_up = vec![given_up];
                record.distrust.as_mut().unwrap().stage = Stage::SettingAside { number: 1 };
            });
        }
        fn set_aside(dir: &Path, databases: &[&str]) {
            std::fs::create_dir(dir.join("distrusted-1")).unwrap();
            for name in databases {
                std::fs::rename(dir.join(name), dir.join("distrusted-1").join(name)).unwrap();
            }
        }
        type Crash = fn(&Path);
        let crashes: [(&str, Crash); 5] = [
            ("marked", |_| {}),
            ("number recorded", record_number),
            ("one of two moved", |dir| {
                record_number(dir);
                set_aside(dir, &["log"]);
            }),
            ("all moved", |dir| {
                record_number(dir);
                set_aside(dir, &["log", "state"]);
            }),
            ("new ones made", |dir| {
                drop(open_or_found(&config(dir), None).unwrap());
                change(dir, |record| record.distrust.as_mut().unwrap().stage = Stage::SettingAside { number: 1 });
            }),
        ];
        for (step, crash) in crashes {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path();
            let given_up = founded(dir);
            change(dir, |record| record.distrust("a test says so".into()));
            crash(dir);
            for start in ["first", "second"] {
                let born = open_or_found(&config(dir), None).unwrap();
                assert_eq!(replicas(&born), 0, "{step}, {start} start");
                let record = born.life.record();
                let distrust = record.distrust.unwrap();
                assert!(record.born && distrust.consent && distrust.stage == Stage::Rejoining, "{step}, {start} start");
                assert!(record.given_up.contains(&given_up), "{step}, {start} start");
                assert_ne!(record.incarnation, given_up, "{step}, {start} start");
                for database in ["log", "state"] {
                    assert!(dir.join("distrusted-1").join(database).join("CURRENT").exists(), "{step}: {database}");
                }
                assert!(!dir.join("distrusted-2").exists(), "{step}, {start} start");
            }
        }
    }

    /// An empty directory of a node that has lived: also when the very first start is cut off.
    #[test]
    fn a_wiped_directory_is_never_founded() {
        let dir = tempfile::tempdir().unwrap();
        let lived = || Some(LivedBefore { reason: "others remember".into(), incarnations: vec![5, 6] });
        // A crash right after the directory was claimed.
        let claimed = ClaimedDir::claim(dir.path(), config(dir.path()).founding.cluster(), NodeId(1)).unwrap();
        drop(claimed);
        let born = open_or_found(&config(dir.path()), lived()).unwrap();
        assert_eq!(replicas(&born), 0);
        let record = born.life.record();
        assert!(record.distrust.is_some());
        assert_eq!(record.given_up[..2], [5, 6]);
        drop(born);
        assert_eq!(replicas(&open_or_found(&config(dir.path()), None).unwrap()), 0);
    }

    #[test]
    fn what_is_found_damaged_again_and_again_waits_for_an_operator() {
        let dir = tempfile::tempdir().unwrap();
        founded(dir.path());
        for time in 1..=SET_ASIDE_MAX + 1 {
            std::fs::remove_file(dir.path().join("state/CURRENT")).unwrap();
            let born = open_or_found(&config(dir.path()), None).unwrap();
            let record = born.life.record();
            assert_eq!((record.distrust.unwrap().consent, record.given_up.len()), (time <= SET_ASIDE_MAX, time));
            let kept = dir.path().join(format!("distrusted-{time}"));
            assert!(std::fs::read_to_string(kept.join("reason")).unwrap().contains("gone"));
        }
    }

    #[test]
    fn shards_to_be_filled_are_remembered_over_a_second_damage_and_a_node_that_is_back_forgets_them() {
        let dir = tempfile::tempdir().unwrap();
        founded(dir.path());
        std::fs::remove_file(dir.path().join("log/CURRENT")).unwrap();
        let born = open_or_found(&config(dir.path()), None).unwrap();
        let rejoin = crate::rejoin::Rejoin::of(&born.life).unwrap();
        rejoin.keep_shards(vec![ShardId(0), ShardId(2)]).unwrap();
        // Damage that is found just before the end is not taken back by it.
        born.life.change(|record| record.distrust("found while it ran".into())).unwrap();
        rejoin.finish().unwrap();
        drop((rejoin, born));
        let born = open_or_found(&config(dir.path()), None).unwrap();
        let rejoin = crate::rejoin::Rejoin::of(&born.life).unwrap();
        assert_eq!((rejoin.shards(), rejoin.given_up().len()), (vec![ShardId(0), ShardId(2)], 2));
        rejoin.finish().unwrap();
        assert!(crate::rejoin::Rejoin::of(&born.life).is_none() && rejoin.progress().is_none());
    }
}
