//! Runs `ringctl` and reads what it prints: tasks judge a cluster only from outside, with the program that its users
//! have.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::demo::proof::Found;
use crate::failure::{Context, Outcome, fail};
use crate::json::Json;

/// The exit code for "certainly did not happen": condition failed, not found.
pub(crate) const EXIT_REFUSED: i32 = 4;

/// The shard that is the meta group.
const META: u64 = 0;

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
        leaders(&self.status()?)
    }

    /// Whether every node answers, every shard has a leader, and every replica has caught up.
    pub(crate) fn health(&self, nodes: u64) -> Outcome {
        health(&self.status()?, nodes)
    }

    /// What every node says of itself. A dead one must not cost more than a moment.
    fn status(&self) -> Outcome<Json> {
        self.json(&["--command-timeout", "2s", "cluster", "status"])
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

/// Of `ringctl cluster status -w json`: which node leads which shard, the meta group (0) left out.
fn leaders(status: &Json) -> Outcome<Vec<(u64, u64)>> {
    let number = |shard: &Json, member: &str| shard.get(member).and_then(Json::u64);
    let mut leaders = Vec::new();
    for shard in status.list("shards").iter().filter(|shard| number(shard, "shard") != Some(META)) {
        match (number(shard, "shard"), number(shard, "leader_node")) {
            (Some(id), Some(node)) => leaders.push((id, node)),
            (Some(id), None) => return fail(format!("shard {id} has no leader")),
            _ => return fail("`ringctl cluster status` printed a shard without a number"),
        }
    }
    if leaders.is_empty() { fail("the cluster has no shards") } else { Ok(leaders) }
}

/// Of `ringctl cluster status -w json`: no problems, every node and every replica up, every shard led, and every replica has
/// applied what its leader has committed.
fn health(status: &Json, nodes: u64) -> Outcome {
    if let Some(problem) = status.list("problems").iter().find_map(Json::str) {
        return fail(problem);
    }
    let up = status.list("nodes").iter().filter(|node| node.get("up") == Some(&Json::Bool(true))).count();
    if up as u64 != nodes {
        return fail(format!("{up} of {nodes} nodes are up"));
    }
    leaders(status)?;
    let replicas = || status.list("nodes").iter().flat_map(|node| node.list("replicas"));
    for shard in status.list("shards") {
        let id = shard.get("shard").and_then(Json::u64);
        let name = id.map_or_else(|| "?".into(), |id| id.to_string());
        let of_shard = || replicas().filter(|replica| replica.get("shard").and_then(Json::u64) == id);
        let numbers = |member: &'static str| of_shard().filter_map(move |replica| replica.get(member)?.u64());
        if of_shard().count() as u64 != nodes {
            return fail(format!("{} of {nodes} replicas of shard {name} are up", of_shard().count()));
        }
        if numbers("applied_index").min() < numbers("committed_index").max() {
            return fail(format!("a replica of shard {name} is still catching up"));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes, the meta group and one shard, as `ringctl` prints it, shortened.
    fn status(replace: &str, with: &str) -> Json {
        let text = r#"{"nodes":[
            {"node":"1","up":true,"replicas":[{"shard":"0","committed_index":"3","applied_index":"3"},
                                              {"shard":"1","committed_index":"9","applied_index":"9"}]},
            {"node":"2","up":true,"replicas":[{"shard":"0","committed_index":"3","applied_index":"3"},
                                              {"shard":"1","committed_index":"8","applied_index":"9"}]}],
            "shards":[{"shard":"0","leader_node":"1"},{"shard":"1","leader_node":"2"}],"problems":[]}"#;
        assert!(text.contains(replace), "{replace}");
        Json::parse(&text.replacen(replace, with, 1)).unwrap()
    }

    #[test]
    fn a_healthy_cluster_is_told_from_one_that_is_not() {
        assert_eq!(health(&status("", ""), 2), Ok(()));
        for (replace, with) in [
            (r#""problems":[]"#, r#""problems":["n2 does not answer"]"#),
            (r#""up":true"#, r#""up":false"#),
            (r#""leader_node":"2""#, r#""leader_node":null"#),
            (r#""applied_index":"9""#, r#""applied_index":"8""#),
            (r#"{"shard":"0","committed_index":"3","applied_index":"3"},"#, ""),
        ] {
            assert!(health(&status(replace, with), 2).is_err(), "{replace} -> {with}");
        }
        assert!(health(&status("", ""), 3).is_err(), "a node is missing");
    }

    #[test]
    fn the_meta_group_is_not_one_of_the_shards() {
        assert_eq!(leaders(&status("", "")), Ok(vec![(1, 2)]));
        assert!(leaders(&Json::parse("{}").unwrap()).is_err());
    }

    #[test]
    fn an_item_of_a_scan_must_be_complete() {
        let line =
            r#"{"key":"pkg/a","value":"1 x","revision":"459000123","create_revision":"459000123","version":"1"}"#;
        assert_eq!(found(line), Ok(Found { key: "pkg/a".into(), value: "1 x".into(), version: 1 }));
        assert!(found(&line.replace("version", "other")).is_err());
        assert!(found("{").is_err());
    }
}
