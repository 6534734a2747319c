//! Which bugs there are.

use std::fmt;
use std::str::FromStr;

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`description` tells of each")]
pub enum Bug {
    AckBeforeFsync,
    VoteNotPersisted,
    FollowerServesReads,
    ReadIndexWithoutQuorum,
    RetryAppliedTwice,
    SnapshotForgetsDedup,
    SnapshotForgetsLeases,
    TornLogVotes,
    CommitWithoutQuorum,
    TokenIgnored,
    TokenReused,
    ExpiryByWallClock,
    LeaseClockReset,
    NonOwnerReleases,
    TtlCutOnFailover,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 15] = [
        Bug::AckBeforeFsync,
        Bug::VoteNotPersisted,
        Bug::FollowerServesReads,
        Bug::ReadIndexWithoutQuorum,
        Bug::RetryAppliedTwice,
        Bug::SnapshotForgetsDedup,
        Bug::SnapshotForgetsLeases,
        Bug::TornLogVotes,
        Bug::CommitWithoutQuorum,
        Bug::TokenIgnored,
        Bug::TokenReused,
        Bug::ExpiryByWallClock,
        Bug::LeaseClockReset,
        Bug::NonOwnerReleases,
        Bug::TtlCutOnFailover,
    ];

    /// As it is named on a command line.
    pub const fn name(self) -> &'static str {
        self.told().0
    }

    /// What is wrong, and what it should cost a user.
    pub const fn description(self) -> &'static str {
        self.told().1
    }

    const fn told(self) -> (&'static str, &'static str) {
        match self {
            Bug::AckBeforeFsync => (
                "ack-before-fsync",
                "The log says that entries are durable and syncs them only now and then, so acknowledged writes \
                 vanish when all nodes lose power.",
            ),
            Bug::VoteNotPersisted => (
                "vote-not-persisted",
                "Votes are kept in memory alone, so a restarted node votes again or follows a leader that was \
                 deposed, and acknowledged writes are overwritten.",
            ),
            Bug::FollowerServesReads => (
                "follower-serves-reads",
                "A node that does not lead answers linearizable reads from its own replica, which may be old.",
            ),
            Bug::ReadIndexWithoutQuorum => (
                "read-index-without-quorum",
                "A leader answers linearizable reads without asking a majority whether it still leads, so one that \
                 was deposed unawares answers what is long outdated.",
            ),
            Bug::RetryAppliedTwice => (
                "retry-applied-twice",
                "Outcomes of mutations are not looked up, so a request that is sent again takes effect again.",
            ),
            Bug::SnapshotForgetsDedup => (
                "snapshot-forgets-dedup",
                "A snapshot lacks the outcomes of requests, so once a replica that was filled by one leads, a request \
                 that is sent again takes effect again.",
            ),
            Bug::SnapshotForgetsLeases => (
                "snapshot-forgets-leases",
                "A snapshot lacks locks, leases and queues, so once a replica that was filled by one leads, what is \
                 held is granted to others.",
            ),
            Bug::TornLogVotes => (
                "torn-log-votes",
                "A damaged log is cut at the first bad record without a word and the node votes on, so acknowledged \
                 writes that stood behind it are lost.",
            ),
            Bug::CommitWithoutQuorum => (
                "commit-without-quorum",
                "A leader takes a follower that cannot be reached for one that has stored the entry, so writes are \
                 acknowledged that no majority has.",
            ),
            Bug::TokenIgnored => {
                ("token-ignored", "Fences of mutations are not checked, so a holder whose lease is over still writes.")
            }
            Bug::TokenReused => (
                "token-reused",
                "Tokens are counted in the record of the lock, and a new leader forgets those of free locks, so a \
                 token that was given out is given out again.",
            ),
            Bug::ExpiryByWallClock => (
                "expiry-by-wall-clock",
                "The leader's lease clock follows its wall clock, so leases end early when that jumps ahead.",
            ),
            Bug::LeaseClockReset => (
                "lease-clock-reset",
                "A new leader begins its lease clock as if it had been in office since its process started, so leases \
                 end early at a failover.",
            ),
            Bug::NonOwnerReleases => (
                "non-owner-releases",
                "A release does not ask who holds the lock under which token, so anybody ends anybody's lease.",
            ),
            Bug::TtlCutOnFailover => (
                "ttl-cut-on-failover",
                "A new leader leaves every lease a tenth of what remained of it, so the next holder comes while the \
                 one before still believes in its lease.",
            ),
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No bug has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBug {
    name: String,
}

impl fmt::Display for UnknownBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "there is no bug `{}` to be planted; these there are:", self.name)?;
        Bug::ALL.iter().try_for_each(|bug| writeln!(f, "  {:<26} {}", bug.name(), bug.description()))
    }
}

impl std::error::Error for UnknownBug {}

impl FromStr for Bug {
    type Err = UnknownBug;

    fn from_str(name: &str) -> Result<Bug, UnknownBug> {
        Bug::ALL.into_iter().find(|bug| bug.name() == name).ok_or_else(|| UnknownBug { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_name_of_its_own_and_is_found_by_it() {
        for bug in Bug::ALL {
            assert_eq!(bug.name().parse(), Ok(bug));
            let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase());
            assert!(bug.name().split('-').all(is_word), "{bug}");
            assert!(bug.description().ends_with('.') && !bug.description().contains("  "), "{bug}");
        }
        let unknown = "ack-before-lunch".parse::<Bug>().unwrap_err().to_string();
        assert!(Bug::ALL.iter().all(|bug| unknown.contains(bug.name())), "{unknown}");
    }
}
