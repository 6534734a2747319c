//! The binary `ringfence-planted`: `ringfence` with a bug on purpose, for those who test the tests. Never released.

use std::process::ExitCode;

use ringfence_planted::{Bug, MARKER, VARIABLE, plant};

fn main() -> ExitCode {
    match std::env::var_os(VARIABLE).map(|name| name.to_string_lossy().parse::<Bug>()) {
        None => eprintln!("{MARKER}, and none is planted: {VARIABLE} is not set"),
        Some(Ok(bug)) => {
            eprintln!("{MARKER}: {bug}. {}", bug.description());
            plant(bug);
        }
        Some(Err(unknown)) => {
            eprintln!("ringfence-planted: {VARIABLE}: {unknown}");
            return ExitCode::FAILURE;
        }
    }
    ringfence_server::program::main()
}
