//! The harness's eyes: asks every node, straight and all the time, who leads what.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use crate::cluster::status_at;
use crate::proxy::NodeId;
use crate::recorder::Origin;
use crate::results::Sighting;

const EVERY: Duration = Duration::from_millis(150);

/// Watches all nodes until it is stopped.
pub(super) struct Eyes {
    seen: Arc<Mutex<Vec<Sighting>>>,
    watchers: Vec<JoinHandle<()>>,
}

impl Eyes {
    pub(super) fn open(origin: &Arc<Origin>, nodes: &BTreeMap<NodeId, String>) -> Eyes {
        let seen: Arc<Mutex<Vec<Sighting>>> = Arc::default();
        let watch = |(node, address): (&NodeId, &String)| {
            let channel = Endpoint::from_shared(format!("http://{address}")).expect("a port makes an address");
            let channel = channel.connect_timeout(Duration::from_secs(1)).connect_lazy();
            tokio::spawn(watch(Arc::clone(origin), *node, channel, Arc::clone(&seen)))
        };
        let watchers = nodes.iter().map(watch).collect();
        Eyes { seen, watchers }
    }

    /// Everything seen, by time.
    pub(super) fn close(self) -> Vec<Sighting> {
        self.watchers.iter().for_each(JoinHandle::abort);
        let mut seen = std::mem::take(&mut *self.seen.lock().expect("no code panics while it holds this lock"));
        seen.sort_by_key(|sighting| sighting.at_ns);
        seen
    }
}

/// Notes what has changed since the last look.
async fn watch(origin: Arc<Origin>, node: NodeId, channel: Channel, seen: Arc<Mutex<Vec<Sighting>>>) {
    let mut answers = None;
    let mut roles: BTreeMap<u64, (String, u64, String)> = BTreeMap::new();
    loop {
        let status = status_at(channel.clone()).await;
        let at_ns = origin.now_ns();
        let note = |shard: Option<u64>, kind: &str, what: String| {
            let sighting = Sighting { at_ns, node: node.0, shard, kind: kind.to_owned(), what };
            seen.lock().expect("no code panics while it holds this lock").push(sighting);
        };
        if answers.replace(status.is_some()) != Some(status.is_some()) {
            match status.is_some() {
                true => note(None, "answers", format!("{node} answers")),
                false => note(None, "silent", format!("{node} does not answer")),
            }
        }
        for replica in status.map(|status| status.replicas).unwrap_or_default() {
            let Some(shard) = replica.shard.as_ref().map(|shard| shard.shard) else { continue };
            let now = (replica.role.clone(), replica.term, replica.problem.clone());
            let before = roles.insert(shard, now.clone());
            let was = |part: fn(&(String, u64, String)) -> &str, value: &str| before.as_ref().map(part) == Some(value);
            if replica.role == "leader"
                && before.as_ref().is_none_or(|b| (b.0.as_str(), b.1) != ("leader", replica.term))
            {
                note(Some(shard), "leads", format!("{node} leads shard {shard} in term {}", replica.term));
            } else if replica.role != "leader" && was(|b| &b.0, "leader") {
                note(Some(shard), "follows", format!("{node} leads shard {shard} no more"));
            }
            if !replica.problem.is_empty() && !was(|b| &b.2, &replica.problem) {
                note(Some(shard), "problem", format!("{node}, shard {shard}: {}", replica.problem));
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
