//! A command that we run and can stop: its process, its process group, how it is doing.
//!
//! The group is the command's own, so that one signal reaches it and everything that it started, and nobody else. Who has moved
//! to another group (daemons, the jobs of an interactive shell) is not reached.
//!
//! It dies with us, even if we are killed: Linux sends it SIGKILL when the *thread* that started it ends. So
//! [`Child::spawn`] is for the main thread. Those whom the command itself started are not told, and where there is no
//! Linux, nobody is.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::signal::unix::{self, SignalKind};

use crate::signals::exit_code;

/// A command that runs, or has ended and is not forgotten.
///
/// * Until [`Child::forget`] its number, and that of its group, can be nobody else's.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    pid: Pid,
    changes: unix::Signal,
}

/// What has become of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has ended, with this exit code: 128 and the number of the signal if one ended it.
    Ended(u8),
    /// This signal has stopped it; it goes on when it is sent [`Signal::CONT`].
    Stopped(i32),
}

impl Child {
    /// Starts a command in a process group of its own.
    pub fn spawn(mut command: Command) -> io::Result<Child> {
        // First, so that no change is missed.
        let changes = unix::signal(SignalKind::child())?;
        command.process_group(0);
        #[cfg(target_os = "linux")]
        die_with_us(&mut command);
        let process = command.spawn()?;
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        Ok(Child { process, pid: pid.ok_or(io::ErrorKind::InvalidData)?, changes })
    }

    /// Its process group.
    pub fn group(&self) -> Pid {
        self.pid
    }

    /// Waits until it has ended, or was stopped. Nothing is lost if the future is dropped; an end is told every time.
    pub async fn changed(&mut self) -> io::Result<Change> {
        loop {
            if let Some(change) = self.change()? {
                return Ok(change);
            }
            self.changes.recv().await;
        }
    }

    fn change(&self) -> io::Result<Option<Change>> {
        let ask = |options| waitid(WaitId::Pid(self.pid), options | WaitIdOptions::NOHANG);
        if let Some(status) = ask(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)? {
            let code = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => code as u8, // the system passes on no more than these eight bits
                (None, signal) => exit_code(signal.unwrap_or_default()),
            };
            return Ok(Some(Change::Ended(code)));
        }
        Ok(ask(WaitIdOptions::STOPPED)?.and_then(|status| status.stopping_signal()).map(Change::Stopped))
    }

    /// Sends a signal to everybody in its group.
    pub fn signal(&self, signal: Signal) {
        // Nobody is left: just as well.
        let _ = kill_process_group(self.pid, signal);
    }

    /// After it has ended: now its number may become another's.
    pub fn forget(mut self) {
        let _ = self.process.wait();
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "only the new process can ask for the signal, between fork and exec")]
fn die_with_us(command: &mut Command) {
    use rustix::io::Errno;
    use rustix::process::{getpid, getppid, set_parent_process_death_signal};
    let us = getpid();
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Had we died before that line nobody would tell.
        if getppid() == Some(us) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: two system calls, which take no lock and no memory; the error is a number.
    unsafe { command.pre_exec(ask) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Child::spawn(command).unwrap()
    }

    #[tokio::test]
    async fn the_code_is_that_of_the_command_or_of_its_signal() {
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143)] {
            let mut child = shell(script);
            assert_eq!(child.changed().await.unwrap(), Change::Ended(code), "{script}");
            assert_eq!(child.changed().await.unwrap(), Change::Ended(code), "told again");
            child.forget();
        }
    }

    #[tokio::test]
    async fn a_stop_is_told_once_and_the_command_goes_on() {
        let mut child = shell("kill -TSTP $$; exit 3");
        assert_eq!(child.changed().await.unwrap(), Change::Stopped(Signal::TSTP.as_raw()));
        assert_eq!(child.change().unwrap(), None);
        child.signal(Signal::CONT);
        assert_eq!(child.changed().await.unwrap(), Change::Ended(3));
        child.forget();
    }

    /// What the command started would go on without the lock.
    #[tokio::test]
    async fn a_signal_reaches_what_the_command_has_started() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & trap '' TERM; sleep 600; sleep 600"]).stdout(writer);
        let mut child = Child::spawn(command).unwrap();
        child.signal(Signal::KILL);
        assert_eq!(child.changed().await.unwrap(), Change::Ended(137));
        // The pipe ends when the last who could write to it has ended.
        assert_eq!(io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
        child.forget();
    }

    #[test]
    fn a_command_that_is_not_there_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(async { Child::spawn(Command::new("/nonexistent")).unwrap_err() });
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
