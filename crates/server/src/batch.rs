//! Many operations in one message, each with its own answer.
//!
//! All are begun at once, in the order given, so mutations of one shard enter its log in that order. When a leader
//! changes in the middle, some come to nothing while later ones may already be in the log of the new leader. Trying the
//! earlier ones again then would turn the order round. So they are tried again only together: a mutation is given up if a
//! later one of the same shard took effect, or may have, and its caller is told that it certainly did nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use prost::Message;
use ringfence_proto::v1::result::Kind;
use ringfence_proto::{Outcome, v1};
use ringfence_types::ShardId;
use ringfence_types::limits::{BATCH_OPERATIONS_MAX, GRPC_MESSAGE_BYTES_MAX};
use tokio::time::{Instant, sleep};

use crate::caller::Caller;
use crate::gateway::{Attempt, Gateway, Task, retries};
use crate::grpc::status;

/// Bytes of values that the answers of one batch may hold. The rest of the message is for errors and headers.
const ANSWER_BYTES_MAX: usize = GRPC_MESSAGE_BYTES_MAX / 2;

const _: () = assert!(ANSWER_BYTES_MAX + BATCH_OPERATIONS_MAX * 1024 < GRPC_MESSAGE_BYTES_MAX);

/// One operation of the batch.
struct Slot {
    /// The shard of a mutation.
    mutates: Option<ShardId>,
    progress: Progress,
}

enum Progress {
    /// Nothing has happened yet; this is why, if it was tried.
    Open {
        task: Box<Task>,
        because: Option<v1::Error>,
    },
    Answered(Result<Kind, v1::Error>),
}

impl Gateway {
    /// Carries out a batch, and answers in its order. An error means that nothing was tried.
    pub(crate) async fn batch(
        &self,
        request: v1::BatchRequest,
        deadline: Instant,
        caller: Caller,
    ) -> Result<v1::BatchResponse, v1::Error> {
        let count = request.operations.len();
        if count > BATCH_OPERATIONS_MAX {
            return Err(status::invalid(format!(
                "the batch has {count} operations; the most is {BATCH_OPERATIONS_MAX}. Send several batches"
            )));
        }
        let mut cost_bytes = 0;
        let mut slots: Vec<Slot> = Vec::with_capacity(count);
        for mut operation in request.operations {
            if !request.fences.is_empty() {
                add_fences(&mut operation, &request.fences);
            }
            slots.push(match self.begin(operation) {
                Ok(task) => {
                    cost_bytes += task.call.cost_bytes;
                    let shard = self.known.route(task.call.position()).shard;
                    Slot {
                        mutates: task.call.is_mutation().then_some(shard),
                        progress: Progress::Open { task: Box::new(task), because: None },
                    }
                }
                Err(error) => Slot { mutates: None, progress: Progress::Answered(Err(error)) },
            });
        }
        let _admitted = self.admission.admit(caller.lane_of_batch(), cost_bytes)?;

        let answer_bytes_left = AtomicUsize::new(ANSWER_BYTES_MAX);
        let mut backoff = retries();
        loop {
            join_all(slots.iter_mut().map(|slot| self.step(slot, deadline, caller, &answer_bytes_left))).await;
            give_up_overtaken(&mut slots);
            let wait = backoff.next();
            let is_last = Instant::now() + wait >= deadline;
            for slot in &mut slots {
                slot.close_if(|task| is_last || task.call.no_forward);
            }
            if !slots.iter().any(|slot| matches!(slot.progress, Progress::Open { .. })) {
                break;
            }
            sleep(wait).await;
        }
        let results = slots.into_iter().map(|slot| match slot.progress {
            Progress::Answered(result) => v1::Result { kind: Some(result.unwrap_or_else(Kind::Error)) },
            Progress::Open { .. } => unreachable!("the loop ends when all are answered"),
        });
        Ok(v1::BatchResponse { results: results.collect() })
    }

    /// One attempt of one operation, if it is still open.
    async fn step(&self, slot: &mut Slot, deadline: Instant, caller: Caller, answer_bytes_left: &AtomicUsize) {
        let Progress::Open { task, because } = &mut slot.progress else { return };
        match self.attempt(task, deadline, caller).await {
            Attempt::Again(error) => *because = Some(error),
            Attempt::Final(result) => {
                // Values that do not fit are dropped here, not at the end: a batch must not hold gigabytes.
                let result = result.and_then(|kind| fits(kind, answer_bytes_left));
                slot.progress = Progress::Answered(result);
            }
        }
    }
}

/// Puts the fences of the batch to those of a mutation of a key.
fn add_fences(operation: &mut v1::Operation, fences: &[v1::Fence]) {
    use v1::operation::Kind as Op;
    let own = match &mut operation.kind {
        Some(Op::Put(put)) => &mut put.fences,
        Some(Op::Delete(delete)) => &mut delete.fences,
        Some(Op::Cas(cas)) => &mut cas.fences,
        Some(Op::Add(add)) => &mut add.fences,
        _ => return,
    };
    own.extend_from_slice(fences);
}

/// Passes the answer on if the message has room for it. Those of mutations always have.
fn fits(kind: Kind, answer_bytes_left: &AtomicUsize) -> Result<Kind, v1::Error> {
    let bytes = match &kind {
        Kind::Get(get) => get.encoded_len(),
        Kind::Scan(scan) => scan.encoded_len(),
        Kind::Inspect(inspected) => inspected.encoded_len(),
        Kind::ListLeases(listed) => listed.encoded_len(),
        _ => return Ok(kind),
    };
    match answer_bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)) {
        Ok(_) => Ok(kind),
        Err(_) => Err(status::invalid(format!(
            "the answers of this batch would have more than {ANSWER_BYTES_MAX} bytes. Read the rest in another one"
        ))),
    }
}

impl Slot {
    /// Answers an open operation with the reason why nothing came of it.
    fn close_if(&mut self, close: impl FnOnce(&Task) -> bool) {
        if let Progress::Open { task, because } = &mut self.progress
            && close(task)
        {
            self.progress = Progress::Answered(Err(because.take().unwrap_or_else(status::too_late)));
        }
    }

    /// Whether it is a mutation that was decided, or may have been.
    fn is_effective(&self) -> bool {
        match &self.progress {
            Progress::Open { .. } => false,
            Progress::Answered(Ok(_)) => true,
            Progress::Answered(Err(error)) => error.outcome() != Outcome::Refused,
        }
    }
}

/// Closes every open mutation behind which another of its shard was decided, or may have been.
fn give_up_overtaken(slots: &mut [Slot]) {
    let mut decided = BTreeSet::new();
    for slot in slots.iter_mut().rev() {
        let Some(shard) = slot.mutates else { continue };
        if slot.is_effective() {
            decided.insert(shard);
        }
        slot.close_if(|_| decided.contains(&shard));
    }
}

#[cfg(test)]
mod tests {
    use ringfence_proto::Reason;
    use ringfence_types::ClusterId;

    use super::*;

    fn put() -> v1::Operation {
        let put = v1::PutRequest { key: "k".into(), ..Default::default() };
        v1::Operation { kind: Some(v1::operation::Kind::Put(put)) }
    }

    fn open(shard: u64) -> Slot {
        let task = Task::new(put(), ClusterId(1)).unwrap();
        let because = Some(status::no_leader(ShardId(shard)));
        Slot { mutates: Some(ShardId(shard)), progress: Progress::Open { task: Box::new(task), because } }
    }

    fn answered(shard: u64, result: Result<(), Reason>) -> Slot {
        let result =
            result.map(|()| Kind::Put(v1::PutResponse::default())).map_err(|reason| v1::Error::new(reason, ""));
        Slot { mutates: Some(ShardId(shard)), progress: Progress::Answered(result) }
    }

    fn is_open(slots: &[Slot]) -> Vec<bool> {
        slots.iter().map(|slot| matches!(slot.progress, Progress::Open { .. })).collect()
    }

    /// The promise of Batch: mutations of one shard take effect in the order given.
    #[test]
    fn a_mutation_that_was_overtaken_in_its_shard_is_given_up() {
        for overtaker in [Ok(()), Err(Reason::ConditionFailed), Err(Reason::OutcomeUnknown)] {
            let mut slots = vec![open(1), open(2), answered(1, overtaker), open(1)];
            give_up_overtaken(&mut slots);
            assert_eq!(is_open(&slots), [false, true, false, true], "{overtaker:?}");
            let Progress::Answered(Err(error)) = &slots[0].progress else { panic!("it is answered with an error") };
            assert_eq!(error.outcome(), Outcome::Refused, "it certainly did nothing");
        }
    }

    #[test]
    fn what_certainly_did_nothing_overtakes_nobody() {
        let mut slots = vec![open(1), answered(1, Err(Reason::Overloaded)), answered(2, Ok(()))];
        give_up_overtaken(&mut slots);
        assert_eq!(is_open(&slots), [true, false, false]);
    }

    #[test]
    fn answers_that_do_not_fit_into_a_message_are_refused_and_those_of_mutations_never_are() {
        let left = AtomicUsize::new(100);
        let get = |bytes: usize| {
            let kv = v1::KeyValue { value: vec![0; bytes].into(), ..Default::default() };
            Kind::Get(v1::GetResponse { header: None, kv: Some(kv) })
        };
        assert!(fits(get(60), &left).is_ok());
        assert_eq!(fits(get(60), &left).unwrap_err().reason(), Some(Reason::InvalidRequest));
        assert!(fits(get(10), &left).is_ok());
        assert!(fits(Kind::Put(v1::PutResponse { header: None, version: u64::MAX }), &left).is_ok());
    }
}
