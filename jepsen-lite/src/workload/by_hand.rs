//! Histories written by hand, for trying a workload's judge.

use std::collections::BTreeSet;

use jepsen_checkers::{Event, History, Kind, Name, Process, Verdict};
use serde_json::Value;

use super::Workload;

/// A history in short hand, one operation a line: `process start-end outcome f key value [-> answer] [field=value …]`.
pub(super) fn history(lines: &str) -> History {
    let mut events = Vec::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace().peekable();
        let mut word = || words.next().unwrap_or_else(|| panic!("too short: {line}"));
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| text.into());
        let process = word().parse().expect("a process");
        let (start, end) = word().split_once('-').expect("start-end");
        let kind = match word() {
            "ok" => Kind::Ok,
            "fail" => Kind::Fail,
            "info" => Kind::Info,
            other => panic!("no outcome: {other}"),
        };
        let mut invoke = Event::new(start.parse().expect("a time"), process, Kind::Invoke, word());
        invoke.key = Some(Name::from(word()));
        invoke.value = json(word());
        invoke.process = Process::Client(process);
        let mut told = Event { time: end.parse().expect("a time"), kind, ..invoke.clone() };
        if words.next_if_eq(&"->").is_some() {
            told.value = json(words.next().expect("an answer"));
        }
        for field in words {
            let (name, value) = field.split_once('=').expect("field=value");
            match name {
                "token" => told.token = json(value).as_u64(),
                "revision" => told.revision = json(value).as_u64(),
                _ => drop(told.extra.insert(name.to_owned(), json(value))),
            }
        }
        events.extend([invoke, told]);
    }
    events.sort_by_key(|event| event.time);
    History::from_events(events).expect("a history")
}

/// Asserts that a good history is valid by every rule, that each rule is broken by the lines beside it, and that none
/// is left out: a rule that nothing breaks is none.
#[track_caller]
pub(super) fn assert_rules(workload: &dyn Workload, good: &str, broken: &[(&str, &str)]) {
    let judged = |lines: &str| workload.judge(&history(lines), 0).expect("known operations");
    let rules = judged(good);
    for (rule, verdict) in &rules {
        assert!(verdict.is_valid(), "{rule}: {verdict}");
    }
    for (rule, lines) in broken {
        let verdicts = judged(&format!("{good}\n{lines}"));
        let (_, verdict) = verdicts.iter().find(|(name, _)| name == rule).unwrap_or_else(|| panic!("no rule {rule}"));
        assert!(verdict.violation().is_some(), "{rule} is not broken by {lines}: {verdict}");
    }
    let tried: BTreeSet<&str> = broken.iter().map(|(rule, _)| *rule).collect();
    let there: BTreeSet<&str> = rules.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(tried, there, "every rule is tried");
    // A minute in which next to nothing happened is no pass.
    let vacuous = workload.judge(&history(good), 60).expect("known operations");
    assert!(vacuous.iter().any(|(_, verdict)| matches!(verdict, Verdict::Unknown { .. })), "{vacuous:?}");
}
