//! `cargo xtask test [FILTER]`: builds everything and runs every test.
//!
//! One profile, release, for everything. With one exception: many of openraft's invariants are `debug_assert`s, so
//! raft-host's tests, with openraft's storage suite on our stores, run once more with debug assertions on. That build links
//! the RocksDB that the release build has already compiled (see [`debug_suite`]).

use std::time::Instant;

use crate::cargo::{Built, Cargo};
use crate::failure::{Context, Outcome, fail};
use crate::{prerequisites, say};

/// Runs all tests, or those whose name contains `filter`.
pub(crate) fn run(filter: Option<&str>) -> Outcome {
    let begun = Instant::now();
    prerequisites::ensure()?;
    let cargo = Cargo::find()?;
    // The whole-cluster tests start the real programs, so these come first.
    let built = cargo.build(&["--workspace", "--all-targets"])?;

    if let Some(filter) = filter {
        unit_and_cluster_tests(&cargo, &[filter])?;
        say::note("Only the tests that match were run; doc tests and the debug storage suite were not.");
        return Ok(());
    }
    unit_and_cluster_tests(&cargo, &[])?;
    cargo.run(&["test", "--release", "--workspace", "--doc", "--no-fail-fast"], &[])?;
    debug_suite(&cargo, &built)?;
    say::step(format!("all tests passed in {}", say::duration(begun.elapsed())));
    Ok(())
}

fn unit_and_cluster_tests(cargo: &Cargo, filter: &[&str]) -> Outcome {
    if cargo.has("nextest") {
        cargo.run(&[&["nextest", "run", "--release", "--workspace", "--no-fail-fast"], filter].concat(), &[])
    } else {
        say::note("`cargo nextest` is not installed; `cargo test` runs the same tests, a little slower.");
        cargo.run(&[&["test", "--release", "--workspace", "--all-targets", "--no-fail-fast"], filter].concat(), &[])
    }
}

/// raft-host's tests, openraft's storage suite among them, with debug assertions.
///
/// `librocksdb-sys` links an existing `librocksdb.a` when `ROCKSDB_LIB_DIR` and `ROCKSDB_STATIC` are set. Its bindings come from the
/// headers that the crate carries, in both builds the same, so library and headers fit. The variables are set for this one
/// command only: seen by a release build they would make cargo compile RocksDB again when they are gone.
fn debug_suite(cargo: &Cargo, built: &Built) -> Outcome {
    let suite = ["test", "--package", "ringfence-raft-host", "--lib"];
    let rocksdb = built.rocksdb.as_deref().map(|dir| dir.to_string_lossy().into_owned());
    // Less debug information: nobody steps through this build, and it is compiled in half the time.
    let mut env = vec![("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")];
    if let Some(rocksdb) = &rocksdb {
        env.extend([("ROCKSDB_LIB_DIR", rocksdb.as_str()), ("ROCKSDB_STATIC", "1")]);
    }
    cargo.run(&suite, &env)?;
    // A suite that was renamed away would pass by not being there.
    let list = cargo.command(&suite).args(["--quiet", "--", "--list"]).envs(env).output().context("listing tests")?;
    if !String::from_utf8_lossy(&list.stdout).contains("storage_suite") {
        return fail("openraft's storage suite is not among raft-host's tests any more; tell xtask where it went");
    }
    Ok(())
}
