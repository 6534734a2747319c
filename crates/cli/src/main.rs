//! `ringctl`: see the library for everything.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringfence_cli::main().into()
}
