//! What is claimed of a cluster under overload, and whether it holds. Pure.

use super::Measured;
use super::memory::mib;
use crate::bench::figures::ratio;
use crate::say;

/// Goodput to capacity, at least.
const GOODPUT_MIN: f64 = 0.8;
/// Memory of a node in the last minute to the highest before half time, at most.
const LATE_GROWTH_MAX: f64 = 1.25;
/// Half of the time that the SDK gives a call: who is served at all is served well before giving up.
const P99_MAX_US: f64 = 5e6;

/// One claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) claim: String,
    /// With figures.
    pub(crate) found: String,
    pub(crate) holds: bool,
}

/// All claims, in the order in which they are shown.
pub(crate) fn judge(measured: &Measured) -> Vec<Verdict> {
    vec![goodput(measured), memory(measured), p99(measured), errors(measured)]
}

fn goodput(measured: &Measured) -> Verdict {
    let (capacity, overload) = (measured.capacity.ops, measured.overload().ops);
    let ratio = ratio(overload, capacity).unwrap_or(0.0);
    let (overload, capacity) = (overload.round() as usize, capacity.round() as usize);
    Verdict {
        claim: format!("goodput is at least {GOODPUT_MIN} × capacity"),
        found: format!("{ratio:.2} ×, {} of {} ops/s", say::thousands(overload), say::thousands(capacity)),
        holds: ratio >= GOODPUT_MIN,
    }
}

fn memory(measured: &Measured) -> Verdict {
    let nodes = || (1_u64..).zip(&measured.memory);
    let highest = nodes().max_by_key(|(_, memory)| memory.highest);
    let grown = nodes().max_by(|(_, a), (_, b)| a.late_growth().total_cmp(&b.late_growth()));
    let found = match (highest, grown) {
        (Some((node, memory)), Some((other, grown))) => format!(
            "{} at most (node {node}); {:.2} × at most (node {other}: {} after {})",
            mib(memory.highest),
            grown.late_growth(),
            mib(grown.last_minute),
            mib(grown.first_half)
        ),
        _ => "nothing was read".into(),
    };
    Verdict {
        claim: format!(
            "memory is bounded: the last minute's highest of each node is at most {LATE_GROWTH_MAX} × that before half time"
        ),
        found,
        holds: grown.is_some_and(|(_, memory)| memory.late_growth() <= LATE_GROWTH_MAX),
    }
}

fn p99(measured: &Measured) -> Verdict {
    let p99_us = measured.overload().p99_us;
    Verdict {
        claim: format!("p99 of accepted requests is at most {}", say::latency(P99_MAX_US)),
        found: format!("{}, the highest of all processes", say::latency(p99_us)),
        holds: p99_us <= P99_MAX_US,
    }
}

fn errors(measured: &Measured) -> Verdict {
    // In all three: a cluster that breaks under load may show it afterwards.
    let overload = measured.overload();
    let rows =
        [("at capacity", &measured.capacity), ("under overload", &overload), ("afterwards", &measured.afterwards)];
    let with_errors = rows.iter().filter(|(_, row)| !row.errors.is_empty());
    let found: Vec<String> = with_errors.map(|(when, row)| format!("{} {when}", row.errors_text())).collect();
    Verdict {
        claim: "there are no errors but OVERLOADED".into(),
        found: if found.is_empty() { "none".into() } else { found.join("; ") },
        holds: rows.iter().all(|(_, row)| row.only_overloaded()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::Options;
    use super::super::memory::Resident;
    use super::super::row::{Row, tests::row};
    use super::*;

    /// A run of which every claim holds, though just so.
    pub(crate) fn measured() -> Measured {
        let memory = |last_minute: u64| Resident {
            start: 10 << 20,
            highest: 130 << 20,
            end: 100 << 20,
            first_minute: 80 << 20,
            first_half: 100 << 20,
            last_minute: last_minute << 20,
            by_minute: vec![80 << 20, last_minute << 20],
        };
        Measured {
            options: Options::parse(&["--minutes", "2"]).unwrap(),
            capacity: row(1000.0, 50_000.0, &[]),
            crowd: vec![row(400.0, 3e6, &[("OVERLOADED", 5)]), row(390.0, 5e6, &[("OVERLOADED", 2)])],
            light: Row { clients: 1, ..row(10.0, 60_000.0, &[]) },
            afterwards: row(990.0, 50_000.0, &[]),
            memory: vec![memory(90), memory(125), memory(100)],
        }
    }

    fn failing(change: impl Fn(&mut Measured)) -> Vec<String> {
        let mut measured = measured();
        change(&mut measured);
        judge(&measured).into_iter().filter(|verdict| !verdict.holds).map(|verdict| verdict.found).collect()
    }

    #[test]
    fn all_claims_hold_to_the_last_digit_and_name_their_figures() {
        let verdicts = judge(&measured());
        assert!(verdicts.iter().all(|verdict| verdict.holds), "{verdicts:#?}");
        let found: Vec<&str> = verdicts.iter().map(|verdict| verdict.found.as_str()).collect();
        assert_eq!(
            found,
            [
                "0.80 ×, 800 of 1,000 ops/s",
                "130 MiB at most (node 3); 1.25 × at most (node 2: 125 MiB after 100 MiB)",
                "5.00 s, the highest of all processes",
                "OVERLOADED 7 under overload",
            ]
        );
    }

    /// A proof that cannot fail proves nothing.
    #[test]
    fn each_claim_can_fail_alone() {
        assert_eq!(failing(|_| ()), [""; 0]);
        assert_eq!(failing(|run| run.crowd[0].ops = 390.0), ["0.79 ×, 790 of 1,000 ops/s"]);
        let leak = failing(|run| run.memory[0].last_minute = 126 << 20);
        assert_eq!(leak, ["130 MiB at most (node 3); 1.26 × at most (node 1: 126 MiB after 100 MiB)"]);
        assert_eq!(failing(|run| run.memory.clear()), ["nothing was read"]);
        assert_eq!(failing(|run| run.light.p99_us = 5.1e6), ["5.10 s, the highest of all processes"]);
        let unknown = row(10.0, 50_000.0, &[("OUTCOME_UNKNOWN", 1)]);
        let light = failing(|run| run.light = unknown.clone());
        assert_eq!(light, ["OUTCOME_UNKNOWN 1, OVERLOADED 7 under overload"]);
        let afterwards = failing(|run| run.afterwards = unknown.clone());
        assert_eq!(afterwards, ["OVERLOADED 7 under overload; OUTCOME_UNKNOWN 1 afterwards"]);
    }
}
