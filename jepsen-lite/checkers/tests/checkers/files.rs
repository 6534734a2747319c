//! The histories under `tests/histories`: a broken one must be found broken, in the words that stand in its first line.

use std::fs;
use std::path::Path;

use jepsen_checkers::{History, Model, Settings, judge};

/// `MODEL-what-happens.jsonl`; a first line `{"time":0,"process":"about",…,"value":"words"}` says what the verdict must contain.
fn judged(folder: &str) -> Vec<(String, String, Vec<String>)> {
    // Asked at run time: a test that was compiled in another checkout would look there.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo, which says where the package is");
    let path = Path::new(&package).join("tests/histories").join(folder);
    let mut all = Vec::new();
    for entry in fs::read_dir(path).expect("the folder is there") {
        let path = entry.expect("readable").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let model: Model = match name.split('-').next() {
            Some("bounded") => Model::Counter { min: Some(0) },
            Some(word) => word.parse().unwrap_or_else(|error| panic!("{name}: {error}")),
            None => panic!("{name}"),
        };
        let history = History::read(&fs::read(&path).expect("readable")[..]).unwrap_or_else(|e| panic!("{name}: {e}"));
        let verdict = judge(model, &history, Settings::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let words = history.marks.iter().filter_map(|mark| mark.value.as_str()).map(str::to_string).collect();
        all.push((name, verdict.to_string(), words));
    }
    all.sort();
    all
}

#[test]
fn good_histories_are_found_good() {
    let all = judged("good");
    assert!(all.len() >= 12, "only {} files", all.len());
    for (name, verdict, _) in all {
        assert!(verdict.starts_with("valid"), "{name}: {verdict}");
    }
}

#[test]
fn broken_histories_are_found_broken_in_plain_words() {
    let all = judged("bad");
    assert!(all.len() >= 20, "only {} files", all.len());
    for (name, verdict, words) in all {
        println!("{name}\n{verdict}");
        assert!(verdict.starts_with("violation"), "{name}: {verdict}");
        assert!(!words.is_empty(), "{name} does not say what to expect");
        for word in words {
            assert!(verdict.contains(&word), "{name}: expected {word:?} in\n{verdict}");
        }
    }
}
