//! The parts of `ringctl import`: lines in, records out, acknowledgements written down.

mod acked;
mod lines;
mod parse;
mod reader;
mod tally;

pub use acked::AckedLog;
pub use lines::{LINE_BYTES_MAX, LineError, read_line};
pub use parse::{Format, InputRecord, parse_line};
pub use reader::{Line, Reader};
pub use tally::Tally;
