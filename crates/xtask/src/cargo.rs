//! Runs cargo for the tasks: always the release profile, always one target directory, with signs of life.
//!
//! Every build selects the whole workspace. Cargo unifies the features of dependencies over what is selected, so selecting
//! less can mean other features, other hashes, and another quarter of an hour of RocksDB.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::failure::{Context, Outcome, fail};
use crate::json::Json;
use crate::say::{self, StillAtIt};

/// Cargo, in this workspace.
pub(crate) struct Cargo {
    program: PathBuf,
    root: PathBuf,
    target: PathBuf,
}

/// What a build made.
#[derive(Default)]
pub(crate) struct Built {
    /// Programs by name.
    pub(crate) executables: BTreeMap<String, PathBuf>,
    /// Where `librocksdb-sys` put its `librocksdb.a`; `None` if it was told to use an installed library.
    pub(crate) rocksdb: Option<PathBuf>,
}

impl Cargo {
    /// Asks cargo where the workspace and its target directory are.
    pub(crate) fn find() -> Outcome<Cargo> {
        let program = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        let mut metadata = Command::new(&program);
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]).stderr(Stdio::inherit());
        let output = metadata.output().context("cannot run cargo; install Rust from https://rustup.rs")?;
        if !output.status.success() {
            return fail("`cargo metadata` failed; run `cargo xtask` inside the checkout");
        }
        let metadata = Json::parse(&String::from_utf8_lossy(&output.stdout)).context("reading `cargo metadata`")?;
        let path = |member| metadata.get(member).and_then(Json::str).map(PathBuf::from);
        match (path("workspace_root"), path("target_directory")) {
            (Some(root), Some(target)) => Ok(Cargo { program, root, target }),
            _ => fail("`cargo metadata` names no workspace and target directory; is this cargo too old?"),
        }
    }

    /// A command at the root of the workspace.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.root).args(args);
        // `cargo run` describes xtask in the environment. Passed on, it would make a build started from here differ from the
        // same one started by hand.
        for (name, _) in std::env::vars_os() {
            let about_xtask = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
            if about_xtask.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
    }

    /// Whether cargo knows a subcommand, such as `nextest` or `clippy`.
    pub(crate) fn has(&self, subcommand: &str) -> bool {
        let mut command = self.command(&[subcommand, "--version"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Runs cargo with its output shown, and fails if it fails.
    pub(crate) fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Outcome {
        let shown: String = env.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        let line = format!("{shown}cargo {}", args.join(" "));
        say::step(&line);
        let begun = Instant::now();
        let _alive = StillAtIt::start(args[0]);
        let status = self.command(args).envs(env.iter().copied()).status().context(format!("cannot run `{line}`"))?;
        if !status.success() {
            return fail(format!("`{line}` failed ({status}); its own output above says why"));
        }
        say::note(format!("done in {}", say::duration(begun.elapsed())));
        Ok(())
    }

    /// Builds in the release profile and tells what was made.
    pub(crate) fn build(&self, args: &[&str]) -> Outcome<Built> {
        let line = format!("cargo build --release {}", args.join(" "));
        say::step(&line);
        if !self.has_rocksdb() {
            say::note("RocksDB is compiled the first time: 10 to 25 minutes. After that builds take a minute or two.");
        }
        self.build_quietly(&line, args, &self.target)
    }

    /// Builds the workspace in a directory of the checkout that is a workspace of its own. Its target directory lies in
    /// ours, so it is kept and removed with it.
    pub(crate) fn build_apart(&self, directory: &str) -> Outcome<Built> {
        let manifest = format!("{directory}/Cargo.toml");
        let line = format!("cargo build --release --manifest-path {manifest}");
        say::step(&line);
        self.build_quietly(&line, &["--manifest-path", &manifest], &self.target.join(directory))
    }

    /// Where builds go.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    fn build_quietly(&self, line: &str, args: &[&str], target: &Path) -> Outcome<Built> {
        say::note(format!("target directory: {}", target.display()));
        let begun = Instant::now();
        let _alive = StillAtIt::start("build");
        let mut command = self.command(&["build", "--release", "--message-format", "json-render-diagnostics"]);
        command.arg("--target-dir").arg(target);
        let mut child = command.args(args).stdout(Stdio::piped()).spawn().context(format!("cannot run `{line}`"))?;
        let mut built = Built::default();
        for message in BufReader::new(child.stdout.take().expect("stdout is piped")).lines() {
            built.learn(&message.context("reading what cargo says")?)?;
        }
        let status = child.wait().context("waiting for cargo")?;
        if !status.success() {
            return fail(format!("`{line}` failed ({status}); the compiler's messages above say why"));
        }
        say::note(format!("built in {}", say::duration(begun.elapsed())));
        Ok(built)
    }

    /// Whether some RocksDB was compiled here before. Only decides whether to warn about the wait.
    fn has_rocksdb(&self) -> bool {
        let Ok(builds) = self.target.join("release/build").read_dir() else { return false };
        builds.flatten().any(|build| build.path().join("out/librocksdb.a").exists())
    }
}

impl Built {
    /// Takes in one of cargo's JSON messages.
    fn learn(&mut self, message: &str) -> Outcome {
        if !message.starts_with('{') {
            return Ok(());
        }
        let message = Json::parse(message).context("reading what cargo says")?;
        let text = |member| message.get(member).and_then(Json::str);
        match text("reason") {
            Some("compiler-artifact") => {
                let name = message.get("target").and_then(|target| target.get("name")).and_then(Json::str);
                if let (Some(name), Some(path)) = (name, text("executable").map(PathBuf::from)) {
                    // The tests of a program have its name too, but a hash in that of their file.
                    if path.file_stem().is_some_and(|stem| stem == name) {
                        self.executables.insert(name.into(), path);
                    }
                }
            }
            Some("build-script-executed") if text("package_id").is_some_and(|id| id.contains("librocksdb-sys")) => {
                self.rocksdb = text("out_dir").map(PathBuf::from).filter(|out| out.join("librocksdb.a").exists());
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These are cargo's messages as version 1.95 prints them, shortened.
    #[test]
    fn a_build_tells_where_its_programs_are() {
        let mut built = Built::default();
        for message in [
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"ringfence_cli"},"executable":null}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"ringctl"},"executable":"/t/release/ringctl"}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"ringctl"},"executable":"/t/release/deps/ringctl-1a2b"}"#,
            r#"{"reason":"build-script-executed","package_id":"registry+x#librocksdb-sys@0.19.0","out_dir":"/nowhere"}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "a line that is none of cargo's",
        ] {
            built.learn(message).unwrap();
        }
        assert_eq!(built.executables, BTreeMap::from([("ringctl".into(), PathBuf::from("/t/release/ringctl"))]));
        assert_eq!(built.rocksdb, None, "there is no archive in that directory");
    }
}
