//! A few rounds of `cargo xtask crash` in the ordinary tests, so that the harness itself is not forgotten, and a gross loss is
//! seen at once. The numbers that prove something are in `README.md` beside `Cargo.toml`.

use std::process::{Command, Output};

use ringfence_tests::binary;

fn crash_rounds(args: &[&str]) -> Output {
    let output = Command::new(binary("crash_rounds")).args(args).output().expect("it can be started");
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn a_few_rounds_of_kills_keep_every_promise() {
    let output = crash_rounds(&["--kills", "6", "--seed", "11", "--clusters", "1"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_few_power_losses_keep_every_promise() {
    let output = crash_rounds(&["--power-losses", "3", "--seed", "11", "--clusters", "1"]);
    if output.status.code() == Some(2) {
        println!("power losses were NOT COVERED on this machine");
        return;
    }
    assert_eq!(output.status.code(), Some(0));
}

/// Who runs it by hand must not take a typing mistake for a proof.
#[test]
fn asking_for_nothing_is_no_success() {
    for args in [&[][..], &["--kill", "6"], &["--kills", "six"], &["--power-losses"]] {
        assert_eq!(crash_rounds(args).status.code(), Some(3), "{args:?}");
    }
}
