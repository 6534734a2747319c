//! What a client may believe of a key after what it was told. Pure: answers in, contradictions out.
//!
//! The three outcomes leave three kinds of belief behind. *Ok* is certain, with its version and revision: the key must be
//! found exactly so, which also shows a write that was made twice. *Refused* is certain, too: such a value must never be seen.
//! *Unknown* leaves the write *pending*: it may have happened, may happen at any later moment, or never. A pending write ends
//! in one of two ways. The same request id is sent again until the cluster says what became of it; or the key is seen with
//! its value. Every value is written once, so whoever reads it knows which write it was.

use std::collections::BTreeSet;
use std::fmt;

/// A key as the cluster told it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub value: Vec<u8>,
    pub version: u64,
    pub revision: i64,
}

/// What contradicts what was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Which promise.
    pub what: &'static str,
    pub expected: String,
    pub found: String,
}

pub(super) type Verdict = Result<(), Fault>;

/// One key.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// Written by one task only, one request after the other.
    Register(Register),
    /// Added to by anyone; only additions that were told apart.
    Counter(Counter),
    /// Written by compare-and-set only, each on the revision before, by several at once.
    Race(Race),
}

impl Known {
    /// A linearizable read, while nothing is under way for the key.
    pub(super) fn saw(&mut self, found: Option<Held>) -> Verdict {
        match self {
            Known::Register(register) => register.saw(found),
            Known::Counter(counter) => counter.saw(found),
            Known::Race(race) => race.saw(found),
        }
    }
}

/// * `held` is what the last certain answer said.
/// * No pending value is `held`'s, and none was refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Register {
    held: Option<Held>,
    /// Of the last change that is known to have happened. The next one has a higher revision.
    revision: i64,
    /// Writes that may have happened since, or may yet happen; `None` is a removal.
    pending: Vec<Option<Vec<u8>>>,
    refused: BTreeSet<Vec<u8>>,
}

impl Register {
    /// A put was acknowledged.
    pub(super) fn put(&mut self, value: Vec<u8>, version: u64, revision: i64) -> Verdict {
        let held = Held { value, version, revision };
        let before = self.held.as_ref().map_or(0, |held| held.version);
        let pending_puts = self.pending.iter().flatten().count() as u64;
        // A pending removal may have started the count anew.
        let least = if self.pending.iter().any(Option::is_none) { 1 } else { before + 1 };
        if version < least || version > before + pending_puts + 1 {
            return Err(self.fault(
                "a write counts once",
                format!("version {least} to {}", before + pending_puts + 1),
                Some(&held),
            ));
        }
        self.changed(revision, Some(&held))?;
        if self.pending.len() as u64 == pending_puts && version == before + pending_puts + 1 {
            self.pending.clear(); // all of them have happened
        }
        self.held = Some(held);
        Ok(())
    }

    /// A removal was acknowledged. `existed` is what the cluster said was there.
    pub(super) fn deleted(&mut self, existed: bool, revision: i64) -> Verdict {
        if self.pending.is_empty() && existed != self.held.is_some() {
            let expected = if self.held.is_some() { "a key that was there" } else { "a key that was absent" };
            return Err(self.fault("an acknowledged write is there", expected.into(), None));
        }
        if existed {
            self.changed(revision, None)?;
        }
        self.held = None;
        Ok(())
    }

    /// Nobody knows what became of a put or, without a value, of a removal.
    pub(super) fn unknown(&mut self, value: Option<Vec<u8>>) {
        self.pending.push(value);
    }

    /// A put certainly did not happen.
    pub(super) fn refused(&mut self, value: Vec<u8>) {
        self.refused.insert(value);
    }

    pub(super) fn saw(&mut self, found: Option<Held>) -> Verdict {
        if found == self.held {
            return Ok(());
        }
        let seen = found.as_ref().map(|found| found.value.clone());
        let Some(place) = self.pending.iter().position(|pending| *pending == seen) else {
            let what = match &found {
                Some(found) if self.refused.contains(&found.value) => "a refused write is not there",
                Some(found) if self.held.as_ref().is_some_and(|held| held.value == found.value) => {
                    "a write counts once"
                }
                _ => "an acknowledged write is there",
            };
            return Err(self.fault(what, String::new(), found.as_ref()));
        };
        if let Some(found) = &found {
            self.changed(found.revision, Some(found))?;
        }
        self.pending.remove(place);
        self.held = found;
        Ok(())
    }

    /// A change happened at this revision.
    fn changed(&mut self, revision: i64, held: Option<&Held>) -> Verdict {
        if revision <= self.revision {
            let expected = format!("a revision above {}", self.revision);
            return Err(self.fault("revisions of a key rise", expected, held));
        }
        self.revision = revision;
        Ok(())
    }

    fn fault(&self, what: &'static str, expected: String, found: Option<&Held>) -> Fault {
        let mut text = if expected.is_empty() {
            shown(self.held.as_ref())
        } else {
            format!("{expected} after {}", shown(self.held.as_ref()))
        };
        for pending in &self.pending {
            text += &match pending {
                Some(value) => format!(", or {} whose outcome is unknown", brief(value)),
                None => ", or absent by a removal whose outcome is unknown".to_owned(),
            };
        }
        Fault { what, expected: text, found: shown(found) }
    }
}

/// A sum of additions, all of whose outcomes are known when it is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter {
    sum: i64,
    /// Acknowledged additions: each raises the version by one.
    additions: u64,
    /// Revisions of acknowledged additions: no two are alike.
    revisions: BTreeSet<i64>,
}

impl Counter {
    /// What was added so far.
    pub(super) fn sum(&self) -> i64 {
        self.sum
    }

    /// An addition was acknowledged. Whether it came alone, so that its answer must follow the one before, the caller knows.
    pub(super) fn added(&mut self, delta: i64, told: &Added, alone: bool) -> Verdict {
        let last = self.revisions.last().copied().unwrap_or(0);
        self.sum += delta;
        self.additions += 1;
        let fresh = self.revisions.insert(told.revision);
        if !fresh || alone && (told.value != self.sum || told.version != self.additions || told.revision <= last) {
            let expected = format!("{} as version {}, at a revision above {last}", self.sum, self.additions);
            return Err(Fault { what: "an addition counts once", expected, found: format!("{told}") });
        }
        Ok(())
    }

    fn saw(&mut self, found: Option<Held>) -> Verdict {
        let right = match &found {
            Some(found) => {
                found.value == self.sum.to_string().as_bytes()
                    && found.version == self.additions
                    && Some(&found.revision) == self.revisions.last()
            }
            None => self.additions == 0,
        };
        if right {
            return Ok(());
        }
        let revision = self.revisions.last().copied().unwrap_or(0);
        let expected = format!("{} as version {}, at revision {revision}", self.sum, self.additions);
        Err(Fault { what: "an addition counts once", expected, found: shown(found.as_ref()) })
    }
}

/// What the cluster told of an addition: the same for every sending of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Added {
    pub value: i64,
    pub version: u64,
    pub revision: i64,
}

impl fmt::Display for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as version {}, at revision {}", self.value, self.version, self.revision)
    }
}

/// * Every attempt is conditional on `held`'s revision. So once `held` has changed no earlier attempt can win any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Race {
    held: Option<Held>,
    /// Attempts on `held` whose outcomes are unknown.
    pending: Vec<Vec<u8>>,
    /// Attempts that certainly failed, ever.
    refused: BTreeSet<Vec<u8>>,
}

/// How one attempt ended.
#[derive(Clone, Debug)]
pub(super) enum Attempt {
    Won(Held),
    Refused(Vec<u8>),
    Unknown(Vec<u8>),
}

impl Race {
    /// The revision on which the next attempts are made; `None` while the key is absent.
    pub(super) fn revision(&self) -> Option<i64> {
        self.held.as_ref().map(|held| held.revision)
    }

    /// Several attempts were made at once, all on [`Race::revision`].
    pub(super) fn ran(&mut self, attempts: Vec<Attempt>) -> Verdict {
        let mut winner: Option<Held> = None;
        for attempt in attempts {
            match attempt {
                Attempt::Won(held) => {
                    if let Some(other) = &winner {
                        let expected = format!("one winner: {}", shown(Some(other)));
                        return Err(Fault { what: "a race has one winner", expected, found: shown(Some(&held)) });
                    }
                    winner = Some(held);
                }
                Attempt::Refused(value) => drop(self.refused.insert(value)),
                Attempt::Unknown(value) => self.pending.push(value),
            }
        }
        match winner {
            Some(winner) => self.moved(winner),
            None => Ok(()),
        }
    }

    fn saw(&mut self, found: Option<Held>) -> Verdict {
        if found == self.held {
            return Ok(());
        }
        match found {
            Some(found) if self.pending.contains(&found.value) => self.moved(found),
            found => {
                let refused = found.as_ref().is_some_and(|found| self.refused.contains(&found.value));
                let what = if refused { "a refused write is not there" } else { "an acknowledged write is there" };
                let pending: String = self.pending.iter().map(|value| format!(", or {}", brief(value))).collect();
                Err(Fault { what, expected: shown(self.held.as_ref()) + &pending, found: shown(found.as_ref()) })
            }
        }
    }

    fn moved(&mut self, to: Held) -> Verdict {
        let (version, revision) = self.held.as_ref().map_or((0, 0), |held| (held.version, held.revision));
        if to.version != version + 1 || to.revision <= revision {
            let expected = format!("version {} at a revision above {revision}", version + 1);
            return Err(Fault { what: "a write counts once", expected, found: shown(Some(&to)) });
        }
        self.held = Some(to);
        self.pending.clear();
        Ok(())
    }
}

/// A key for people.
pub(super) fn shown(held: Option<&Held>) -> String {
    match held {
        Some(Held { value, version, revision }) => {
            format!("{} as version {version}, at revision {revision}", brief(value))
        }
        None => "absent".to_owned(),
    }
}

/// Values begin with their name and may be long.
fn brief(value: &[u8]) -> String {
    const SHOWN: usize = 48;
    let text = String::from_utf8_lossy(&value[..value.len().min(SHOWN)]).into_owned();
    if value.len() > SHOWN { format!("{text:?}… ({} bytes)", value.len()) } else { format!("{text:?}") }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(Some(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(value: &str, version: u64, revision: i64) -> Option<Held> {
        Some(Held { value: value.into(), version, revision })
    }

    fn what(verdict: Verdict) -> &'static str {
        verdict.expect_err("this contradicts a promise").what
    }

    fn register(value: &str) -> Register {
        let mut register = Register::default();
        register.put(value.into(), 1, 10).unwrap();
        register
    }

    #[test]
    fn what_was_acknowledged_must_be_found_exactly_so() {
        register("a").saw(held("a", 1, 10)).unwrap();
        assert_eq!(what(register("a").saw(None)), "an acknowledged write is there");
        assert_eq!(what(register("a").saw(held("z", 1, 10))), "an acknowledged write is there");
        assert_eq!(what(register("a").saw(held("a", 2, 11))), "a write counts once");
        let mut rewritten = register("a");
        rewritten.put("b".into(), 2, 11).unwrap();
        assert_eq!(
            what(rewritten.saw(held("a", 1, 10))),
            "an acknowledged write is there",
            "a loss brings back the old"
        );
        let mut deleted = register("a");
        deleted.deleted(true, 11).unwrap();
        deleted.saw(None).unwrap();
        assert_eq!(what(deleted.saw(held("a", 1, 10))), "an acknowledged write is there");
    }

    #[test]
    fn answers_that_lost_or_doubled_a_write_are_seen_at_once() {
        assert_eq!(what(register("a").put("b".into(), 1, 11)), "a write counts once", "the first one is lost");
        assert_eq!(what(register("a").put("b".into(), 3, 11)), "a write counts once", "one was made twice");
        assert_eq!(what(register("a").put("b".into(), 2, 10)), "revisions of a key rise");
        assert_eq!(what(register("a").deleted(false, 11)), "an acknowledged write is there");
        assert_eq!(what(Register::default().deleted(true, 11)), "an acknowledged write is there");
    }

    #[test]
    fn a_refused_value_is_never_seen() {
        let mut register = register("a");
        register.refused("b".into());
        assert_eq!(what(register.saw(held("b", 2, 11))), "a refused write is not there");
    }

    /// Both are right until somebody looks; what was seen to happen cannot happen again.
    #[test]
    fn an_unknown_write_may_be_there_or_not_or_come_late_but_only_once() {
        let mut register = register("a");
        register.unknown(Some("b".into()));
        register.saw(held("a", 1, 10)).unwrap();
        register.put("c".into(), 2, 11).unwrap(); // so b had not happened
        register.saw(held("b", 3, 12)).unwrap(); // and came late
        register.put("d".into(), 4, 13).unwrap();
        assert_eq!(what(register.saw(held("b", 5, 14))), "an acknowledged write is there");

        let mut register = super::tests::register("a");
        register.unknown(Some("b".into()));
        register.put("c".into(), 3, 12).unwrap(); // so b had happened
        assert_eq!(what(register.saw(held("b", 4, 13))), "an acknowledged write is there");

        let mut register = super::tests::register("a");
        register.unknown(None);
        register.saw(None).unwrap();
        register.put("c".into(), 1, 12).unwrap();
        assert_eq!(what(register.saw(None)), "an acknowledged write is there");
    }

    #[test]
    fn counters_are_exact() {
        let told = |value, version, revision| Added { value, version, revision };
        let mut counter = Counter::default();
        counter.added(5, &told(5, 1, 10), true).unwrap();
        counter.added(-2, &told(3, 2, 11), true).unwrap();
        counter.saw(held("3", 2, 11)).unwrap();
        for wrong in [held("5", 1, 10), held("1", 3, 12), held("3", 3, 12), held("3", 2, 12), None] {
            assert_eq!(what(counter.saw(wrong)), "an addition counts once");
        }
        assert_eq!(what(counter.clone().added(1, &told(5, 3, 12), true)), "an addition counts once");
        assert_eq!(
            what(counter.clone().added(1, &told(4, 3, 11), false)),
            "an addition counts once",
            "two with one revision"
        );
        Counter::default().saw(None).unwrap();
    }

    #[test]
    fn additions_at_once_are_told_apart_by_their_revisions() {
        let mut counter = Counter::default();
        for (value, revision) in [(2, 11), (1, 10), (3, 12)] {
            counter.added(1, &Added { value, version: value as u64, revision }, false).unwrap();
        }
        counter.saw(held("3", 3, 12)).unwrap();
    }

    #[test]
    fn a_race_has_one_winner_and_losers_are_never_seen() {
        let won = |value, version, revision| Attempt::Won(held(value, version, revision).unwrap());
        let mut race = Race::default();
        race.ran(vec![Attempt::Refused("a".into()), won("b", 1, 10), Attempt::Unknown("c".into())]).unwrap();
        race.saw(held("b", 1, 10)).unwrap();
        assert_eq!(what(race.saw(held("a", 2, 11))), "a refused write is not there");
        assert_eq!(
            what(race.saw(held("c", 2, 11))),
            "an acknowledged write is there",
            "c's condition cannot hold any more"
        );
        assert_eq!(what(race.clone().ran(vec![won("d", 2, 11), won("e", 3, 12)])), "a race has one winner");
        race.ran(vec![Attempt::Unknown("f".into()), Attempt::Refused("g".into())]).unwrap();
        race.saw(held("b", 1, 10)).unwrap();
        race.saw(held("f", 2, 11)).unwrap(); // it may come late, as long as nobody else has won
        assert_eq!(race.revision(), Some(11));
    }
}
