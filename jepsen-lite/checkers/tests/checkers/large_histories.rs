use std::time::{Duration, Instant};

use jepsen_checkers::{History, Kind, Limits, Model, Name, Settings, Verdict, Why, judge};
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

fn timed(what: &str, model: Model, history: &History) -> Verdict {
    let begin = Instant::now();
    let verdict = judge(model, history, Settings::default()).expect("known operations");
    let took = begin.elapsed();
    println!(
        "{what}: {} operations in {took:.2?}: {}",
        history.operations.len(),
        verdict.to_string().lines().next().unwrap()
    );
    assert!(took < Duration::from_secs(60), "{what} took {took:.1?}");
    verdict
}

/// What TESTING.md asks for has to be judged within a run of some minutes.
#[test]
fn a_hundred_thousand_operations_are_judged_in_seconds() {
    let all = [
        (10, 10, 0, 0.01),
        (10, 30, 0, 0.01),
        (100, 30, 0, 0.01),
        (100, 30, 5, 0.001),
        (100, 10, 5, 0.01),
        (1, 10, 0, 0.01),
        (1, 30, 0, 0.01),
    ];
    for (keys, processes, values, unknown) in all {
        let load = Load { model: Model::Register, operations: 100_000, processes, keys, unknown, values };
        let history = simulated::run(load, 7);
        let what = format!("register, {keys} keys, {processes} processes, {values} values, {unknown} unknown");
        assert!(timed(&what, Model::Register, &history).is_valid(), "{what}");
    }
}

/// The other models have to keep up, with unknown outcomes among them.
#[test]
fn the_other_models_keep_up() {
    for model in [Model::Counter { min: None }, Model::Counter { min: Some(0) }, Model::Set, Model::Queue, Model::Lock]
    {
        let keys = if model == Model::Set { 100 } else { 20 };
        let load = Load { model, operations: 50_000, processes: 15, keys, unknown: 0.002, values: 0 };
        let history = simulated::run(load, 8);
        let verdict = timed(&model.to_string(), model, &history);
        assert!(verdict.is_valid(), "{model}: {verdict}");
    }
}

/// Delays, crashes and late effects are no violations.
#[test]
fn a_store_that_is_right_is_always_found_valid() {
    for model in MODELS {
        for seed in 0..40 {
            let mut rng = StdRng::seed_from_u64(seed);
            let load = Load {
                model,
                operations: 600,
                processes: rng.random_range(1..=12),
                keys: rng.random_range(1..=5),
                unknown: 0.02,
                values: if model == Model::Queue { 0 } else { seed % 2 * 6 },
            };
            let history = simulated::run(load, seed);
            let verdict = judge(model, &history, Settings::default()).expect("known operations");
            assert!(verdict.is_valid(), "{model} seed {seed}: {verdict}");
        }
    }
}

/// One wrong answer among thousands is found, and shown by a handful of operations that fail alone.
#[test]
fn one_spoiled_read_among_thousands_is_found_and_made_small() {
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let load = Load { model: Model::Register, operations: 5_000, processes: 8, keys: 2, unknown: 0.01, values: 0 };
        let mut events = simulated::events(load, seed);
        // A value that this key had long ago.
        let reads: Vec<usize> = (events.len() / 2..events.len())
            .filter(|&i| events[i].kind == Kind::Ok && events[i].f == "read" && !events[i].value.is_null())
            .collect();
        let victim = *reads.choose(&mut rng).expect("there are reads");
        let old = events[..events.len() / 4]
            .iter()
            .find(|event| event.kind == Kind::Ok && event.f == "write" && event.key == events[victim].key)
            .expect("there are writes");
        events[victim].value = old.value.clone();
        let history = History::from_events(events).expect("well formed");
        let verdict = timed(&format!("spoiled {seed}"), Model::Register, &history);
        let explanation = verdict.violation().expect("a violation");
        println!("{explanation}");
        assert!(explanation.operations.len() <= 6, "not small: {explanation}");
        assert!(!brute_force::linearizable(Model::Register, &explanation.operations), "fine alone: {explanation}");
    }
}

/// The same for an object whose smallest piece needs all that came before.
#[test]
fn a_lost_add_among_thousands_is_found() {
    for seed in 0..5 {
        let model = Model::Counter { min: None };
        let load = Load { model, operations: 3_000, processes: 8, keys: 1, unknown: 0.002, values: 0 };
        let mut events = simulated::events(load, seed);
        for event in events.iter_mut().skip(4_000).filter(|event| event.kind == Kind::Ok && event.f == "read") {
            event.value = json!(event.value.as_i64().expect("a number") - 100);
        }
        let history = History::from_events(events).expect("well formed");
        let verdict = timed(&format!("lost add {seed}"), model, &history);
        let explanation = verdict.violation().expect("a violation");
        assert!(explanation.headline.contains("is lost"), "{}", explanation.headline);
    }
}

/// Where nothing small shows it, making it small must not take for ever.
#[test]
fn a_violation_that_needs_everything_is_still_shown_in_time() {
    let model = Model::Counter { min: None };
    let load = Load { model, operations: 100_000, processes: 30, keys: 1, unknown: 0.01, values: 0 };
    let mut events = simulated::events(load, 5);
    let reads = events.iter_mut().filter(|event| event.kind == Kind::Ok && event.f == "read");
    reads.last().expect("there are reads").value = json!(3);
    let history = History::from_events(events).expect("well formed");
    let verdict = timed("a counter that fell at the end", model, &history);
    assert!(verdict.violation().is_some_and(|explanation| explanation.headline.contains("is lost")), "{verdict}");
}

/// A lost element, a value out of turn: shown by a few, though reads list thousands.
#[test]
fn pieces_of_sets_and_queues_are_small() {
    for (model, f) in [(Model::Set, "read"), (Model::Queue, "dequeue")] {
        let load = Load { model, operations: 3_000, processes: 6, keys: 1, unknown: 0.002, values: 0 };
        let mut events = simulated::events(load, 3);
        let told: Vec<usize> = (3_000..events.len())
            .filter(|&i| events[i].kind == Kind::Ok && events[i].f == f && !events[i].value.is_null())
            .collect();
        let (first, second) = (told[10], told[30]);
        match &mut events[first].value {
            Value::Array(all) => drop(all.remove(5)),
            _ => {
                let value = events[second].value.clone();
                events[second].value = std::mem::replace(&mut events[first].value, value);
            }
        }
        let history = History::from_events(events).expect("well formed");
        let verdict = timed(&format!("{model}, spoiled"), model, &history);
        let explanation = verdict.violation().expect("a violation");
        let lines: Vec<String> = explanation.to_string().lines().map(|line| line.chars().take(160).collect()).collect();
        println!("{}", lines.join("\n"));
        assert!(explanation.operations.len() <= 8, "not small: {}", explanation.operations.len());
    }
}

/// Giving up is no pass: with too few steps, or too little memory, the verdict says so.
#[test]
fn a_check_that_gives_up_is_unknown() {
    let load = Load { model: Model::Register, operations: 2_000, processes: 5, keys: 1, unknown: 0.01, values: 5 };
    let history = simulated::run(load, 1);
    for limits in [Limits { steps_max: 100, ..Limits::default() }, Limits { states_max: 10, ..Limits::default() }] {
        let settings = Settings { limits, ..Settings::default() };
        let verdict = judge(Model::Register, &history, settings).expect("known operations");
        assert!(matches!(verdict, Verdict::Unknown { why: Why::GaveUp { .. }, .. }), "{verdict}");
        assert_eq!(verdict.exit_code(), 2);
    }
}

/// A violation of one key is found even if another key is too hard.
#[test]
fn a_violation_elsewhere_outweighs_giving_up() {
    let load = Load { model: Model::Register, operations: 2_000, processes: 5, keys: 1, unknown: 0.0, values: 5 };
    let mut events = simulated::events(load, 1);
    for (time, kind, value) in [(10, Kind::Invoke, Value::Null), (20, Kind::Ok, json!(99))] {
        let mut event = jepsen_checkers::Event::new(time, 777, kind, "read");
        event.key = Some(Name::from("z"));
        event.value = value;
        events.push(event);
    }
    let history = History::from_events(events).expect("well formed");
    let settings = Settings { limits: Limits { states_max: 10, ..Limits::default() }, ..Settings::default() };
    let verdict = judge(Model::Register, &history, settings).expect("known operations");
    assert!(verdict.to_string().contains("nobody ever wrote 99"), "{verdict}");
}
