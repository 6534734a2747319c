//! Bugs that we planted ourselves, so that the tests which should find them can be tested.
//!
//! A check that cannot fail proves nothing. So each bug stands at the place where the real one would be, as a switch
//! that is asked there:
//!
//! ```
//! use ringfence_planted::{Bug, planted};
//!
//! fn may_release(holder: &str, asks: &str) -> bool {
//!     holder == asks || planted(Bug::NonOwnerReleases)
//! }
//! assert!(!may_release("anna", "bert"));
//! ```
//!
//! In an ordinary build [`planted`] is the constant `false`, and what hangs on it is not compiled in. Only with the
//! feature `enabled`, which the feature `planted-bugs` of `ringfence-server` passes on for the program
//! `ringfence-planted` alone, is there a switch. It is off by default, and is turned once, at the start, for one bug.
//!
//! > **Invariant:** no program has the switch without [`MARKER`] among its bytes, so that a test can tell.

mod bug;
#[cfg(feature = "enabled")]
mod switch;

pub use bug::{Bug, UnknownBug};
#[cfg(feature = "enabled")]
pub use switch::{plant, planted};

/// Stands in every program that can have a bug planted, and in no other.
pub const MARKER: &str = "THIS PROGRAM HAS BUGS ON PURPOSE";

/// The environment variable that names the bug. Only `ringfence-planted` knows it.
pub const VARIABLE: &str = "RINGFENCE_PLANTED_BUG";

/// Whether this bug is planted. Without the feature `enabled`: never.
#[cfg(not(feature = "enabled"))]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}
