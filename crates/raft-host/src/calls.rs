//! Finds, for an answer that came in, who asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};

use crate::wire::Message;

/// The exchanges under way of a whole node.
///
/// * An id is never used twice, and ids of an earlier run of this node are not ids of this one: the first is random. Else
///   an answer to a request from before a restart could be taken for the answer to another one.
pub(crate) struct Calls {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiter>>,
}

enum Waiter {
    Once(oneshot::Sender<Message>),
    Session(mpsc::UnboundedSender<Message>),
}

/// One exchange. Forgotten when dropped, so nothing is left behind by whoever gives up.
pub(crate) struct Call<R> {
    pub(crate) id: u64,
    pub(crate) answers: R,
    calls: Arc<Calls>,
}

impl Calls {
    /// `seed`: random bits, new for every start of the node.
    pub(crate) fn new(seed: u64) -> Arc<Calls> {
        Arc::new(Calls { next: AtomicU64::new(seed), waiting: Mutex::default() })
    }

    /// An exchange with one answer.
    pub(crate) fn open(self: &Arc<Self>) -> Call<oneshot::Receiver<Message>> {
        let (answer, answers) = oneshot::channel();
        Call { id: self.register(Waiter::Once(answer)), answers, calls: self.clone() }
    }

    /// An exchange with many answers. Their number is bounded by the number of questions under way.
    pub(crate) fn open_session(self: &Arc<Self>) -> Call<mpsc::UnboundedReceiver<Message>> {
        let (answer, answers) = mpsc::unbounded_channel();
        Call { id: self.register(Waiter::Session(answer)), answers, calls: self.clone() }
    }

    /// An id for something that takes several exchanges.
    pub(crate) fn fresh_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn register(&self, waiter: Waiter) -> u64 {
        let id = self.fresh_id();
        self.waiting.lock().expect("never poisoned").insert(id, waiter);
        id
    }

    /// Hands an answer to whoever waits for it. Late answers find nobody, and are dropped.
    pub(crate) fn answered(&self, id: u64, message: Message) {
        let mut waiting = self.waiting.lock().expect("never poisoned");
        match waiting.get(&id) {
            Some(Waiter::Session(answers)) => {
                let _ = answers.send(message);
            }
            Some(Waiter::Once(_)) => {
                if let Some(Waiter::Once(answer)) = waiting.remove(&id) {
                    let _ = answer.send(message);
                }
            }
            None => {}
        }
    }
}

impl<R> Drop for Call<R> {
    fn drop(&mut self) {
        self.calls.waiting.lock().expect("never poisoned").remove(&self.id);
    }
}
