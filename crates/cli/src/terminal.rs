//! The terminal, which belongs to one process group at a time.
//!
//! A command in a group of its own is in the background: reading the terminal, or changing its modes, stops it. So when that
//! happens it is lent the terminal, if it is ours to lend; from then on it is what Ctrl-C speaks to, and when it has ended
//! the terminal is ours again. Lent no earlier, so that `ringctl lock … -- make | less` leaves the keyboard to `less`.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, getpgrp};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// The terminal that we were started from.
#[derive(Debug)]
pub struct Terminal {
    tty: File,
}

impl Terminal {
    /// `None` if there is no terminal: under cron, systemd, in a container.
    pub fn ours() -> Option<Terminal> {
        File::open("/dev/tty").ok().map(|tty| Terminal { tty })
    }

    /// Gives it to this group. `false` if it is not ours: we run in the background ourselves.
    pub fn lend(&self, group: Pid) -> bool {
        let owner = tcgetpgrp(&self.tty);
        owner == Ok(group) || (owner == Ok(getpgrp()) && tcsetpgrp(&self.tty, group).is_ok())
    }

    /// Takes it from this group, of which at least one process must not have been waited for yet.
    ///
    /// Whoever is in the background and takes the terminal is stopped for it (SIGTTOU), unless it blocks the signal, for
    /// which there is no safe way. But a member of the group in the foreground may give it away: so a process joins that
    /// group, gives us the terminal, and ends before it has become a program.
    #[allow(unsafe_code, reason = "the system calls must be made by a process in the other group")]
    pub fn take_back(&self, group: Pid) {
        let (Ok(tty), us) = (self.tty.try_clone(), getpgrp()) else { return };
        if tcgetpgrp(&tty) != Ok(group) {
            return;
        }
        let mut nothing = Command::new("true");
        nothing.process_group(group.as_raw_nonzero().get());
        let give = move || {
            if tcgetpgrp(&tty)? == group {
                tcsetpgrp(&tty, us)?;
            }
            Err(io::Error::from(Errno::CANCELED))
        };
        // SAFETY: two system calls, which take no lock and no memory; the error is a number.
        unsafe { nothing.pre_exec(give) };
        // Always an error: see above.
        let _ = nothing.spawn();
    }
}
