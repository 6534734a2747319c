//! The meta group: who is in the cluster, and where its shards are.
//!
//! It is an index, not the truth. A shard's own log holds the truth about the shard, and reports it here; a node's own
//! configuration holds its address, and registers it here. So an older epoch changes nothing, a node may move to another
//! address, and only what cannot be true together is refused.

use std::ops::ControlFlow;

use ringfence_shard_router::ShardDescriptor;
use ringfence_types::{ReplicaId, Revision, ShardId};

use crate::keys::{StoredKey, map_table, node_table};
use crate::mvcc::next_revision;
use crate::overlay::Overlay;
use crate::{
    Done, Limits, MetaCommand, NodeInfo, Refusal, Reply, ShardState, Space, Unreadable, View, Write, record, seed,
};

/// Every registered node, by id.
pub fn nodes(view: &dyn View) -> Result<Vec<NodeInfo>, Unreadable> {
    let (from, to) = node_table();
    read_all(view, &from, &to, "node")
}

/// Every shard's newest reported descriptor, by id. The meta group itself is not among them.
pub fn shards(view: &dyn View) -> Result<Vec<ShardDescriptor>, Unreadable> {
    let (from, to) = map_table();
    read_all(view, &from, &to, "shard map")
}

/// The records of a newborn meta group that knows these nodes and shards.
pub fn seed_meta(
    descriptor: &ShardDescriptor,
    limits: Limits,
    nodes: &[NodeInfo],
    shards: &[ShardDescriptor],
) -> Vec<Write> {
    assert_eq!(descriptor.shard, ShardId::META, "the meta group is shard 0");
    let mut writes = seed(descriptor, limits);
    writes.extend(nodes.iter().map(node_write));
    writes.extend(shards.iter().map(map_write));
    writes
}

pub(crate) fn run(
    overlay: &mut Overlay<'_>,
    state: &mut ShardState,
    now: Revision,
    command: &MetaCommand,
) -> Result<Reply, Unreadable> {
    let change = match command {
        MetaCommand::RegisterNode(node) => register(overlay, node, &[])?,
        MetaCommand::ReviveNode { info, forgotten } => register(overlay, info, forgotten)?,
        MetaCommand::ReportShard(descriptor) => report(overlay, descriptor)?,
        MetaCommand::AllotReplica => {
            return Ok(
                allot(overlay, state)?.map(|replica| Done::Allotted { replica, revision: next_revision(state, now) })
            );
        }
    };
    Ok(change.map(|write| {
        if let Some(write) = write {
            next_revision(state, now);
            overlay.put(write.space, write.key, write.value);
        }
        Done::Accepted { revision: state.clock }
    }))
}

/// What to write, if anything.
type Change = Result<Option<Write>, Refusal>;

/// `forgotten`: what the node gives up, so that it may come with another incarnation.
fn register(overlay: &Overlay<'_>, node: &NodeInfo, forgotten: &[u64]) -> Result<Change, Unreadable> {
    let (from, to) = node_table();
    for record in overlay.range(Space::Shard, &from, &to)?.values() {
        let known: NodeInfo = record::decode_plain(record, "node")?;
        if known == *node {
            return Ok(Ok(None));
        }
        let gives_up = known.incarnation == 0 || forgotten.contains(&known.incarnation);
        if known.node == node.node && known.incarnation != node.incarnation && !gives_up {
            let reason = format!(
                "node {} is registered with another data directory than the one it comes with. What it promised from there is \
                 forgotten here, so it must not take its place; restore that directory, or start it with an empty one: it \
                 is filled by the other nodes then",
                node.node
            );
            return Ok(Err(Refusal::Contradiction { reason }));
        }
        if known.address == node.address && known.node != node.node {
            let reason = format!(
                "{} is the address of node {}, so node {} cannot have it. Give each node its own address, or remove the \
                 node that is gone",
                node.address, known.node, node.node
            );
            return Ok(Err(Refusal::Contradiction { reason }));
        }
    }
    Ok(Ok(Some(node_write(node))))
}

fn report(overlay: &mut Overlay<'_>, descriptor: &ShardDescriptor) -> Result<Change, Unreadable> {
    if descriptor.shard == ShardId::META {
        let reason = "the meta group's own descriptor stands in its own state and is not reported".to_string();
        return Ok(Err(Refusal::Contradiction { reason }));
    }
    let stored = StoredKey::MapEntry { shard: descriptor.shard }.encode();
    if let Some(record) = overlay.get(Space::Shard, &stored)? {
        let known: ShardDescriptor = record::decode_plain(&record, "shard map")?;
        if known.epoch == descriptor.epoch && known != *descriptor {
            let reason = format!("shard {} has two descriptors of epoch {}", known.shard, known.epoch);
            return Ok(Err(Refusal::Contradiction { reason }));
        }
        if known.epoch >= descriptor.epoch {
            return Ok(Ok(None));
        }
    }
    Ok(Ok(Some(map_write(descriptor))))
}

/// The next replica id. Above everything that was handed out, and above what the cluster began with: those ids are in the
/// descriptors.
fn allot(overlay: &mut Overlay<'_>, state: &ShardState) -> Result<Result<ReplicaId, Refusal>, Unreadable> {
    let stored = StoredKey::NextReplica.encode();
    let counted: u64 = match overlay.get(Space::Shard, &stored)? {
        Some(record) => record::decode_plain(&record, "replica counter")?,
        None => 0,
    };
    let (from, to) = map_table();
    let mut used = state.descriptor.replicas.iter().map(|replica| replica.id.0).max().unwrap_or(0);
    for record in overlay.range(Space::Shard, &from, &to)?.values() {
        let known: ShardDescriptor = record::decode_plain(record, "shard map")?;
        used = known.replicas.iter().map(|replica| replica.id.0).fold(used, u64::max);
    }
    let next = counted.max(used.saturating_add(1));
    if next == u64::MAX {
        let reason = "a shard was reported with the last replica id there is, so none is left".to_owned();
        return Ok(Err(Refusal::Contradiction { reason }));
    }
    overlay.put(Space::Shard, stored, Some(record::encode_plain(&(next + 1))));
    Ok(Ok(ReplicaId(next)))
}

fn node_write(node: &NodeInfo) -> Write {
    let key = StoredKey::Node { node: node.node }.encode();
    Write { space: Space::Shard, key, value: Some(record::encode_plain(node)) }
}

fn map_write(descriptor: &ShardDescriptor) -> Write {
    let key = StoredKey::MapEntry { shard: descriptor.shard }.encode();
    Write { space: Space::Shard, key, value: Some(record::encode_plain(descriptor)) }
}

fn read_all<T: serde::de::DeserializeOwned>(
    view: &dyn View,
    from: &[u8],
    to: &[u8],
    what: &str,
) -> Result<Vec<T>, Unreadable> {
    let mut rows = Vec::new();
    view.scan(Space::Shard, from, to, &mut |_, record| {
        rows.push(record::decode_plain(record, what));
        ControlFlow::Continue(())
    })?;
    rows.into_iter().collect()
}
