//! Exit codes, and the one place that turns an error into a code, a message and what to do next.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// How the program ends. Scripts branch on these numbers, so they never change meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Ok,
    /// 1: it failed for a reason that is neither of the ones below.
    Failed,
    /// 2: no node could be reached.
    CannotConnect,
    /// 3: the command line or the input was wrong. The same command will fail again.
    BadUsage,
    /// 4: the cluster refused: condition failed, not found, out of bounds, not an integer, lock not free. Certainly nothing
    /// happened.
    Refused,
    /// 5: the answer was lost. The change may have happened.
    OutcomeUnknown,
    /// 6: the lease was lost under which a command ran, so the command was stopped.
    LeaseLost,
    /// The command that was run under a lease ended so; or it never ran, and a shell would say this.
    Command(u8),
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::CannotConnect => 2,
            Exit::BadUsage => 3,
            Exit::Refused => 4,
            Exit::OutcomeUnknown => 5,
            Exit::LeaseLost => 6,
            Exit::Command(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Why a command did not do what was asked: for the exit code, and for the person at the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the program ends. [`Exit::Ok`] means that it ends quietly: whoever read our output has left.
    pub exit: Exit,
    /// What happened.
    pub message: String,
    /// What to do next, unless the message says it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), hint: None }
    }

    /// The command line or the input is wrong.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::BadUsage, message)
    }

    /// Says what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Something about a file of the user's.
    pub fn file(path: impl fmt::Display, what: &str, error: &io::Error) -> Failure {
        Failure::new(Exit::Failed, format!("cannot {what} {path}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Only for writes to stdout: files of the user's go through [`Failure::file`].
///
/// A reader that has left (`ringctl scan | head`) is no failure of ours: the program ends quietly, as ripgrep does.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Ok, "the reader of the output has left"),
            _ => Failure::new(Exit::Failed, format!("cannot write the output: {error}")),
        }
    }
}
