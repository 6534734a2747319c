//! Bugs are planted in a program of its own, to test the tests with. If one came into the program that people run, by a
//! feature that was left on, say, they would lose data by our own doing. So we look through its bytes, and turn the
//! switch.

use std::process::{Command, Output};

use ringfence_planted::{Bug, MARKER, VARIABLE};
use ringfence_tests::binary;

/// What in the bytes of a program comes from planted bugs.
fn traces(program: &[u8]) -> Vec<&'static str> {
    let words = Bug::ALL.map(Bug::name).into_iter().chain([MARKER, VARIABLE]);
    let contains = |word: &str| program.windows(word.len()).any(|bytes| bytes == word.as_bytes());
    words.filter(|word| contains(word)).collect()
}

/// The program, told to have a bug that does not exist: who knows of the switch refuses that.
fn told_nonsense() -> Output {
    let mut command = Command::new(binary("ringfence"));
    command.arg("version").env(VARIABLE, "no-such-bug").output().expect("a program of ours can be started")
}

#[test]
fn the_program_that_people_run_has_no_bug_on_purpose() {
    let program = std::fs::read(binary("ringfence")).expect("a program of ours can be read");
    assert_eq!(traces(&program), [""; 0], "`ringfence` was built with planted bugs");
    let output = told_nonsense();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// The test above can fail.
#[test]
fn every_trace_would_be_seen() {
    let words: Vec<&str> = Bug::ALL.map(Bug::name).into_iter().chain([MARKER, VARIABLE]).collect();
    for word in &words {
        assert_eq!(traces(format!("\u{7f}ELF {word}\0").as_bytes()), [*word]);
    }
    assert_eq!(traces(words.concat().as_bytes()), words);
    assert_eq!(traces(b"\x7fELF"), [""; 0]);
}
