//! Tells when this process did not run for a while: somebody has stopped it, or the whole machine stood still, as a
//! virtual one does while it is copied.
//!
//! Every deadline of that time has passed then, here and in the servers: calls end in the middle of their first attempt,
//! leases are over, and so are places in queues. Of the product that says nothing, but in what a test says it looks like
//! a cluster that hung for a minute. So it is told.

use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

/// How often to look at the clock.
const BEAT: Duration = Duration::from_millis(500);

/// Even on a busy machine a thread that does nothing but sleep gets its turn much sooner.
const TOLD_FROM: Duration = Duration::from_secs(5);

/// From now on, on stderr.
pub(crate) fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        thread::spawn(|| {
            beat(TOLD_FROM, |stood| {
                eprintln!("this process stood still for {stood:.1?}: what fails now may have failed because of that");
            })
        });
    });
}

fn beat(told_from: Duration, mut tell: impl FnMut(Duration)) {
    loop {
        let last = Instant::now();
        thread::sleep(BEAT);
        let stood = last.elapsed();
        if stood >= told_from {
            tell(stood);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_process_that_was_stopped_is_told_for_how_long() {
        let (tell, told) = mpsc::channel();
        thread::spawn(|| {
            beat(Duration::from_secs(1), move |stood| {
                let _ = tell.send(stood); // the test may be over
            })
        });
        let us = std::process::id();
        let stop = format!("kill -STOP {us}; sleep 3; kill -CONT {us}"); // not every thread stops at once
        let mut shell = Command::new("sh").args(["-c", &stop]).spawn().expect("there is a shell");
        // A machine that is very busy may be told of first.
        while told.recv_timeout(Duration::from_secs(120)).expect("it is told") < Duration::from_secs(2) {}
        assert!(shell.wait().expect("it can be waited for").success());
    }
}
