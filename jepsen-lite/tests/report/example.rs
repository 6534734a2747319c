//! Runs that never were, of which everything is known.

use jepsen_checkers::{Checked, Event, Explanation, History, Kind, Model, Settings, Verdict, Why, judge};
use jepsen_lite::results::{Check, Coverage, FaultBand, Judged, Results, Sighting};
use serde_json::{Value, json};

/// A run: what was found, and what was asked.
pub(crate) struct Example {
    pub(crate) results: Results,
    pub(crate) histories: Vec<(String, Vec<Event>)>,
}

impl Example {
    pub(crate) fn html(&self) -> String {
        jepsen_lite::report::render(&self.results, &self.histories)
    }
}

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MS: u64 = 1_000_000;

/// Markup that would run, if it were let.
pub(crate) const HOSTILE: &str =
    "</script></style></title><img src=x onerror=\"document.documentElement.dataset.error='ran'\">'&";

/// A valid run of twenty seconds: a register and a lock, six faults of two nemeses that overlap, one that did not bite.
pub(crate) fn valid() -> Example {
    let faults = vec![
        fault("kill", "n1 killed", &[1], (4_000, 6_500), 1),
        fault("isolated-leader", "n2, which leads shard 1, alone", &[2], (4_600, 7_800), 412),
        fault("kill", "n3 killed", &[3], (10_000, 10_300), 1),
        fault("isolated-leader", "n1, which leads shard 2, alone", &[1], (10_200, 12_000), 0),
        fault("kill", "n2 killed", &[2], (15_000, 17_000), 1),
        fault("isolated-leader", "n3, which leads shard 1, alone", &[3], (15_500, 16_500), 88),
    ];
    let seen = |ms: u64, node, shard: Option<u64>, kind: &str, what: &str| Sighting {
        at_ns: ms * MS,
        node,
        shard,
        kind: kind.into(),
        what: what.into(),
    };
    let sightings = vec![
        seen(900, 1, None, "answers", "n1 answers"),
        seen(900, 1, Some(1), "leads", "n1 leads shard 1 in term 1"),
        seen(950, 2, Some(2), "leads", "n2 leads shard 2 in term 1"),
        seen(4_100, 1, None, "silent", "n1 does not answer"),
        seen(4_900, 2, Some(1), "leads", "n2 leads shard 1 in term 2"),
        seen(6_900, 1, None, "answers", "n1 answers"),
        seen(6_900, 1, Some(1), "follows", "n1 leads shard 1 no more"),
        seen(6_000, 3, Some(2), "leads", "n3 leads shard 2 in term 3"),
        seen(7_900, 2, Some(2), "follows", "n2 leads shard 2 no more"),
        seen(10_050, 3, None, "silent", "n3 does not answer"),
        seen(10_700, 3, None, "answers", "n3 answers"),
        seen(12_500, 3, Some(1), "problem", "n3, shard 1: snapshot refused"),
    ];
    let (register, lock) = (registers(6, 1_500), locks());
    let ok = |events: &[Event]| events.iter().filter(|event| event.kind == Kind::Ok).count();
    let count = |events: &[Event], kind| events.iter().filter(|event| event.kind == kind).count();
    let judged = |name: &str, about: &str, events: &[Event], checks| Judged {
        name: name.into(),
        about: about.into(),
        history: format!("history-{name}.jsonl"),
        checks,
        ok: ok(events),
        failed: count(events, Kind::Fail),
        unknown: count(events, Kind::Info),
        ok_after_healing: 40,
    };
    let kept = |rule: &str, telling| Check {
        rule: rule.into(),
        verdict: Verdict::Valid { checked: Checked { ok: 1_400, telling, keys: 6, ..Checked::default() } },
    };
    let workloads = vec![
        judged(
            "register",
            "reads, writes and compare-and-sets of a few keys must be linearizable",
            &register,
            vec![kept("linearizable", 700), kept("every acknowledged write is there in the end", 6)],
        ),
        judged("lock", "fencing tokens rise, and no stale write is accepted", &lock, vec![kept("tokens", 90)]),
    ];
    let coverage = |nemesis: &str, about: &str, not_covered: Option<&str>, struck, bit| Coverage {
        nemesis: nemesis.into(),
        about: about.into(),
        not_covered: not_covered.map(str::to_owned),
        struck,
        bit,
    };
    let results = Results {
        command: "jepsen-lite run --workload register,lock --time 18 --nodes 3 --nemesis kill,isolated-leader --seed 7"
            .into(),
        options: [("workload", "register,lock"), ("nemesis", "kill,isolated-leader"), ("time", "18 s"), ("seed", "7")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        began_unix_ms: 1_709_208_000_000,
        ended_ns: 20 * SECOND,
        worked_ns: (SECOND, 19 * SECOND),
        verdict: "valid".into(),
        exit_code: 0,
        reasons: Vec::new(),
        workloads,
        cluster: vec![kept("replicas are alike", 3)],
        nemeses: vec![
            coverage("kill", "kills a node, and starts it again", None, 3, 3),
            coverage("isolated-leader", "cuts a leader off from all other nodes", None, 3, 2),
        ],
        faults,
        sightings,
    };
    Example { results, histories: vec![("register".into(), register), ("lock".into(), lock)] }
}

/// The same, with a history that breaks a promise, from the collection of broken ones, moved into the run's time.
pub(crate) fn violation(model: Model, name: &str) -> Example {
    let file = format!("{}/checkers/tests/histories/bad/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut events: Vec<Event> = Vec::new();
    for op in History::read(&*file).unwrap().operations {
        // Apart, so that there is something to see: the collection is of milliseconds.
        let at = |ns: u64| 4 * SECOND + ns * 100;
        let mut asked = Event::new(at(op.start_ns), op.process, Kind::Invoke, op.f.clone());
        (asked.key, asked.value, asked.token) = (op.key.clone(), op.asked.clone(), op.token);
        events.push(asked.clone());
        let Some(end) = op.end_ns else { continue };
        let kind = match (op.is_ok(), op.is_fail()) {
            (true, _) => Kind::Ok,
            (_, true) => Kind::Fail,
            _ => Kind::Info,
        };
        let mut ended = Event { time: at(end), kind, value: op.answer.clone(), ..asked };
        (ended.revision, ended.extra) = (op.revision, op.extra.clone());
        events.push(ended);
    }
    events.sort_by_key(|event| event.time);
    let verdict = judge(model, &History::from_events(events.clone()).unwrap(), Settings::default()).unwrap();
    assert_eq!(verdict.exit_code(), 1, "{name} is a violation");
    let mut example = valid();
    let judged = Judged {
        name: "broken".into(),
        about: format!("a history that is known to be broken: {name}"),
        history: "history-broken.jsonl".into(),
        ok: 1,
        failed: 0,
        unknown: 0,
        ok_after_healing: 0,
        checks: vec![Check { rule: model.to_string(), verdict: verdict.clone() }],
    };
    example.results.reasons = vec![format!("broken, {model}: {verdict}")];
    (example.results.verdict, example.results.exit_code) = ("violation".into(), 1);
    example.results.workloads.insert(0, judged);
    example.histories.insert(0, ("broken".into(), events));
    example
}

/// Everything that comes from outside is markup, and there is some of everything.
pub(crate) fn hostile() -> Example {
    let text = || HOSTILE.to_owned();
    let mut example = valid();
    let results = &mut example.results;
    results.command = text();
    results.options = vec![(text(), text())];
    results.verdict = text();
    results.reasons = vec![format!("{HOSTILE}\n{HOSTILE}")];
    let operations: Vec<Event> = (0..3).flat_map(|n| hostile_operation(n, &text())).collect();
    let history = History::from_events(operations.clone()).unwrap();
    let explanation =
        Explanation { rule: text(), headline: text(), key: Some(HOSTILE.into()), operations: history.operations };
    let vacuous = Why::Vacuous { missing: text() };
    for judged in &mut results.workloads {
        (judged.name, judged.about, judged.history) = (text(), text(), text());
        judged.checks = vec![
            Check { rule: text(), verdict: Verdict::Invalid { explanation: explanation.clone() } },
            Check { rule: text(), verdict: Verdict::Unknown { why: vacuous.clone(), checked: Checked::default() } },
        ];
    }
    for coverage in &mut results.nemeses {
        (coverage.nemesis, coverage.about, coverage.not_covered) = (text(), text(), Some(text()));
    }
    for fault in &mut results.faults {
        (fault.nemesis, fault.what, fault.evidence) = (text(), text(), text());
    }
    for sighting in &mut results.sightings {
        sighting.what = text();
    }
    example.histories = vec![(text(), operations.clone()), (format!("{HOSTILE}2"), operations)];
    example
}

/// A hundred thousand operations under five hundred faults, and an explanation of thousands.
pub(crate) fn large() -> Example {
    let mut example = valid();
    let events = registers(20, 100_000);
    let history = History::from_events(events.clone()).unwrap();
    let explanation = Explanation {
        rule: "linearizable register".into(),
        headline: "no order of these operations gives the answers that were given".into(),
        key: Some("x".into()),
        operations: history.operations[40_000..43_000].to_vec(),
    };
    let results = &mut example.results;
    results.workloads[0].checks =
        vec![Check { rule: "linearizable".into(), verdict: Verdict::Invalid { explanation: explanation.clone() } }];
    results.reasons = vec![explanation.to_string()];
    (results.verdict, results.exit_code) = ("violation".into(), 1);
    let end_ms = events.last().unwrap().time / MS;
    results.ended_ns = events.last().unwrap().time;
    results.faults = (0..500)
        .map(|n| {
            let from = n * end_ms / 500;
            fault(if n % 2 == 0 { "kill" } else { "isolated-leader" }, "n1 hit", &[1], (from, from + end_ms / 400), 1)
        })
        .collect();
    example.histories[0].1 = events;
    example
}

fn fault(nemesis: &str, what: &str, nodes: &[u64], (from_ms, until_ms): (u64, u64), bites: u64) -> FaultBand {
    FaultBand {
        nemesis: nemesis.into(),
        what: what.into(),
        nodes: nodes.to_vec(),
        from_ns: from_ms * MS,
        until_ns: until_ms * MS,
        bites,
        evidence: format!("{bites} frames met it"),
    }
}

/// Workers that ask, each for itself; slow and often refused while a fault would be on. Always the same.
fn registers(workers: u64, operations: u64) -> Vec<Event> {
    let mut events = Vec::new();
    let mut process: Vec<u64> = (0..workers).collect();
    let mut next_process = workers;
    let mut lot = 12_345u64;
    let mut draw = |below: u64| {
        lot = lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (lot >> 33) % below
    };
    let mut clock = vec![SECOND; workers as usize];
    for n in 0..operations {
        let worker = (n % workers) as usize;
        let start = clock[worker] + (5 + draw(80)) * MS;
        let troubled = matches!(start / MS, 4_000..5_500 | 15_000..16_200);
        let lasting = if troubled { (40 + draw(600)) * MS } else { 300_000 + draw(100) * draw(100) * 1_000 };
        let key = format!("k{}", draw(6));
        let (f, value) = match draw(3) {
            0 => ("write", json!(n)),
            1 => ("cas", json!([n.saturating_sub(7), n])),
            _ => ("read", Value::Null),
        };
        let mut asked = Event::new(start, process[worker], Kind::Invoke, f);
        (asked.key, asked.value) = (Some(key.as_str().into()), value);
        let kind = match (troubled, draw(10)) {
            (true, 0..3) if f != "read" => Kind::Info,
            (true, 3..6) => Kind::Fail,
            (false, 0) if f == "cas" => Kind::Fail,
            _ => Kind::Ok,
        };
        let mut ended = Event { time: start + lasting, kind, ..asked.clone() };
        if kind == Kind::Ok && f == "read" {
            ended.value = json!(n / 2);
        } else if kind != Kind::Ok {
            ended.extra.insert("error".into(), "deadline exceeded; the last answer was UNAVAILABLE".into());
        }
        clock[worker] = start + lasting;
        events.extend([asked, ended]);
        if kind == Kind::Info {
            process[worker] = next_process;
            next_process += 1;
        }
    }
    events.sort_by_key(|event| event.time);
    events
}

/// Three clients that take turns at two locks; one sleeps through its lease.
fn locks() -> Vec<Event> {
    let mut events = Vec::new();
    for turn in 0..14u64 {
        let (process, lock, token) = (100 + turn % 3, ["jobs", "backup"][turn as usize % 2], 40 + turn * 3);
        let start = (1_200 + turn * 1_200) * MS;
        let mut event = |ms: u64, kind, f: &str, token: Option<u64>| {
            let mut event = Event::new(start + ms * MS, process, kind, f);
            (event.key, event.token) = (Some(lock.into()), token);
            events.push(event);
        };
        event(0, Kind::Invoke, "acquire", None);
        event(60, Kind::Ok, "acquire", Some(token));
        let (end, f) = if turn == 5 { (3_000, "lost") } else { (1_900, "release") };
        event(end, Kind::Invoke, f, Some(token));
        event(end + 5, Kind::Ok, f, Some(token));
    }
    events.sort_by_key(|event| event.time);
    events
}

fn hostile_operation(n: u64, text: &str) -> [Event; 2] {
    let mut asked = Event::new(SECOND + n * 500 * MS, n, Kind::Invoke, if n == 0 { "acquire" } else { text });
    (asked.key, asked.value) = (Some(text.into()), text.into());
    let mut ended =
        Event { time: asked.time + 300 * MS, kind: [Kind::Ok, Kind::Fail, Kind::Info][n as usize], ..asked.clone() };
    ended.value = format!("{text}{text}").into();
    (ended.node, ended.level, ended.token) = (Some(text.into()), Some(text.into()), Some(n));
    ended.extra.insert("error".into(), text.into());
    ended.extra.insert("lock".into(), text.into());
    [asked, ended]
}
