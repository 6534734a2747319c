//! The program `jepsen-lite`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jepsen_lite::check::Check;

const EXIT_CODES: &str = "\
Exit codes:
  0  valid
  1  violation
  2  unknown or vacuous: never a pass
  3  the harness broke, or its input is malformed";

/// Refutes what Ringfence promises, if that can be done.
#[derive(Debug, Parser)]
#[command(name = "jepsen-lite", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
struct JepsenLite {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(Check),
}

fn main() -> ExitCode {
    let args = match JepsenLite::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            // Clap's own code for bad usage is 2, which here means a verdict.
            return ExitCode::from(if error.use_stderr() { 3 } else { 0 });
        }
    };
    let Command::Check(check) = args.command;
    let mut out = io::stdout().lock();
    match check.run(&mut out).and_then(|code| out.flush().map(|()| code).map_err(|error| error.to_string())) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            eprintln!("jepsen-lite: {problem}");
            ExitCode::from(3)
        }
    }
}
