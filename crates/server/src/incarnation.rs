//! Which of a node's directories speaks.
//!
//! The replicas of a node have promised things, under ids that every founder can compute. A directory that has forgotten those
//! promises must not speak for them: it would vote twice in a term, or help to elect a leader without what it acknowledged
//! (guarantee G3). [`newcomer`](crate::newcomer) asks before an empty directory is founded, but sometimes nobody can be asked,
//! as when all nodes start at once and one comes with an empty disk. So whoever is spoken to looks, too. A Raft stream begins
//! with the sender's incarnation and those that it has given up:
//!
//! | the receiver's registry has for that node | |
//! |---|---|
//! | nothing yet, or the one that speaks | taken |
//! | one that the speaker has given up | taken: it is on its way back, and its replicas are fresh |
//! | any other | refused, and the speaker is told |
//!
//! A founder that is told so has lived before. It has promised nothing that anybody has heard who remembers it, so it can still
//! become what it should have been: it is distrusted, and rejoins when it starts again. A directory that *was* registered once
//! and is refused is an old one that was put back, or a second one under the same id; that is for an operator to sort out. Or the
//! peer was down while the node came back *twice*, the second time without what it knew of the first: the peer then hears of it
//! from any third node, but not from this one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::life::Life;

/// One of a node's directories, and which came before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incarnation {
    /// Random bits of the directory.
    pub now: u64,
    /// Those that this directory has given up, or was told of.
    pub given_up: Vec<u64>,
}

impl Incarnation {
    /// Whether it may speak for a node that is registered with this incarnation; 0: with none.
    pub(crate) fn may_speak(&self, registered: u64) -> bool {
        registered == 0 || registered == self.now || self.given_up.contains(&registered)
    }
}

/// This node as its peers know it: hears of refusals.
#[derive(Clone)]
pub(crate) struct Standing {
    life: Arc<Life>,
    disowned: watch::Sender<Option<String>>,
    /// Refusals that were told to the operator.
    told: Arc<Mutex<BTreeSet<(u64, u64)>>>,
}

impl Standing {
    pub(crate) fn new(life: Arc<Life>) -> Standing {
        Standing { life, disowned: watch::Sender::new(None), told: Arc::default() }
    }

    /// As whom it speaks.
    pub(crate) fn incarnation(&self) -> Incarnation {
        let record = self.life.record();
        Incarnation { now: record.incarnation, given_up: record.given_up }
    }

    /// The registry has this incarnation now. Blocks on the disk.
    pub(crate) fn registered(&self) {
        if self.life.record().registered {
            return;
        }
        if let Err(error) = self.life.change(|record| record.registered = true) {
            tracing::warn!("it cannot be recorded that this node is registered: {error}");
        }
    }

    /// A peer knows another incarnation of this node, and takes nothing from this one. Blocks on the disk.
    pub(crate) fn refused(&self, peer: u64, registered: u64) {
        let record = self.life.record();
        if record.distrust.is_some() {
            return; // on its way back; the peer has not heard of it yet
        }
        if record.registered {
            if !self.told.lock().expect("no code panics while it holds this lock").insert((peer, registered)) {
                return;
            }
            tracing::error!(
                "node {peer} takes no messages from this directory: it knows another one under this node's id. If it was down while \
                 this node was replaced, it will hear of it. If this directory was put back by mistake, or two processes run with \
                 one id, stop this one and start it with an empty data directory or an id of its own"
            );
            return;
        }
        let reason = format!(
            "it was founded anew, but this node has served before with another data directory, as node {peer} remembers"
        );
        let marked = self.life.change(|record| {
            record.distrust(reason.clone());
            record.came_after(registered);
        });
        match marked {
            Ok(()) => drop(self.disowned.send_replace(Some(reason))),
            Err(error) => tracing::error!("the data directory could not be marked as distrusted: {error}"),
        }
    }

    /// Returns, with the reason, when this node has turned out to be one that has lived before. It must be ended then.
    pub(crate) async fn disowned(&self) -> String {
        let mut disowned = self.disowned.subscribe();
        let reason = disowned.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_default() // the sender lives in `self`
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_registered_incarnation_and_its_successors_speak() {
        let speaker = Incarnation { now: 7, given_up: vec![3, 5] };
        for registered in [0, 7, 3, 5] {
            assert!(speaker.may_speak(registered), "{registered}");
        }
        for registered in [1, 9] {
            assert!(!speaker.may_speak(registered), "{registered}");
        }
    }
}
