//! What this node knows of the cluster: where the nodes are, which shards there are, who leads them.
//!
//! None of it is the truth. The truth about a shard is in that shard's own log, and the truth about who leads is with the
//! leader; being wrong here costs a detour. The registry and the map are kept on disk, so that a node can start and serve
//! while the meta group is down (guarantee G11).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, RwLock};

use ringfence_shard_router::{Route, RouteCache, ShardDescriptor, ShardMap};
use ringfence_state_machine::NodeInfo;
use ringfence_types::{NodeId, RingPosition, ShardId};
use serde::{Deserialize, Serialize};

use crate::address_book::AddressBook;

/// In the data directory.
const FILE: &str = "known.json";
const FORMAT_VERSION: u32 = 1;

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    format: u32,
    /// As the registry had them.
    nodes: Vec<NodeInfo>,
    meta: ShardDescriptor,
    shards: Vec<ShardDescriptor>,
}

/// See the module.
pub(crate) struct Known {
    pub(crate) book: AddressBook,
    routes: RwLock<RouteCache>,
    meta: RwLock<(ShardDescriptor, Option<NodeId>)>,
    file: PathBuf,
    kept: Mutex<Option<Kept>>,
}

impl Known {
    /// What was known at the founding, overlaid with what the file has from later.
    pub(crate) fn load(
        data_dir: &std::path::Path,
        founders: &[NodeInfo],
        configured: &[NodeInfo],
        detours: &BTreeMap<NodeId, String>,
        meta: ShardDescriptor,
        shards: Vec<ShardDescriptor>,
    ) -> Known {
        let file = data_dir.join(FILE);
        let kept = read(&file);
        let mut routes = RouteCache::new(ShardMap::new(shards).expect("the first shards tile the ring"));
        let mut newest_meta = meta;
        let mut registered = founders.to_vec(); // the meta group is born knowing them
        if let Some(kept) = &kept {
            routes.learn_descriptors(kept.shards.iter().cloned());
            registered = kept.nodes.clone();
            if kept.meta.epoch > newest_meta.epoch {
                newest_meta = kept.meta.clone();
            }
        }
        Known {
            book: AddressBook::new(founders, configured, &registered).with_detours(detours),
            routes: RwLock::new(routes),
            meta: RwLock::new((newest_meta, None)),
            file,
            kept: Mutex::new(kept),
        }
    }

    /// Which shard owns a position, and who leads it.
    pub(crate) fn route(&self, position: RingPosition) -> Route {
        self.read().route(position)
    }

    /// Which shard owns a position: [`Known::route`] for those who need no more.
    pub(crate) fn shard_at(&self, position: RingPosition) -> ShardId {
        self.read().map().lookup(position).shard
    }

    /// Who leads a shard, as far as is known.
    pub(crate) fn leader(&self, shard: ShardId) -> Option<NodeId> {
        match shard {
            ShardId::META => self.meta.read().expect(UNPOISONED).1,
            _ => self.read().route_shard(shard)?.leader,
        }
    }

    /// Every shard but the meta group, in ring order.
    pub(crate) fn shards(&self) -> Vec<ShardDescriptor> {
        self.read().map().iter().cloned().collect()
    }

    /// A shard, or the meta group.
    pub(crate) fn shard(&self, shard: ShardId) -> Option<ShardDescriptor> {
        match shard {
            ShardId::META => Some(self.meta()),
            _ => self.read().map().get(shard).cloned(),
        }
    }

    /// The meta group.
    pub(crate) fn meta(&self) -> ShardDescriptor {
        self.meta.read().expect(UNPOISONED).0.clone()
    }

    /// Somebody said that this node leads.
    pub(crate) fn learn_leader(&self, shard: ShardId, leader: NodeId) {
        if self.leader(shard) == Some(leader) {
            return; // nearly always: no write lock
        }
        match shard {
            ShardId::META => self.meta.write().expect(UNPOISONED).1 = Some(leader),
            _ => self.routes.write().expect(UNPOISONED).learn_leader(shard, leader),
        }
    }

    /// This node was asked, and does not lead or cannot be reached.
    pub(crate) fn forget_leader(&self, shard: ShardId, not_leader: NodeId) {
        if self.leader(shard) != Some(not_leader) {
            return;
        }
        match shard {
            ShardId::META => self.meta.write().expect(UNPOISONED).1 = None,
            _ => self.routes.write().expect(UNPOISONED).forget_leader(shard, not_leader),
        }
    }

    /// Takes in what is newer. Tells whether anything was.
    pub(crate) fn learn_descriptors(&self, offered: impl IntoIterator<Item = ShardDescriptor>) -> bool {
        let (meta, shards): (Vec<_>, Vec<_>) = offered.into_iter().partition(|d| d.shard == ShardId::META);
        let mut news = false;
        for descriptor in meta {
            let mut known = self.meta.write().expect(UNPOISONED);
            if descriptor.epoch > known.0.epoch {
                *known = (descriptor, None);
                news = true;
            }
        }
        let old = self.read();
        let newer = shards.into_iter().filter(|d| old.map().get(d.shard).is_none_or(|known| d.epoch > known.epoch));
        let newer: Vec<_> = newer.collect();
        drop(old);
        if !newer.is_empty() {
            news |= self.routes.write().expect(UNPOISONED).learn_descriptors(newer);
        }
        news
    }

    /// Writes the file if what it should hold has changed. A failure is logged: the file only saves a detour.
    pub(crate) fn keep(&self) {
        let now =
            Kept { format: FORMAT_VERSION, nodes: self.book.registered(), meta: self.meta(), shards: self.shards() };
        let mut kept = self.kept.lock().expect(UNPOISONED);
        if kept.as_ref() != Some(&now) {
            match write(&self.file, &now) {
                Ok(()) => *kept = Some(now),
                Err(error) => tracing::warn!("cannot write {}: {error}", self.file.display()),
            }
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, RouteCache> {
        self.routes.read().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "no code panics while it holds this lock";

/// A file that is missing, damaged or of another release is as good as none: everything in it can be learnt again.
fn read(file: &std::path::Path) -> Option<Kept> {
    let text = std::fs::read(file).ok()?;
    match serde_json::from_slice::<Kept>(&text) {
        Ok(kept) if kept.format == FORMAT_VERSION => Some(kept),
        Ok(kept) => {
            tracing::warn!(
                "{} has format {}, this release knows {FORMAT_VERSION}; ignored",
                file.display(),
                kept.format
            );
            None
        }
        Err(error) => {
            tracing::warn!("{} cannot be read and is ignored: {error}", file.display());
            None
        }
    }
}

/// Entirely or not at all.
fn write(file: &std::path::Path, kept: &Kept) -> std::io::Result<()> {
    let new = file.with_extension("json.new");
    std::fs::write(&new, serde_json::to_vec_pretty(kept)?)?;
    std::fs::File::open(&new)?.sync_all()?;
    std::fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use ringfence_shard_router::plan;

    use super::*;

    fn node(id: u64, address: &str) -> NodeInfo {
        NodeInfo { node: NodeId(id), address: address.into(), labels: String::new(), incarnation: 0 }
    }

    fn load(dir: &std::path::Path) -> Known {
        let founders = [node(1, "a:1"), node(2, "a:2"), node(3, "a:3")];
        let (meta, shards) = plan::initial(&founders.each_ref().map(|n| n.node), 2, 3).unwrap();
        Known::load(dir, &founders, &founders, &BTreeMap::new(), meta, shards)
    }

    #[test]
    fn what_was_learnt_is_known_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let known = load(dir.path());
        let mut newer = known.shards()[0].clone();
        newer.epoch.membership += 1;
        let mut meta = known.meta();
        meta.epoch.membership += 1;
        assert!(known.learn_descriptors([newer.clone(), meta.clone()]));
        assert!(!known.learn_descriptors([newer.clone()]));
        assert!(known.book.learn(&[node(2, "b:2")]));
        known.keep();

        let known = load(dir.path());
        assert_eq!(known.shard(newer.shard), Some(newer));
        assert_eq!(known.meta(), meta);
        assert_eq!(known.book.address(NodeId(2)).unwrap(), "b:2");
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{\"format\":1,").unwrap();
        assert_eq!(load(dir.path()).shards().len(), 2);
    }

    #[test]
    fn leaders_are_hints_that_come_and_go() {
        let known = load(tempfile::tempdir().unwrap().path());
        for shard in [ShardId::META, ShardId(1)] {
            assert_eq!(known.leader(shard), None);
            known.learn_leader(shard, NodeId(2));
            known.forget_leader(shard, NodeId(1));
            assert_eq!(known.leader(shard), Some(NodeId(2)));
            known.forget_leader(shard, NodeId(2));
            assert_eq!(known.leader(shard), None);
        }
    }
}
