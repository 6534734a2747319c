//! Keeps the code map honest: what `crates/README.md` says about dependencies is what the manifests say.
//!
//! An arrow that is drawn by accident is noticed here, and one that is meant changes the map in the same commit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn crates() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo runs this"))
        .parent()
        .expect("xtask lies in `crates`")
        .into()
}

/// What a manifest's `[dependencies]` name.
fn dependencies(manifest: &str) -> BTreeSet<&str> {
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| Some(line.split_once('=')?.0.trim().trim_end_matches(".workspace"))).collect()
}

/// Directory → what it may depend on, from the table of the code map.
fn arrows(map: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let rows = map.lines().filter_map(|line| line.strip_prefix("| [`")?.split_once('`'));
    rows.map(|(directory, row)| {
        let may = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        (directory, may.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "–").collect())
    })
    .collect()
}

/// Every crate by its directory's name, with its manifest.
fn manifests() -> BTreeMap<String, String> {
    let entries = fs::read_dir(crates()).unwrap().map(|entry| entry.unwrap().path());
    let manifest = |dir: PathBuf| {
        let text = fs::read_to_string(dir.join("Cargo.toml")).ok()?;
        Some((dir.file_name()?.to_str()?.to_string(), text))
    };
    entries.filter_map(manifest).collect()
}

#[test]
fn crates_depend_only_on_what_the_code_map_says() {
    let map = fs::read_to_string(crates().join("README.md")).unwrap();
    let arrows = arrows(&map);
    let manifests = manifests();
    assert!(manifests.len() > 5, "found only {:?}", manifests.keys());
    for (name, manifest) in &manifests {
        let may = arrows.get(name.as_str()).unwrap_or_else(|| panic!("crates/README.md has no row for `{name}`"));
        let ours = dependencies(manifest).into_iter().filter_map(|dependency| dependency.strip_prefix("ringfence-"));
        for other in ours {
            assert!(may.contains(other), "`{name}` depends on `{other}`, which crates/README.md does not allow");
        }
    }
}

#[test]
fn what_few_crates_may_name_is_named_by_no_other() {
    for (name, manifest) in manifests() {
        let dependencies = dependencies(&manifest);
        // `limits` measures RocksDB itself, without anything of ours above it.
        for (library, owners) in [("openraft", &["raft-host"][..]), ("rocksdb", &["storage", "limits"])] {
            let may = owners.contains(&name.as_str());
            assert!(!dependencies.contains(library) || may, "`{name}` names {library}; only {owners:?} may");
        }
        if name == "xtask" {
            assert_eq!(dependencies, BTreeSet::new(), "xtask must build where nothing else can be built yet");
        }
    }
}

/// The two tests above can fail.
#[test]
fn a_forbidden_arrow_is_seen() {
    let map = "| directory | owns | may depend on |\n|---|---|---|\n| [`types`](types) | words | – |\n\
               | [`router`](router) | a, b | types, other |\n";
    assert_eq!(arrows(map)["types"], BTreeSet::new());
    assert_eq!(arrows(map)["router"], BTreeSet::from(["other", "types"]));
    let manifest = "[package]\nname = \"x\"\n\n[dependencies]\nringfence-client.workspace = true\n# a comment\n\
                    rocksdb = { version = \"1\" }\n\n[dev-dependencies]\ntempfile.workspace = true\n";
    assert_eq!(dependencies(manifest), BTreeSet::from(["ringfence-client", "rocksdb"]));
}
