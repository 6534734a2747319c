use jepsen_checkers::linearizability::Model as _;
use jepsen_checkers::{Event, History, Kind, Model, Name, Settings, Verdict, judge, models};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::brute_force;
use crate::simulated::{self, Load};

const MODELS: [Model; 6] = [
    Model::Register,
    Model::Counter { min: None },
    Model::Counter { min: Some(0) },
    Model::Set,
    Model::Queue,
    Model::Lock,
];

/// Any requests with any answers: mostly wrong ones, and wrong in every way.
fn arbitrary(model: Model, rng: &mut StdRng) -> Vec<Event> {
    let count = rng.random_range(1..=7);
    let processes = rng.random_range(1..=4u64);
    let mut clocks = vec![0u64; processes as usize];
    let mut numbers: Vec<u64> = (0..processes).collect();
    let mut events = Vec::new();
    let new_values = rng.random_bool(0.5);
    for i in 1..=count {
        let process = rng.random_range(0..processes as usize);
        let start = clocks[process] + rng.random_range(0..6);
        let end = start + rng.random_range(0..12);
        clocks[process] = end + rng.random_range(0..3);
        let small = |rng: &mut StdRng| json!(rng.random_range(1..=3));
        let maybe = |rng: &mut StdRng| if rng.random_bool(0.2) { Value::Null } else { json!(rng.random_range(1..=3)) };
        let subset = |rng: &mut StdRng| json!((1..=3).filter(|_| rng.random_bool(0.5)).collect::<Vec<i32>>());
        let mut token = None;
        let (f, asked, answer) = match model {
            Model::Register => match rng.random_range(0..10) {
                0..5 => ("read", Value::Null, maybe(rng)),
                5..8 if new_values => ("write", json!(i), Value::Null),
                5..8 => ("write", small(rng), Value::Null),
                8 => ("cas", json!([maybe(rng), maybe(rng)]), Value::Null),
                _ => ("delete", Value::Null, Value::Null),
            },
            Model::Counter { .. } => match rng.random_range(0..10) {
                0..4 => ("read", Value::Null, json!(rng.random_range(-1..=3))),
                4..8 => ("add", json!(rng.random_range(-1..=2)), Value::Null),
                _ => {
                    let delta = rng.random_range(-1..=2);
                    ("add", json!(delta), json!([delta, rng.random_range(-1..=3)]))
                }
            },
            Model::Set => match rng.random_range(0..10) {
                0..4 => ("read", Value::Null, subset(rng)),
                _ => ("add", small(rng), Value::Null),
            },
            Model::Queue => match rng.random_range(0..10) {
                0..5 if new_values => ("enqueue", json!(i), Value::Null),
                0..5 => ("enqueue", small(rng), Value::Null),
                _ => ("dequeue", Value::Null, maybe(rng)),
            },
            Model::Lock => {
                token = Some(rng.random_range(0..=3));
                (*["acquire", "acquire", "release", "renew"].choose(rng).expect("one"), Value::Null, Value::Null)
            }
            Model::Tokens(_) => panic!("not an object"),
        };
        let kind = match rng.random_range(0..10) {
            0 => Kind::Fail,
            // Which token an unknown acquire got is not known, so the brute force could not follow it.
            1 | 2 if f != "acquire" => Kind::Info,
            _ => Kind::Ok,
        };
        let mut invoke = Event::new(start, numbers[process], Kind::Invoke, f);
        invoke.value = asked;
        invoke.token = token;
        let mut completion = Event { kind, time: end, ..invoke.clone() };
        if kind == Kind::Ok {
            completion.value = answer;
        }
        if kind == Kind::Info {
            numbers[process] += 10;
        }
        events.extend([invoke, completion]);
    }
    events
}

/// Right answers, one of which may have been spoiled.
fn spoiled(model: Model, rng: &mut StdRng) -> Vec<Event> {
    let load = Load {
        model,
        operations: rng.random_range(3..=8),
        processes: rng.random_range(2..=4),
        keys: 1,
        unknown: 0.2,
        values: if rng.random_bool(0.5) { 0 } else { 3 },
    };
    let mut events = simulated::events(load, rng.random());
    let victims: Vec<usize> = (0..events.len()).filter(|&i| events[i].kind == Kind::Ok).collect();
    if rng.random_bool(0.7)
        && let Some(&victim) = victims.choose(rng)
    {
        let event = &mut events[victim];
        match event.f.as_str() {
            "read" if model == Model::Set => match &mut event.value {
                Value::Array(all) if !all.is_empty() => drop(all.pop()),
                value => *value = json!([1]),
            },
            "read" | "dequeue" => event.value = json!(rng.random_range(0..4)),
            "acquire" => event.token = event.token.map(|token| token.saturating_sub(1)),
            _ => event.kind = Kind::Fail,
        }
    }
    events
}

/// The search takes shortcuts, and each rests on an argument. Here each has to agree with trying everything.
#[test]
fn the_search_agrees_with_trying_every_order() {
    for (m, model) in MODELS.into_iter().enumerate() {
        let (mut valid, mut invalid) = (0, 0);
        for seed in 0..6_000u64 {
            let mut rng = StdRng::seed_from_u64(seed * 16 + m as u64);
            let events = if seed % 2 == 0 { arbitrary(model, &mut rng) } else { spoiled(model, &mut rng) };
            let history = History::from_events(events).expect("well formed");
            let expected = brute_force::linearizable(model, &history.operations);
            let verdict = judge(model, &history, Settings::default()).expect("known operations");
            let show = || {
                let lines: Vec<String> = history.operations.iter().map(ToString::to_string).collect();
                format!(
                    "{model} seed {seed}: all orders say {expected}, the search says {verdict}\n{}",
                    lines.join("\n")
                )
            };
            match &verdict {
                Verdict::Invalid { explanation } => {
                    assert!(!expected, "{}", show());
                    invalid += 1;
                    assert!(!explanation.operations.is_empty(), "{}", show());
                    assert!(
                        !brute_force::linearizable(model, &explanation.operations),
                        "the piece alone is fine: {}",
                        show()
                    );
                }
                Verdict::Valid { .. } => {
                    assert!(expected, "{}", show());
                    valid += 1;
                }
                Verdict::Unknown { .. } => assert!(expected, "{}", show()),
            }
        }
        println!("{model}: {valid} valid, {invalid} invalid");
        assert!(
            valid > 500 && invalid > 500,
            "{model}: one-sided histories prove little: {valid} valid, {invalid} invalid"
        );
    }
}

/// A piece is a proof against the whole only if weakening can't make a good history bad.
#[test]
fn weakening_a_good_history_leaves_it_good() {
    for (m, model) in MODELS.into_iter().enumerate() {
        let mut weakened = 0;
        for seed in 0..2_000u64 {
            let mut rng = StdRng::seed_from_u64(seed * 16 + m as u64);
            let load = Load { model, operations: 7, processes: 3, keys: 1, unknown: 0.15, values: seed % 4 };
            let history = simulated::run(load, rng.random());
            let victims: Vec<usize> = (0..history.operations.len()).filter(|_| rng.random_bool(0.4)).collect();
            let weaker = match model {
                Model::Register => models::Register.weaken(&history.operations, &victims),
                Model::Counter { min } => models::Counter { min }.weaken(&history.operations, &victims),
                Model::Set => models::Set.weaken(&history.operations, &victims),
                Model::Queue => models::Queue.weaken(&history.operations, &victims),
                Model::Lock => models::Lock.weaken(&history.operations, &victims),
                Model::Tokens(_) => panic!("not an object"),
            };
            let Some(weaker) = weaker else { continue };
            weakened += 1;
            let weaker = History { operations: weaker, marks: Vec::new() };
            let verdict = judge(model, &weaker, Settings::default()).expect("known operations");
            assert!(verdict.violation().is_none(), "{model} seed {seed}, without {victims:?}: {verdict}");
        }
        assert!(weakened > 100, "{model}: only {weakened} were weakened");
    }
}

/// A lock whose acquire was never answered may be released by whoever learns of the token otherwise.
#[test]
fn an_unknown_acquire_can_explain_a_release() {
    let mut events = Vec::new();
    let mut event = |time, process, kind, f: &str, token: Option<u64>| {
        let mut event = Event::new(time, process, kind, f);
        event.key = Some(Name::from("l"));
        event.token = token;
        events.push(event);
    };
    event(0, 0, Kind::Invoke, "acquire", None);
    event(9, 0, Kind::Info, "acquire", None);
    event(10, 1, Kind::Invoke, "release", Some(4));
    event(12, 1, Kind::Ok, "release", Some(4));
    event(13, 2, Kind::Invoke, "acquire", None);
    event(15, 2, Kind::Ok, "acquire", Some(7));
    let verdict = |events: Vec<Event>| {
        judge(Model::Lock, &History::from_events(events).expect("well formed"), Settings::default()).expect("known")
    };
    let history = events.clone();
    assert!(verdict(history.clone()).is_valid());

    let mut lower = history.clone();
    lower[5].token = Some(3);
    assert!(verdict(lower).violation().is_some(), "a token below that of the release");

    let mut certain = history;
    certain.drain(0..2);
    let broken = verdict(certain);
    assert!(broken.to_string().contains("did not hold it"), "{broken}");
}
