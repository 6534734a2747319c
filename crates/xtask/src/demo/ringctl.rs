//! Runs `ringctl` and reads what it prints: the demo judges the cluster only from outside, with the program that its reader
//! will use.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::proof::Found;
use crate::failure::{Context, Outcome, fail};
use crate::json::Json;

/// The exit code for "certainly did not happen": condition failed, not found.
pub(crate) const EXIT_REFUSED: i32 = 4;

/// `ringctl`, with the endpoints of one cluster.
pub(crate) struct Ringctl {
    program: PathBuf,
    endpoints: String,
}

impl Ringctl {
    pub(crate) fn new(program: &Path, endpoints: &str) -> Ringctl {
        Ringctl { program: program.into(), endpoints: endpoints.into() }
    }

    /// The same program at another address.
    pub(crate) fn at(&self, endpoints: &str) -> Ringctl {
        Ringctl::new(&self.program, endpoints)
    }

    /// A command, ready to be given more.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--endpoints", &self.endpoints]).args(args).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn output(&self, args: &[&str]) -> Outcome<Output> {
        self.command(args).output().context(format!("cannot run {}", self.program.display()))
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub(crate) fn text(&self, args: &[&str]) -> Outcome<String> {
        let output = self.output(args)?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return fail(format!("`ringctl {}` failed ({}): {}", args.join(" "), output.status, errors.trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn json(&self, args: &[&str]) -> Outcome<Json> {
        Json::parse(&self.text(&[args, &["-w", "json"]].concat())?).context(format!("`ringctl {}`", args.join(" ")))
    }

    /// The data shards and the nodes that lead them.
    pub(crate) fn leaders(&self) -> Outcome<Vec<(u64, u64)>> {
        leaders(&self.json(&["shard", "list"])?)
    }

    /// Whether every node answers, every shard has a leader, and every replica has caught up.
    pub(crate) fn health(&self, nodes: u64) -> Outcome {
        health(&self.json(&["--command-timeout", "2s", "cluster", "status"])?, nodes)
    }

    /// The revision of a key, as `ringctl` wants it back.
    pub(crate) fn revision(&self, key: &str) -> Outcome<String> {
        match self.json(&["get", key])?.get("revision").and_then(Json::str) {
            Some(revision) => Ok(revision.into()),
            None => fail(format!("`ringctl get {key} -w json` printed no revision")),
        }
    }

    /// The value of a key.
    pub(crate) fn value(&self, key: &str) -> Outcome<String> {
        match self.json(&["get", key])?.get("value").and_then(Json::str) {
            Some(value) => Ok(value.into()),
            None => fail(format!("`ringctl get {key} -w json` printed no value")),
        }
    }

    /// Reads every page of a prefix into memory.
    pub(crate) fn scan(&self, prefix: &str, into: &Path) -> Outcome<Vec<Found>> {
        let file = File::create(into).context(format!("creating {}", into.display()))?;
        let mut command = self.command(&["scan", "--prefix", prefix, "-w", "ndjson"]);
        let child = command.stdout(file).stderr(Stdio::piped()).spawn().context("cannot run `ringctl scan`")?;
        let output = child.wait_with_output().context("waiting for `ringctl scan`")?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return fail(format!("`ringctl scan` failed ({}): {}", output.status, errors.trim()));
        }
        let file = File::open(into).context(format!("opening {}", into.display()))?;
        BufReader::new(file).lines().map(|line| found(&line.context("reading the scan")?)).collect()
    }
}

/// Of `ringctl shard list -w json`.
fn leaders(list: &Json) -> Outcome<Vec<(u64, u64)>> {
    let shards = list.get("shards").and_then(Json::array).unwrap_or_default();
    let of =
        |shard: &Json| Some((shard.get("shard")?.u64()?, shard.get("leader_node")?.u64().filter(|node| *node > 0)?));
    let leaders: Option<Vec<_>> = shards.iter().map(of).collect();
    match leaders {
        Some(leaders) if !leaders.is_empty() => Ok(leaders),
        _ => fail("some shard has no leader"),
    }
}

/// Of `ringctl cluster status -w json`: every node answers, every shard has a leader, every replica has applied what its
/// leader has committed.
fn health(status: &Json, nodes_expected: u64) -> Outcome {
    let nodes = status.get("nodes").and_then(Json::array).unwrap_or_default();
    let replicas = |node: &Json| node.get("replicas").and_then(Json::array).map(<[Json]>::to_vec).unwrap_or_default();
    let number = |replica: &Json, member: &str| replica.get(member).and_then(Json::u64);
    let answering = nodes.iter().filter(|node| !replicas(node).is_empty()).count();
    if (answering as u64) < nodes_expected {
        return fail(format!("{answering} of {nodes_expected} nodes answer"));
    }
    let all: Vec<Json> = nodes.iter().flat_map(replicas).collect();
    let mut committed = BTreeMap::new();
    for leader in all.iter().filter(|replica| replica.get("role").and_then(Json::str) == Some("leader")) {
        committed.insert(number(leader, "shard"), number(leader, "committed_index"));
    }
    for replica in &all {
        let shard = number(replica, "shard");
        let name = shard.map_or_else(|| "?".into(), |shard| shard.to_string());
        match committed.get(&shard) {
            None => return fail(format!("shard {name} has no leader yet")),
            Some(committed) if number(replica, "applied_index") < *committed => {
                return fail(format!("a replica of shard {name} is still catching up"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// One line of `ringctl scan -w ndjson`.
fn found(line: &str) -> Outcome<Found> {
    let item = Json::parse(line).context("reading the scan")?;
    let text = |member| item.get(member).and_then(Json::str).map(str::to_string);
    match (text("key"), text("value"), item.get("version").and_then(Json::u64)) {
        (Some(key), Some(value), Some(version)) => Ok(Found { key, value, version }),
        _ => fail(format!("`ringctl scan` printed an item without key, value or version: {line}")),
    }
}
