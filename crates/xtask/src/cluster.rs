//! Three real `ringfence start` processes on loopback, in a directory that goes with them.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::failure::{Context, Outcome, fail};
use crate::janitor::Janitor;
use crate::ringctl::Ringctl;
use crate::say;

/// As many nodes as it takes for one to die without harm.
const NODES: u64 = 3;

/// A start, an election and a catch-up together take a few seconds; a busy machine gets time, a broken one an end.
const READY_AT_MOST: Duration = Duration::from_secs(120);

/// Below what systems use for outgoing connections (32768 on Linux).
const PORTS_BEGIN: u16 = 20_000;
const PORTS_END: u16 = 32_000;

/// One server process, or the place of one.
struct Node {
    node: u64,
    listen: String,
    data: PathBuf,
    log: PathBuf,
    process: Option<Child>,
}

/// The processes of one cluster. Dropping it kills them and removes their files.
pub(crate) struct Cluster {
    program: PathBuf,
    dir: PathBuf,
    nodes: Vec<Node>,
    /// Removes the directory, and kills the processes should we not come to it ourselves.
    janitor: Rc<Janitor>,
}

impl Cluster {
    /// Starts the nodes in a new directory below `parent`; [`Cluster::wait_until_healthy`] tells when they can be used.
    pub(crate) fn start(program: &Path, parent: &Path) -> Outcome<Cluster> {
        let dir = new_directory(parent)?;
        let janitor = Rc::new(Janitor::of(&dir)?);
        let ports = free_ports(ports_first(), NODES as usize)?;
        let nodes = (1..=NODES).zip(ports).map(|(node, port)| Node {
            node,
            listen: format!("127.0.0.1:{}", port),
            data: dir.join(format!("node{node}")),
            log: dir.join(format!("node{node}.log")),
            process: None,
        });
        let mut cluster = Cluster { program: program.into(), nodes: nodes.collect(), dir, janitor };
        for node in 1..=NODES {
            cluster.start_node(node)?;
        }
        Ok(cluster)
    }

    /// Starts a node, for the first time or again, on the data it left.
    pub(crate) fn start_node(&mut self, node: u64) -> Outcome {
        let members: Vec<String> = self.nodes.iter().map(|node| format!("{}={}", node.node, node.listen)).collect();
        let node = self.nodes.iter_mut().find(|n| n.node == node).expect("a node of this cluster");
        let log = OpenOptions::new().create(true).append(true).open(&node.log);
        let log = log.context(format!("opening {}", node.log.display()))?;
        let errors: File = log.try_clone().context("sharing the log file")?;
        let mut command = Command::new(&self.program);
        command.args(["start", "--node", &node.node.to_string(), "--data-dir"]).arg(&node.data);
        command.args(["--listen", &node.listen, "--initial-cluster", &members.join(",")]);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let process = command.spawn().context(format!("cannot start {}", self.program.display()))?;
        self.janitor.watch(process.id());
        node.process = Some(process);
        Ok(())
    }

    /// SIGKILL: no warning, no goodbye, nothing flushed.
    pub(crate) fn kill_node(&mut self, node: u64) -> Outcome {
        let slot = self.nodes.iter_mut().find(|n| n.node == node).and_then(|node| node.process.as_mut());
        let Some(process) = slot else { return fail(format!("node {node} was to be killed, but is not running")) };
        process.kill().context(format!("cannot kill node {node}"))?;
        process.wait().context(format!("waiting for node {node} to be gone"))?;
        self.janitor.forget(process.id());
        self.nodes.iter_mut().find(|n| n.node == node).expect("found above").process = None;
        Ok(())
    }

    /// Fails if a server has ended, with the end of its log.
    pub(crate) fn check_alive(&mut self) -> Outcome {
        for node in &mut self.nodes {
            let Some(process) = &mut node.process else { continue };
            if let Some(status) = process.try_wait().context("asking after a server")? {
                self.janitor.forget(process.id());
                return fail(format!("node {} has ended ({status}). Its log ends:\n{}", node.node, tail(&node.log)));
            }
        }
        Ok(())
    }

    /// Waits until every node answers, every shard has a leader, and every replica has applied what its leader had
    /// committed. Stops at once if a server has ended.
    pub(crate) fn wait_until_healthy(&mut self, ringctl: &Ringctl) -> Outcome {
        let begun = Instant::now();
        let mut progress = say::Progress::new();
        loop {
            self.check_alive()?;
            let problem = match ringctl.health(NODES) {
                Ok(()) => return Ok(()),
                Err(problem) => problem.0,
            };
            if begun.elapsed() > READY_AT_MOST {
                let logs: String =
                    self.nodes.iter().map(|n| format!("\n--- log of node {}\n{}", n.node, tail(&n.log))).collect();
                return fail(format!(
                    "the cluster is not healthy after {}: {problem}{logs}",
                    say::duration(READY_AT_MOST)
                ));
            }
            progress.show(&format!("waiting: {}", problem.lines().next().unwrap_or_default()));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Where the nodes listen, as `ringctl --endpoints` takes it.
    pub(crate) fn endpoints(&self) -> String {
        self.nodes.iter().map(|node| node.listen.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Where one node listens.
    pub(crate) fn endpoint(&self, node: u64) -> &str {
        &self.nodes.iter().find(|n| n.node == node).expect("a node of this cluster").listen
    }

    /// The processes that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| node.process.as_ref()).map(Child::id).collect()
    }

    /// For further files; removed with the cluster.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Who cleans up, for other processes that work in the directory.
    pub(crate) fn janitor(&self) -> Rc<Janitor> {
        Rc::clone(&self.janitor)
    }

    /// Leaves the processes running and the files where they are. Says how to end them.
    pub(crate) fn keep(mut self) -> String {
        let processes = self.nodes.iter_mut().filter_map(|node| node.process.take());
        let pids: Vec<String> = processes.map(|process| process.id().to_string()).collect();
        self.janitor.leave();
        format!("kill {}; rm -r {}", pids.join(" "), self.dir.display())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.nodes.iter_mut().filter_map(|node| node.process.as_mut()) {
            // Already gone is as good.
            let _ = process.kill();
            let _ = process.wait();
            self.janitor.forget(process.id());
        }
    }
}

/// A new directory for one cluster.
pub(crate) fn new_directory(parent: &Path) -> Outcome<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let name = format!("ringfence-xtask-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = parent.join(name);
    fs::create_dir(&dir).context(format!("creating {}", dir.display()))?;
    Ok(dir)
}

/// Ports that are free now, looked for from `first` on.
///
/// Not those that the system hands out for port 0: it hands the same ones to outgoing connections, and while a node is dead
/// one of those could get its port.
pub(crate) fn free_ports(first: u16, count: usize) -> Outcome<Vec<u16>> {
    let ports: Vec<u16> =
        (first..PORTS_END).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).take(count).collect();
    if ports.len() < count {
        return fail(format!("there are no {count} free ports on 127.0.0.1 between {first} and {PORTS_END}"));
    }
    Ok(ports)
}

/// Where to look first: tasks that run side by side look in different places.
pub(crate) fn ports_first() -> u16 {
    const SPREAD: u32 = 100;
    PORTS_BEGIN + (std::process::id() % SPREAD * 100) as u16
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_else(|error| format!("({error})"));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_not_those_in_use() {
        let first = ports_first();
        let ports = free_ports(first, 3).unwrap();
        assert!(ports.is_sorted_by(|a, b| a < b), "{ports:?}");
        let held = TcpListener::bind(("127.0.0.1", ports[1])).unwrap();
        let others = free_ports(first, 3).unwrap();
        assert!(!others.contains(&held.local_addr().unwrap().port()), "{others:?}");
        assert!(free_ports(PORTS_END, 1).is_err());
    }
}
