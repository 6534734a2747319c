//! What can be seen without a browser.

use jepsen_checkers::Model;

use crate::example::{self, HOSTILE};

fn count(html: &str, part: &str) -> usize {
    html.matches(part).count()
}

/// The six sections of the page, in the order in which somebody asks.
#[test]
fn the_page_answers_in_order() {
    let html = example::violation(Model::Register, "register-stale-read").html();
    let sections = ["verdict", "plots", "faults", "leaders", "locks", "timeline", "anomalies"];
    let places = sections.map(|id| html.find(&format!("<section id=\"{id}\"")).unwrap_or_else(|| panic!("no {id}")));
    assert!(places.is_sorted(), "{places:?}");
    assert!(!example::valid().html().contains("<section id=\"anomalies\""), "nothing went wrong, so nothing says so");
}

/// Whatever a key, a value or a message holds, it is text. The page's own markup has neither an image nor a second
/// script.
#[test]
fn nothing_from_outside_is_markup() {
    let html = example::hostile().html();
    assert!(html.contains("&lt;/script&gt;"), "it is shown, as text");
    assert_eq!(count(&html, "<script"), 1);
    assert_eq!(count(&html, "</script"), 1);
    assert_eq!(count(&html, "<img"), 0);
    assert!(!html.contains(HOSTILE));
    assert_eq!(count(&html, "onerror=\""), 0, "not between the quotes of an attribute, either");
}

/// Nothing is fetched, and the browser is told not to.
#[test]
fn the_page_is_one_file() {
    for html in [
        example::valid().html(),
        example::violation(Model::Tokens(Default::default()), "tokens-stale-write-accepted").html(),
    ] {
        for fetches in [" src=", "url(", "@import", "<link", "<iframe", "fetch(", "import("] {
            assert_eq!(count(&html, fetches), 0, "{fetches}");
        }
        for (at, _) in html.match_indices(" href=\"") {
            assert!(html[at..].starts_with(" href=\"#"), "{}", &html[at..at + 40]);
        }
        assert!(html.contains("content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\""));
        // The name of SVG's words, which a script needs, and nothing else that looks like an address.
        assert_eq!(count(&html, "http"), count(&html, "http://www.w3.org/2000/svg") + count(&html, "http-equiv"));
    }
}

/// Every fault is a band, once for the drawings of the whole run and once more in each that shows a part, and a row.
#[test]
fn faults_are_bands_and_rows() {
    let example = example::valid();
    let html = example.html();
    let definitions = &html[html.find("class=\"definitions\"").unwrap()..html.find("<main>").unwrap()];
    assert_eq!(count(definitions, "data-fault="), example.results.faults.len());
    assert_eq!(count(definitions, "class=\"tint"), example.results.faults.len());
    assert_eq!(count(definitions, "toothless"), 1, "one did not bite, and does not look as if it had");
    // Two plots, the leaders, the locks of one workload, two timelines.
    assert_eq!(count(&html, "<use href=\"#bands\"/>"), 6);
    let table = &html[html.find("<table class=\"faults\">").unwrap()..];
    let table = &table[..table.find("</table>").unwrap()];
    assert_eq!(count(table, "<tr data-from="), example.results.faults.len());
    assert!(table.contains("412 frames met it"), "the evidence is told");
}

/// Every operation of a small history is a bar; of a large one a part, and the page says which.
#[test]
fn what_is_left_out_is_told() {
    let example = example::valid();
    let html = example.html();
    let timeline = &html[html.find("<section id=\"timeline\"").unwrap()..];
    let bars =
        |html: &str| ["o", "f", "u"].map(|class| count(html, &format!("<rect class=\"{class}"))).iter().sum::<usize>();
    assert_eq!(bars(timeline), 1_500 + 28);
    assert!(!timeline.contains("left-out"));

    let html = example::large().html();
    assert!(html.len() < 3_000_000, "{} bytes", html.len());
    let timeline =
        &html[html.find("<section id=\"timeline\"").unwrap()..html.find("<section id=\"anomalies\"").unwrap()];
    assert!((2_000..=5_000).contains(&bars(timeline)), "{}", bars(timeline));
    assert!(timeline.contains("Drawn are 2,500 of 100,000 operations"));
    assert!(timeline.contains("around what went wrong"));
    assert!(timeline.contains("class=\"o hit\""), "what went wrong lies in what is drawn");
    let anomalies = &html[html.find("<section id=\"anomalies\"").unwrap()..];
    assert_eq!(count(anomalies, " data-op="), 60);
    assert!(anomalies.contains("2,940 operations in the middle are not drawn"));
    assert!(html.contains("100 later faults are left out"));
}

/// For each way to break a promise that we know: the sentence is there, its operations are drawn, and one of them is
/// marked: that of which the sentence speaks first.
#[test]
fn every_known_violation_is_drawn() {
    let folder = format!("{}/checkers/tests/histories/bad", env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        let name = file.strip_suffix(".jsonl").unwrap();
        let model = match name.split('-').next().unwrap() {
            "bounded" => Model::Counter { min: Some(0) },
            model => model.parse().unwrap(),
        };
        let example = example::violation(model, name);
        let html = example.html();
        let explanation = example.results.workloads[0].checks[0].verdict.violation().unwrap();
        let anomaly = &html[html.find("<article class=\"anomaly\"").unwrap()..];
        assert_eq!(count(anomaly, " data-op="), explanation.operations.len(), "{name}");
        assert_eq!(count(anomaly, " culprit\""), 1, "{name}: {}", explanation.headline);
        assert_eq!(count(anomaly, "<tr class=\"culprit\""), 1, "{name}");
        let row = &anomaly[anomaly.find("<tr class=\"culprit\"").unwrap()..];
        let process = &row[row.find("row\">").unwrap() + 5..row.find(" ◀").unwrap()];
        let spoken_of = explanation.headline.find(&format!("process {process}"));
        let before = explanation.headline.find("process ");
        // A sentence about all of them names none, or two at once.
        if !explanation.headline.starts_with("token") {
            assert_eq!(spoken_of, before, "{name}: {}", explanation.headline);
        }
        seen += 1;
    }
    assert!(seen > 30, "{seen}");
}

/// A run that broke before anything was asked has a page, too; and so has one whose history is malformed.
#[test]
fn a_run_that_broke_early_has_a_page() {
    let mut example = example::valid();
    let results = &mut example.results;
    (results.verdict, results.exit_code) = ("harness".into(), 3);
    results.reasons = vec!["the harness broke: there is no ringfence".into()];
    (results.ended_ns, results.worked_ns) = (0, (0, 0));
    results.workloads.clear();
    results.faults.clear();
    results.sightings.clear();
    results.nemeses.clear();
    results.cluster.clear();
    example.histories = vec![("register".into(), Vec::new())];
    let html = example.html();
    for words in ["The harness broke", "there is no ringfence", "No fault was inflicted", "Nothing was asked"] {
        assert!(html.contains(words), "{words}");
    }
    let mut malformed = example::valid();
    malformed.histories[0].1.remove(0);
    assert!(malformed.html().contains("Its history is malformed"));
}
