//! CPU time: our own by the system's process clock, that of others by `/proc/PID/stat`.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What `/proc/PID/stat` counts in: USER_HZ, which is 100 wherever we run (the kernel's own HZ is something else).
const TICKS_PER_SECOND: u64 = 100;

/// What this process has used so far, in user and kernel, all threads.
pub(crate) fn own() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

/// What these processes have used so far, together.
pub(crate) fn of(pids: &[u32]) -> Result<Duration, String> {
    pids.iter().try_fold(Duration::ZERO, |sum, pid| {
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read_to_string(&path).map_err(|error| {
            format!("cannot read the CPU time of process {pid} from {path}: {error}. Is it a process on this machine?")
        })?;
        let ticks = ticks(&stat).ok_or_else(|| format!("{path} is not what Linux writes there"))?;
        Ok(sum + Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    })
}

/// Fields 14 and 15, `utime` and `stime`. The second field is the program's name in parentheses, and may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
    let mut number = || fields.next()?.parse::<u64>().ok();
    Some(number()? + number()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_an_odd_name_is_read_too() {
        let stat = "71 (a) b (c) S 1 71 71 0 -1 4194560 1 2 3 4 250 17 8 9 20 0 2 0 100 1000 10";
        assert_eq!(ticks(stat), Some(267));
        assert_eq!(ticks("71 (a) S 1"), None);
        assert!(of(&[u32::MAX]).unwrap_err().contains("Is it a process"));
    }

    /// Both ways must tell the same of one process: ours.
    #[test]
    fn work_is_seen_both_ways() {
        let before = own();
        let mut number = 1_u64;
        while own() - before < Duration::from_millis(100) {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        if cfg!(target_os = "linux") {
            let (seen, own) = (of(&[std::process::id()]).unwrap(), own());
            assert!(own.abs_diff(seen) < Duration::from_millis(500), "{own:?}, {seen:?}");
        }
    }
}
