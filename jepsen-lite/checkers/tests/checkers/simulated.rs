//! A store that is right by construction: every request takes effect at one moment, in one thread. Histories of it are
//! linearizable whatever the delays, and whatever stays unknown.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use jepsen_checkers::{Event, History, Kind, Model, Name};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// What to simulate.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) model: Model,
    pub(crate) operations: usize,
    pub(crate) processes: usize,
    pub(crate) keys: usize,
    /// Chance of an unknown outcome.
    pub(crate) unknown: f64,
    /// Values to choose from; 0: every value is new.
    pub(crate) values: u64,
}

#[derive(Default)]
struct Object {
    register: Value,
    counter: i64,
    set: Vec<Value>,
    queue: VecDeque<Value>,
    held: Option<u64>,
}

enum Step {
    Begin(usize),
    Effect(usize),
    End(usize),
}

struct Request {
    invoke: Event,
    completion: Option<Event>,
    process: usize,
    /// A client that was not told goes on under another number.
    told: bool,
}

pub(crate) fn run(load: Load, seed: u64) -> History {
    History::from_events(events(load, seed)).expect("a simulated history is well formed")
}

pub(crate) fn events(load: Load, seed: u64) -> Vec<Event> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut queue: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut steps: Vec<Step> = Vec::new();
    let push = |queue: &mut BinaryHeap<Reverse<(u64, usize)>>, steps: &mut Vec<Step>, time: u64, step: Step| {
        steps.push(step);
        queue.push(Reverse((time, steps.len() - 1)));
    };

    let mut objects: BTreeMap<i64, Object> = BTreeMap::new();
    let mut requests: Vec<Request> = Vec::new();
    let mut names: Vec<u64> = (0..load.processes as u64).collect();
    let mut holds: Vec<Option<(i64, u64)>> = vec![None; load.processes];
    let mut next_value = 0;
    let mut next_token = 0;
    let mut events = Vec::new();
    for process in 0..load.processes {
        push(&mut queue, &mut steps, rng.random_range(0..1_000_000), Step::Begin(process));
    }
    while let Some(Reverse((now, step))) = queue.pop() {
        match steps[step] {
            Step::Begin(process) => {
                if requests.len() == load.operations {
                    continue;
                }
                let mut key = rng.random_range(0..load.keys as i64);
                let dice: u8 = rng.random_range(0..100);
                let mut value = || match load.values {
                    0 => {
                        next_value += 1;
                        json!(next_value)
                    }
                    values => json!(rng.random_range(0..values)),
                };
                let mut token = None;
                let (f, value) = match load.model {
                    Model::Register if dice < 50 => ("read", Value::Null),
                    Model::Register if dice < 80 => ("write", value()),
                    Model::Register if dice < 97 => {
                        ("cas", json!([objects.entry(key).or_default().register.clone(), value()]))
                    }
                    Model::Register => ("delete", Value::Null),
                    Model::Counter { .. } if dice < 40 => ("read", Value::Null),
                    Model::Counter { .. } => ("add", json!(i64::from(dice % 4) - 1)),
                    Model::Set if dice < 10 => ("read", Value::Null),
                    Model::Set => ("add", value()),
                    Model::Queue if dice < 50 => ("enqueue", value()),
                    Model::Queue => ("dequeue", Value::Null),
                    Model::Lock => match holds[process].take() {
                        Some((held, with)) => {
                            key = held;
                            token = Some(with);
                            ("release", Value::Null)
                        }
                        None => ("acquire", Value::Null),
                    },
                    Model::Tokens(_) => panic!("not an object"),
                };
                let mut invoke = Event::new(now, names[process], Kind::Invoke, f);
                invoke.key = Some(Name::Number(key));
                invoke.value = value;
                invoke.token = token;
                let told = !rng.random_bool(load.unknown);
                let id = requests.len();
                let effect = now + rng.random_range(0..2_000_000);
                let end = effect + rng.random_range(0..2_000_000);
                // Of the unknown, half never happen, and some long after.
                let effect = if told { effect } else { now + rng.random_range(0..20_000_000) };
                let happens = told || (rng.random_bool(0.5) && f != "acquire");
                events.push(invoke.clone());
                requests.push(Request { invoke, completion: None, process, told });
                if happens {
                    push(&mut queue, &mut steps, effect, Step::Effect(id));
                }
                push(&mut queue, &mut steps, end, Step::End(id));
            }
            Step::Effect(id) => {
                let request = &mut requests[id];
                let Some(Name::Number(key)) = request.invoke.key else { panic!("keys are numbers here") };
                let object = objects.entry(key).or_default();
                let mut completion = Event { kind: Kind::Ok, ..request.invoke.clone() };
                let asked = &request.invoke.value;
                let happened = match (request.invoke.f.as_str(), load.model) {
                    ("read", Model::Register) => {
                        completion.value = object.register.clone();
                        true
                    }
                    ("read", Model::Counter { .. }) => {
                        completion.value = object.counter.into();
                        true
                    }
                    ("read", _) => {
                        completion.value = Value::Array(object.set.clone());
                        true
                    }
                    ("write" | "delete", _) => {
                        object.register = asked.clone();
                        true
                    }
                    ("cas", _) => {
                        let fits = object.register == asked[0];
                        if fits {
                            object.register = asked[1].clone();
                        }
                        fits
                    }
                    ("add", Model::Counter { min }) => {
                        let after = object.counter + asked.as_i64().expect("a delta");
                        let fits = min.is_none_or(|min| after >= min || asked.as_i64() > Some(0));
                        if fits {
                            object.counter = after;
                            if id % 3 == 0 {
                                completion.value = json!([asked, after]);
                            }
                        }
                        fits
                    }
                    ("add", _) => {
                        if !object.set.contains(asked) {
                            object.set.push(asked.clone());
                        }
                        true
                    }
                    ("enqueue", _) => {
                        object.queue.push_back(asked.clone());
                        true
                    }
                    ("dequeue", _) => {
                        completion.value = object.queue.pop_front().unwrap_or_default();
                        true
                    }
                    ("acquire", _) => {
                        let free = object.held.is_none();
                        if free {
                            next_token += 1;
                            object.held = Some(next_token);
                            completion.token = Some(next_token);
                        }
                        free
                    }
                    ("release", _) => {
                        let fits = object.held == request.invoke.token;
                        if fits {
                            object.held = None;
                        }
                        fits
                    }
                    (f, _) => panic!("no such request: {f}"),
                };
                if !happened {
                    completion.kind = Kind::Fail;
                    completion.value = asked.clone();
                }
                request.completion = Some(completion);
            }
            Step::End(id) => {
                let request = &mut requests[id];
                let process = request.process;
                let mut completion = match request.completion.take() {
                    Some(completion) if request.told => completion,
                    _ => Event { kind: Kind::Info, ..request.invoke.clone() },
                };
                completion.time = now;
                if completion.kind == Kind::Ok && completion.f == "acquire" {
                    let Some(Name::Number(key)) = completion.key else { panic!("keys are numbers here") };
                    holds[process] = completion.token.map(|token| (key, token));
                }
                if completion.kind == Kind::Info {
                    names[process] += load.processes as u64;
                }
                events.push(completion);
                push(&mut queue, &mut steps, now + rng.random_range(0..500_000), Step::Begin(process));
            }
        }
    }
    events
}
