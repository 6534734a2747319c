//! Two clients, one key, one revision: exactly one compare-and-set may win, and the other must be told so.

use std::process::Stdio;

use crate::failure::{Context, Outcome, fail};
use crate::ringctl::{EXIT_REFUSED, Ringctl};
use crate::say;

/// Processes do not start at the same microsecond, so one round could be luck.
const ROUNDS: usize = 20;

const KEY: &str = "demo/seat-12A";

/// Runs the rounds; fails at the first that has no single winner.
pub(crate) fn run(ringctl: &Ringctl) -> Outcome {
    let mut first_started_won = 0;
    for round in 1..=ROUNDS {
        ringctl.text(&["put", KEY, "free"])?;
        let revision = ringctl.revision(KEY)?;
        let names = ["alice", "bob"];
        // Both are started before either is waited for.
        let started = names.map(|name| {
            let mut command = ringctl.command(&["cas", KEY, "--revision", &revision, "--put", name]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start `ringctl cas`")
        });
        let mut codes = Vec::new();
        let mut errors = Vec::new();
        for process in started {
            let output = process?.wait_with_output().context("waiting for `ringctl cas`")?;
            codes.push(output.status.code());
            errors.push(String::from_utf8_lossy(&output.stderr).trim().to_string());
        }
        let winner = match codes[..] {
            [Some(0), Some(EXIT_REFUSED)] => 0,
            [Some(EXIT_REFUSED), Some(0)] => 1,
            _ => {
                return fail(format!(
                    "round {round}: one must win and one be refused, but the exit codes were {codes:?}: {errors:?}"
                ));
            }
        };
        let holder = ringctl.value(KEY)?;
        if holder != names[winner] {
            return fail(format!("round {round}: {} was told it won, but the key holds {holder:?}", names[winner]));
        }
        first_started_won += usize::from(winner == 0);
        if round == 1 {
            say::note(format!("{} won (exit code 0), {} was refused (exit code 4):", names[winner], names[1 - winner]));
            for line in errors[1 - winner].lines() {
                say::note(format!("  {line}"));
            }
        }
    }
    say::note(format!(
        "{ROUNDS} rounds: one winner each time ({first_started_won} alice, {} bob), and the key held what the winner wrote",
        ROUNDS - first_started_won
    ));
    Ok(())
}
