//! Signals that people and supervisors send us, and that are somebody else's business: the command's that we run.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

/// What asks a program to end.
pub const ENDING: &[Signal] = &[Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];

/// Signals that do nothing to us any more from the moment at which this is made, and can be waited for.
///
/// * A signal that was ignored when we were started (`nohup`, or `&` in a script) stays ignored, for our children too.
#[derive(Debug)]
pub struct Signals {
    streams: Vec<(Signal, unix::Signal)>,
}

impl Signals {
    /// Takes over these, but not those that are ignored.
    pub fn of(signals: &[Signal]) -> io::Result<Signals> {
        let ignored = ignored();
        let heard = signals.iter().filter(|signal| ignored & bit(**signal) == 0);
        let stream = |signal: &Signal| Ok((*signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?));
        Ok(Signals { streams: heard.map(stream).collect::<io::Result<_>>()? })
    }

    /// The next one that comes. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            let mut came = self
                .streams
                .iter_mut()
                .filter_map(|(signal, stream)| stream.poll_recv(cx).is_ready().then_some(*signal));
            came.next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// As shells count: 128 and the signal's number.
pub fn exit_code(signal: i32) -> u8 {
    128u8.saturating_add(u8::try_from(signal).unwrap_or(u8::MAX))
}

fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

/// The signals that this process ignores, as a mask; none where the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map_or(0, mask)
}

fn mask(hex: &str) -> u64 {
    u64::from_str_radix(hex.trim(), 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rustix::process::{getpid, kill_process};

    use super::*;

    /// Else `nohup ringctl lock …` would hear the hangup after all, and end the command.
    #[test]
    fn the_mask_of_ignored_signals_is_read_as_linux_writes_it() {
        let ignored = mask("\t0000000000001001");
        assert_ne!(ignored & bit(Signal::HUP), 0);
        assert_ne!(ignored & bit(Signal::PIPE), 0);
        assert_eq!(ignored & bit(Signal::INT), 0);
    }

    #[tokio::test]
    async fn a_signal_is_heard_and_told_by_its_name() {
        let mut signals = Signals::of(&[Signal::USR1, Signal::USR2]).unwrap();
        kill_process(getpid(), Signal::USR2).unwrap();
        assert_eq!(signals.next().await, Signal::USR2);
    }

    #[test]
    fn codes_are_those_of_shells() {
        assert_eq!(exit_code(Signal::KILL.as_raw()), 137);
        assert_eq!(exit_code(64), 192);
    }
}
