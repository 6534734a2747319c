//! Tens of thousands of real records, that nobody made up for this: the machine's own package index, or else the lines of
//! the source code that this very build has downloaded.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Context, Outcome, fail};
use crate::json::quote;
use crate::{prerequisites, say};

/// Fewer would not be the main job.
pub(crate) const RECORDS_MIN: usize = 50_000;

/// More source lines than this are not taken.
const SOURCE_LINES: usize = 60_000;

/// Records to import.
pub(crate) struct Records {
    /// What they are, for people.
    pub(crate) source: String,
    /// What all their keys begin with.
    pub(crate) prefix: &'static str,
    /// Values by key.
    pub(crate) records: BTreeMap<String, String>,
}

impl Records {
    /// Looks for enough real records on this machine.
    pub(crate) fn find() -> Outcome<Records> {
        if let Some(packages) = package_index()? {
            return Ok(packages);
        }
        say::note("This machine has no package index of that size; taking source lines of the crates in this build.");
        let sources = cargo_home().join("registry/src");
        let records = source_lines(&sources);
        if records.len() < RECORDS_MIN {
            return fail(format!(
                "only {} source lines below {}; needed are {}. Run `cargo fetch` here, then this again",
                say::thousands(records.len()),
                sources.display(),
                say::thousands(RECORDS_MIN)
            ));
        }
        Ok(Records { source: "source lines of the crates in this build".into(), prefix: "src/", records })
    }

    /// Writes them as `ringctl import` reads them: one JSON object a line.
    pub(crate) fn write(&self, file: &Path) -> Outcome {
        let mut lines = Vec::new();
        for (key, value) in &self.records {
            writeln!(lines, r#"{{"key":{},"value":{}}}"#, quote(key), quote(value)).expect("memory takes every write");
        }
        fs::write(file, lines).context(format!("writing {}", file.display()))
    }
}

/// The index of Debian and Ubuntu, if it has enough packages.
fn package_index() -> Outcome<Option<Records>> {
    if !prerequisites::on_path("apt-cache") {
        return Ok(None);
    }
    let mut records = packages(&dump_index()?);
    if records.len() < RECORDS_MIN && prerequisites::is_root() {
        say::note("the package index is empty or small; fetching it");
        // Offline is no reason to stop: there are the source lines.
        match prerequisites::apt_get(&["update", "--quiet"]) {
            Ok(()) => records = packages(&dump_index()?),
            Err(problem) => say::note(problem.0),
        }
    }
    let source = "packages of this machine's own package index (apt-cache dumpavail)".into();
    Ok((records.len() >= RECORDS_MIN).then_some(Records { source, prefix: "pkg/", records }))
}

fn dump_index() -> Outcome<String> {
    let mut command = Command::new("apt-cache");
    let output = command.arg("dumpavail").stderr(Stdio::null()).output().context("cannot run `apt-cache dumpavail`")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `pkg/NAME` → version and description, from stanzas separated by empty lines. Of several versions the first counts.
fn packages(index: &str) -> BTreeMap<String, String> {
    let mut packages = BTreeMap::new();
    for stanza in index.split("\n\n") {
        let (mut name, mut version, mut description) = ("", "", "");
        for line in stanza.lines() {
            // A line that begins with a blank continues the field above it.
            match line.split_once(':') {
                Some(("Package", text)) => name = text.trim(),
                Some(("Version", text)) => version = text.trim(),
                Some(("Description" | "Description-en", text)) => description = text.trim(),
                _ => {}
            }
        }
        if !name.is_empty() {
            packages.entry(format!("pkg/{name}")).or_insert_with(|| format!("{version} {description}"));
        }
    }
    packages
}

/// Where cargo keeps what it downloads.
fn cargo_home() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// `src/CRATE/FILE:LINE` → the line, of every Rust file below the registries' folders, empty lines left out.
fn source_lines(sources: &Path) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    let mut folders: Vec<(PathBuf, PathBuf)> = Vec::new();
    for registry in sorted(sources) {
        folders.extend(sorted(&registry).into_iter().map(|krate| (registry.clone(), krate)));
    }
    folders.reverse(); // taken from the end
    while let Some((registry, path)) = folders.pop() {
        if lines.len() >= SOURCE_LINES {
            break;
        }
        if path.is_dir() {
            folders.extend(sorted(&path).into_iter().rev().map(|child| (registry.clone(), child)));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(&registry).unwrap_or(&path).display().to_string();
            let Ok(text) = fs::read_to_string(&path) else { continue };
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                lines.insert(format!("src/{name}:{}", number + 1), line.to_string());
            }
        }
    }
    lines
}

fn sorted(dir: &Path) -> Vec<PathBuf> {
    let mut children: Vec<PathBuf> = dir.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    children.sort();
    children
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_index_becomes_one_record_per_name() {
        let index = "Package: 0ad\nVersion: 0.0.26-3\nDescription: Real-time strategy game\n continued: not a field\n\n\
                     Package: libé\nVersion: 2\n\nPackage: 0ad\nVersion: 0.0.25\nDescription: older\n\n";
        let expected = [("pkg/0ad", "0.0.26-3 Real-time strategy game"), ("pkg/libé", "2 ")];
        assert_eq!(packages(index), expected.map(|(k, v)| (k.to_string(), v.to_string())).into());
    }

    #[test]
    fn source_lines_are_named_by_crate_file_and_line() {
        let root = std::env::temp_dir().join(format!("xtask-records-{}", std::process::id()));
        let folder = root.join("a-registry/bytes-1.0.0/src");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("lib.rs"), "//! Bytes.\n\npub fn f() {}\n").unwrap();
        fs::write(folder.join("README.md"), "not Rust\n").unwrap();
        let expected =
            [("src/bytes-1.0.0/src/lib.rs:1", "//! Bytes."), ("src/bytes-1.0.0/src/lib.rs:3", "pub fn f() {}")];
        assert_eq!(source_lines(&root), expected.map(|(k, v)| (k.to_string(), v.to_string())).into());
        fs::remove_dir_all(&root).unwrap();
    }
}
