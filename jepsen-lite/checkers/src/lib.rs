//! Judges histories of what clients asked and were told. Pure: no clock, network, thread or randomness, and nothing of
//! Ringfence: a judge who shares code with the accused is none.
//!
//! A [`History`] is read from JSONL. A checker makes a [`Verdict`] of it: *valid*, *invalid* with the smallest piece that shows
//! it, or *unknown*. A check that gave up, or had nothing to look at, is unknown and never valid.
//!
//! | module | asks |
//! |---|---|
//! | [`linearizability`] | did everything look as if it happened at once, one thing at a time? By [`models`]: register, counter, set, lock, queue |
//! | [`tokens`] | do fencing tokens rise, and was a stale write accepted? |
//! | [`semaphore`] | were there ever more certain holders than permits? |
//! | [`leases`] | did a lease end before its time, or by somebody else's hand, or never? |
//! | [`observers`] | does whoever asks who leads see leaders in their order, and those that are there? |
//! | [`stock`] | was anything sold that was not there? |
//! | [`bounds`] | did an add leave its bounds, or was one refused that would not have? |
//! | [`retries`] | is a request that is sent again told the same, and done once? |
//! | [`elements`] | is every acknowledged element in the set, and nothing else? |
//! | [`final_read`] | when all was calm again, was every acknowledged write there? |
//!
//! ```
//! use jepsen_checkers::{History, Model, Settings, judge};
//!
//! let file = r#"
//! {"time":0,"process":0,"type":"invoke","f":"write","key":"x","value":1}
//! {"time":5,"process":0,"type":"ok","f":"write","key":"x","value":1}
//! {"time":10,"process":1,"type":"invoke","f":"read","key":"x"}
//! {"time":15,"process":1,"type":"ok","f":"read","key":"x","value":null}
//! "#;
//! let history = History::read(file.as_bytes())?;
//! let verdict = judge(Model::Register, &history, Settings::default())?;
//! assert_eq!(verdict.exit_code(), 1);
//! assert!(verdict.to_string().contains("write of 1 had been acknowledged"), "{verdict}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bounds;
pub mod elements;
mod enough;
mod event;
pub mod final_read;
pub mod history;
mod judge;
pub mod leases;
pub mod linearizability;
pub mod models;
pub mod observers;
mod operation;
pub mod retries;
mod search;
pub mod semaphore;
mod shrink;
pub mod stock;
pub mod tokens;
mod verdict;

pub use enough::Enough;
pub use event::{Event, Kind, Name, Process};
pub use history::{History, Malformed, Problem};
pub use judge::{Model, NoSuchModel, Settings, judge, promises_linearizable};
pub use linearizability::{Limits, Unfit};
pub use operation::{Operation, Outcome};
pub use verdict::{Checked, Explanation, Verdict, Why};
