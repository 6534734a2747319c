//! What to do after an attempt failed. Pure: failures and numbers in, a decision out.
//!
//! The rule that everything hangs on: a mutation that was *sent* and not answered is **unresolved**. From then on only
//! the cluster's own word about that request id ends the call ([`Outcome::Decided`] or success); a refusal of a later
//! sending says nothing about the earlier one. So the id stays the same until the deadline, and what then is still
//! unresolved is reported as unknown, never as refused.
//!
//! ```text
//! send id 7 ─▶ stream breaks          unresolved: id 7 may have happened
//! send id 7 ─▶ OVERLOADED             still unresolved; wait as told
//! send id 7 ─▶ ok, revision 91        the recorded outcome of whichever sending arrived first
//! ```
//!
//! Waits grow exponentially to a cap with full jitter (a uniformly random part of the whole), so that clients that failed
//! together do not come back together. A server's RetryInfo is a floor below which no wait goes.

use std::time::Duration;

use ringfence_proto::{Advice, Outcome, metadata, v1};
use ringfence_types::{NodeId, Revision};

use crate::Reason;

/// The first wait is a random part of this.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
/// Every later wait is a random part of twice the one before, up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How often in a row a call follows "ask somebody else" at once. Two nodes that name each other must not get a storm.
const REDIRECTS_AT_ONCE_MAX: u32 = 2;

/// With less time left no further attempt is made: it would hardly be answered, and a change that certainly did not happen
/// would become one that may have.
const ATTEMPT_MIN: Duration = Duration::from_millis(10);

/// How one attempt failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// A node answered, with an error.
    Answered(v1::Error),
    /// It never left this process.
    NotSent(String),
    /// It was sent, and then the connection broke.
    Broken(String),
    /// It was sent, and no answer came within the attempt's time.
    Silent,
}

/// Whom to ask next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Whom the routes name; it had a transient problem.
    TheSame,
    /// Anyone but the one that failed.
    Another,
    /// This node: the one that failed says that it leads.
    Leader(NodeId, String),
    /// Whom a fresh shard map names.
    FreshMap,
}

/// What to do next.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// Send the same request, with the same id, after a wait.
    Again { wait: Duration, whom: Whom },
    /// Send it with a new id born at this revision: no sending of the old one did anything, or ever will.
    Renew { birth: Revision, wait: Duration },
    /// End the call.
    End(End),
}

/// How the call ends without a result.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It did nothing, and the same request would get the same answer.
    Refused(v1::Error),
    /// It did nothing, and there is no time left.
    Unavailable,
    /// A sending may have done something, and there is no time left to learn it.
    Unknown,
}

/// The attempts of one call.
///
/// * `unresolved` never falls back to false while the request id stays the same.
/// * A read is never unresolved.
#[derive(Debug)]
pub(crate) struct Attempts {
    mutation: bool,
    first_attempt: Duration,
    unresolved: bool,
    failures: u32,
    silences: u32,
    redirects: u32,
    /// How many were made.
    pub(crate) made: u32,
    /// Why the last one failed.
    pub(crate) last: String,
    /// The same, if a node told a reason that we know.
    pub(crate) last_reason: Option<Reason>,
}

impl Attempts {
    /// `first_attempt`: how long the first one may take before another node is tried.
    pub(crate) fn new(mutation: bool, first_attempt: Duration) -> Attempts {
        Attempts {
            mutation,
            first_attempt,
            unresolved: false,
            failures: 0,
            silences: 0,
            redirects: 0,
            made: 0,
            last: "the deadline passed before the first attempt".to_owned(),
            last_reason: None,
        }
    }

    /// Counts an attempt and tells how long it may take: twice as long after every silence, so that a hung node does not
    /// eat the whole deadline, and a slow one gets its answer through in the end.
    pub(crate) fn begin(&mut self, left: Duration) -> Duration {
        self.made += 1;
        self.first_attempt.saturating_mul(1 << self.silences.min(16)).min(left)
    }

    /// Decides. `left` is the time until the deadline, `random` is uniform in `0.0..1.0`.
    pub(crate) fn after(&mut self, failure: Failure, left: Duration, random: f64) -> Next {
        self.failures += 1;
        (self.last, self.last_reason) = match &failure {
            Failure::Answered(error) => (error.message.clone(), error.reason()),
            Failure::NotSent(why) | Failure::Broken(why) => (why.clone(), None),
            Failure::Silent => ("a node did not answer".to_owned(), None),
        };
        match failure {
            Failure::NotSent(_) => self.again(None, left, random, Whom::Another),
            Failure::Broken(_) => {
                self.unresolved |= self.mutation;
                self.again(None, left, random, Whom::Another)
            }
            Failure::Silent => {
                self.unresolved |= self.mutation;
                self.silences += 1;
                self.at_once(left, Whom::Another)
            }
            Failure::Answered(error) => self.after_answer(error, left, random),
        }
    }

    fn after_answer(&mut self, error: v1::Error, left: Duration, random: f64) -> Next {
        if error.reason() == Some(Reason::RequestTooOld) {
            return self.too_old(error, left, random);
        }
        if error.reason() == Some(Reason::DeadlineExceeded) {
            self.silences += 1; // the node gave up when we did: it is slow, not silent, and needs longer next time
        }
        match error.outcome() {
            Outcome::Decided => return Next::End(End::Refused(error)),
            Outcome::Refused => {}
            Outcome::Unknown if self.mutation => {
                // Whatever the advice: only the same id, sent again, tells what became of it.
                self.unresolved = true;
                return self.again(error.retry_info(), left, random, Whom::Another);
            }
            Outcome::Unknown => {} // of a read nothing is lost
        }
        match error.advice() {
            Advice::Never if self.unresolved => Next::End(End::Unknown),
            Advice::Never => Next::End(End::Refused(error)),
            Advice::Later => {
                // A node that answers no read in time may be on the wrong side of a partition.
                let is_slow = error.reason() == Some(Reason::DeadlineExceeded);
                self.again(error.retry_info(), left, random, if is_slow { Whom::Another } else { Whom::TheSame })
            }
            Advice::Elsewhere => {
                let leader =
                    error.fact(metadata::LEADER_NODE).zip(error.metadata.get(metadata::LEADER_ADDRESS).cloned());
                let whom = match (error.reason(), leader) {
                    (Some(Reason::NotLeader), Some((node, address))) => Whom::Leader(NodeId(node), address),
                    (Some(Reason::WrongShard), _) => Whom::FreshMap,
                    _ => Whom::Another,
                };
                self.redirects += 1;
                if self.redirects <= REDIRECTS_AT_ONCE_MAX {
                    self.at_once(left, whom)
                } else {
                    self.again(error.retry_info(), left, random, whom)
                }
            }
        }
    }

    /// The id's birth lies in what the shard has forgotten. If no sending of it can have done anything, a new id is as
    /// good as the old one.
    fn too_old(&mut self, error: v1::Error, left: Duration, random: f64) -> Next {
        if self.unresolved {
            return Next::End(End::Unknown);
        }
        match error.fact(metadata::CLOCK) {
            Some(clock) if self.mutation && clock > 0 => {
                let wait = if self.failures == 1 { Duration::ZERO } else { wait(self.failures, None, left, random) };
                if left < ATTEMPT_MIN { self.out_of_time() } else { Next::Renew { birth: Revision(clock), wait } }
            }
            _ => Next::End(End::Refused(error)),
        }
    }

    fn again(&self, retry_info: Option<Duration>, left: Duration, random: f64, whom: Whom) -> Next {
        if left < ATTEMPT_MIN || retry_info.is_some_and(|floor| floor >= left) {
            return self.out_of_time();
        }
        Next::Again { wait: wait(self.failures, retry_info, left, random), whom }
    }

    fn at_once(&self, left: Duration, whom: Whom) -> Next {
        if left < ATTEMPT_MIN { self.out_of_time() } else { Next::Again { wait: Duration::ZERO, whom } }
    }

    /// How the call ends if there is no time for another attempt.
    pub(crate) fn out_of_time(&self) -> Next {
        Next::End(if self.unresolved { End::Unknown } else { End::Unavailable })
    }
}

/// How long to wait after the n-th failure, given that `retry_info < left`. The random part never takes more than half of
/// the time left above the server's floor: a last attempt is worth more than a long wait.
fn wait(failures: u32, retry_info: Option<Duration>, left: Duration, random: f64) -> Duration {
    let floor = retry_info.unwrap_or_default();
    let ceiling = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACKOFF_MAX);
    floor + ceiling.mul_f64(random.clamp(0.0, 1.0)).min(left.saturating_sub(floor) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const FIRST: Duration = Duration::from_millis(1500);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn answered(reason: Reason) -> Failure {
        Failure::Answered(v1::Error::new(reason, "no"))
    }

    fn wait_of(next: Next) -> Duration {
        match next {
            Next::Again { wait, .. } | Next::Renew { wait, .. } => wait,
            Next::End(end) => panic!("ended: {end:?}"),
        }
    }

    /// Without jitter, clients that failed together come back together; without a cap, a call sleeps its deadline away.
    #[test]
    fn waits_double_up_to_a_cap_and_are_a_random_part_of_that() {
        let waits = |random| (1..=9).map(|n| wait(n, None, MINUTE, random)).collect::<Vec<_>>();
        assert_eq!(waits(1.0), [10, 20, 40, 80, 160, 320, 640, 1000, 1000].map(ms));
        assert_eq!(waits(0.5), [5, 10, 20, 40, 80, 160, 320, 500, 500].map(ms));
        assert_eq!(waits(0.0), [0; 9].map(ms));
        assert_eq!(wait(u32::MAX, None, MINUTE, 1.0), ms(1000));
    }

    #[test]
    fn retry_info_is_a_floor_and_jitter_comes_on_top() {
        assert_eq!(wait(1, Some(ms(300)), MINUTE, 0.0), ms(300));
        assert_eq!(wait(3, Some(ms(300)), MINUTE, 1.0), ms(340));
        assert_eq!(wait(8, Some(ms(300)), ms(400), 1.0), ms(350), "half of what is left remains for the attempt");
    }

    /// Sleeping until the deadline to fail then helps nobody.
    #[test]
    fn a_floor_beyond_the_deadline_ends_the_call_at_once() {
        let mut attempts = Attempts::new(true, FIRST);
        let busy = v1::Error::new(Reason::Overloaded, "busy").retry_after(ms(500));
        assert!(matches!(attempts.after(Failure::Answered(busy), ms(500), 0.0), Next::End(End::Unavailable)));
    }

    #[test]
    fn a_silent_node_gets_longer_each_time_and_never_more_than_is_left() {
        let mut attempts = Attempts::new(false, FIRST);
        let mut given = Vec::new();
        for _ in 0..3 {
            given.push(attempts.begin(ms(10_000)));
            attempts.after(Failure::Silent, MINUTE, 0.5);
        }
        assert_eq!(given, [1500, 3000, 6000].map(ms));
        assert_eq!(attempts.begin(ms(700)), ms(700));
        // The server keeps our time, so its word that the time is up is a silence, too.
        let mut attempts = Attempts::new(false, FIRST);
        attempts.after(answered(Reason::DeadlineExceeded), MINUTE, 0.5);
        assert_eq!(attempts.begin(MINUTE), 2 * FIRST);
        // A refusal is an answer: the next attempt is not given longer for it.
        let mut attempts = Attempts::new(false, FIRST);
        attempts.after(answered(Reason::Overloaded), MINUTE, 0.5);
        assert_eq!(attempts.begin(MINUTE), FIRST);
    }

    /// The heart of exactly-once as callers see it: a refusal of a retry says nothing about the first sending.
    #[test]
    fn what_was_sent_and_not_answered_never_ends_as_refused_by_a_later_sending() {
        for lost in [Failure::Silent, Failure::Broken("reset".into()), answered(Reason::OutcomeUnknown)] {
            let mut attempts = Attempts::new(true, FIRST);
            attempts.after(lost.clone(), MINUTE, 0.5);
            assert!(matches!(attempts.after(answered(Reason::DiskFull), MINUTE, 0.5), Next::End(End::Unknown)));
            assert!(matches!(attempts.after(answered(Reason::Overloaded), ms(50), 0.5), Next::End(End::Unknown)));
            assert!(matches!(attempts.after(answered(Reason::RequestTooOld), MINUTE, 0.5), Next::End(End::Unknown)));
            // But the recorded outcome is the last word.
            let decided = attempts.after(answered(Reason::ConditionFailed), MINUTE, 0.5);
            assert!(matches!(decided, Next::End(End::Refused(_))));

            let mut read = Attempts::new(false, FIRST);
            read.after(lost, MINUTE, 0.5);
            assert!(matches!(read.out_of_time(), Next::End(End::Unavailable)));
        }
    }

    #[test]
    fn what_never_left_this_process_is_refused() {
        let mut attempts = Attempts::new(true, FIRST);
        attempts.after(Failure::NotSent("connection refused".into()), MINUTE, 0.5);
        assert!(matches!(attempts.out_of_time(), Next::End(End::Unavailable)));
        assert_eq!(attempts.last, "connection refused");
    }

    /// A last attempt that cannot be answered would only turn "did not happen" into "may have happened".
    #[test]
    fn no_attempt_is_begun_that_has_no_time() {
        for failure in [Failure::NotSent("refused".into()), answered(Reason::NoQuorum), answered(Reason::NotLeader)] {
            let mut attempts = Attempts::new(true, FIRST);
            assert!(matches!(attempts.after(failure, ms(9), 0.0), Next::End(End::Unavailable)));
        }
    }

    #[test]
    fn a_too_old_birth_is_renewed_only_while_nothing_was_lost() {
        let too_old = || Failure::Answered(v1::Error::new(Reason::RequestTooOld, "old").with(metadata::CLOCK, 77));
        let mut attempts = Attempts::new(true, FIRST);
        let next = attempts.after(too_old(), MINUTE, 1.0);
        assert!(matches!(next, Next::Renew { birth: Revision(77), wait: Duration::ZERO }), "{next:?}");
        // A certain refusal in between changes nothing, but a shard that finds every birth too old gets no storm.
        attempts.after(answered(Reason::NotLeader), MINUTE, 0.5);
        assert_eq!(wait_of(attempts.after(too_old(), MINUTE, 1.0)), ms(40));
        attempts.after(Failure::Silent, MINUTE, 0.5);
        assert!(matches!(attempts.after(too_old(), MINUTE, 1.0), Next::End(End::Unknown)));
    }

    #[test]
    fn redirects_are_followed_at_once_twice_and_then_with_a_wait() {
        let mut attempts = Attempts::new(true, FIRST);
        let redirect = || {
            let error = v1::Error::new(Reason::NotLeader, "ask n2").with(metadata::LEADER_NODE, 2);
            Failure::Answered(error.with(metadata::LEADER_ADDRESS, "h:1"))
        };
        let mut waits = Vec::new();
        for _ in 0..3 {
            match attempts.after(redirect(), MINUTE, 1.0) {
                Next::Again { wait, whom: Whom::Leader(NodeId(2), address) } if address == "h:1" => waits.push(wait),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(waits, [0, 0, 10 + 40].map(ms));
        let wrong = attempts.after(answered(Reason::WrongShard), MINUTE, 0.0);
        assert!(matches!(wrong, Next::Again { whom: Whom::FreshMap, .. }));
        let unnamed = attempts.after(answered(Reason::NotLeader), MINUTE, 0.0);
        assert!(matches!(unnamed, Next::Again { whom: Whom::Another, .. }));
    }

    /// A leader that was cut off from the others, but not from its clients, would otherwise keep them for as long as that lasts.
    #[test]
    fn who_has_no_majority_is_left() {
        for reason in [Reason::NoQuorum, Reason::DeadlineExceeded] {
            for mutation in [false, true] {
                let mut attempts = Attempts::new(mutation, FIRST);
                let next = attempts.after(answered(reason), MINUTE, 0.5);
                assert!(matches!(next, Next::Again { whom: Whom::Another, .. }), "{reason}: {next:?}");
            }
        }
        let full = Attempts::new(true, FIRST).after(answered(Reason::Overloaded), MINUTE, 0.5);
        assert!(matches!(full, Next::Again { whom: Whom::TheSame, .. }), "{full:?}");
    }

    #[test]
    fn a_request_that_cannot_work_is_sent_once() {
        for reason in [Reason::KeyTooLarge, Reason::ConditionFailed, Reason::WrongCluster, Reason::DiskFull] {
            let mut attempts = Attempts::new(true, FIRST);
            assert!(matches!(attempts.after(answered(reason), MINUTE, 0.5), Next::End(End::Refused(_))), "{reason}");
        }
    }
}
