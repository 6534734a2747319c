//! What a workload has to work with: clients, a pen, and the question whether it is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringfence_client::Client;
use ringfence_tests::Dice;
use tonic::transport::Channel;

use crate::proxy::NodeId;
use crate::recorder::{Process, Recorder};

/// How long a call may take before its outcome counts as unknown. Longer than a failover, shorter than most faults.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// One workload's view of a run. Cheap to clone.
#[derive(Clone)]
pub struct Scene {
    /// SDK clients, each a separate one (own connections, own request ids), through the proxies; at least two.
    pub clients: Vec<Client>,
    /// Plain gRPC to one node each, through its proxy: for questions to a node that the SDK would not ask.
    pub plain: BTreeMap<NodeId, Channel>,
    /// Where it writes down what it asks and is told.
    pub recorder: Recorder,
    /// Of the run. Random choices come from [`Scene::dice`].
    pub seed: u64,
    /// Its name, for keys and dice.
    pub name: &'static str,
    pub(crate) over: Arc<AtomicBool>,
}

impl Scene {
    /// Random numbers of one worker, the same for the same seed.
    pub fn dice(&self, worker: usize) -> Dice {
        Dice::new(self.seed, self.name, worker as u64)
    }

    /// The client that a worker uses.
    pub fn client(&self, worker: usize) -> &Client {
        &self.clients[worker % self.clients.len()]
    }

    /// Plain gRPC to any node, whatever its standing.
    pub fn any_node(&self, dice: &mut Dice) -> Channel {
        self.plain.values().nth(dice.within(0..self.plain.len() as u64) as usize).expect("a cluster has nodes").clone()
    }

    /// A new logical process.
    pub fn process(&self) -> Process {
        self.recorder.process()
    }

    /// Whether workers should come to an end. Asked before every operation.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Thinks for a random while of up to so many milliseconds.
    pub async fn think(&self, dice: &mut Dice, up_to_ms: u64) {
        tokio::time::sleep(Duration::from_micros(dice.within(0..up_to_ms * 1000 + 1))).await;
    }
}
