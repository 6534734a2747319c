//! Cleans up after a task that starts processes, whatever ends it: success, a failed claim, a panic, Ctrl-C, even SIGKILL.
//!
//! The standard library cannot catch signals, so the janitor is a shell of its own that ignores them. It reads from a pipe
//! that only we hold. However we end, the pipe closes; then it kills the processes it was told of and removes the
//! directory. Processes are told by number, and forgotten once they are waited for, so no stranger is ever killed.

use std::cell::RefCell;
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::failure::{Context, Outcome};

const SCRIPT: &str = r#"
trap '' HUP INT TERM
dir=$1
pids=' '
while read -r word pid; do
    case $word in
        watch) pids="$pids$pid " ;;
        forget) pids="${pids%% $pid *} ${pids#* $pid }" ;;
        leave) exit 0 ;;
    esac
done
for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
rm -rf -- "$dir"
"#;

/// Watches over one temporary directory and the processes that work in it.
pub(crate) struct Janitor {
    shell: Child,
    orders: RefCell<Option<ChildStdin>>,
}

impl Janitor {
    /// Will remove `dir`, unless told to leave it.
    pub(crate) fn of(dir: &Path) -> Outcome<Janitor> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "xtask-janitor"]).arg(dir).stdin(Stdio::piped());
        let mut shell = command.spawn().context("cannot start a shell to clean up afterwards")?;
        let orders = RefCell::new(shell.stdin.take());
        Ok(Janitor { shell, orders })
    }

    /// Will kill this process.
    pub(crate) fn watch(&self, pid: u32) {
        self.order(&format!("watch {pid}\n"));
    }

    /// This process has been waited for; its number may belong to another one soon.
    pub(crate) fn forget(&self, pid: u32) {
        self.order(&format!("forget {pid}\n"));
    }

    /// Leaves everything as it is.
    pub(crate) fn leave(&self) {
        self.order("leave\n");
    }

    fn order(&self, line: &str) {
        if let Some(orders) = self.orders.borrow_mut().as_mut() {
            // A janitor that is gone cannot clean up; the task itself goes on.
            let _ = orders.write_all(line.as_bytes());
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.orders.take()); // closes the pipe
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").spawn().unwrap()
    }

    /// The point of it all: nothing is left, although nobody cleaned up by hand.
    #[test]
    fn watched_processes_and_the_directory_are_gone_afterwards() {
        let dir = std::env::temp_dir().join(format!("xtask-janitor-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("node1")).unwrap();
        let (mut watched, mut forgotten, mut also_watched) = (sleeper(), sleeper(), sleeper());
        let janitor = Janitor::of(&dir).unwrap();
        for child in [&watched, &forgotten, &also_watched] {
            janitor.watch(child.id());
        }
        janitor.forget(forgotten.id());
        drop(janitor);
        assert!(!watched.wait().unwrap().success(), "killed");
        assert!(!also_watched.wait().unwrap().success(), "killed");
        assert_eq!(forgotten.try_wait().unwrap(), None, "still running");
        forgotten.kill().unwrap();
        forgotten.wait().unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn told_to_leave_it_touches_nothing() {
        let dir = std::env::temp_dir().join(format!("xtask-janitor-leave-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut child = sleeper();
        let janitor = Janitor::of(&dir).unwrap();
        janitor.watch(child.id());
        janitor.leave();
        assert_eq!(child.try_wait().unwrap(), None, "still running");
        assert!(dir.exists());
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
