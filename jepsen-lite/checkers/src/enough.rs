//! How much is needed before "nothing wrong was seen" means anything.

use crate::verdict::{Checked, Verdict, Why};

/// How much is needed before "nothing wrong was seen" means anything. A history below it is never valid, but *vacuous*; a
/// violation in it is one all the same.
///
/// The default asks for one operation that happened and one *telling* one: an answer that could have been wrong. A
/// thousand writes that nobody reads prove nothing. A real run should ask for far more than the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enough {
    /// Operations that happened.
    pub ok_min: usize,
    /// Of these, how many with an answer that could have been wrong.
    pub telling_min: usize,
}

impl Default for Enough {
    fn default() -> Enough {
        Enough { ok_min: 1, telling_min: 1 }
    }
}

impl Enough {
    /// The verdict on a history in which nothing wrong was found.
    pub fn judge(self, checked: Checked) -> Verdict {
        let missing = if checked.ok < self.ok_min {
            format!("{} operations happened, of at least {}", checked.ok, self.ok_min)
        } else if checked.telling < self.telling_min {
            format!("{} answers could have been wrong, of at least {}", checked.telling, self.telling_min)
        } else {
            return Verdict::Valid { checked };
        };
        Verdict::Unknown { why: Why::Vacuous { missing }, checked }
    }
}
