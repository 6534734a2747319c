//! One server process.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::janitor::{self, Charge};

/// A running server. Killed when dropped, so that no test leaves one behind.
pub struct Server {
    child: Child,
    reaped: bool,
    log: PathBuf,
}

/// How a server that should end ended.
pub struct Ended {
    /// Whether it said that all is well.
    pub success: bool,
    /// Everything it said.
    pub log: String,
}

impl Server {
    /// Starts `ringfence` with these arguments; what it says goes to `log`, after what is there.
    pub fn start(arguments: &[impl AsRef<OsStr>], log: &Path) -> Server {
        Server::start_in(&[], arguments, log)
    }

    /// With further environment variables.
    pub fn start_in(environment: &[(OsString, OsString)], arguments: &[impl AsRef<OsStr>], log: &Path) -> Server {
        Server::start_program(&binary("ringfence"), environment, arguments, log)
    }

    /// Another build of `ringfence`, or one that lies elsewhere.
    pub fn start_program(
        program: &Path,
        environment: &[(OsString, OsString)],
        arguments: &[impl AsRef<OsStr>],
        log: &Path,
    ) -> Server {
        let file = File::options().create(true).append(true).open(log).expect("the log file can be opened");
        let errors = file.try_clone().expect("a file can be shared");
        let child = Command::new(program)
            .args(arguments)
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "info,openraft=error".into()))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .expect("the server can be started");
        janitor::watch(Charge::Process(child.id()));
        Server { child, reaped: false, log: log.to_owned() }
    }

    /// Ends it at once, with no warning (SIGKILL), and waits until the system has cleaned up after it.
    pub fn kill(&mut self) {
        Server::kill_together([self]);
    }

    /// Ends several at the same moment: all are killed before the first is waited for.
    pub fn kill_together<'a>(servers: impl IntoIterator<Item = &'a mut Server>) {
        let mut servers: Vec<&mut Server> = servers.into_iter().collect();
        for server in &mut servers {
            server.child.kill().expect("one's own child can be killed");
        }
        for server in servers {
            server.reap();
        }
    }

    /// Whether it still runs; else it has ended by itself.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("one's own child can be asked after").is_none()
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub fn stop(mut self) -> Ended {
        signal(&self.child, Signal::TERM);
        self.wait()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops the process in mid-step (SIGSTOP), or lets it go on (SIGCONT).
    pub fn pause(&self, paused: bool) {
        pause(&self.child, paused);
    }

    /// Stops the process in mid-step, and returns when no thread of it runs. One that is in the middle of a sync may be there
    /// still, and does not come back from it; with `syncs_end` it has ended, too, and its thread stands right behind it.
    pub fn freeze(&self, syncs_end: bool) {
        freeze(&self.child, syncs_end);
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> Ended {
        let status = self.reap();
        Ended { success: status.success(), log: self.log() }
    }

    /// What it has said so far, in all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn reap(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("one's own child can be waited for");
        if !std::mem::replace(&mut self.reaped, true) {
            janitor::forget(Charge::Process(self.child.id())); // its number may soon be another's
        }
        status
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        self.reap();
    }
}

/// Stops a child in mid-step, or lets it go on.
pub(crate) fn pause(child: &Child, paused: bool) {
    signal(child, if paused { Signal::STOP } else { Signal::CONT });
}

/// As [`Server::freeze`].
pub(crate) fn freeze(child: &Child, syncs_end: bool) {
    pause(child, true);
    while !thread_states(child).iter().all(|state| matches!(state, 'T' | 'Z' | 'X') || (*state == 'D' && !syncs_end)) {
        std::thread::yield_now();
    }
}

/// One letter for each thread, as in `/proc/PID/task/TID/stat`.
fn thread_states(child: &Child) -> Vec<char> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("Linux tells of every process");
    let stat = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("stat")).ok();
    // The state stands behind the name, which stands in brackets. A thread that is gone has none.
    tasks.flatten().filter_map(stat).filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next()).collect()
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id() as i32).expect("a child has an id");
    kill_process(pid, signal).expect("one's own child can be signalled");
}

/// A binary of the workspace, from the same build as this program: a test in `<target>/<profile>/deps`, or a binary one above.
pub fn binary(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("a program knows where it is");
    let mut folder = program.parent().expect("a program lies in a directory");
    if folder.ends_with("deps") {
        folder = folder.parent().expect("`deps` lies in <target>/<profile>");
    }
    let binary = folder.join(name);
    assert!(
        binary.exists(),
        "{} is not built: run `cargo build --release --workspace` first, or `cargo xtask test`",
        binary.display()
    );
    binary
}

const PORT_FIRST: u16 = 10_000;
const PORT_BLOCKS: u16 = 200;
const PORT_BLOCK: u16 = 100;

/// Ports of loopback that are free now, all different, also between the tests of one process.
///
/// They lie below those that systems use for outgoing connections: one of those could take the port of a node that is down.
/// So could a test that runs side by side, in a process of its own; so each process has a block of ports to itself.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = port_block();
    let mut ports = Vec::new();
    while ports.len() < count {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(offset < 10 * PORT_BLOCK, "no free ports from {first} on");
        let port = first + offset % PORT_BLOCK;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.push(port);
        }
    }
    ports
}

/// The first port of this process's own block: its file stays locked as long as the process lives.
fn port_block() -> u16 {
    static OWN: OnceLock<(File, u16)> = OnceLock::new();
    let (_, first) = OWN.get_or_init(|| {
        let folder = std::env::temp_dir().join("ringfence-tests-ports");
        std::fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("cannot make {}: {e}", folder.display()));
        let begin = (std::process::id() % u32::from(PORT_BLOCKS)) as u16;
        let mut blocks = (begin..PORT_BLOCKS).chain(0..begin).map(|block| PORT_FIRST + block * PORT_BLOCK);
        let own = blocks.find_map(|first| {
            let path = folder.join(first.to_string());
            let file = File::create(&path).unwrap_or_else(|e| panic!("cannot open {}: {e}", path.display()));
            file.try_lock().ok().map(|()| (file, first))
        });
        own.expect("fewer than two hundred tests run side by side")
    });
    *first
}
