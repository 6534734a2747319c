//! Keys that are used for a while and then left for fresh ones. A judge has to think of every unknown outcome of a key
//! at once, so what a fault leaves open must not pile up on one key for a whole run.

use std::collections::BTreeSet;

use jepsen_checkers::{Kind, Name};

use crate::scene::Scene;

/// How long a generation of keys is used.
const GENERATION_NS: u64 = 4_000_000_000;

/// The keys of now: which generation.
pub(super) fn generation(scene: &Scene) -> u64 {
    scene.recorder.now_ns() / GENERATION_NS
}

/// Every key that anything was asked of so far.
pub(super) fn used(scene: &Scene) -> Vec<String> {
    let text = |key: Option<Name>| key.map(|key| key.to_string());
    let asked = scene.recorder.events().into_iter().filter(|event| event.kind == Kind::Invoke);
    let keys: BTreeSet<String> = asked.filter_map(|event| text(event.key)).collect();
    keys.into_iter().collect()
}
