//! Why a task stopped. Its only reader is the person who ran it, so it is a message, and it says what to do next.

use std::fmt::Display;

/// A message for the person at the terminal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) String);

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// A failure with this message.
pub(crate) fn fail<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Failure(message.into()))
}

/// Says what was being done when something went wrong.
pub(crate) trait Context<T> {
    fn context(self, doing: impl Display) -> Outcome<T>;
}

impl<T, E: Display> Context<T> for Result<T, E> {
    fn context(self, doing: impl Display) -> Outcome<T> {
        self.map_err(|error| Failure(format!("{doing}: {error}")))
    }
}
