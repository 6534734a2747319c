//! A process that stands still (SIGSTOP) and then goes on as if nothing had happened: a long collection of garbage, a
//! machine that was moved. Its sockets stay open and its clocks run on, so for everything that it believed to be true
//! it is too late.

use std::fs;
use std::time::Instant;

use futures::future::BoxFuture;
use ringfence_tests::Dice;

use super::{Bite, Nemesis, Struck, victim};
use crate::cluster::Cluster;
use crate::proxy::NodeId;
use crate::trouble::Trouble;

/// See the module.
#[derive(Default)]
pub(super) struct Pause {
    held: Option<Held>,
}

/// Whom it has stopped.
struct Held {
    node: NodeId,
    pid: u32,
    since: Instant,
    before: Option<Standing>,
}

/// What the system says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    /// `T`: stopped.
    state: char,
    /// The processor time that it has had, in ticks of a hundredth of a second.
    ticks: u64,
}

impl Nemesis for Pause {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn about(&self) -> &'static str {
        "a process stands still in mid-step (SIGSTOP), often for longer than an election, and then simply goes on"
    }

    fn inflict<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        dice: &'a mut Dice,
    ) -> BoxFuture<'a, Result<Struck, Trouble>> {
        Box::pin(async move {
            let node = victim(cluster, dice).await;
            let pid = cluster.server(node).map(|server| server.pid());
            let (true, Some(pid)) = (cluster.pause(node), pid) else {
                return Ok(Struck { what: format!("{node} does not run, and cannot be stopped"), nodes: vec![] });
            };
            self.held = Some(Held { node, pid, since: Instant::now(), before: look(pid) });
            Ok(Struck { what: format!("{node} stands still"), nodes: vec![node] })
        })
    }

    fn lift<'a>(&'a mut self, cluster: &'a mut Cluster) -> BoxFuture<'a, Result<Bite, Trouble>> {
        Box::pin(async move {
            let Some(Held { node, pid, since, before }) = self.held.take() else {
                return Ok(Bite { count: 0, evidence: "nobody stood still".into() });
            };
            let stood = cluster.is_paused(node);
            let (after, elapsed) = (look(pid), since.elapsed());
            cluster.resume(node);
            if !stood {
                return Ok(Bite {
                    count: 1,
                    evidence: format!("process {pid} stood still until it was ended, or let go, by another"),
                });
            }
            let had = after.as_ref().zip(before).map(|(after, before)| after.ticks - before.ticks);
            let still = had == Some(0) && after.is_some_and(|after| after.state == 'T');
            let evidence = match (still, elapsed.as_secs_f64()) {
                (true, s) => format!("process {pid} was stopped for {s:.2} s and had no processor time"),
                (false, s) => {
                    format!("process {pid} had {had:?} ticks of processor time in {s:.2} s: it did not stand still")
                }
            };
            Ok(Bite { count: if still { elapsed.as_millis() as u64 } else { 0 }, evidence })
        })
    }
}

fn look(pid: u32) -> Option<Standing> {
    read_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Behind the name, which stands in brackets: state, then ten numbers, then the ticks in user mode and in the kernel.
fn read_stat(stat: &str) -> Option<Standing> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Standing { state: fields.first()?.chars().next()?, ticks: ticks(11)? + ticks(12)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that runs must not pass for one that stands still.
    #[test]
    fn the_system_tells_who_stands_still() {
        let stat = "42 (a) b) T 1 42 42 0 -1 4194560 90 0 0 0 17 4 0 0 20 0 1 0 100 9 9";
        assert_eq!(read_stat(stat), Some(Standing { state: 'T', ticks: 21 }));
        assert_eq!(read_stat("42 (a)"), None);
        let mut work = 1_u64;
        let before = look(std::process::id()).unwrap();
        while look(std::process::id()).unwrap().ticks == before.ticks {
            work = (0..100_000).fold(work, |work, n| work.rotate_left(7) ^ n);
        }
        assert_ne!(look(std::process::id()).unwrap().state, 'T', "{work}");
    }
}
