//! The switch. Turned at most once, before anything else runs.

use std::sync::OnceLock;

use crate::{Bug, MARKER};

/// The switch and the marker are one object, so that nobody links the one without the other.
struct Switch {
    #[expect(dead_code, reason = "it is read in the file of the program, by a test")]
    marker: [u8; MARKER.len()],
    bug: OnceLock<Bug>,
}

static SWITCH: Switch =
    Switch { marker: *MARKER.as_bytes().first_chunk().expect("as long as itself"), bug: OnceLock::new() };

/// Plants a bug for the life of the process. Panics if there is one already: what two do together proves nothing of
/// either.
pub fn plant(bug: Bug) {
    SWITCH.bug.set(bug).expect("one bug for each process");
}

/// Whether this bug is planted.
pub fn planted(bug: Bug) -> bool {
    // Were it not hidden what is done with it, the marker could be optimized away.
    std::hint::black_box(&SWITCH).bug.get() == Some(&bug)
}
