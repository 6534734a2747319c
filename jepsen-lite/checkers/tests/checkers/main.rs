//! The judge on trial: histories known to be good or broken, small ones against all permutations, large ones from a simulated
//! store, and files that are no histories.

mod bounds;
mod brute_force;
mod elements;
mod files;
mod final_read;
mod hostile_input;
mod large_histories;
mod leases;
mod observers;
mod retries;
mod semaphore;
mod simulated;
mod small_histories;
mod stock;
mod tokens;
mod vacuous;

use jepsen_checkers::History;

/// A history in short hand, one operation a line: `process start-end outcome f key value [-> answer] [field=value …]`; end `-` if
/// there is none. A value is JSON, or else a word.
fn history(lines: &str) -> History {
    use jepsen_checkers::{Event, Kind, Name, Process};
    use serde_json::Value;

    let mut events = Vec::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace().peekable();
        let mut word = || words.next().unwrap_or_else(|| panic!("too short: {line}"));
        let process: u64 = word().parse().expect("a process");
        let (start, end) = word().split_once('-').expect("start-end");
        let outcome = word();
        let f = word();
        let key = word();
        let asked: Value = serde_json::from_str(word()).expect("a JSON value");
        let mut invoke = Event::new(start.parse().expect("a time"), process, Kind::Invoke, f);
        invoke.key = Some(Name::from(key));
        invoke.value = asked.clone();
        let mut answer = asked;
        if words.peek() == Some(&"->") {
            words.next();
            answer = serde_json::from_str(words.next().expect("an answer")).expect("a JSON value");
        }
        let kind = match outcome {
            "ok" => Kind::Ok,
            "fail" => Kind::Fail,
            "info" => Kind::Info,
            other => panic!("no outcome: {other}"),
        };
        let time = end.parse().unwrap_or(u64::MAX >> 1);
        let mut completion = Event { kind, time, value: answer, ..invoke.clone() };
        completion.process = Process::Client(process);
        for field in words {
            let (name, word) = field.split_once('=').expect("name=value");
            let number = || Some(word.parse::<u64>().expect("a number"));
            match name {
                "token" => completion.token = number(),
                "revision" => completion.revision = number(),
                _ => {
                    let value = serde_json::from_str(word).unwrap_or_else(|_| word.into());
                    completion.extra.insert(name.into(), value);
                }
            }
        }
        if f != "acquire" {
            invoke.token = completion.token;
        }
        events.push(invoke);
        if end != "-" {
            events.push(completion);
        }
    }
    History::from_events(events).expect("a history")
}
