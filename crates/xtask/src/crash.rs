//! `cargo xtask crash`: builds, and becomes `crash_rounds` of the whole-cluster tests, which kills servers and cuts the power
//! of disks. It *becomes* it, so that exit codes and Ctrl-C are the program's own.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::cargo::Cargo;
use crate::failure::{Context, Outcome, fail};
use crate::{prerequisites, say};

/// Does not return unless it failed. The arguments are the program's.
pub(crate) fn run(args: &[&str]) -> Outcome<Infallible> {
    prerequisites::ensure()?;
    // All targets, as the tests do: with other features of shared crates in between, each would undo the other's build.
    let mut built = Cargo::find()?.build(&["--workspace", "--all-targets"])?;
    let Some(program) = built.executables.remove("crash_rounds") else {
        return fail("the build made no `crash_rounds`; is the checkout complete?");
    };
    say::step(format!("crash_rounds {}", args.join(" ")));
    Err(Command::new(&program).args(args).exec()).context(format!("cannot run {}", program.display()))
}
