//! Proof that a fault bit: counted where it bites, so a fault that met no traffic counts nothing.

use std::ops::{AddAssign, Sub};

use serde::Serialize;

use super::weather::Way;

/// What a link has done since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Bites {
    /// Connections made on to the target.
    pub opened: u64,
    /// Connections that came while the way to the target was dark, so that it heard of them later or never.
    pub kept_waiting: u64,
    /// Connections reset as soon as they came, because of [`Way::Cut`].
    pub refused: u64,
    /// Connections reset in the middle: by [`Way::Cut`], by loss, or on healing because a blackhole had taken bytes.
    pub cut: u64,
    /// Connections reset because nobody listens at the target. Not a fault of the link.
    pub unreachable: u64,
    /// What the connecting side sent.
    pub forward: WayBites,
    /// What it was sent.
    pub backward: WayBites,
}

/// What was done to the bytes of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct WayBites {
    /// Bytes handed to the receiver.
    pub passed: u64,
    /// Bytes taken from the sender that the receiver will never get: gone into a blackhole, or on the way when the connection
    /// was cut.
    pub swallowed: u64,
    /// Bytes seen waiting while the way was held: at least so many.
    pub held: u64,
    /// Bytes made to wait, by slowness or a stall.
    pub delayed: u64,
}

impl Bites {
    /// How much one of the ways has bitten, in bytes and connections together, if it was of this kind.
    pub(super) fn of(&self, way: Way, forward: bool) -> u64 {
        let bytes = if forward { self.forward } else { self.backward };
        let kept_waiting = if forward { self.kept_waiting } else { 0 }; // the other way, connections open
        match way {
            Way::Clear => 0,
            Way::Blackhole => bytes.swallowed + kept_waiting,
            Way::Held => bytes.held + kept_waiting,
            Way::Slow { .. } => bytes.delayed,
            Way::Lossy { .. } => bytes.delayed + bytes.swallowed + self.cut,
            Way::Cut => self.cut + self.refused,
        }
    }

    /// Whether anything was done that a clear link does not do.
    pub fn any(&self) -> bool {
        let bytes = |way: &WayBites| way.swallowed + way.held + way.delayed;
        self.kept_waiting + self.refused + self.cut + bytes(&self.forward) + bytes(&self.backward) > 0
    }
}

impl Sub for Bites {
    type Output = Bites;

    fn sub(self, earlier: Bites) -> Bites {
        Bites {
            opened: self.opened - earlier.opened,
            kept_waiting: self.kept_waiting - earlier.kept_waiting,
            refused: self.refused - earlier.refused,
            cut: self.cut - earlier.cut,
            unreachable: self.unreachable - earlier.unreachable,
            forward: self.forward - earlier.forward,
            backward: self.backward - earlier.backward,
        }
    }
}

impl Sub for WayBites {
    type Output = WayBites;

    fn sub(self, earlier: WayBites) -> WayBites {
        WayBites {
            passed: self.passed - earlier.passed,
            swallowed: self.swallowed - earlier.swallowed,
            held: self.held - earlier.held,
            delayed: self.delayed - earlier.delayed,
        }
    }
}

impl AddAssign for Bites {
    fn add_assign(&mut self, more: Bites) {
        self.opened += more.opened;
        self.kept_waiting += more.kept_waiting;
        self.refused += more.refused;
        self.cut += more.cut;
        self.unreachable += more.unreachable;
        self.forward += more.forward;
        self.backward += more.backward;
    }
}

impl AddAssign for WayBites {
    fn add_assign(&mut self, more: WayBites) {
        self.passed += more.passed;
        self.swallowed += more.swallowed;
        self.held += more.held;
        self.delayed += more.delayed;
    }
}
