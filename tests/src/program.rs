//! A program of ours beside the servers, in a process of its own: it can be paused and killed without the test, and tells what
//! it does line by line.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::janitor::{self, Charge};
use crate::process::{binary, freeze, pause};

/// A running program. Killed when dropped.
pub struct Program {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts a binary of the workspace.
    pub fn start(name: &str, arguments: &[impl AsRef<OsStr>]) -> Program {
        let mut child = Command::new(binary(name))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a program of ours can be started");
        janitor::watch(Charge::Process(child.id()));
        let said = BufReader::new(child.stdout.take().expect("its stdout is piped"));
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let read = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                read.lock().expect("never poisoned").push(line);
            }
        });
        Program { child, lines }
    }

    /// The whole lines that it has said so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("never poisoned").clone()
    }

    /// Stops it in mid-step, and returns when no thread of it runs; or lets it go on.
    pub fn pause(&self, paused: bool) {
        if paused { freeze(&self.child, true) } else { pause(&self.child, false) }
    }

    /// Ends it with no warning.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
        janitor::forget(Charge::Process(self.child.id()));
    }
}
