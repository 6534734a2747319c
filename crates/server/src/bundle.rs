//! Calls of one message that go to the same shard are carried out together.
//!
//! What a call costs beside the work it asks for (a future, a timer, a wake-up, a place in a queue, a confirmation of
//! leadership to wait for) is paid once for all reads of a shard in a message, and once for all its mutations. They are
//! still separate calls: each is refused, retried and answered by itself, and one that does not fit in (it goes to another
//! node, is a scan, reads the past) goes its own way from the start.

use futures::future::join_all;
use futures::stream::{self, BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use ringfence_proto::v1;
use ringfence_proto::v1::result::Kind;
use ringfence_raft_host::{Proposed, Shard};
use ringfence_state_machine::{ReadAnswer, ReadRefusal, Request, Unreadable, Versioned, get_many};
use ringfence_types::{Key, ShardId};
use tokio::time::{Instant, timeout_at};

use crate::admission::Admitted;
use crate::call::{Ask, MutationKind};
use crate::caller::Caller;
use crate::deadline;
use crate::gateway::{Attempt, Gateway, Task};
use crate::grpc::status;
use crate::room::Level;

/// Answers, as they come.
pub(crate) type Answers<'a> = BoxStream<'a, Vec<v1::Answer>>;

/// A call that was checked and let in.
struct Entered {
    number: u64,
    task: Task,
    deadline: Instant,
}

/// Calls of one kind for one shard.
struct Bundle {
    shard: ShardId,
    mutates: bool,
    calls: Vec<Entered>,
    cost_bytes: usize,
}

impl Gateway {
    /// Carries out the calls of a message. What it gives back does the work when it is polled; the calls of each bundle are
    /// proposed in their order.
    pub(crate) fn execute_all(&self, calls: Vec<v1::Call>, caller: Caller) -> Vec<Answers<'_>> {
        if calls.len() == 1 {
            return calls.into_iter().map(|call| self.execute_alone(call, caller)).collect();
        }
        let mut work = Vec::new();
        let mut refused = Vec::new();
        let mut bundles: Vec<Bundle> = Vec::new();
        for call in calls {
            let (number, deadline) = (call.call, deadline::of_session(call.timeout_ms));
            let Some(operation) = call.operation else {
                refused.push(answer(number, Err(no_operation())));
                continue;
            };
            let task = match self.begin(operation) {
                Ok(task) => task,
                Err(error) => {
                    refused.push(answer(number, Err(error)));
                    continue;
                }
            };
            let shard = self.known.shard_at(task.call.position());
            let mutates = task.call.is_mutation();
            let entered = Entered { number, task, deadline };
            if !mutates && !matches!(entered.task.call.ask, Ask::Get { at: None, .. }) {
                work.push(self.go_alone(entered, caller));
                continue;
            }
            let cost_bytes = entered.task.call.cost_bytes;
            match bundles.iter_mut().find(|bundle| bundle.shard == shard && bundle.mutates == mutates) {
                Some(bundle) => {
                    bundle.calls.push(entered);
                    bundle.cost_bytes += cost_bytes;
                }
                None => bundles.push(Bundle { shard, mutates, calls: vec![entered], cost_bytes }),
            }
        }
        if !refused.is_empty() {
            work.push(stream::once(std::future::ready(refused)).boxed());
        }
        for bundle in bundles {
            let here = self.host.shard(bundle.shard).filter(Shard::decides);
            match here {
                Some(shard) if bundle.calls.len() > 1 => work.push(self.carry_out(shard, bundle, caller)),
                _ => work.extend(bundle.calls.into_iter().map(|entered| self.go_alone(entered, caller))),
            }
        }
        work
    }

    fn execute_alone(&self, call: v1::Call, caller: Caller) -> Answers<'_> {
        let deadline = deadline::of_session(call.timeout_ms);
        async move {
            let result = match call.operation {
                Some(operation) => self.execute(operation, deadline, caller).await,
                None => v1::Result { kind: Some(Kind::Error(no_operation())) },
            };
            vec![v1::Answer { call: call.call, result: Some(result) }]
        }
        .into_stream()
        .boxed()
    }

    fn go_alone(&self, entered: Entered, caller: Caller) -> Answers<'_> {
        let Entered { number, mut task, deadline } = entered;
        async move {
            let admitted = self.admission.admit(caller.lane(&task.call), task.call.cost_bytes);
            let result = match admitted {
                Ok(_admitted) => {
                    let attempt = self.attempt(&mut task, deadline, caller).await;
                    self.persist(task, attempt, deadline, caller).await
                }
                Err(error) => Err(error),
            };
            vec![answer(number, result)]
        }
        .into_stream()
        .boxed()
    }

    fn carry_out(&self, shard: Shard, bundle: Bundle, caller: Caller) -> Answers<'_> {
        let lane = caller.lane(&bundle.calls[0].task.call);
        let admitted = match self.admission.admit(lane, bundle.cost_bytes) {
            Ok(admitted) => admitted,
            // All of it may be too much where a part of it is not.
            Err(_) => {
                let alone: Vec<_> = bundle.calls.into_iter().map(|entered| self.go_alone(entered, caller)).collect();
                return stream::select_all(alone).boxed();
            }
        };
        match bundle.mutates {
            // Some would be refused and some not, each with its own words.
            true if self.room.level() > Level::Low => {
                stream::select_all(bundle.calls.into_iter().map(|entered| self.go_alone(entered, caller))).boxed()
            }
            true => self.mutate_all(shard, bundle.calls, caller, admitted),
            false => self.get_all(shard, bundle.calls, caller, admitted).into_stream().boxed(),
        }
    }

    /// One confirmation of leadership and one look at the store for all.
    async fn get_all(&self, shard: Shard, calls: Vec<Entered>, caller: Caller, _admitted: Admitted) -> Vec<v1::Answer> {
        let deadline = calls.iter().map(|entered| entered.deadline).max().expect("a bundle is not empty");
        let found = match self.barrier(&shard, deadline).await {
            Ok(view) => {
                let keys: Vec<Key> = calls.iter().map(|entered| key_of(&entered.task).clone()).collect();
                get_many(&view, shard.id(), &keys)
            }
            Err(attempt) => {
                let each = calls.into_iter().map(|entered| (entered, attempt.clone()));
                return join_all(each.map(|(entered, attempt)| self.go_on(entered, attempt, caller))).await;
            }
        };
        let read = |found: Result<ReadAnswer<Option<Versioned>>, ReadRefusal>| match found {
            Ok(answer) => Attempt::Final(Ok(self.answering(&shard).get(answer.clock, answer.value))),
            Err(refusal) => self.read_refused(shard.id(), refusal),
        };
        let unreadable = |e: &Unreadable| Attempt::Again(status::unreadable(shard.id(), e));
        let attempts: Vec<Attempt> = match found {
            Ok(found) => found.into_iter().map(read).collect(),
            Err(error) => calls.iter().map(|_| unreadable(&error)).collect(),
        };
        let mut answers = Vec::with_capacity(calls.len());
        let mut again = Vec::new();
        for (mut entered, attempt) in calls.into_iter().zip(attempts) {
            match self.settle(&mut entered.task, attempt) {
                Attempt::Final(result) => answers.push(answer(entered.number, result)),
                attempt => again.push(self.go_on(entered, attempt, caller)),
            }
        }
        answers.extend(join_all(again).await);
        answers
    }

    /// All are proposed at once, and answered as they are decided.
    fn mutate_all(&self, shard: Shard, calls: Vec<Entered>, caller: Caller, admitted: Admitted) -> Answers<'_> {
        let now = Instant::now();
        let (calls, late): (Vec<_>, Vec<_>) = calls.into_iter().partition(|entered| entered.deadline > now);
        let late = late.into_iter().map(|entered| answer(entered.number, Err(status::too_late()))).collect();
        let requests = calls.iter().map(|entered| {
            let call = &entered.task.call;
            let Ask::Mutate { command, .. } = &call.ask else { unreachable!("a bundle that mutates") };
            Request { id: call.id, seen: call.seen, command: command.clone() }
        });
        let Some(first) = calls.first() else { return stream::once(std::future::ready(late)).boxed() };
        let lane = caller.lane(&first.task.call);
        let proposed = shard.propose_all(requests.collect(), lane);
        let deadline = calls.iter().map(|entered| entered.deadline).max().expect("there is a first");
        let undecided = Undecided {
            calls: calls.into_iter().map(Some).collect(),
            proposed: proposed.map_err(|e| Some(status::propose(shard.id(), &e))),
            again: FuturesUnordered::new(),
            deadline,
        };
        let decided =
            stream::unfold((undecided, shard, admitted), move |(mut undecided, shard, admitted)| async move {
                let answers = self.next_decided(&mut undecided, &shard, caller).await?;
                Some((answers, (undecided, shard, admitted)))
            });
        stream::once(std::future::ready(late))
            .chain(decided)
            .filter(|answers| std::future::ready(!answers.is_empty()))
            .boxed()
    }

    async fn next_decided<'a>(
        &'a self,
        undecided: &mut Undecided<'a>,
        shard: &Shard,
        caller: Caller,
    ) -> Option<Vec<v1::Answer>> {
        let Undecided { calls, proposed, again, deadline } = undecided;
        let decided = match proposed {
            Err(error) => {
                let error = error.take()?;
                let all = calls.iter_mut().filter_map(Option::take);
                return Some(all.map(|entered| answer(entered.number, Err(error.clone()))).collect());
            }
            Ok(proposed) => tokio::select! {
                decided = timeout_at(*deadline, proposed.next()), if calls.iter().any(Option::is_some) => decided,
                Some(answer) = again.next() => return Some(vec![answer]),
                else => return None,
            },
        };
        let Ok(Some(decided)) = decided else {
            // Too late, or the replica has stopped: whatever is open may have happened.
            let all = calls.iter_mut().filter_map(Option::take);
            let unknown = status::outcome_unknown(shard.id());
            return Some(all.map(|entered| answer(entered.number, Err(unknown.clone()))).collect());
        };
        let mut answers = Vec::with_capacity(decided.len());
        for (place, outcome) in decided {
            let mut entered = calls[place].take().expect("every place is answered once");
            let attempt = self.decided(shard, kind_of(&entered.task), outcome);
            match self.settle(&mut entered.task, attempt) {
                Attempt::Final(result) => answers.push(answer(entered.number, result)),
                attempt => again.push(self.go_on(entered, attempt, caller).boxed()),
            }
        }
        Some(answers)
    }

    /// A call that came to nothing in its bundle is tried again by itself.
    async fn go_on(&self, entered: Entered, attempt: Attempt, caller: Caller) -> v1::Answer {
        answer(entered.number, self.persist(entered.task, attempt, entered.deadline, caller).await)
    }
}

/// Mutations that were proposed together, by their places.
struct Undecided<'a> {
    calls: Vec<Option<Entered>>,
    proposed: Result<Proposed, Option<v1::Error>>,
    again: FuturesUnordered<futures::future::BoxFuture<'a, v1::Answer>>,
    deadline: Instant,
}

fn key_of(task: &Task) -> &Key {
    match &task.call.ask {
        Ask::Get { key, .. } => key,
        _ => unreachable!("a bundle that reads holds only Gets"),
    }
}

fn kind_of(task: &Task) -> MutationKind {
    match &task.call.ask {
        Ask::Mutate { kind, .. } => *kind,
        _ => unreachable!("a bundle that mutates holds only mutations"),
    }
}

fn no_operation() -> v1::Error {
    status::invalid("the call has no operation")
}

fn answer(number: u64, result: Result<Kind, v1::Error>) -> v1::Answer {
    v1::Answer { call: number, result: Some(v1::Result { kind: Some(result.unwrap_or_else(Kind::Error)) }) }
}
