//! `cargo xtask ci`: what `.ci/run` runs. Build, test, clippy, fmt, doc, in that order: the first thing that fails is the
//! one worth reading.

use crate::cargo::Cargo;
use crate::failure::{Outcome, fail};
use crate::{say, test};

/// The code that only the program with bugs on purpose has.
const PLANTED: &str = "--features=ringfence-server/planted-bugs";

pub(crate) fn run() -> Outcome {
    let cargo = Cargo::find()?;
    test::run(None)?;

    // In the release profile too: another one would compile RocksDB a second time.
    if component(&cargo, "clippy")? {
        cargo.run(&["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])?;
        cargo.run(&["clippy", "--release", "--bin", "ringfence-planted", PLANTED, "--", "-D", "warnings"], &[])?;
    }
    if component(&cargo, "fmt")? {
        cargo.run(&["fmt", "--all", "--check"], &[])?;
    }
    cargo.run(&["doc", "--release", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])?;
    say::step("ci passed");
    Ok(())
}

/// Whether the toolchain has a component. On CI a missing one fails: a check that is skipped there is never seen again.
fn component(cargo: &Cargo, name: &str) -> Outcome<bool> {
    if cargo.has(name) {
        return Ok(true);
    }
    let package = if name == "fmt" { "rustfmt" } else { name };
    let remedy = format!("`cargo {name}` is missing; install it with `rustup component add {package}`");
    if std::env::var_os("CI").is_some() {
        return fail(remedy);
    }
    say::step(format!("SKIPPED: {remedy}"));
    Ok(false)
}
