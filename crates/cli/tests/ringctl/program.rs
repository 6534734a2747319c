//! Runs `ringctl` and waits for it.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::fake::FakeNode;

/// What a run left behind.
pub(crate) struct Ran {
    /// The exit code.
    pub(crate) code: i32,
    /// Byte for byte.
    pub(crate) stdout: Vec<u8>,
    /// For people.
    pub(crate) stderr: String,
}

impl Ran {
    /// Stdout as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// The program must have ended with 0. Returns stdout.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "stdout: {:?}", self.stdout.escape_ascii().to_string());
        self.text()
    }

    /// The program must have ended with this code, nothing on stdout, and this on stderr.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, says: &str) {
        assert_eq!(self.code, code, "stderr: {}", self.stderr);
        assert_eq!(self.text(), "");
        assert!(self.stderr.contains(says), "{says:?} is not in {:?}", self.stderr);
    }
}

/// Runs it against a fake.
pub(crate) fn ringctl<S: AsRef<OsStr>>(fake: &FakeNode, args: impl IntoIterator<Item = S>) -> Ran {
    ringctl_with_stdin(fake, args, b"")
}

/// The same, with something on stdin.
pub(crate) fn ringctl_with_stdin<S: AsRef<OsStr>>(
    fake: &FakeNode,
    args: impl IntoIterator<Item = S>,
    stdin: &[u8],
) -> Ran {
    let mut command = command();
    command.env("RINGCTL_ENDPOINTS", fake.address.to_string()).args(args);
    run(command, stdin)
}

/// The program, without any cluster configured.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringctl"));
    command.env_remove("RINGCTL_ENDPOINTS");
    command
}

/// Runs a prepared command.
pub(crate) fn run(mut command: Command, stdin: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may end without reading everything.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Ran { code: status.code().expect("not ended by a signal"), stdout, stderr: String::from_utf8(stderr).unwrap() }
}
