//! How much memory each server holds, over time: `VmRSS` of `/proc/PID/status`, everything resident, caches of RocksDB and
//! the allocator's reserves included.

use std::fs;
use std::time::Duration;

use crate::failure::{Context, Outcome, fail};

const MINUTE: Duration = Duration::from_secs(60);

/// What was read so far.
#[derive(Default)]
pub(crate) struct Memory {
    /// Each holds as many bytes as there are nodes.
    samples: Vec<(Duration, Vec<u64>)>,
}

/// What one node held. All of these are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resident {
    pub(crate) start: u64,
    pub(crate) highest: u64,
    pub(crate) end: u64,
    /// The highest of the first minute, and so on.
    pub(crate) first_minute: u64,
    pub(crate) first_half: u64,
    pub(crate) last_minute: u64,
    /// The highest of each minute. What came after the last one, while the last answers were waited for, is in the last.
    pub(crate) by_minute: Vec<u64>,
}

impl Memory {
    /// Reads what the servers hold now.
    pub(crate) fn sample(&mut self, at: Duration, servers: &[u32]) -> Outcome {
        let bytes: Vec<u64> = servers.iter().map(|pid| resident_bytes(*pid)).collect::<Outcome<_>>()?;
        self.samples.push((at, bytes));
        Ok(())
    }

    /// `node 1 812 MiB, node 2 790 MiB, node 3 805 MiB`.
    pub(crate) fn now(&self) -> String {
        let now = self.samples.last().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
        let nodes: Vec<String> =
            (1..).zip(now).map(|(node, bytes): (u64, _)| format!("node {node} {}", mib(*bytes))).collect();
        nodes.join(", ")
    }

    /// For each node, over a time that was to last so long.
    pub(crate) fn of_each_node(&self, lasts: Duration) -> Vec<Resident> {
        let nodes = self.samples.first().map_or(0, |(_, bytes)| bytes.len());
        let of = |node: usize| {
            let course: Vec<(Duration, u64)> = self.samples.iter().map(|(at, bytes)| (*at, bytes[node])).collect();
            Resident::of(&course, lasts)
        };
        (0..nodes).map(of).collect()
    }
}

impl Resident {
    /// Of a course that has begun at 0 and was to last so long.
    fn of(course: &[(Duration, u64)], lasts: Duration) -> Resident {
        let highest = |from: Duration, until: Duration| {
            let within = course.iter().filter(|(at, _)| (from..until).contains(at));
            within.map(|(_, bytes)| *bytes).max().unwrap_or(0)
        };
        let bytes = |sample: Option<&(Duration, u64)>| sample.map_or(0, |(_, bytes)| *bytes);
        let minutes = (lasts.as_secs() / MINUTE.as_secs()) as u32;
        let until = |minute: u32| if minute + 1 == minutes { Duration::MAX } else { MINUTE * (minute + 1) };
        Resident {
            start: bytes(course.first()),
            highest: highest(Duration::ZERO, Duration::MAX),
            end: bytes(course.last()),
            first_minute: highest(Duration::ZERO, MINUTE),
            first_half: highest(Duration::ZERO, lasts / 2),
            last_minute: highest(lasts.saturating_sub(MINUTE), Duration::MAX),
            by_minute: (0..minutes).map(|minute| highest(MINUTE * minute, until(minute))).collect(),
        }
    }

    /// The last minute to what came before half time: what is judged.
    pub(crate) fn late_growth(&self) -> f64 {
        self.last_minute as f64 / self.first_half as f64
    }

    /// The last minute to the first.
    pub(crate) fn growth(&self) -> f64 {
        self.last_minute as f64 / self.first_minute as f64
    }

    pub(crate) fn json(&self) -> String {
        let by_minute: Vec<String> = self.by_minute.iter().map(u64::to_string).collect();
        format!(
            "{{\"start_bytes\":{},\"highest_bytes\":{},\"end_bytes\":{},\"first_minute_bytes\":{},\"first_half_bytes\":{},\
             \"last_minute_bytes\":{},\"growth\":{:.4},\"late_growth\":{:.4},\"by_minute_bytes\":[{}]}}",
            self.start,
            self.highest,
            self.end,
            self.first_minute,
            self.first_half,
            self.last_minute,
            self.growth(),
            self.late_growth(),
            by_minute.join(",")
        )
    }
}

/// For people.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn resident_bytes(pid: u32) -> Outcome<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).context(format!("reading {path} (it takes Linux to measure here)"))?;
    match vm_rss_bytes(&status) {
        Some(bytes) => Ok(bytes),
        None => fail(format!("{path} has no VmRSS: the process has ended, or this is not Linux")),
    }
}

/// The line `VmRSS:    12345 kB`, by which Linux means KiB.
fn vm_rss_bytes(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_found_among_the_rest() {
        let status = "Name:\tringfence\nVmPeak:\t  999 kB\nVmRSS:\t    2048 kB\nRssAnon:\t  1 kB\n";
        assert_eq!(vm_rss_bytes(status), Some(2 << 20));
        assert_eq!(vm_rss_bytes("Name:\tzombie\nState:\tZ (zombie)\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_memory_is_read_and_that_of_nobody_is_not() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        assert!(resident_bytes(u32::MAX).is_err());
    }

    /// What stands where decides the verdict: one sample in the wrong minute, and a leak passes.
    #[test]
    fn samples_fall_into_the_minutes_that_they_belong_to() {
        // Four minutes were to be; the last sample came when the last answers were waited for.
        let course = [(0, 10), (59, 30), (60, 20), (119, 40), (120, 50), (179, 60), (180, 45), (250, 35)];
        let course = course.map(|(at, bytes)| (Duration::from_secs(at), bytes));
        let resident = Resident::of(&course, 4 * MINUTE);
        assert_eq!(
            resident,
            Resident {
                start: 10,
                highest: 60,
                end: 35,
                first_minute: 30,
                first_half: 40,
                last_minute: 45,
                by_minute: vec![30, 40, 60, 45],
            }
        );
        assert_eq!((resident.growth(), resident.late_growth()), (1.5, 1.125));
    }

    #[test]
    fn each_node_has_a_course_of_its_own() {
        let at = Duration::from_secs;
        let memory = Memory { samples: vec![(at(0), vec![1 << 20, 5 << 20]), (at(150), vec![3 << 20, 4 << 20])] };
        let highest: Vec<u64> = memory.of_each_node(2 * MINUTE).iter().map(|node| node.highest >> 20).collect();
        assert_eq!(highest, [3, 5]);
        assert_eq!(memory.now(), "node 1 3 MiB, node 2 4 MiB");
    }
}
