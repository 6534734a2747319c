//! The page as a browser shows it, at both widths that it is made for.

use jepsen_checkers::Model;
use serde_json::Value;

use crate::chromium::Chromium;
use crate::example::{self, Example};

const WIDTHS: [u32; 2] = [1280, 800];

/// What the probe found out about the page in a window so wide.
fn probe(chromium: &Chromium, html: &str, width: u32) -> Value {
    let dom = chromium.open(html, width, include_str!("probe.js"));
    let begin = dom.find("<pre id=\"probe\">").expect("the probe ran to its end") + "<pre id=\"probe\">".len();
    let found = &dom[begin..begin + dom[begin..].find("</pre>").unwrap()];
    let found = found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&found).unwrap_or_else(|error| panic!("{error}: {found}"))
}

/// What holds for every page: its script ran, nothing was fetched, nothing is cut off, and all can be read.
fn is_well(found: &Value) {
    assert_eq!((&found["ready"], &found["error"]), (&"yes".into(), &Value::Null), "{found:#}");
    assert_eq!(found["fetched"], Value::Array(Vec::new()), "{found:#}");
    assert_eq!(found["images"], 0, "{found:#}");
    assert_eq!(found["wide"], 0, "it can be read without moving sideways: {found:#}");
    assert_eq!(found["empty"], 0, "every drawing has a size: {found:#}");
    assert_eq!(found["clipped"], Value::Array(Vec::new()), "{found:#}");
    assert_eq!(found["overlapping"], Value::Array(Vec::new()), "{found:#}");
}

#[test]
fn a_valid_run_is_drawn_and_can_be_looked_into() {
    let Some(chromium) = Chromium::find("a_valid_run_is_drawn_and_can_be_looked_into") else { return };
    let Example { results, .. } = &example::valid();
    for width in WIDTHS {
        let found = probe(&chromium, &example::valid().html(), width);
        is_well(&found);
        let sections: Vec<&str> = found["sections"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(sections, ["verdict", "plots", "faults", "leaders", "locks", "timeline"]);
        let bands: Vec<u64> = found["bands"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        assert_eq!(bands, vec![results.faults.len() as u64; 6], "as many bands as faults, in each of the drawings");
        let views = ["whole", "zoomed", "later", "fault"].map(|view| found[view].as_str().unwrap());
        assert!(views[0].starts_with("0 0 100000 "), "{views:?}");
        assert!(views[1].starts_with("33333"), "a third from the middle: {views:?}");
        assert!(views[2] != views[1] && views[3] != views[2] && views[3] != views[0], "{views:?}");
        assert_eq!(found["again"], found["whole"]);
        assert!(found["ticks"].as_u64() > Some(2), "a part has times of its own: {found:#}");
        assert_eq!((&found["dim"], &found["dimAgain"]), (&0.into(), &0.into()), "{found:#}");
    }
}

#[test]
fn a_violation_is_drawn() {
    let Some(chromium) = Chromium::find("a_violation_is_drawn") else { return };
    let all = [
        (Model::Register, "register-stale-read", WIDTHS[1]),
        (Model::Register, "register-split-brain-cas", WIDTHS[0]),
        (Model::Lock, "lock-two-holders", WIDTHS[1]),
    ];
    for (model, name, width) in all {
        let example = example::violation(model, name);
        let operations = example.results.workloads[0].checks[0].verdict.violation().unwrap().operations.len();
        let found = probe(&chromium, &example.html(), width);
        is_well(&found);
        assert_eq!(found["operations"], operations, "{name}: {found:#}");
        assert_eq!((&found["invisible"], &found["culprits"]), (&0.into(), &1.into()), "{name}: {found:#}");
    }
}

/// The browser's parser has the last word on what is markup.
#[test]
fn hostile_words_stay_words() {
    let Some(chromium) = Chromium::find("hostile_words_stay_words") else { return };
    let found = probe(&chromium, &example::hostile().html(), 1280);
    assert_eq!(
        (&found["ready"], &found["error"], &found["images"]),
        (&"yes".into(), &Value::Null, &0.into()),
        "{found:#}"
    );
    assert_eq!(found["sections"].as_array().map(Vec::len), Some(7), "{found:#}");
}

#[test]
fn a_long_run_can_be_opened() {
    let Some(chromium) = Chromium::find("a_long_run_can_be_opened") else { return };
    let found = probe(&chromium, &example::large().html(), 1280);
    assert_eq!(
        (&found["ready"], &found["error"], &found["wide"]),
        (&"yes".into(), &Value::Null, &0.into()),
        "{found:#}"
    );
    assert_eq!(found["operations"], 60, "{found:#}");
}
