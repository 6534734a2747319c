//! One server process.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process};

/// A running server. Killed when dropped, so that no test leaves one behind.
pub struct Server {
    child: Child,
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
        let file = File::options().create(true).append(true).open(log).expect("the log file can be opened");
        let errors = file.try_clone().expect("a file can be shared");
        let child = Command::new(binary("ringfence"))
            .args(arguments)
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "info,openraft=warn".into()))
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .expect("the server can be started");
        Server { child, log: log.to_owned() }
    }

    /// Ends it at once, with no warning (SIGKILL), and waits until the system has cleaned up after it.
    pub fn kill(&mut self) {
        self.child.kill().expect("one's own child can be killed");
        self.child.wait().expect("one's own child can be waited for");
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub fn stop(mut self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Stops the process in mid-step (SIGSTOP), or lets it go on (SIGCONT).
    pub fn pause(&self, paused: bool) {
        self.signal(if paused { Signal::STOP } else { Signal::CONT });
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> Ended {
        let status = self.child.wait().expect("one's own child can be waited for");
        Ended { success: status.success(), log: self.log() }
    }

    /// What it has said so far, in all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a child has an id");
        kill_process(pid, signal).expect("one's own child can be signalled");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}

/// A binary of the workspace, from the same build as this test.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let folder = test.parent().and_then(Path::parent).expect("tests lie in <target>/<profile>/deps");
    let binary = folder.join(name);
    assert!(
        binary.exists(),
        "{} is not built: run `cargo build --release --workspace` first, or `cargo xtask test`",
        binary.display()
    );
    binary
}

/// Ports of loopback that are free now, all different, also between the tests of one process.
pub fn free_ports(count: usize) -> Vec<u16> {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().expect("never poisoned");
    let mut held = Vec::new(); // kept until all are found, so that none is found twice
    let mut ports = Vec::new();
    while ports.len() < count {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        held.push(listener);
        if taken.insert(port) {
            ports.push(port);
        }
    }
    ports
}
