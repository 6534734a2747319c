//! The judgement: does the store hold exactly what it acknowledged? A pure function, so that its tests can show it failing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One item of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) key: String,
    pub(crate) value: String,
    /// How often the key was written since it was created.
    pub(crate) version: u64,
}

/// What can be wrong with a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// Acknowledged, and not there: lost.
    Missing { key: String },
    /// There, with another value than the one that was acknowledged.
    WrongValue { key: String, sent: String, found: String },
    /// Written more than once: a retry was applied again.
    WrittenAgain { key: String, version: u64 },
    /// The scan returned the key twice.
    ListedTwice { key: String },
    /// Sent, and the import ended well, but this one was never acknowledged.
    NeverAcknowledged { key: String },
    /// Acknowledged twice.
    AcknowledgedTwice { key: String },
    /// There or acknowledged, but nobody sent it.
    NobodySentIt { key: String },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Missing { key } => write!(f, "{key}: acknowledged, but not there"),
            Violation::WrongValue { key, sent, found } => write!(f, "{key}: sent {sent:?}, found {found:?}"),
            Violation::WrittenAgain { key, version } => write!(f, "{key}: written {version} times instead of once"),
            Violation::ListedTwice { key } => write!(f, "{key}: listed twice by one scan"),
            Violation::NeverAcknowledged { key } => write!(f, "{key}: sent, but never acknowledged"),
            Violation::AcknowledgedTwice { key } => write!(f, "{key}: acknowledged twice"),
            Violation::NobodySentIt { key } => write!(f, "{key}: nobody sent it"),
        }
    }
}

/// Compares what was sent, what was acknowledged and what a scan found. `Ok` is the number of records proved: each sent once,
/// acknowledged once, and found once, with its value, written once.
pub(crate) fn compare(
    sent: &BTreeMap<String, String>,
    acknowledged: &[String],
    found: &[Found],
) -> Result<usize, Vec<Violation>> {
    let mut violations = Vec::new();
    let mut acks = BTreeSet::new();
    for key in acknowledged {
        if !acks.insert(key.as_str()) {
            violations.push(Violation::AcknowledgedTwice { key: key.clone() });
        }
    }
    let mut items: BTreeMap<&str, &Found> = BTreeMap::new();
    for item in found {
        if items.insert(&item.key, item).is_some() {
            violations.push(Violation::ListedTwice { key: item.key.clone() });
        }
    }
    for key in acks.iter().copied().chain(items.keys().copied()).collect::<BTreeSet<&str>>() {
        if !sent.contains_key(key) {
            violations.push(Violation::NobodySentIt { key: key.into() });
        }
    }
    for (key, sent) in sent {
        if !acks.contains(key.as_str()) {
            violations.push(Violation::NeverAcknowledged { key: key.clone() });
            continue;
        }
        match items.get(key.as_str()) {
            None => violations.push(Violation::Missing { key: key.clone() }),
            Some(item) => {
                if item.value != *sent {
                    let (sent, found) = (sent.clone(), item.value.clone());
                    violations.push(Violation::WrongValue { key: key.clone(), sent, found });
                }
                if item.version != 1 {
                    violations.push(Violation::WrittenAgain { key: key.clone(), version: item.version });
                }
            }
        }
    }
    if violations.is_empty() { Ok(sent.len()) } else { Err(violations) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run in which everything went well.
    fn good() -> (BTreeMap<String, String>, Vec<String>, Vec<Found>) {
        let sent: BTreeMap<_, _> = (0..5).map(|i| (format!("pkg/{i}"), format!("value {i}"))).collect();
        let acknowledged = sent.keys().rev().cloned().collect();
        let found = sent.iter().map(|(k, v)| Found { key: k.clone(), value: v.clone(), version: 1 }).collect();
        (sent, acknowledged, found)
    }

    fn key() -> String {
        "pkg/3".into()
    }

    #[test]
    fn a_good_run_is_proved_in_whatever_order_it_came() {
        let (sent, acknowledged, mut found) = good();
        found.reverse();
        assert_eq!(compare(&sent, &acknowledged, &found), Ok(5));
    }

    #[test]
    fn a_lost_record_fails() {
        let (sent, acknowledged, mut found) = good();
        found.remove(3);
        assert_eq!(compare(&sent, &acknowledged, &found), Err(vec![Violation::Missing { key: key() }]));
    }

    #[test]
    fn a_changed_value_fails() {
        let (sent, acknowledged, mut found) = good();
        found[3].value.push('!');
        let violation = Violation::WrongValue { key: key(), sent: "value 3".into(), found: "value 3!".into() };
        assert_eq!(compare(&sent, &acknowledged, &found), Err(vec![violation]));
    }

    /// This is what a retry looks like that took effect twice.
    #[test]
    fn a_record_written_twice_fails() {
        let (sent, acknowledged, mut found) = good();
        found[3].version = 2;
        assert_eq!(
            compare(&sent, &acknowledged, &found),
            Err(vec![Violation::WrittenAgain { key: key(), version: 2 }])
        );
    }

    #[test]
    fn a_record_listed_twice_fails() {
        let (sent, acknowledged, mut found) = good();
        found.push(found[3].clone());
        assert_eq!(compare(&sent, &acknowledged, &found), Err(vec![Violation::ListedTwice { key: key() }]));
    }

    #[test]
    fn an_import_that_claims_success_but_left_one_out_fails() {
        let (sent, mut acknowledged, found) = good();
        acknowledged.retain(|acked| *acked != key());
        assert_eq!(compare(&sent, &acknowledged, &found), Err(vec![Violation::NeverAcknowledged { key: key() }]));
    }

    #[test]
    fn a_record_acknowledged_twice_fails() {
        let (sent, mut acknowledged, found) = good();
        acknowledged.push(key());
        assert_eq!(compare(&sent, &acknowledged, &found), Err(vec![Violation::AcknowledgedTwice { key: key() }]));
    }

    #[test]
    fn a_record_that_nobody_sent_fails() {
        let (mut sent, acknowledged, found) = good();
        sent.remove(&key());
        assert_eq!(compare(&sent, &acknowledged, &found), Err(vec![Violation::NobodySentIt { key: key() }]));
    }
}
