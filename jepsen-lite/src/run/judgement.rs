//! What is known of a run so far, and what it amounts to in the end.

use jepsen_checkers::{Event, History, Outcome, Verdict, Why};

use super::{RunOptions, history_file, with_marks};
use crate::recorder::{Recorder, ok_since};
use crate::results::{Check, Coverage, FaultBand, Judged, Results, Sighting};
use crate::trouble::Trouble;
use crate::workload::Workload;

/// Collects what a run finds.
pub(super) struct Judgement {
    command: String,
    options: Vec<(String, String)>,
    /// That were asked for. More than that is worked where that is too little to judge.
    pub(super) seconds: u64,
    troubles: Vec<Trouble>,
    pub(super) cluster: Vec<Check>,
    pub(super) nemeses: Vec<Coverage>,
    pub(super) faults: Vec<FaultBand>,
    pub(super) sightings: Vec<Sighting>,
    pub(super) worked_ns: (u64, u64),
    /// When all was well again.
    pub(super) healed_ns: Option<u64>,
}

impl Judgement {
    pub(super) fn new(options: &RunOptions) -> Judgement {
        Judgement {
            command: options.command(),
            options: options.listed(),
            seconds: options.time,
            troubles: Vec::new(),
            cluster: Vec::new(),
            nemeses: Vec::new(),
            faults: Vec::new(),
            sightings: Vec::new(),
            worked_ns: (0, 0),
            healed_ns: None,
        }
    }

    pub(super) fn trouble(&mut self, trouble: Trouble) {
        self.troubles.push(trouble);
    }

    /// Whether nothing has gone wrong so far.
    pub(super) fn is_open(&self) -> bool {
        self.troubles.is_empty()
    }

    /// Judges every history and adds it all up.
    pub(super) fn judge(
        mut self,
        workloads: &[Box<dyn Workload>],
        recorders: &[Recorder],
    ) -> (Results, Vec<(String, Vec<Event>)>) {
        let (mut judged, mut histories) = (Vec::new(), Vec::new());
        let mut ended_ns = self.worked_ns.1;
        for (workload, recorder) in workloads.iter().zip(recorders) {
            ended_ns = ended_ns.max(recorder.now_ns());
            let events = with_marks(recorder.events(), &self.faults);
            match self.judge_one(&**workload, &events) {
                Ok(one) => judged.push(one),
                Err(problem) => self.troubles.push(Trouble::Harness(format!("{}: {problem}", workload.name()))),
            }
            histories.push((workload.name().to_owned(), events));
        }
        let mut results = Results {
            command: self.command,
            options: self.options,
            began_unix_ms: 0,
            ended_ns,
            worked_ns: self.worked_ns,
            verdict: String::new(),
            exit_code: 0,
            reasons: Vec::new(),
            workloads: judged,
            cluster: self.cluster,
            nemeses: self.nemeses,
            faults: self.faults,
            sightings: self.sightings,
        };
        add_up(&mut results, &self.troubles);
        (results, histories)
    }

    fn judge_one(&self, workload: &dyn Workload, events: &[Event]) -> Result<Judged, String> {
        let history = History::from_events(events.iter().cloned());
        let history = history.map_err(|error| format!("its history is malformed: {error}"))?;
        let checks = workload.judge(&history, self.seconds).map_err(|error| error.to_string())?;
        let count = |outcome| history.operations.iter().filter(|op| op.outcome == outcome).count();
        Ok(Judged {
            name: workload.name().to_owned(),
            about: workload.about().to_owned(),
            history: history_file(workload.name()),
            checks: checks.into_iter().map(|(rule, verdict)| Check { rule: rule.to_owned(), verdict }).collect(),
            ok: count(Outcome::Ok),
            failed: count(Outcome::Fail),
            unknown: count(Outcome::Unknown),
            ok_after_healing: self.healed_ns.map_or(0, |healed| ok_since(events, healed)),
        })
    }
}

/// The harness's failure outweighs all: then nothing is known. A violation outweighs what is unknown.
fn add_up(results: &mut Results, troubles: &[Trouble]) {
    let mut reasons: Vec<(u8, String)> = troubles
        .iter()
        .map(|trouble| match trouble {
            Trouble::Harness(_) => (3, trouble.to_string()),
            Trouble::Violation { .. } => (1, trouble.to_string()),
            Trouble::NotCovered(_) => (2, trouble.to_string()),
        })
        .collect();
    let of_workloads =
        results.workloads.iter().flat_map(|judged| judged.checks.iter().map(|check| (judged.name.as_str(), check)));
    let of_cluster = results.cluster.iter().map(|check| ("cluster", check));
    for (whose, Check { rule, verdict }) in of_workloads.chain(of_cluster) {
        match verdict {
            Verdict::Valid { .. } => {}
            Verdict::Invalid { .. } => reasons.push((1, format!("{whose}, {rule}: {verdict}"))),
            // A run that was cut short by something else is not also blamed for being short.
            Verdict::Unknown { why: Why::Vacuous { .. } | Why::Unread { .. }, .. } if !troubles.is_empty() => {}
            Verdict::Unknown { .. } => reasons.push((2, format!("{whose}, {rule}: {verdict}"))),
        }
    }
    for Coverage { nemesis, not_covered, struck, bit, .. } in &results.nemeses {
        match not_covered {
            Some(why) => reasons.push((2, format!("{nemesis} is not covered here: {why}"))),
            None if *bit == 0 && troubles.is_empty() => {
                reasons.push((2, format!("{nemesis} struck {struck} times and did not bite once")));
            }
            None => {}
        }
    }
    // 3 first, then 1, then 2.
    let weight = |code: u8| match code {
        3 => 0,
        1 => 1,
        _ => 2,
    };
    reasons.sort_by_key(|(code, _)| weight(*code));
    results.exit_code = reasons.first().map_or(0, |(code, _)| *code);
    results.verdict = match results.exit_code {
        0 => "valid",
        1 => "violation",
        2 => "unknown",
        _ => "harness",
    }
    .to_owned();
    results.reasons = reasons.into_iter().map(|(_, reason)| reason).collect();
}
