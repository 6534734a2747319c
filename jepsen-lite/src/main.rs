//! The program `jepsen-lite`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jepsen_lite::all::All;
use jepsen_lite::check::Check;
use jepsen_lite::list::list;
use jepsen_lite::planted::Planted;
use jepsen_lite::run::{self, RunOptions};
use jepsen_lite::soak::Soak;
use jepsen_lite::trouble::Trouble;

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
    /// Run workloads and nemeses against a real cluster, and judge what came of it.
    Run(RunOptions),
    All(All),
    Soak(Soak),
    Planted(Planted),
    /// What there is to run, and what to break.
    List,
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
    let outcome = match args.command {
        Command::Check(check) => checked(check),
        Command::Run(options) => wait_for(ran(options)),
        Command::All(all) => wait_for(all.run()),
        Command::Soak(soak) => wait_for(soak.run()),
        Command::Planted(planted) => wait_for(planted.run()),
        Command::List => list(&mut io::stdout().lock()).map(|()| 0).map_err(|error| error.to_string()),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            eprintln!("jepsen-lite: {problem}");
            ExitCode::from(3)
        }
    }
}

fn checked(check: Check) -> Result<u8, String> {
    let mut out = io::stdout().lock();
    let code = check.run(&mut out)?;
    out.flush().map_err(|error| error.to_string())?;
    Ok(code)
}

async fn ran(options: RunOptions) -> Result<u8, Trouble> {
    let run::Ended { results, dir } = run::run(options, &mut |line| println!("{line}")).await?;
    println!("{results}\nreport: {}", dir.join("report.html").display());
    Ok(results.exit_code)
}

fn wait_for(course: impl Future<Output = Result<u8, Trouble>>) -> Result<u8, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("no runtime: {error}"))?;
    runtime.block_on(course).map_err(|trouble| trouble.to_string())
}
